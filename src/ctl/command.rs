//! Commands: one message to `cmd/<user>/<name>`, one answer.
//!
//! Comes in: the answer below `cmd/res/<user>/<txid>`, of any shape, and the JPEG of
//! a snapshot beside it. Goes out: the command, and files that the user named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::end::{Code, bad, silent};
use super::look::word;
use super::out::Out;
use super::reach::Target;
use super::talk::{ANSWER, soon, txid};
use crate::control::topics::Topics;

/// What is done at once and changes no configuration.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Save what a feed shows now, as a JPEG.
    Snapshot {
        /// The feed.
        feed: String,
        /// Where to [default: FEED.jpg].
        #[arg(short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Its width, pixels.
        #[arg(long)]
        width: Option<u32>,
    },
    /// Put a feed on air, or take it off.
    Feed {
        /// The feed.
        feed: String,
        /// On air or off.
        on: Switch,
    },
    /// Close a camera, or open it again.
    Privacy {
        /// The feed.
        feed: String,
        /// Closed or open.
        on: Switch,
    },
    /// Let the box say in its pictures which one it is.
    Identify {
        /// Only this feed.
        feed: Option<String>,
        /// For so long.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
    },
    /// Set a camera's controls until the next revision or restart.
    Control {
        /// The camera.
        camera: String,
        /// What to set, as `brightness=20`.
        #[arg(required = true, value_name = "NAME=VALUE")]
        controls: Vec<String>,
    },
    /// End one part and begin it anew: `camera line`, `modbus plc`, `mqtt shop`.
    Restart {
        /// Its kind and its id.
        #[arg(required = true, num_args = 1..=2)]
        part: Vec<String>,
    },
    /// Print the newest lines of the box's log.
    Logs {
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=500))]
        lines: u64,
        /// Only of this level or worse: error, warn, info, debug, trace.
        #[arg(long)]
        level: Option<String>,
    },
    /// Save what support needs to know about the box; holds no secrets.
    Bundle {
        /// Where to.
        #[arg(short, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what the box has to work with: cameras, encoders, serial lines.
    Probe,
    /// Write a register, where the box's list allows it; engineers only.
    Write {
        /// The tag.
        tag: String,
        /// The value: a number, true, false, or text.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Install another version of the box's firmware; engineers only.
    Update {
        /// Where the bundle is: http://, https://, or file:/// on the box.
        url: String,
        /// The version that it has to have.
        #[arg(long)]
        version: String,
        /// Of the bundle, as sha256sum prints it.
        #[arg(long)]
        sha256: String,
        /// The box may restart from then on, RFC 3339 [default: at once].
        #[arg(long, requires = "to")]
        from: Option<String>,
        /// And until then.
        #[arg(long, requires = "from")]
        to: Option<String>,
        /// Restart also while somebody watches.
        #[arg(long)]
        force: bool,
    },
}

/// `on` or `off`
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Command {
    /// Its name in the topic, and its fields.
    fn message(&self) -> anyhow::Result<(&'static str, Value)> {
        let on = |switch: &Switch| *switch == Switch::On;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.into(), value);
            }
        };
        let name = match self {
            Self::Snapshot { feed, width, .. } => {
                put("feed", json!(feed));
                put("width", json!(width));
                "snapshot"
            }
            Self::Feed { feed, on: switch } => {
                put("feed", json!(feed));
                put("on", json!(on(switch)));
                "feed"
            }
            Self::Privacy { feed, on: switch } => {
                put("feed", json!(feed));
                put("on", json!(on(switch)));
                "privacy"
            }
            Self::Identify { feed, seconds } => {
                put("feed", json!(feed));
                put("seconds", json!(seconds));
                "identify"
            }
            Self::Control { camera, controls } => {
                put("camera", json!(camera));
                put("controls", settings(controls)?);
                "control"
            }
            Self::Restart { part } => {
                put("part", json!(part.join(" ")));
                "restart"
            }
            Self::Logs { lines, level } => {
                put("lines", json!(lines));
                put("level", json!(level));
                "logs"
            }
            Self::Bundle { .. } => "bundle",
            Self::Probe => "probe",
            Self::Write { tag, value } => {
                put("tag", json!(tag));
                put("value", scalar(value));
                "write"
            }
            Self::Update { url, version, sha256, from, to, force } => {
                put("url", json!(url));
                put("version", json!(version));
                put("sha256", json!(sha256));
                if let (Some(from), Some(to)) = (from, to) {
                    put("window", json!({ "from": from, "to": to }));
                }
                put("force", json!(force));
                "update"
            }
        };
        Ok((name, Value::Object(fields)))
    }

    /// How long its answer takes at most, usually.
    pub fn usual(&self) -> Duration {
        match self {
            // Every encoder is tried.
            Self::Probe => Duration::from_secs(70),
            _ => ANSWER,
        }
    }

    /// Where a snapshot goes.
    fn picture(&self) -> Option<PathBuf> {
        match self {
            Self::Snapshot { feed, out, .. } => {
                Some(out.clone().unwrap_or_else(|| format!("{feed}.jpg").into()))
            }
            _ => None,
        }
    }
}

/// A number, true or false as such; everything else as text.
fn scalar(text: &str) -> Value {
    serde_json::from_str(text)
        .ok()
        .filter(|value: &Value| value.is_number() || value.is_boolean())
        .unwrap_or_else(|| text.into())
}

fn settings(controls: &[String]) -> anyhow::Result<Value> {
    let each = controls.iter().map(|text| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), scalar(value))),
        _ => Err(bad(format!("{text:?}: use NAME=VALUE"))),
    });
    Ok(Value::Object(each.collect::<anyhow::Result<_>>()?))
}

