//! What commands want of what is on air.
//!
//! Comes in: a deed of control, one at a time. Goes out: what came of it. What takes
//! long, a snapshot, is answered by who makes it: the next deed does not wait.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tracing::{Level, info};

use super::Inside;
use super::on_air::OnAir;
use crate::capture;
use crate::capture::snapshot::{Picture, Wish};
use crate::clock::{self, WallClock, rfc3339};
use crate::config::camera::ControlValue;
use crate::control::{Deed, Done, Made, Undone};
use crate::model::update::Ask;
use crate::model::{self, Mono, Source, TagId};
use crate::telemetry::modbus::write::{self, Outcome};
use crate::update;

/// Log lines in one answer, bytes.
const LINES: usize = 256 << 10;
/// For a bundle, which cuts them by itself.
const ALL: usize = 1 << 20;
/// A probe's answer, bytes.
const PROBED: usize = 256 << 10;
/// Who may probe.
static PROBE: Semaphore = Semaphore::const_new(1);

impl OnAir {
    /// Does it, and answers.
    pub(super) async fn carry_out(
        &mut self,
        deed: Deed,
        inside: &Inside,
        updates: &mpsc::Sender<update::Wish>,
        reply: oneshot::Sender<Done>,
    ) {
        let done = match deed {
            Deed::Snapshot { feed, width } => return self.show(&feed, width, reply),
            Deed::Update(ask) => return begin_update(ask, updates, reply),
            Deed::Write { tag, value, until } => return self.write(&tag, value, until, reply),
            Deed::Cover(overlay) => {
                self.sources().cover(overlay);
                Ok(json!({}))
            }
            Deed::Begin(part) => {
                info!(part, "begun anew, by command");
                self.begin_anew(&part).await.map(|()| json!({ "part": part }))
            }
            Deed::Logs { lines, level } => logs(inside, lines, level.as_deref()),
            Deed::Inside => Ok(all_of(inside)),
            Deed::Identify { feed, seconds } => self.identify(feed.as_deref(), seconds),
            Deed::Control { camera, controls } => self.control(&camera, controls),
            Deed::Probe => return probe(reply),
        };
        // Who asked may have given up.
        let _ = reply.send(done.map(Made::from).map_err(|error| format!("{error:#}").into()));
    }

    fn write(
        &mut self,
        name: &str,
        value: model::Value,
        until: Mono,
        reply: oneshot::Sender<Done>,
    ) {
        let wall = self.floor().wall.clone();
        let tag = self.config().tags.iter().find(|tag| &*tag.name == name && !tag.is_retired());
        let (tag, source) = match tag {
            Some(tag) => (tag.id, tag.source.clone()),
            None => (TagId(0), Source::Broker("".into())),
        };
        let (ended, outcome) = oneshot::channel();
        match &source {
            Source::Unit { bus, .. } => match self.sources().bus(bus) {
                Some(asker) => asker.ask(write::Wish { tag, value, until, reply: ended }),
                None => drop(ended),
            },
            Source::Broker(_) => {
                let why = "the tag is not read over Modbus";
                let _ = ended.send(Outcome::refused(why, "tag: one of a Modbus unit"));
            }
        }
        tokio::spawn(async move {
            let lost = Outcome::Unknown { reason: "the bus was begun anew meanwhile".into() };
            let _ = reply.send(told(outcome.await.unwrap_or(lost), &wall));
        });
    }

    fn show(&mut self, feed: &str, width: Option<u32>, reply: oneshot::Sender<Done>) {
        let wall = self.floor().wall.clone();
        let (wish, picture) = oneshot::channel();
        match self.sources().camera(feed) {
            Some(filming) => filming.ask(Wish { width, reply: wish }),
            None => drop(wish),
        }
        tokio::spawn(async move {
            let made = match picture.await {
                Ok(made) => made,
                Err(_) => Err("the camera does not run".into()),
            };
            let made = made.map(|Picture { jpeg, width, height, taken, filmed }| Made {
                body: json!({
                    "bytes": jpeg.len(),
                    "width": width,
                    "height": height,
                    "taken": rfc3339::text(wall.utc(taken)),
                    "of": if filmed { "camera" } else { "slate" },
                }),
                jpeg: Some(jpeg),
            });
            let _ = reply.send(made.map_err(Undone::from));
        });
    }

