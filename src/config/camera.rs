//! `[[camera]]`: one capture device, the picture wanted of it, and how it is encoded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use crate::model::{FeedId, Label, Mono};

/// One camera as typed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CameraFile {
    /// Its feed's name in addresses, topics and metrics.
    pub id: String,
    /// Name for viewers; the id where a language is missing.
    #[serde(default)]
    pub name: Label,
    /// The physical port it is plugged into, as `floorcast probe` prints it:
    /// `usb-0000:00:14.0-3`, `platform:fe801000.csi`. `sim:line` is the demo line.
    pub port: String,
    /// What the camera is asked for. `auto` takes raw pictures where the camera
    /// has them in this size and rate, then MJPEG, then H.264.
    #[serde(default)]
    pub format: Format,
    /// Picture width in pixels, even.
    #[serde(default = "width")]
    #[schemars(range(min = 128, max = 4096))]
    pub width: u32,
    /// Picture height in pixels, even.
    #[serde(default = "height")]
    #[schemars(range(min = 96, max = 4096))]
    pub height: u32,
    /// Pictures per second.
    #[serde(default = "fps")]
    #[schemars(range(min = 1, max = 120))]
    pub fps: u32,
    /// A camera that gives nothing for this long is opened again, and the slate
    /// is shown. At least three picture periods.
    #[serde(default = "frame_deadline_ms")]
    #[schemars(range(min = 50, max = 60000))]
    pub frame_deadline_ms: u64,
    /// A camera that repeats one picture to the byte for this long is suspected
    /// of being frozen.
    #[serde(default = "frozen_after_ms")]
    #[schemars(range(min = 1000, max = 3600000))]
    pub frozen_after_ms: u64,
    /// Bit rate of the encoder; a camera that sends H.264 sets its own.
    #[serde(default = "bitrate_kbps")]
    #[schemars(range(min = 50, max = 50000))]
    pub bitrate_kbps: u32,
    /// Pictures from one key frame to the next. Give this or `gop_ms`.
    #[schemars(range(min = 2, max = 1200))]
    pub gop_frames: Option<u32>,
    /// Time from one key frame to the next; 2000 unless given.
    #[schemars(range(min = 100, max = 20000))]
    pub gop_ms: Option<u64>,
    /// `auto` takes the first encoder of the ladder that passes a trial; a name
    /// from `floorcast probe` takes only that one.
    #[serde(default = "auto")]
    pub encoder: String,
    /// The feed rests while nobody watches: the camera stays open, but nothing
    /// is encoded. The first picture is there when a viewer comes. No effect on
    /// a camera that sends H.264.
    #[serde(default)]
    pub on_demand: bool,
    /// Closes the camera: viewers see the privacy slate, and none of its
    /// pictures leaves or is looked at.
    #[serde(default)]
    pub privacy: bool,
    /// Controls of the camera by the names that `floorcast probe` prints:
    /// `exposure_time_absolute = 200`, `auto_exposure = "Manual Mode"`.
    #[serde(default)]
    pub controls: BTreeMap<String, ControlValue>,
}

fn width() -> u32 {
    1280
}
fn height() -> u32 {
    720
}
fn fps() -> u32 {
    30
}
fn frame_deadline_ms() -> u64 {
    600
}
fn frozen_after_ms() -> u64 {
    10_000
}
fn bitrate_kbps() -> u32 {
    2500
}
fn auto() -> String {
    "auto".into()
}

/// What a camera is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Raw, then MJPEG, then H.264.
    #[default]
    Auto,
    /// Raw 4:2:0, two planes.
    Nv12,
    /// Raw 4:2:0, three planes.
    I420,
    /// Raw 4:2:2, packed.
    Yuyv,
    /// Raw 4:2:2, packed.
    Uyvy,
    /// Raw, 24 bits.
    Rgb,
    /// Raw, 24 bits, blue first.
    Bgr,
    /// Raw grey.
    Gray8,
    /// JPEG pictures.
    Mjpeg,
    /// H.264, passed through untouched.
    H264,
}

/// A control's value.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ControlValue {
    /// A switch.
    Switch(bool),
    /// A number, or the number of a menu entry.
    Number(i64),
    /// A menu entry by its text.
    Entry(String),
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    /// Its feed.
    pub id: FeedId,
    /// Name for viewers.
    pub name: Label,
    /// Physical port.
    pub port: Arc<str>,
    /// What it is asked for.
    pub format: Format,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// Opened again after this long without a picture.
    pub frame_deadline: Duration,
    /// Suspected after this long with one picture.
    pub frozen_after: Duration,
    /// Bit rate of the encoder.
    pub bitrate_kbps: u32,
    /// Pictures from key frame to key frame.
    pub gop_frames: u32,
    /// A ladder name; `None` is `auto`.
    pub encoder: Option<Arc<str>>,
    /// Rests while nobody watches.
    pub on_demand: bool,
    /// Closed by the house.
    pub privacy: bool,
    /// Controls by name.
    pub controls: BTreeMap<String, ControlValue>,
}

