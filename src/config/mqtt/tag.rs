//! What is read from a message, and how.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Filter;
use crate::config::Problems;
use crate::config::count::{Count, CountFile};
use crate::config::tag::{TagFile, Tags};
use crate::model::{Source, TagId};

/// A tag of a broker as typed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct MqttTagFile {
    /// What every tag has.
    #[serde(flatten)]
    pub tag: TagFile,
    /// Topic, with `+` for any one level and `#` for all further levels. Many
    /// tags may use one topic.
    pub topic: String,
    /// What the value is.
    #[serde(default)]
    pub format: Format,
    /// Where in a JSON payload the value is (RFC 6901): `/value`, `/data/0/v`;
    /// empty for the whole payload. Without it the payload is plain text.
    pub pointer: Option<String>,
    /// The value is this level of the topic, counted from 0: in `line/+/lot`
    /// level 1 is what stands for `+`. The payload does not matter.
    #[schemars(range(max = 127))]
    pub segment: Option<usize>,
    /// Trust the payload to say when the value was taken: where in the JSON
    /// payload that time is. Without it a sample is taken when it arrives. Set
    /// it only if the source's clock is synchronised, as the box's must be.
    pub time_pointer: Option<String>,
    /// What is at `time_pointer`; needed with it.
    pub time_unit: Option<TimeUnit>,
    /// A payload's time may be this far in the future; further makes the sample bad.
    #[serde(default = "two_seconds")]
    #[schemars(range(max = 60_000))]
    pub time_ahead_ms: u32,
    /// A payload's time may be this far in the past; further makes the sample
    /// bad. It catches wrong units; honest old values are shown as stale.
    #[serde(default = "a_year")]
    #[schemars(range(min = 1, max = 315_360_000))]
    pub time_behind_s: u32,
    /// What a retained message without a payload time is worth: the broker
    /// stored it at an unknown time.
    #[serde(default)]
    pub retained: Retained,
    /// Shown is the number times this …
    pub scale: Option<f64>,
    /// … plus this.
    pub offset: Option<f64>,
    /// Counting, and the rate derived from it.
    #[serde(flatten)]
    pub count: CountFile,
    /// Delivery from the broker: 0 at most once, 1 at least once.
    #[serde(default)]
    #[schemars(range(max = 1))]
    pub qos: u8,
    /// How often a message is expected. Decides when the figure is stale,
    /// unless `stale_after_ms` does.
    #[serde(default = "ten_seconds")]
    #[schemars(range(min = 10))]
    pub expected_period_ms: u32,
    /// Most samples taken, per second. Of faster messages the newest counts.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub rate_max_hz: u32,
}

fn two_seconds() -> u32 {
    2_000
}

fn a_year() -> u32 {
    31_536_000
}

fn ten_seconds() -> u32 {
    10_000
}

fn hundred() -> u32 {
    100
}

/// What a value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A number, written as text or as JSON; the tag's own unit may follow it.
    #[default]
    Number,
    /// true, false, on, off, 1 or 0, in any case.
    Bool,
    /// Text of at most 256 bytes.
    Text,
    /// Whatever stands at `pointer`: a number, a boolean or text.
    Json,
    /// The topic's level `segment`, as text.
    Segment,
}

/// How a payload writes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since 1970, with or without a fraction.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Text such as `2026-03-01T08:00:00.25+08:00`.
    Rfc3339,
}

/// What a retained message without a payload time is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// It is shown, as stale from the start.
    #[default]
    Stale,
    /// It holds when it arrives: for sources that retain every message and
    /// publish only when something changes.
    Current,
    /// It is passed over.
    Ignore,
}

/// A tag of a broker.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttTag {
    /// Whose value.
    pub id: TagId,
    /// Which messages.
    pub topic: Filter,
    /// Delivery from the broker, 0 or 1.
    pub qos: u8,
    /// What the value is.
    pub kind: Kind,
    /// Where it is.
    pub place: Place,
    /// Scale and offset; `None`: as read.
    pub line: Option<(f64, f64)>,
    /// Counting.
    pub count: Option<Count>,
    /// The payload's time, if trusted.
    pub time: Option<TimeFrom>,
    /// What a retained message without a time is worth.
    pub retained: Retained,
    /// Least time between samples in the long run.
    pub spacing: Duration,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A finite number.
    Number,
    /// A bit.
    Bool,
    /// Text.
    Text,
    /// Any JSON scalar.
    Any,
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The whole payload, as text.
    Payload,
    /// In a JSON payload, at this pointer (RFC 6901).
    Pointer(String),
    /// This level of the topic, from 0.
    Segment(usize),
}

/// When a payload says that its value was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFrom {
    /// Where (RFC 6901).
    pub pointer: String,
    /// What is there.
    pub unit: TimeUnit,
    /// How far in the future it may be.
    pub ahead: Duration,
    /// How far in the past it may be.
    pub behind: Duration,
}