    fn identify(&mut self, feed: Option<&str>, seconds: u64) -> Result<Value> {
        let until = clock::now() + Duration::from_secs(seconds);
        let box_id = self.config().site.id.clone();
        let mut named = BTreeMap::new();
        for (id, filming) in self.sources().cameras() {
            if feed.is_none_or(|feed| feed == &*id.0) {
                let name: Arc<str> = format!("{box_id} · {id}").into();
                named.insert(id.to_string(), name.to_string());
                filming.retune(|settings| settings.by_hand.named = Some((until, name)));
            }
        }
        Ok(json!({ "seconds": seconds, "shown": named }))
    }

    fn control(&mut self, camera: &str, controls: BTreeMap<String, ControlValue>) -> Result<Value> {
        let filming = self.sources().camera(camera).context("the camera does not run")?;
        ensure!(!filming.pushed, "a camera of the demo line has no controls");
        let kept = "until a revision or a restart sets it: what is to stay is to be configured";
        let told = json!({ "camera": camera, "controls": controls, "kept": kept,
            "refused": "what the camera refuses is in its logs" });
        filming.retune(|settings| settings.controls.extend(controls));
        Ok(told)
    }
}

/// Hands an update on: it is told by its health how it goes.
fn begin_update(ask: Ask, updates: &mpsc::Sender<update::Wish>, reply: oneshot::Sender<Done>) {
    let told = json!({ "version": ask.version, "follow": "health/update" });
    let (begun, answer) = oneshot::channel();
    let sent = updates.try_send(update::Wish { ask, reply: begun });
    tokio::spawn(async move {
        let refuse = |reason: String| Undone { refused: true, reason, ..Undone::default() };
        let done = match (sent, answer.await) {
            (Ok(()), Ok(Ok(()))) => Ok(Made::from(told)),
            (Ok(()), Ok(Err(reason))) => Err(refuse(reason)),
            _ => Err(refuse("another one is being looked at, or there is none to do it".into())),
        };
        let _ = reply.send(done);
    });
}

/// One at a time: its trials take the encoders' time. A trial that hangs keeps the next
/// probe out until its own deadline.
fn probe(reply: oneshot::Sender<Done>) {
    tokio::spawn(async move {
        let done = match PROBE.try_acquire() {
            Ok(_permit) => match spawn_blocking(|| probed(&capture::probe::report())).await {
                Ok(body) => Ok(Made::from(body)),
                Err(error) => Err(error.to_string().into()),
            },
            Err(_) => Err("another probe is under way".to_owned().into()),
        };
        let _ = reply.send(done);
    });
}

/// A write's outcome, as its answer.
fn told(outcome: Outcome, wall: &WallClock) -> Done {
    let code = outcome.code();
    let undone = |refused, reason, remedy: &str, body| {
        Err(Undone { refused, reason, remedy: remedy.into(), body })
    };
    match outcome {
        Outcome::Written { before, holds, replied, read } => Ok(Made::from(json!({
            "outcome": code,
            "before": before,
            "value": holds,
            "replied": replied,
            "read": rfc3339::text(wall.utc(read)),
        }))),
        Outcome::Refused { reason, remedy } => undone(true, reason, &remedy, Value::Null),
        Outcome::NotTaken { reason, holds } => {
            let body = json!({ "outcome": code, "value": holds });
            undone(false, reason, "see the unit's manual and its health, then send it anew", body)
        }
        Outcome::Unknown { reason } => {
            let remedy = "look at the tag's next reading before you write it again";
            undone(false, reason, remedy, json!({ "outcome": code }))
        }
    }
}

/// A report as an answer: without what would make it too large.
fn probed(report: &capture::probe::Report) -> Value {
    let mut body = json!(report);
    body["text"] = json!(report.to_string());
    if body.to_string().len() > PROBED {
        let cameras = body["cameras"].as_array_mut().into_iter().flatten();
        for camera in cameras {
            (camera["formats"], camera["controls"]) = (json!([]), json!([]));
        }
        let text: String = report.to_string().chars().take(PROBED / 4).collect();
        body["text"] = json!(text);
        body["cut"] = json!(true);
    }
    body
}

fn logs(inside: &Inside, lines: usize, level: Option<&str>) -> Result<Value> {
    let level = level.map(Level::from_str).transpose().context("level")?;
    let mut newest = inside.lines.newest(lines, level, LINES);
    newest.reverse();
    Ok(json!({ "lines": newest }))
}

fn all_of(inside: &Inside) -> Value {
    let metrics = inside.metrics.render();
    let metrics: Vec<_> = metrics.lines().filter(|line| !line.is_empty()).collect();
    json!({ "log": inside.lines.newest(usize::MAX, None, ALL), "metrics": metrics })
}
