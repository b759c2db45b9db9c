//! The encoder ladder as data: one row per chip, best first.

use super::Wanted;
use anyhow::{Result, ensure};
use serde::Serialize;

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
    /// Elements that make H.264 of what it writes, where that is something else.
    pub then: &'static [Part],
    /// Caps at the end; `LEVEL` becomes the lowest level that fits, `WIDTH` and
    /// `HEIGHT` the picture's.
    pub output: &'static str,
    /// What the chip cannot do.
    pub limits: Limits,
    /// Pictures that it may hold back: chips work on two or three at once. One that
    /// holds more is looking ahead, and late.
    pub holds: u32,
    /// Taken by `auto`; otherwise only by name.
    pub auto: bool,
}

impl Rung {
    /// What most rungs have in common; without a name.
    pub const BASE: Self = Self {
        name: "",
        chip: "",
        drivers: &[],
        convert: "videoconvert",
        input: "video/x-raw,format=NV12",
        sets: &[],
        controls: &[],
        retune: Retune::Replace,
        then: &[],
        output: "video/x-h264",
        limits: Limits::NONE,
        holds: 3,
        auto: true,
    };
}

/// How raw pictures get into an encoder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It reads them where they are: nothing is copied.
    Dmabuf,
    /// They are copied into its driver's buffers.
    Mmap,
    /// It is no V4L2 device and takes them from memory in its own way.
    Memory,
}

impl Way {
    /// For people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dmabuf => "dmabuf",
            Self::Mmap => "mmap",
            Self::Memory => "memory",
        }
    }
}

/// An element of a chain, with its properties.
#[derive(Debug)]
pub struct Part {
    /// GStreamer's factory.
    pub name: &'static str,
    /// Properties, in order.
    pub sets: &'static [(&'static str, Amount)],
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