impl MqttTagFile {
    /// Raw to checked. `source` names the broker.
    pub fn check(
        self,
        at: &str,
        source: &Source,
        tags: &mut Tags,
        problems: &mut Problems,
    ) -> MqttTag {
        let topic = Filter::parse(&self.topic).unwrap_or_else(|why| {
            problems.add(format!("{at}.topic"), format!("{:?}: {why}", self.topic));
            // Fits every check below, so that a bad topic is one mistake.
            Filter::all()
        });
        let (kind, place) = self.source(at, &topic, problems);
        let time = self.time(at, problems);
        let numeric = matches!(kind, Kind::Number | Kind::Any);
        for (name, value) in [("scale", self.scale), ("offset", self.offset)] {
            let Some(value) = value else { continue };
            let key = format!("{at}.{name}");
            if !numeric {
                problems.add(key, "only a number has one");
            } else if !value.is_finite() || (name == "scale" && value == 0.0) {
                problems.add(key, format!("{value}: a finite number other than zero"));
            }
        }
        if !numeric && (self.count.counter || self.count.rate.is_some()) {
            let name = if self.count.counter { "counter" } else { "rate" };
            problems.add(format!("{at}.{name}"), "only a number counts");
        }
        let line = match (self.scale, self.offset) {
            (None, None) => None,
            (scale, offset) => Some((scale.unwrap_or(1.0), offset.unwrap_or(0.0))),
        };
        let period = Duration::from_millis(self.expected_period_ms.into());
        let id = tags.add(at, self.tag, source, period, problems);
        // What the source's type holds is not known: roll-over needs `counter_max`.
        let count = self.count.check(at, None, source, period, tags, problems);
        MqttTag {
            id,
            topic,
            qos: self.qos.min(1),
            kind,
            place,
            line,
            count,
            time,
            retained: self.retained,
            spacing: Duration::from_secs(1) / self.rate_max_hz.max(1),
        }
    }

    fn source(&self, at: &str, topic: &Filter, problems: &mut Problems) -> (Kind, Place) {
        let mut wrong = |key: &str, what: String| problems.add(format!("{at}.{key}"), what);
        if let Some(pointer) = &self.pointer
            && let Err(why) = check_pointer(pointer)
        {
            wrong("pointer", format!("{pointer:?}: {why}"));
        }
        match (self.format, &self.pointer, self.segment) {
            (_, Some(_), Some(_)) => wrong("segment", "use pointer or segment, not both".into()),
            (Format::Json, None, _) => {
                wrong("pointer", "missing: format = \"json\" needs it, such as \"/value\"".into());
            }
            (Format::Segment, _, None) => {
                wrong("segment", "missing: format = \"segment\" needs it, such as 1".into());
            }
            _ => {}
        }
        if let Some(index) = self.segment {
            match topic.level(index) {
                Some("+" | "#") => {}
                None if topic.is_open() => {}
                Some(level) => wrong("segment", format!("{index}: it is always {level:?}")),
                None => wrong("segment", format!("{index}: the topic has no such level")),
            }
        }
        let kind = match self.format {
            Format::Number => Kind::Number,
            Format::Bool => Kind::Bool,
            Format::Text | Format::Segment => Kind::Text,
            Format::Json => Kind::Any,
        };
        let place = match (&self.pointer, self.segment) {
            (_, Some(index)) => Place::Segment(index),
            (Some(pointer), None) => Place::Pointer(pointer.clone()),
            (None, None) => Place::Payload,
        };
        (kind, place)
    }

    fn time(&self, at: &str, problems: &mut Problems) -> Option<TimeFrom> {
        let (pointer, unit) = match (&self.time_pointer, self.time_unit) {
            (Some(pointer), Some(unit)) => (pointer, unit),
            (None, None) => return None,
            (Some(_), None) => {
                problems.add(format!("{at}.time_unit"), "missing: s, ms, us or rfc3339");
                return None;
            }
            (None, Some(_)) => {
                problems.add(format!("{at}.time_unit"), "set time_pointer to where the time is");
                return None;
            }
        };
        if let Err(why) = check_pointer(pointer) {
            problems.add(format!("{at}.time_pointer"), format!("{pointer:?}: {why}"));
        }
        Some(TimeFrom {
            pointer: pointer.clone(),
            unit,
            ahead: Duration::from_millis(self.time_ahead_ms.into()),
            behind: Duration::from_secs(self.time_behind_s.into()),
        })
    }
}

/// RFC 6901, section 3: empty, or `/` before every part; `~` only as `~0`, `~1`.
fn check_pointer(pointer: &str) -> Result<(), &'static str> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err("a pointer starts with /");
    }
    let mut escapes = pointer.split('~').skip(1);
    if escapes.any(|rest| !rest.starts_with(['0', '1'])) {
        return Err("write ~ as ~0, and / in a name as ~1");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
