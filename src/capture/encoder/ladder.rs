//! The encoder ladder as data: one row per chip, best first.

use anyhow::{Result, ensure};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::Wanted;

/// One way to encode.
#[derive(Debug)]
pub struct Rung {
    /// GStreamer's factory; the name in the configuration.
    pub name: &'static str,
    /// Where it is found.
    pub chip: &'static str,
    /// For V4L2 encoders: the kernel drivers it is good for (`VIDIOC_QUERYCAP`,
    /// or its `card`). Factory names of a second V4L2 encoder change between boots.
    pub drivers: &'static [&'static str],
    /// Element that brings pictures into the encoder's memory and format.
    pub convert: &'static str,
    /// Raw caps in front of the encoder, without size and rate.
    pub input: &'static str,
    /// Properties, in order.
    pub sets: &'static [(&'static str, Amount)],
    /// V4L2 controls, through `extra-controls`; a driver without one ignores it.
    pub controls: &'static [(&'static str, Amount)],
    /// How its bit rate changes while it runs.
    pub retune: Retune,
    /// Caps behind the encoder; `LEVEL` becomes the lowest level that fits.
    pub output: &'static str,
    /// What the chip cannot do.
    pub limits: Limits,
}

/// How an encoder's bit rate changes while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retune {
    /// By the properties that say it ([`Rung::sets`]).
    Properties,
    /// By the V4L2 controls that say it ([`Rung::controls`]), through the
    /// encoder's own descriptor: `extra-controls` of a running element does
    /// nothing before GStreamer 1.27.1.
    Controls,
    /// Not at all: another encoder takes its place.
    Replace,
}

/// A property's value.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// This text.
    Is(&'static str),
    /// The bit rate in kbit/s.
    Kbps,
    /// The bit rate in bit/s.
    Bps,
    /// The bit rate in bit/s, rounded up to steps, at most `max`.
    BpsIn {
        /// Bit/s.
        step: u64,
        /// Bit/s.
        max: u64,
    },
    /// Pictures from key frame to key frame.
    Gop,
}

impl Amount {
    /// Whether it follows the bit rate.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Kbps | Self::Bps | Self::BpsIn { .. })
    }
}

/// What a chip cannot do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Greatest width and height, pixels.
    pub max: (u32, u32),
    /// Least width and height, pixels.
    pub min: (u32, u32),
    /// Width and height are multiples of this.
    pub multiple: u32,
    /// Least pictures per second.
    pub min_fps: u32,
    /// Least key frame distance, pictures.
    pub min_gop: u32,
}

/// No limit worth naming.
const ANY: Limits =
    Limits { max: (4096, 4096), min: (16, 16), multiple: 2, min_fps: 1, min_gop: 1 };

impl Limits {
    /// # Errors
    /// What of `wanted` is beyond the chip.
    pub fn check(&self, wanted: &Wanted) -> Result<()> {
        let Wanted { width, height, fps, gop_frames, .. } = *wanted;
        let ((max_w, max_h), (min_w, min_h)) = (self.max, self.min);
        ensure!(width <= max_w && height <= max_h, "{width}x{height} is above {max_w}x{max_h}");
        ensure!(width >= min_w && height >= min_h, "{width}x{height} is below {min_w}x{min_h}");
        let n = self.multiple;
        ensure!(width % n == 0 && height % n == 0, "{width}x{height} is not a multiple of {n}");
        ensure!(fps >= self.min_fps, "{fps} fps is below {}", self.min_fps);
        ensure!(gop_frames >= self.min_gop, "a GOP of {gop_frames} is below {}", self.min_gop);
        Ok(())
    }
}

use Amount::{Bps, BpsIn, Gop, Is, Kbps};