/// Sends a command and prints its answer.
pub async fn send(
    command: &Command,
    target: &Target,
    within: Duration,
    out: Out,
) -> anyhow::Result<Code> {
    let (name, mut fields) = command.message()?;
    let (user, topics, txid) = (target.user()?, Topics::new(target.site()?), txid());
    let mut call = Call::open(&target.connection).await?;
    let answers = topics.answer(user, &txid);
    call.listen(&[format!("{answers}/#")]).await?;
    fields["txid"] = json!(txid);
    fields["expires"] = json!(soon());
    let topic = format!("{}/cmd/{user}/{name}", topics.root());
    call.say(&topic, fields.to_string().into()).await?;
    let until = Instant::now() + within;
    let (mut answer, mut picture) = (None, None);
    let wants_picture = command.picture().is_some();
    while answer.is_none() || (wants_picture && done(&answer) && picture.is_none()) {
        let Some(message) = call.next(until).await? else { break };
        match message.topic.strip_prefix(&answers) {
            Some("") => {
                answer =
                    Some(serde_json::from_slice::<Value>(&message.payload).unwrap_or_default());
            }
            Some("/jpeg") => picture = Some(message.payload),
            _ => {}
        }
    }
    call.close().await;
    let Some(answer) = answer else {
        return Err(silent(format!(
            "no answer within {within:?} to {name}: is the box online (`floorcast ctl state`), \
             may {user} do this (`floorcast pki list`)? --within SECONDS waits longer"
        )));
    };
    out.value(&answer);
    if answer["status"] != "ok" {
        return Ok(refused(name, &answer, out));
    }
    match command {
        Command::Snapshot { .. } => save(command.picture(), picture, &answer, out)?,
        Command::Bundle { out: path } => {
            let bundle = answer.get("bundle").unwrap_or(&answer);
            store(path, serde_json::to_string_pretty(bundle)?.as_bytes())?;
            out.line(&format!("{}: written", path.display()));
        }
        // The box's own table, whatever its version has.
        Command::Probe => out.lines(answer["text"].as_str().unwrap_or_default()),
        _ => tell(name, &answer, out),
    }
    Ok(Code::Done)
}

fn done(answer: &Option<Value>) -> bool {
    answer.as_ref().is_some_and(|answer| answer["status"] == "ok")
}

fn refused(name: &str, answer: &Value, out: Out) -> Code {
    let why = ["reason", "remedy"].map(|field| answer[field].as_str().unwrap_or_default());
    let why: Vec<_> = why.into_iter().filter(|text| !text.is_empty()).collect();
    out.note(&format!("{name}: {}: {}", word(&answer["status"]), why.join("; ")));
    if answer["status"] == "failed" { Code::Failed } else { Code::Refused }
}

fn store(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

fn save(
    path: Option<PathBuf>,
    picture: Option<Bytes>,
    answer: &Value,
    out: Out,
) -> anyhow::Result<()> {
    let none = || silent("the box answered, but its picture did not come; --within waits longer");
    let (path, picture) = path.zip(picture).ok_or_else(none)?;
    store(&path, &picture)?;
    let size = match (answer["width"].as_u64(), answer["height"].as_u64()) {
        (Some(width), Some(height)) => format!(", {width} x {height}"),
        _ => String::new(),
    };
    out.line(&format!("{}: {} bytes{size}", path.display(), picture.len()));
    Ok(())
}

/// An answer's own fields, as lines.
fn tell(name: &str, answer: &Value, out: Out) {
    let own = ["txid", "name", "status", "reason", "remedy"];
    let fields = answer.as_object().into_iter().flatten();
    let fields: Vec<_> = fields.filter(|(field, _)| !own.contains(&field.as_str())).collect();
    let log = name == "logs" && answer["lines"].is_array();
    if !log {
        let reason = answer["reason"].as_str().unwrap_or_default();
        let gap = if reason.is_empty() { "" } else { ": " };
        out.line(&format!("{name}: done{gap}{reason}"));
    }
    for (field, value) in fields {
        match value {
            Value::Array(lines) if field == "lines" => {
                lines.iter().for_each(|line| out.line(line.as_str().unwrap_or(&line.to_string())));
            }
            Value::Array(_) | Value::Object(_) => out.line(&format!("{field}: {value}")),
            _ if log => {}
            _ => out.line(&format!("{field}: {}", word(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command's fields are the box's own, and nothing that was not given is sent.
    #[test]
    fn fields_are_the_boxes_own() {
        let message = |command: Command| command.message().expect("a message");
        let privacy = Command::Privacy { feed: "line".into(), on: Switch::On };
        assert_eq!(message(privacy), ("privacy", json!({ "feed": "line", "on": true })));
        let identify = Command::Identify { feed: None, seconds: 5 };
        assert_eq!(message(identify), ("identify", json!({ "seconds": 5 })));
        let restart = Command::Restart { part: vec!["camera".into(), "line".into()] };
        assert_eq!(message(restart), ("restart", json!({ "part": "camera line" })));
        let control = Command::Control { camera: "a".into(), controls: vec!["gain=-2".into()] };
        let fields = json!({ "camera": "a", "controls": { "gain": -2 } });
        assert_eq!(message(control), ("control", fields));
        let wrong = Command::Control { camera: "a".into(), controls: vec!["gain".into()] };
        assert!(wrong.message().is_err());
    }

    /// Numbers and truth are sent as such, everything else as text.
    #[test]
    fn values_keep_their_kind() {
        let kinds = ["61", "-1.5", "true", "[1]", "null", "fast", ""].map(scalar);
        let text = |text: &str| json!(text);
        assert_eq!(
            kinds,
            [
                json!(61),
                json!(-1.5),
                json!(true),
                text("[1]"),
                text("null"),
                text("fast"),
                text("")
            ]
        );
    }
}