/// What of a camera may change while it is on air.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Bit rate of the encoder.
    pub bitrate_kbps: u32,
    /// Rests while nobody watches.
    pub on_demand: bool,
    /// Closed by the house.
    pub privacy: bool,
    /// Controls by name.
    pub controls: BTreeMap<String, ControlValue>,
    /// What no configuration says.
    pub by_hand: ByHand,
}

/// What people ask of a camera on air, over what is configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ByHand {
    /// Closed by them.
    pub privacy: bool,
    /// Taken off for a while by the house.
    pub paused: bool,
    /// Until then the slate shows this name in place of the picture.
    pub named: Option<(Mono, Arc<str>)>,
}

impl Camera {
    /// What of it may change while it is on air.
    pub fn settings(&self) -> Settings {
        let Self { bitrate_kbps, on_demand, privacy, .. } = *self;
        let (controls, by_hand) = (self.controls.clone(), ByHand::default());
        Settings { bitrate_kbps, on_demand, privacy, controls, by_hand }
    }

    /// The same camera with other settings.
    pub fn with(&self, settings: Settings) -> Self {
        let Settings { bitrate_kbps, on_demand, privacy, controls, by_hand: _ } = settings;
        Self { bitrate_kbps, on_demand, privacy, controls, ..self.clone() }
    }

    /// Time from picture to picture.
    pub fn period(&self) -> Duration {
        Duration::from_secs(1) / self.fps.max(1)
    }
}

/// Names that `encoder` may have; the ladder's own table must agree (tested there).
pub const ENCODERS: &[&str] = &[
    "v4l2h264enc",
    "vpuenc_h264",
    "mpph264enc",
    "nvv4l2h264enc",
    "x264enc",
    "openh264enc",
    "v4l2fwhtenc",
];

impl CameraFile {
    /// Raw to checked.
    pub fn check(self, at: &str, problems: &mut Problems) -> Camera {
        super::check_id(&format!("{at}.id"), &self.id, problems);
        if self.id == "program" {
            problems
                .add(format!("{at}.id"), "\"program\" is the composed feed's name: use another");
        }
        self.check_port(at, problems);
        for (key, pixels) in [("width", self.width), ("height", self.height)] {
            if pixels % 2 != 0 {
                problems.add(
                    format!("{at}.{key}"),
                    format!("{pixels} is odd: H.264 4:2:0 needs an even number"),
                );
            }
        }
        let fps = self.fps.clamp(1, 120);
        let least = (3000u64).div_ceil(u64::from(fps));
        if self.frame_deadline_ms < least {
            problems.add(
                format!("{at}.frame_deadline_ms"),
                format!(
                    "{} is less than three periods at {fps} fps: use {least} or more",
                    self.frame_deadline_ms
                ),
            );
        }
        if self.encoder != "auto" && !ENCODERS.contains(&&*self.encoder) {
            let near = super::problems::nearest(&self.encoder, ENCODERS.iter().copied());
            problems.add(
                format!("{at}.encoder"),
                format!("{:?}: auto or one of {}{near}", self.encoder, ENCODERS.join(", ")),
            );
        }
        for name in self.controls.keys() {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
                problems.add(
                    format!("{at}.controls.{name}"),
                    "control names have a-z, 0-9 and _: see `floorcast probe`",
                );
            }
        }
        let gop_frames = self.gop(at, fps, problems);
        let fallback = |text: &str| if text.is_empty() { self.id.clone() } else { text.into() };
        Camera {
            name: Label { zh: fallback(&self.name.zh), en: fallback(&self.name.en) },
            id: FeedId::from(&*self.id),
            port: self.port.trim().into(),
            format: self.format,
            width: self.width,
            height: self.height,
            fps,
            frame_deadline: Duration::from_millis(self.frame_deadline_ms),
            frozen_after: Duration::from_millis(self.frozen_after_ms),
            bitrate_kbps: self.bitrate_kbps,
            gop_frames,
            encoder: (self.encoder != "auto").then(|| self.encoder.into()),
            on_demand: self.on_demand,
            privacy: self.privacy,
            controls: self.controls,
        }
    }

    fn check_port(&self, at: &str, problems: &mut Problems) {
        let port = self.port.trim();
        if port.is_empty() {
            problems.add(format!("{at}.port"), "empty: `floorcast probe` lists the ports");
        } else if port.starts_with("/dev/") {
            problems.add(
                format!("{at}.port"),
                format!("{port:?} is a node, and nodes are renumbered: `floorcast probe` lists the ports"),
            );
        }
    }

    /// Key frame distance in frames, at least 2.
    fn gop(&self, at: &str, fps: u32, problems: &mut Problems) -> u32 {
        if self.gop_frames.is_some() && self.gop_ms.is_some() {
            problems.add(format!("{at}.gop_ms"), "gop_frames is given too: keep one of them");
        }
        let from_ms = |ms: u64| u32::try_from(ms * u64::from(fps) / 1000).unwrap_or(u32::MAX);
        self.gop_frames
            .unwrap_or_else(|| from_ms(self.gop_ms.unwrap_or(2000).min(20_000)))
            .clamp(2, 2400)
    }
}