/// The ladder.
pub const LADDER: &[Rung] = &[
    // Without a level STREAMON fails (raspberrypi/linux 3974); below 9 fps it
    // hangs (4739), as with an I period of 1 (4740).
    Rung {
        name: "v4l2h264enc",
        chip: "Raspberry Pi 4, CM4",
        drivers: &["bcm2835-codec"],
        convert: "videoconvert",
        input: "video/x-raw,format=(string){NV12,I420}",
        sets: &[],
        controls: &[
            ("video_bitrate", BpsIn { step: 25_000, max: 25_000_000 }),
            ("h264_i_frame_period", Gop),
            ("repeat_sequence_header", Is("1")),
        ],
        retune: Retune::Controls,
        output: "video/x-h264,profile=(string)constrained-baseline,level=(string)LEVEL",
        limits: Limits { max: (1920, 1088), min: (32, 32), multiple: 2, min_fps: 9, min_gop: 2 },
    },
    // Bit rate in kbit/s; NV12 only.
    Rung {
        name: "vpuenc_h264",
        chip: "i.MX8M Mini, i.MX8M Plus (NXP BSP)",
        drivers: &[],
        convert: "videoconvert",
        input: "video/x-raw,format=NV12",
        sets: &[("bitrate", Kbps), ("gop-size", Gop)],
        controls: &[],
        retune: Retune::Replace,
        output: "video/x-h264",
        limits: Limits { max: (1920, 1088), min: (64, 64), multiple: 2, min_fps: 1, min_gop: 1 },
    },
    Rung {
        name: "v4l2h264enc",
        chip: "i.MX8QM, i.MX8QXP",
        drivers: &["amphion", "vpu encoder", "vpu B0"],
        convert: "videoconvert",
        input: "video/x-raw,format=NV12",
        sets: &[],
        controls: &[
            ("video_bitrate_mode", Is("1")),
            ("video_bitrate", Bps),
            ("video_gop_size", Gop),
            ("video_b_frames", Is("0")),
            ("sequence_header_mode", Is("1")),
        ],
        retune: Retune::Controls,
        output: "video/x-h264,profile=(string){constrained-baseline,baseline,main},\
                 level=(string)LEVEL",
        limits: Limits { max: (1920, 1920), min: (64, 64), multiple: 2, min_fps: 1, min_gop: 1 },
    },
    // Silently absent where MPP cannot start; the vendor's kernel only.
    Rung {
        name: "mpph264enc",
        chip: "RK356x, RK3588 (vendor kernel)",
        drivers: &[],
        convert: "videoconvert",
        input: "video/x-raw,format=NV12",
        sets: &[
            ("bps", Bps),
            ("gop", Gop),
            ("rc-mode", Is("cbr")),
            ("header-mode", Is("each-idr")),
        ],
        controls: &[],
        retune: Retune::Properties,
        output: "video/x-h264",
        limits: ANY,
    },
    // Orin Nano has no encoder: the trial finds that out.
    Rung {
        name: "nvv4l2h264enc",
        chip: "Jetson Orin NX, AGX",
        drivers: &[],
        convert: "nvvidconv",
        input: "video/x-raw(memory:NVMM),format=NV12",
        sets: &[
            ("bitrate", Bps),
            ("control-rate", Is("constant_bitrate")),
            ("iframeinterval", Gop),
            ("idrinterval", Gop),
            ("insert-sps-pps", Is("true")),
            ("num-B-Frames", Is("0")),
            ("maxperf-enable", Is("true")),
        ],
        controls: &[],
        retune: Retune::Replace,
        output: "video/x-h264",
        limits: ANY,
    },
    // Defaults are rate control off, bit rate 0, level 1.0; it cannot be asked
    // for a key frame, so viewers wait for the GOP's next.
    Rung {
        name: "v4l2h264enc",
        chip: "TI AM62A, AM67A, AM68A",
        drivers: &["wave5-enc", "wave5", "vpu-enc"],
        convert: "videoconvert",
        input: "video/x-raw,format=(string){NV12,I420}",
        sets: &[],
        controls: &[
            ("frame_level_rate_control_enable", Is("1")),
            ("video_bitrate", Bps),
            ("video_gop_size", Gop),
            ("h264_i_frame_period", Gop),
            ("prepend_sps_and_pps_to_idr", Is("1")),
        ],
        retune: Retune::Controls,
        output: "video/x-h264,profile=(string){constrained-baseline,baseline},level=(string)LEVEL",
        limits: Limits { max: (4096, 2304), min: (256, 128), multiple: 8, min_fps: 1, min_gop: 1 },
    },
    Rung {
        name: "v4l2h264enc",
        chip: "Qualcomm (iris, venus)",
        drivers: &["iris_driver", "iris", "qcom-venus"],
        convert: "videoconvert",
        input: "video/x-raw,format=NV12",
        sets: &[],
        controls: &[
            ("frame_level_rate_control_enable", Is("1")),
            ("video_bitrate", Bps),
            ("video_gop_size", Gop),
            ("prepend_sps_and_pps_to_idr", Is("1")),
        ],
        retune: Retune::Controls,
        output: "video/x-h264,profile=(string){constrained-baseline,baseline,main},\
                 level=(string)LEVEL",
        limits: Limits { max: (4096, 2304), min: (128, 128), multiple: 2, min_fps: 1, min_gop: 1 },
    },
    // Two slices on two threads: half the wait of one, and no frame of delay.
    // Superfast keeps the deblocking that ultrafast gives up.
    Rung {
        name: "x264enc",
        chip: "software",
        drivers: &[],
        convert: "videoconvert",
        input: "video/x-raw,format=(string){I420,NV12}",
        sets: &[
            ("speed-preset", Is("superfast")),
            ("tune", Is("zerolatency")),
            ("threads", Is("2")),
            ("sliced-threads", Is("true")),
            ("bframes", Is("0")),
            ("rc-lookahead", Is("0")),
            ("key-int-max", Gop),
            ("option-string", Is("scenecut=0")),
            ("bitrate", Kbps),
            ("vbv-buf-capacity", Is("400")),
            ("byte-stream", Is("true")),
            ("aud", Is("false")),
        ],
        controls: &[],
        retune: Retune::Properties,
        output: "video/x-h264,profile=(string)constrained-baseline",
        limits: ANY,
    },
    // The first change of its bit rate costs a key frame with a higher level in it.
    Rung {
        name: "openh264enc",
        chip: "software",
        drivers: &[],
        convert: "videoconvert",
        input: "video/x-raw,format=I420",
        sets: &[
            ("usage-type", Is("camera")),
            ("complexity", Is("low")),
            ("rate-control", Is("bitrate")),
            ("bitrate", Bps),
            ("gop-size", Gop),
            ("multi-thread", Is("2")),
            ("scene-change-detection", Is("false")),
        ],
        controls: &[],
        retune: Retune::Properties,
        output: "video/x-h264,profile=(string)constrained-baseline",
        limits: ANY,
    },
];

