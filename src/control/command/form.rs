//! What a command has to look like: bytes to a checked command.
//!
//! Comes in: a command's name and any bytes. Goes out: the command with every field in
//! its range, or why not, with the field's name. Whether there is such a feed is for
//! those who know what is on air.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::super::change::Now;
use super::super::change::request::{Refusal, expiry, object};
use crate::clock::rfc3339;
use crate::config::camera::ControlValue;
use crate::model::update::{Ask, Window};
use crate::model::{self, UtcMicros};

/// A payload's greatest size, bytes.
pub const PAYLOAD_MAX: usize = 16 << 10;
/// Longer names and texts mean nothing here, characters.
const TEXT_MAX: usize = 128;
/// Longer addresses are refused, bytes.
const URL_MAX: usize = 1024;
/// Controls in one command.
const CONTROLS_MAX: usize = 64;
const WIDTH: RangeInclusive<u64> = 64..=3840;
const LINES: RangeInclusive<u64> = 1..=500;
const SECONDS: RangeInclusive<u64> = 1..=60;
/// From the worst on.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Take a feed off for a while, or put it on again.
    Feed {
        /// Which.
        feed: String,
        /// On or off.
        on: bool,
    },
    /// Close a camera, or open it.
    Privacy {
        /// Which.
        feed: String,
        /// Closed or open.
        on: bool,
    },
    /// A JPEG of what a feed shows.
    Snapshot {
        /// Which.
        feed: String,
        /// At most this wide, pixels.
        width: Option<u32>,
    },
    /// End one part and begin it anew.
    Restart {
        /// `camera line`, `modbus plc`, `mqtt shop`.
        part: String,
    },
    /// The newest log lines.
    Logs {
        /// How many.
        lines: usize,
        /// Not those below this.
        level: Option<String>,
    },
    /// All that who helps from afar wants to know.
    Bundle,
    /// Show box and camera by name.
    Identify {
        /// Which; all of them unless given.
        feed: Option<String>,
        /// For how long.
        seconds: u64,
    },
    /// Set controls of a camera.
    Control {
        /// Which.
        camera: String,
        /// By name.
        controls: BTreeMap<String, ControlValue>,
    },
    /// Give a tag another value, at its source.
    Write {
        /// Which.
        tag: String,
        /// In the tag's own unit.
        value: model::Value,
    },
    /// Install another version of the box's firmware.
    Update(Ask),
    /// What the box has to work with.
    Probe,
}

/// A command as it was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Under which it is answered.
    pub txid: String,
    /// Not to be run later than this.
    pub expires: UtcMicros,
    /// What is to be done.
    pub command: Command,
}

/// What a field may be.
enum Kind {
    Text,
    Switch,
    Number(RangeInclusive<u64>),
    Level,
    Controls,
    Scalar,
    Url,
    Hash,
    Window,
}

/// A field's name, whether it has to be there, and what it may be.
type Field = (&'static str, bool, Kind);

/// The fields of a command; `None` if there is no such command.
fn fields(name: &str) -> Option<Vec<Field>> {
    use Kind::{Controls, Hash, Level, Number, Scalar, Switch, Text, Url};
    Some(match name {
        "feed" | "privacy" => vec![("feed", true, Text), ("on", true, Switch)],
        "snapshot" => vec![("feed", true, Text), ("width", false, Number(WIDTH))],
        "restart" => vec![("part", true, Text)],
        "logs" => vec![("lines", true, Number(LINES)), ("level", false, Level)],
        "bundle" => vec![],
        "identify" => vec![("feed", false, Text), ("seconds", true, Number(SECONDS))],
        "control" => vec![("camera", true, Text), ("controls", true, Controls)],
        "write" => vec![("tag", true, Text), ("value", true, Scalar)],
        "update" => vec![
            ("url", true, Url),
            ("sha256", true, Hash),
            ("version", true, Text),
            ("window", false, Kind::Window),
            ("force", false, Switch),
        ],
        "probe" => vec![],
        _ => return None,
    })
}

/// All there are.
const NAMES: &str = "feed, privacy, snapshot, restart, logs, bundle, identify, control, probe, \
                     write, update";

/// Reads and checks a payload.
///
/// # Errors
/// What is wrong with it, and where to say so.
pub fn parse(name: &str, payload: &[u8], now: Now) -> Result<Asked, Refusal> {
    let (txid, given) = object(payload, PAYLOAD_MAX, "send at most 16 KiB")?;
    let refuse = |reason: String, remedy: String| Refusal { txid: txid.clone(), reason, remedy };
    let Some(fields) = fields(name) else {
        return Err(refuse(format!("{name:?} is no command"), format!("there are {NAMES}")));
    };
    let known = |key: &str| ["txid", "expires"].contains(&key) || fields.iter().any(|f| f.0 == key);
    if let Some(key) = given.keys().find(|key| !known(key)) {
        let key: String = key.chars().take(60).collect();
        let names: Vec<_> =
            ["txid", "expires"].into_iter().chain(fields.iter().map(|f| f.0)).collect();
        return Err(refuse(
            format!("{key:?} is no field of {name}"),
            format!("its fields: {}", names.join(", ")),
        ));
    }
    let expires = match given.get("expires") {
        Some(Value::String(text)) => {
            expiry(text, now).map_err(|(reason, remedy)| refuse(reason, remedy))?
        }
        Some(_) => {
            return Err(refuse("expires has the wrong type".into(), "expires: a string".into()));
        }
        None => return Err(refuse("expires is missing".into(), format!("{name} needs expires"))),
    };
    for (key, needed, kind) in &fields {
        match given.get(*key) {
            Some(value) => {
                kind.check(value).map_err(|want| {
                    refuse(format!("{key} is not what it may be"), format!("{key}: {want}"))
                })?;
            }
            None if *needed => {
                return Err(refuse(format!("{key} is missing"), format!("{name} needs {key}")));
            }
            None => {}
        }
    }
    let command = command(name, &given)
        .ok_or_else(|| refuse("malformed fields".into(), "see the fields in the manual".into()))?;
    Ok(Asked { txid, expires, command })
}

impl Kind {
    /// What it wants instead.
    fn check(&self, value: &Value) -> Result<(), String> {
        let (fits, want) = match self {
            Self::Text => {
                let fits = value.as_str().is_some_and(|t| (1..=TEXT_MAX).contains(&t.len()));
                (fits, format!("a string of 1 to {TEXT_MAX} bytes"))
            }
            Self::Switch => (value.is_boolean(), "true or false".into()),
            Self::Number(range) => {
                let fits = value.as_u64().is_some_and(|n| range.contains(&n));
                (fits, format!("a whole number, {} to {}", range.start(), range.end()))
            }
            Self::Level => {
                let fits = value.as_str().is_some_and(|l| LEVELS.contains(&l));
                (fits, format!("one of {}", LEVELS.join(", ")))
            }
            Self::Controls => (
                controls(value).is_some(),
                format!(
                    "an object of 1 to {CONTROLS_MAX} names as `floorcast probe` prints them, each \
                     with true, false, a whole number or a menu's entry"
                ),
            ),
            Self::Scalar => (scalar(value).is_some(), "a number, true or false".into()),
            Self::Url => {
                let fits = value.as_str().is_some_and(|url| {
                    let known = ["http://", "https://", "file:///"];
                    url.len() <= URL_MAX && known.iter().any(|scheme| url.starts_with(scheme))
                });
                (fits, format!("http://, https:// or file:///, at most {URL_MAX} bytes"))
            }
            Self::Hash => {
                let fits = value.as_str().is_some_and(|hash| {
                    hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())
                });
                (fits, "64 hexadecimal digits, as sha256sum prints them".into())
            }
            Self::Window => {
                let want =
                    "{\"from\": \"2026-03-01T22:00:00Z\", \"to\": …}, the end after the start";
                (window(value).is_some(), want.into())
            }
        };
        if fits { Ok(()) } else { Err(want) }
    }
}

