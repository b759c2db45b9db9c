//! Commands: one message, one answer.
//!
//! Comes in: a command. Goes out: its audit line, then what it asks of the application,
//! then its answer; of a write, another audit line with what became of it. The desk does
//! not wait for what takes long: at most [`AT_ONCE`] run, more are refused. One that is not
//! done within [`WITHIN`] ([`PROBED`]: a probe) has failed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::{Action, Desk, Now};
use crate::control::bundle;
use crate::control::command::{Answer, Asked, Command, No, Status as End};
use crate::control::order::{Deed, Done, Made, Order, Undone};
use crate::control::overlay::{Cover, Overlay};
use crate::control::post::{Letter, Post};
use crate::model::Mono;
use crate::status::{State, Status};

/// Commands that are being run.
pub(super) const AT_ONCE: usize = 16;
/// A command is done within this, or has failed.
const WITHIN: Duration = Duration::from_secs(10);
/// A probe: a driver that hangs has its own deadline for each trial.
const PROBED: Duration = Duration::from_secs(60);
/// A camera is closed or open within this, or the answer says how it is by then.
const SETTLED: Duration = Duration::from_secs(2);

/// A write gets its turn on the bus within this: its outcome is to be known in [`WITHIN`].
const TURN: Duration = Duration::from_secs(3);

/// A write that came to its end.
pub(super) struct Ended {
    user: String,
    txid: String,
    outcome: String,
    what: String,
}

/// What follows once the application has done its part.
enum Then {
    /// Its body is the answer.
    Say,
    /// The feed's health says whether it is closed.
    Settle { feed: String, closed: bool, why: String },
    /// With this it makes a bundle.
    Bundle(Box<bundle::Known>),
}

/// Where an answer goes.
struct Way {
    post: Post,
    topic: String,
    jpeg: String,
}

impl Way {
    fn say(&self, answer: &Answer, jpeg: Option<Bytes>) {
        let (name, status) = (answer.name.clone(), answer.status.word());
        // A name that nobody knows is anything.
        let name = if answer.status == End::Refused { "refused".into() } else { name };
        metrics::counter!("floorcast_commands_total", "name" => name, "status" => status)
            .increment(1);
        let letter = |topic: &String, payload| Letter {
            topic: topic.clone(),
            payload,
            retain: false,
            passing: false,
        };
        if let Some(jpeg) = jpeg {
            self.post.send(letter(&self.jpeg, jpeg));
        }
        let json = serde_json::to_vec(answer).expect("plain data has JSON");
        self.post.send(letter(&self.topic, json.into()));
    }
}