/// A rung with the factory that stands for it on this machine.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Factory name as registered here.
    pub factory: String,
    /// Its row.
    pub rung: &'static Rung,
}

/// The rungs that exist on this machine, in the ladder's order, only `name` if given.
/// V4L2 encoders are matched by driver, not by name.
pub fn candidates(ladder: &'static [Rung], name: Option<&str>) -> Vec<Candidate> {
    let v4l2 = v4l2_encoders();
    (ladder.iter())
        .filter(|rung| name.is_none_or(|name| rung.name == name))
        .filter_map(|rung| {
            let factory = if rung.drivers.is_empty() {
                gst::ElementFactory::find(rung.name)?.name().to_string()
            } else {
                let known = |driver: &str| rung.drivers.iter().any(|d| driver.starts_with(d));
                v4l2.iter().find(|(_, driver)| known(driver))?.0.clone()
            };
            Some(Candidate { factory, rung })
        })
        .collect()
}

/// H.264 encoders that GStreamer found on V4L2 nodes, with the node's driver.
fn v4l2_encoders() -> Vec<(String, String)> {
    let ours = |name: &str| name.starts_with("v4l2") && name.ends_with("h264enc");
    gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::VIDEO_ENCODER,
        gst::Rank::NONE,
    )
    .iter()
    .filter(|factory| ours(&factory.name()))
    .filter_map(|factory| {
        let element = factory.create().build().ok()?;
        let node: Option<String> =
            element.find_property("device").and_then(|_| element.property("device"));
        let caps = crate::capture::ioctl::Node::open(node?.as_ref()).ok()?.identity().ok()?;
        Some((factory.name().to_string(), caps.driver))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration knows every rung by name.
    #[test]
    fn configuration_names_every_rung() {
        for rung in LADDER {
            assert!(crate::config::camera::ENCODERS.contains(&rung.name), "{}", rung.name);
        }
    }

    /// On-chip encoders come before software, which is always there in the end.
    #[test]
    fn software_is_last() {
        let first = LADDER.iter().position(|r| r.chip == "software").unwrap();
        assert!(LADDER[first..].iter().all(|r| r.chip == "software"));
    }

    /// What a chip cannot do is refused with the number it is beyond.
    #[test]
    fn limits_are_named() {
        let wanted = Wanted { width: 1280, height: 722, fps: 5, bitrate_kbps: 1, gop_frames: 60 };
        let ti = LADDER.iter().find(|r| r.chip.starts_with("TI")).unwrap();
        assert!(ti.limits.check(&wanted).unwrap_err().to_string().contains("multiple of 8"));
        let pi = LADDER.iter().find(|r| r.chip.starts_with("Raspberry")).unwrap();
        assert!(pi.limits.check(&wanted).unwrap_err().to_string().contains("5 fps is below 9"));
    }

    /// This machine's software encoder is found, and only what was asked for.
    #[test]
    fn named_encoder_is_the_only_candidate() {
        gst::init().unwrap();
        let found = candidates(LADDER, Some("x264enc"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].factory, "x264enc");
    }
}