fn controls(value: &Value) -> Option<BTreeMap<String, ControlValue>> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let given = value.as_object()?;
    if !(1..=CONTROLS_MAX).contains(&given.len()) {
        return None;
    }
    let one = |(name, value): (&String, &Value)| {
        let named = (1..=64).contains(&name.len()) && name.bytes().all(legal);
        let value = match value {
            Value::Bool(on) => ControlValue::Switch(*on),
            Value::Number(n) => ControlValue::Number(n.as_i64()?),
            Value::String(entry) if entry.len() <= TEXT_MAX => ControlValue::Entry(entry.clone()),
            _ => return None,
        };
        named.then(|| (name.clone(), value))
    };
    given.iter().map(one).collect()
}

/// Two times in order, RFC 3339.
fn window(value: &Value) -> Option<Window> {
    let given = value.as_object().filter(|given| given.len() == 2)?;
    let time = |key: &str| {
        let (nanos, _) = rfc3339::parse(given.get(key)?.as_str()?)?;
        Some(UtcMicros(nanos.div_euclid(1000)))
    };
    let (from, to) = (time("from")?, time("to")?);
    (from < to).then_some(Window { from, to })
}

/// What a register or a coil may hold.
fn scalar(value: &Value) -> Option<model::Value> {
    match value {
        Value::Bool(on) => Some(model::Value::Bool(*on)),
        Value::Number(n) => (n.as_i64().map(i128::from).or(n.as_u64().map(i128::from)))
            .map(model::Value::Int)
            .or(n.as_f64().map(model::Value::Real)),
        _ => None,
    }
}

/// From fields that are checked.
fn command(name: &str, given: &Map<String, Value>) -> Option<Command> {
    let text = |key: &str| given.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| given.get(key).and_then(Value::as_u64);
    let on = || given.get("on").and_then(Value::as_bool);
    Some(match name {
        "feed" => Command::Feed { feed: text("feed")?, on: on()? },
        "privacy" => Command::Privacy { feed: text("feed")?, on: on()? },
        "snapshot" => {
            let width = number("width").and_then(|width| u32::try_from(width).ok());
            Command::Snapshot { feed: text("feed")?, width }
        }
        "restart" => Command::Restart { part: text("part")? },
        "logs" => {
            let lines = usize::try_from(number("lines")?).ok()?;
            Command::Logs { lines, level: text("level") }
        }
        "bundle" => Command::Bundle,
        "identify" => Command::Identify { feed: text("feed"), seconds: number("seconds")? },
        "control" => Command::Control {
            camera: text("camera")?,
            controls: controls(given.get("controls")?)?,
        },
        "update" => Command::Update(Ask {
            url: text("url")?,
            sha256: text("sha256")?.to_ascii_lowercase(),
            version: text("version")?,
            window: given.get("window").and_then(window),
            force: given.get("force").and_then(Value::as_bool).unwrap_or(false),
        }),
        "write" => Command::Write { tag: text("tag")?, value: scalar(given.get("value")?)? },
        "probe" => Command::Probe,
        _ => return None,
    })
}