impl Desk {
    /// Runs a command or refuses it; what is to be said about it.
    pub(super) async fn command(
        &mut self,
        user: &str,
        name: &str,
        payload: &[u8],
        retained: bool,
        now: Now,
    ) -> Vec<Action> {
        let Asked { txid, expires, command } =
            match self.commands.judge(user, name, payload, retained, now) {
                Ok(asked) => asked,
                Err(No { answer, noted }) => {
                    self.way(user, &answer.txid).say(&answer, None);
                    return if noted { self.refused(user, &answer, now) } else { Vec::new() };
                }
            };
        let answer = |status| Answer::new(&txid, name, status);
        let way = self.way(user, &txid);
        let permit = self.hands.clone().try_acquire_owned();
        let writes = match &command {
            Command::Write { tag, value } => Some(format!("{tag} = {}", json!(value))),
            _ => None,
        };
        let ordered = self.unknown(&command).map_or(Ok(()), Err).and_then(|()| {
            let permit = permit.map_err(|_| {
                (format!("{AT_ONCE} commands are being run"), "send it anew later".to_owned())
            })?;
            let left = Duration::from_micros(expires.0.saturating_sub(now.utc.0).max(0) as u64);
            Ok((self.deed(command, now.mono + left.min(TURN))?, permit))
        });
        let ((deed, then), permit) = match ordered {
            Ok(ordered) => ordered,
            Err((reason, remedy)) => {
                let answer = answer(End::Refused).because(reason, remedy);
                way.say(&answer, None);
                return self.refused(user, &answer, now);
            }
        };
        let accepted = ("accepted", writes.as_deref().unwrap_or_default());
        let noted = block_in_place(|| self.changes.command(user, name, &txid, accepted, now));
        let within = if matches!(deed, Deed::Probe) { PROBED } else { WITHIN };
        let (reply, done) = oneshot::channel();
        // In order with what came before and comes after.
        let sent = self.orders.send(Order::Do(deed, reply)).await;
        let (answer, status) = (answer(End::Ok), self.status.clone());
        let (user, ended) = (user.to_owned(), self.ended.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let done = match (sent, timeout(within, done).await) {
                (Ok(()), Ok(Ok(done))) => done,
                (Ok(()), Err(_)) => Err(format!("not done within {} s", within.as_secs()).into()),
                _ => Err("the application has ended".to_owned().into()),
            };
            let (answer, jpeg) = finish(answer, done, then, &status).await;
            way.say(&answer, jpeg);
            if let Some(what) = writes {
                let outcome = answer.body.get("outcome").and_then(Value::as_str);
                let outcome = outcome.unwrap_or(answer.status.word()).to_owned();
                let what = format!("{what}: {}", answer.reason);
                // The desk may have ended: the line before says what was accepted.
                let _ = ended.send(Ended { user, txid: answer.txid, outcome, what }).await;
            }
        });
        noted
    }

    /// The audit line of a write's end.
    pub(super) async fn ended(&mut self, Ended { user, txid, outcome, what }: Ended) {
        let now = self.now();
        let what = what.trim_end_matches(": ");
        let noted =
            block_in_place(|| self.changes.command(&user, "write", &txid, (&outcome, what), now));
        self.carry_out(noted).await;
    }

    fn way(&self, user: &str, txid: &str) -> Way {
        let (topic, jpeg) = (self.topics.answer(user, txid), self.topics.jpeg(user, txid));
        Way { post: self.post.clone(), topic, jpeg }
    }

    fn refused(&mut self, user: &str, answer: &Answer, now: Now) -> Vec<Action> {
        let Answer { name, txid, reason, .. } = answer;
        block_in_place(|| self.changes.command(user, name, txid, ("refused", reason), now))
    }

    /// What a command names and the box has not.
    fn unknown(&self, command: &Command) -> Option<(String, String)> {
        let has = |feed: &str| self.on_air.cameras.iter().any(|c| &*c.id.0 == feed);
        let (field, named) = match command {
            Command::Feed { feed, .. }
            | Command::Privacy { feed, .. }
            | Command::Snapshot { feed, .. }
            | Command::Identify { feed: Some(feed), .. } => ("feed", feed),
            Command::Control { camera, .. } => ("camera", camera),
            Command::Write { tag, .. } => {
                let has = self.on_air.tags.iter().any(|t| !t.is_retired() && *t.name == **tag);
                let remedy = "tag: as in the configuration, or see `tele`";
                return (!has).then(|| (format!("tag {tag:?}: not on air"), remedy.into()));
            }
            Command::Restart { part } => {
                let parts = self.parts();
                return (!parts.contains(part)).then(|| none("part", part, &parts));
            }
            _ => return None,
        };
        let all = || self.on_air.cameras.iter().map(|c| c.id.to_string()).collect();
        (!has(named)).then(|| none(field, named, &all()))
    }

    /// What can be restarted.
    fn parts(&self) -> BTreeSet<String> {
        let cameras = self.on_air.cameras.iter().map(|c| format!("camera {}", c.id));
        let buses = self.on_air.buses.iter().map(|b| format!("modbus {}", b.id));
        let brokers = self.on_air.brokers.iter().map(|b| format!("mqtt {}", b.id));
        cameras.chain(buses).chain(brokers).collect()
    }

    /// What the application is to do, and what comes after it; or the reason and the
    /// remedy why nothing is done.
    fn deed(&mut self, command: Command, until: Mono) -> Result<(Deed, Then), (String, String)> {
        Ok(match command {
            Command::Feed { feed, on } => {
                let cover = Cover { paused: !on, ..self.overlay.of(&feed) };
                self.cover(feed, cover, !on)?
            }
            Command::Privacy { feed, on } => {
                let cover = Cover { privacy: on, ..self.overlay.of(&feed) };
                self.cover(feed, cover, on)?
            }
            Command::Snapshot { feed, width } => (Deed::Snapshot { feed, width }, Then::Say),
            Command::Restart { part } => (Deed::Begin(part), Then::Say),
            Command::Logs { lines, level } => (Deed::Logs { lines, level }, Then::Say),
            Command::Bundle => (Deed::Inside, Then::Bundle(Box::new(self.known()))),
            Command::Identify { feed, seconds } => (Deed::Identify { feed, seconds }, Then::Say),
            Command::Control { camera, controls } => {
                (Deed::Control { camera, controls }, Then::Say)
            }
            Command::Update(ask) => (Deed::Update(ask), Then::Say),
            Command::Write { tag, value } => (Deed::Write { tag, value, until }, Then::Say),
            Command::Probe => (Deed::Probe, Then::Say),
        })
    }

    /// Another cover for a feed, on disk before it holds. A disk that does not take it
    /// opens nothing, but keeps nobody from closing.
    fn cover(
        &mut self,
        feed: String,
        cover: Cover,
        closes: bool,
    ) -> Result<(Deed, Then), (String, String)> {
        let full = || ("so many feeds are closed already".into(), "open one".into());
        let overlay: Overlay = self.overlay.with(&feed, cover).ok_or_else(full)?;
        let kept = block_in_place(|| overlay.keep(&self.dir));
        let why = match kept {
            Ok(()) => String::new(),
            Err(error) if closes => format!("not over a restart: disk: {error}"),
            Err(error) => {
                let remedy = "free space or replace the disk; it stays closed";
                return Err((format!("disk: {error}"), remedy.into()));
            }
        };
        self.overlay = overlay;
        let camera = self.on_air.cameras.iter().find(|c| *c.id.0 == *feed);
        let privacy = camera.is_some_and(|camera| camera.privacy);
        let closed = cover.paused || cover.privacy || privacy;
        let then = Then::Settle { feed, closed, why };
        Ok((Deed::Cover(self.overlay.clone()), then))
    }

    /// What the desk knows for a bundle.
    fn known(&self) -> bundle::Known {
        let good = self.changes.good();
        bundle::Known {
            state: self.state.clone(),
            health: self
                .status
                .all()
                .iter()
                .map(|(part, h)| (part.clone(), self.health(h)))
                .collect(),
            revision: good.number,
            document: good.document.clone(),
            report: json!(self.changes.standing()),
            dir: self.dir.clone(),
        }
    }
}