impl Limits {
    /// None worth naming.
    pub const NONE: Self =
        Self { max: (4096, 4096), min: (16, 16), multiple: 2, min_fps: 1, min_gop: 1 };

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

/// Two slices on two threads: half the wait of one, and no frame of delay.
/// Superfast keeps the deblocking that ultrafast gives up.
const X264: &[(&str, Amount)] = &[
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
];

/// The ladder.
pub const LADDER: &[Rung] = &[
    // Without a level STREAMON fails (raspberrypi/linux 3974); below 9 fps it
    // hangs (4739), as with an I period of 1 (4740).
    Rung {
        name: "v4l2h264enc",
        chip: "Raspberry Pi 4, CM4",
        drivers: &["bcm2835-codec"],
        input: "video/x-raw,format=(string){NV12,I420}",
        controls: &[
            ("video_bitrate", BpsIn { step: 25_000, max: 25_000_000 }),
            ("h264_i_frame_period", Gop),
            ("repeat_sequence_header", Is("1")),
        ],
        retune: Retune::Controls,
        output: "video/x-h264,profile=(string)constrained-baseline,level=(string)LEVEL",
        limits: Limits { max: (1920, 1088), min: (32, 32), multiple: 2, min_fps: 9, min_gop: 2 },
        ..Rung::BASE
    },
    // Bit rate in kbit/s; NV12 only.
    Rung {
        name: "vpuenc_h264",
        chip: "i.MX8M Mini, i.MX8M Plus (NXP BSP)",
        sets: &[("bitrate", Kbps), ("gop-size", Gop)],
        limits: Limits { max: (1920, 1088), min: (64, 64), multiple: 2, min_fps: 1, min_gop: 1 },
        ..Rung::BASE
    },
    Rung {
        name: "v4l2h264enc",
        chip: "i.MX8QM, i.MX8QXP",
        drivers: &["amphion", "vpu encoder", "vpu B0"],
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
        ..Rung::BASE
    },
    // Silently absent where MPP cannot start; the vendor's kernel only.
    Rung {
        name: "mpph264enc",
        chip: "RK356x, RK3588 (vendor kernel)",
        sets: &[
            ("bps", Bps),
            ("gop", Gop),
            ("rc-mode", Is("cbr")),
            ("header-mode", Is("each-idr")),
        ],
        retune: Retune::Properties,
        ..Rung::BASE
    },
    // Orin Nano has no encoder: the trial finds that out.
    Rung {
        name: "nvv4l2h264enc",
        chip: "Jetson Orin NX, AGX",
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
        ..Rung::BASE
    },
    // Defaults are rate control off, bit rate 0, level 1.0; it cannot be asked
    // for a key frame, so viewers wait for the GOP's next.
    Rung {
        name: "v4l2h264enc",
        chip: "TI AM62A, AM67A, AM68A",
        drivers: &["wave5-enc", "wave5", "vpu-enc"],
        input: "video/x-raw,format=(string){NV12,I420}",
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
        ..Rung::BASE
    },
    Rung {
        name: "v4l2h264enc",
        chip: "Qualcomm (iris, venus)",
        drivers: &["iris_driver", "iris", "qcom-venus"],
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
        ..Rung::BASE
    },
    Rung {
        name: "x264enc",
        chip: "software",
        input: "video/x-raw,format=(string){I420,NV12}",
        retune: Retune::Properties,
        sets: X264,
        output: "video/x-h264,profile=(string)constrained-baseline",
        holds: 0,
        ..Rung::BASE
    },
    // The first change of its bit rate costs a key frame with a higher level in it.
    Rung {
        name: "openh264enc",
        chip: "software",
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
        retune: Retune::Properties,
        output: "video/x-h264,profile=(string)constrained-baseline",
        holds: 0,
        ..Rung::BASE
    },
    // The kernel's own encoder without a chip. It writes FWHT, which no browser takes:
    // its pictures are read back and go on in H.264. They come back in multiples of 16.
    Rung {
        name: "v4l2fwhtenc",
        chip: "vicodec (a test driver)",
        drivers: &["vicodec"],
        input: "video/x-raw,format=(string){NV12,I420}",
        controls: &[("video_gop_size", Gop)],
        then: &[
            Part { name: "v4l2fwhtdec", sets: &[] },
            Part { name: "videocrop", sets: &[("right", Is("-1")), ("bottom", Is("-1"))] },
            Part { name: "x264enc", sets: X264 },
        ],
        output: "video/x-h264,profile=(string)constrained-baseline,width=WIDTH,height=HEIGHT",
        limits: Limits { max: (4096, 2160), min: (640, 360), multiple: 8, ..Limits::NONE },
        auto: false,
        ..Rung::BASE
    },
];

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
        let ladder: Vec<_> = LADDER.iter().filter(|rung| rung.auto).collect();
        let first = ladder.iter().position(|r| r.chip == "software").unwrap();
        assert!(ladder[first..].iter().all(|r| r.chip == "software"));
    }

    fn chip(name: &str) -> &'static Rung {
        LADDER.iter().find(|rung| rung.chip.starts_with(name)).unwrap()
    }

    /// A V4L2 encoder writes level 1.0 or 4.0, or does not start, unless it is told the level.
    #[test]
    fn every_v4l2_chip_is_told_its_level() {
        let chips = LADDER.iter().filter(|rung| rung.name == "v4l2h264enc");
        assert!(chips.clone().count() >= 4);
        assert!(chips.into_iter().all(|rung| rung.output.ends_with("level=(string)LEVEL")));
    }

    /// Bit rates have the unit that each encoder counts in.
    #[test]
    fn bit_rates_have_each_encoders_unit() {
        let wanted =
            Wanted { width: 640, height: 360, fps: 30, bitrate_kbps: 1010, gop_frames: 60 };
        let rate = |chip: &Rung| {
            let all = chip.sets.iter().chain(chip.controls);
            let named = |name: &str| ["bitrate", "bps", "video_bitrate"].contains(&name);
            all.clone().find(|(name, _)| named(name)).map(|(_, amount)| wanted.amount(*amount))
        };
        for (name, expected) in [
            ("Raspberry", "1025000"), // steps of 25 kbit/s
            ("i.MX8M ", "1010"),
            ("i.MX8QM", "1010000"),
            ("RK356x", "1010000"),
            ("Jetson", "1010000"),
            ("TI", "1010000"),
            ("Qualcomm", "1010000"),
        ] {
            assert_eq!(rate(chip(name)).as_deref(), Some(expected), "{name}");
        }
    }

    /// wave5 encodes without rate control, and venus and iris are told the same, unless asked.
    #[test]
    fn rate_control_is_switched_on_where_it_is_off() {
        for name in ["TI", "Qualcomm"] {
            let on = |(name, amount): &(&str, Amount)| {
                *name == "frame_level_rate_control_enable" && matches!(amount, Is("1"))
            };
            assert!(chip(name).controls.iter().any(on), "{name}");
        }
    }

    /// Viewers join at any key frame: each has its parameter sets.
    #[test]
    fn parameter_sets_come_with_every_key_frame() {
        for (name, set) in [
            ("Raspberry", "repeat_sequence_header"),
            ("TI", "prepend_sps_and_pps_to_idr"),
            ("Qualcomm", "prepend_sps_and_pps_to_idr"),
            ("Jetson", "insert-sps-pps"),
            ("RK356x", "header-mode"),
        ] {
            let mut sets = chip(name).sets.iter().chain(chip(name).controls);
            assert!(sets.any(|(name, _)| *name == set), "{name}");
        }
    }

    /// The VPU of the Pi stops below 9 pictures a second, with key frames only, and beyond 1920.
    #[test]
    fn the_pis_hangs_are_out_of_reach() {
        let good = Wanted { width: 1920, height: 1080, fps: 9, bitrate_kbps: 1, gop_frames: 2 };
        let limits = chip("Raspberry").limits;
        assert!(limits.check(&good).is_ok());
        assert!(limits.check(&Wanted { fps: 8, ..good }).is_err());
        assert!(limits.check(&Wanted { gop_frames: 1, ..good }).is_err());
        assert!(limits.check(&Wanted { width: 2048, ..good }).is_err());
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
}
