//! Plain data with units: what the stages hand to each other.
//!
//! Nothing here does I/O. The one clock is `CLOCK_MONOTONIC`; wall time is
//! added at the edge by [`crate::clock::WallClock`].

pub mod update;

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant of `CLOCK_MONOTONIC`, nanoseconds since boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The RTP time of this instant: 90 kHz (RFC 6184, section 8.2.1), wrapping
    /// every 13 h. Starts at no random offset: SRTP hides it (RFC 3550, 5.1),
    /// and every feed of a box shares one time line.
    pub fn rtp(self) -> u32 {
        (u128::from(self.0) * 9 / 100_000) as u32
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(d.as_nanos() as u64))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, d: Duration) -> Mono {
        Mono(self.0.saturating_sub(d.as_nanos() as u64))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Microseconds of UTC since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct UtcMicros(pub i64);

/// The name of a feed: a camera's `id`, or `program`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct FeedId(pub Arc<str>);

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for FeedId {
    fn from(s: &str) -> Self {
        Self(s.into())
    }
}

/// A name as viewers see it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Chinese.
    #[serde(default)]
    pub zh: String,
    /// English.
    #[serde(default)]
    pub en: String,
}

/// Why a picture is not the camera's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The camera is being opened.
    Starting,
    /// Its port is empty.
    Unplugged,
    /// It is there but delivers no pictures, or garbage.
    NoSignal,
    /// Something else holds it.
    Busy,
    /// It cannot deliver what is configured.
    WrongFormat,
    /// People at the line closed it.
    Privacy,
    /// The house has taken it off for a while.
    Paused,
    /// The slate names box and camera to who looks for them.
    Identify,
    /// Its pictures cannot be encoded.
    Encoder,
    /// Anything else.
    Failed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 10] = [
        Self::Starting,
        Self::Unplugged,
        Self::NoSignal,
        Self::Busy,
        Self::WrongFormat,
        Self::Privacy,
        Self::Paused,
        Self::Identify,
        Self::Encoder,
        Self::Failed,
    ];

    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unplugged => "unplugged",
            Self::NoSignal => "no_signal",
            Self::Busy => "busy",
            Self::WrongFormat => "wrong_format",
            Self::Privacy => "privacy",
            Self::Paused => "paused",
            Self::Identify => "identify",
            Self::Encoder => "encoder",
            Self::Failed => "failed",
        }
    }

    /// For viewers.
    pub fn words(self) -> Label {
        let (zh, en) = match self {
            Self::Starting => ("正在启动摄像机", "The camera is starting"),
            Self::Unplugged => ("摄像机已断开", "The camera is disconnected"),
            Self::NoSignal => ("摄像机没有信号", "No signal from the camera"),
            Self::Busy => ("摄像机正被占用", "The camera is in use elsewhere"),
            Self::WrongFormat => ("摄像机格式不受支持", "The camera's format is not supported"),
            Self::Privacy => ("隐私保护已开启", "Privacy mode is on"),
            Self::Paused => ("画面已由现场暂停", "Paused by the house"),
            Self::Identify => ("正在辨认设备", "This camera is being identified"),
            Self::Encoder => ("视频编码中断", "Video encoding was interrupted"),
            Self::Failed => ("画面暂时不可用", "The picture is not available"),
        };
        Label { zh: zh.into(), en: en.into() }
    }
}

/// When light was captured, and how sure we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured {
    /// The instant.
    pub at: Mono,
    /// The true instant lies within `at` ± this.
    pub error: Duration,
}

/// One encoded access unit (H.264, Annex B) with the time its light was captured.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up by one per frame of a feed; a gap is a lost frame.
    pub seq: u64,
    /// Capture time; strictly rising within a feed.
    pub captured: Captured,
    /// When the access unit left the encoder.
    pub encoded: Mono,
    /// True for an IDR picture; its data starts with SPS and PPS.
    pub key: bool,
    /// Annex B bytes of the whole access unit.
    pub data: Bytes,
}

/// Which [`Tag`] of the running revision: an index into its tag list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TagId(pub u32);

/// One named telemetry point.
#[derive(Clone, PartialEq, Debug)]
pub struct Tag {
    /// Its index in the revision's tag list.
    pub id: TagId,
    /// Unique name, `[a-z0-9_.-]+`.
    pub name: Arc<str>,
    /// Name for viewers.
    pub label: Label,
    /// Unit as printed, e.g. `°C`.
    pub unit: String,
    /// Digits after the point.
    pub decimals: u8,
    /// Least and greatest plausible value.
    pub range: Option<(f64, f64)>,
    /// Below the first or above the second the figure is coloured.
    pub warn: (Option<f64>, Option<f64>),
    /// A sample older than this shows as stale.
    pub stale_after: Duration,
    /// Only public tags leave the box to viewers.
    pub public: bool,
    /// Where it comes from.
    pub source: Source,
}

/// Where tags come from: what is read together, and fails together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// A device on a Modbus bus.
    Unit {
        /// The bus.
        bus: Arc<str>,
        /// Its unit id.
        unit: u8,
    },
    /// The MQTT broker of this id.
    Broker(Arc<str>),
}

impl Source {
    /// The id of the bus or broker.
    pub fn id(&self) -> &str {
        match self {
            Self::Unit { bus, .. } => bus,
            Self::Broker(id) => id,
        }
    }

    /// Its part of the bus or broker, as topics name it: `unit-1`, `tags`.
    pub fn group(&self) -> String {
        match self {
            Self::Unit { unit, .. } => format!("unit-{unit}"),
            Self::Broker(_) => "tags".into(),
        }
    }
}

impl Tag {
    /// Stands for an id whose tag has gone: private, without a name or samples.
    pub fn retired(id: TagId) -> Self {
        Self {
            id,
            name: "".into(),
            label: Label::default(),
            unit: String::new(),
            decimals: 0,
            range: None,
            warn: (None, None),
            stale_after: Duration::ZERO,
            public: false,
            source: Source::Broker("".into()),
        }
    }

    /// True for what [`Self::retired`] makes.
    pub fn is_retired(&self) -> bool {
        self.name.is_empty()
    }
}

/// A sample's value.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// No value: the sample is bad.
    None,
    /// A bit.
    Bool(bool),
    /// An exact integer.
    Int(i128),
    /// A finite real number.
    Real(f64),
    /// Text, at most 256 bytes.
    Text(Arc<str>),
}

/// What a sample is worth. Staleness by age is the reader's to judge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Read from its source.
    Good,
    /// Older than the tag's `stale_after`.
    Stale,
    /// The source answered with an error, or not at all; never shown as a number.
    Bad,
}

/// One value of a tag.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Whose value.
    pub tag: TagId,
    /// `Value::None` exactly if `quality` is bad.
    pub value: Value,
    /// Good or bad; stale where its age is unknown from the start (a stored
    /// MQTT message without a time of its own).
    pub quality: Quality,
    /// Why it is not good, in a few words: `timeout`, `exception 2: illegal address`.
    pub reason: Option<Arc<str>>,
    /// When the value held at its source.
    pub taken: Mono,
    /// The true instant lies within `taken` ± this.
    pub error: Duration,
    /// When the request was sent; equals `received` for what arrives unasked.
    pub requested: Mono,
    /// When the reply or message arrived.
    pub received: Mono,
}