/// Reports cameras that share an id or a port.
pub fn check_all(cameras: &[Camera], problems: &mut Problems) {
    for (i, camera) in cameras.iter().enumerate() {
        let earlier = &cameras[..i];
        if let Some(first) = earlier.iter().position(|c| c.id == camera.id) {
            problems.add(
                format!("camera[{i}].id"),
                format!("{:?} is already camera[{first}]'s", &*camera.id.0),
            );
        }
        if let Some(first) = earlier.iter().position(|c| c.port == camera.port) {
            problems.add(
                format!("camera[{i}].port"),
                format!("{:?} is already camera[{first}]'s", &*camera.port),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(toml: &str) -> (Camera, Vec<String>) {
        let mut problems = Problems::default();
        let file: CameraFile = toml::from_str(toml).unwrap();
        let camera = file.check("camera[0]", &mut problems);
        (camera, problems.iter().map(|p| p.key.clone()).collect())
    }

    /// The shortest useful camera: everything else has a default.
    #[test]
    fn id_and_port_are_enough() {
        let (camera, wrong) = checked("id = \"fill\"\nport = \"usb-0000:00:14.0-3\"");
        assert_eq!(wrong, [""; 0]);
        assert_eq!((camera.width, camera.height, camera.fps), (1280, 720, 30));
        assert_eq!(camera.gop_frames, 60);
        assert_eq!(camera.encoder, None);
        assert_eq!(camera.name.en, "fill");
    }

    /// Every mistake is named, with its key.
    #[test]
    fn all_mistakes_of_a_camera_are_reported() {
        let (_, wrong) = checked(
            "id = \"Fill\"\nport = \"/dev/video0\"\nwidth = 641\nheight = 361\nfps = 10\n\
             frame_deadline_ms = 200\ngop_frames = 5\ngop_ms = 500\nencoder = \"x265enc\"\n\
             [controls]\n\"Exposure\" = 1",
        );
        let keys = ["id", "port", "width", "height", "frame_deadline_ms", "encoder"];
        let mut expected: Vec<_> = keys.iter().map(|k| format!("camera[0].{k}")).collect();
        expected.push("camera[0].controls.Exposure".into());
        expected.push("camera[0].gop_ms".into());
        assert_eq!(wrong, expected);
    }

    /// A GOP given in time follows the frame rate.
    #[test]
    fn gop_in_time_becomes_frames() {
        let (camera, wrong) = checked("id = \"a\"\nport = \"p\"\nfps = 25\ngop_ms = 1000");
        assert_eq!((camera.gop_frames, wrong.len()), (25, 0));
    }

    /// Controls are switches, numbers or menu entries.
    #[test]
    fn controls_take_three_kinds_of_value() {
        let (camera, _) = checked(
            "id = \"a\"\nport = \"p\"\n[controls]\nfocus_automatic_continuous = false\n\
             exposure_time_absolute = 200\nauto_exposure = \"Manual Mode\"",
        );
        let values: Vec<_> = camera.controls.into_values().collect();
        assert_eq!(
            values,
            [
                ControlValue::Entry("Manual Mode".into()),
                ControlValue::Number(200),
                ControlValue::Switch(false)
            ]
        );
    }

    /// Two cameras cannot share a feed or a plug.
    #[test]
    fn shared_id_and_port_are_reported() {
        let (camera, _) = checked("id = \"a\"\nport = \"p\"");
        let mut problems = Problems::default();
        check_all(&[camera.clone(), camera], &mut problems);
        let keys: Vec<_> = problems.iter().map(|p| &*p.key).collect();
        assert_eq!(keys, ["camera[1].id", "camera[1].port"]);
    }
}