fn none(field: &str, named: &str, all: &BTreeSet<String>) -> (String, String) {
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    (format!("{field} {named:?}: not on air"), format!("{field}: one of {}", all.join(", ")))
}

/// The answer, and a picture with it.
async fn finish(
    answer: Answer,
    done: Done,
    then: Then,
    status: &Status,
) -> (Answer, Option<Bytes>) {
    let Made { body, jpeg } = match done {
        Ok(made) => made,
        Err(Undone { refused, reason, remedy, body }) => {
            let status = if refused { End::Refused } else { End::Failed };
            let usual = "see health and logs, then send it anew".to_owned();
            let remedy = if remedy.is_empty() { usual } else { remedy };
            let body = if body.is_null() { json!({}) } else { body };
            return (Answer { status, ..answer }.because(reason, remedy).with(body), None);
        }
    };
    let answer = match then {
        Then::Say => answer.with(body),
        Then::Settle { feed, closed, why } => {
            let (is_closed, health) = settled(status, &feed, closed).await;
            let answer =
                answer.with(json!({ "feed": feed, "closed": is_closed, "health": health }));
            match (is_closed == closed, why.is_empty()) {
                (true, true) => answer,
                (true, false) => Answer { status: End::Failed, ..answer }
                    .because(why, "free space or replace the disk, then send it anew"),
                (false, _) => Answer { status: End::Failed, ..answer }.because(
                    "its health does not say so yet",
                    "see its health; its own shutter may be closed",
                ),
            }
        }
        Then::Bundle(known) => match tokio::task::spawn_blocking(|| known.with(body)).await {
            Ok(bundle) => answer.with(bundle),
            Err(error) => Answer { status: End::Failed, ..answer }.because(error.to_string(), ""),
        },
    };
    (answer, jpeg)
}

/// Waits until a feed is closed or open; how it is by then, and its health.
async fn settled(status: &Status, feed: &str, closed: bool) -> (bool, Value) {
    let part = format!("feed/{feed}");
    let is_closed = || {
        let health = status.get(&part);
        health.is_some_and(|h| h.state == State::Paused && (closed || h.code != "identify"))
    };
    let mut changes = status.changes();
    let wait = async {
        while is_closed() != closed {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Late: the answer tells how it is.
    let _ = timeout(SETTLED, wait).await;
    let health = status.get(&part);
    let health = health.map(|h| json!({ "state": h.state, "code": h.code, "reason": &*h.reason }));
    (is_closed(), health.unwrap_or_default())
}
