//! The configuration transaction: a change is on trial until its sender says
//! that it works, and the box returns to what last worked by itself.
//!
//! Comes in: requests, health, session and application events, each with its
//! time; no clock, socket or device is touched here. Goes out: [`Action`]s, in
//! the order in which they are to be done, and files that survive a power cut
//! at any point. One change at a time: another one is refused until it has ended.
//! When the disk is full, a change is refused and what runs goes on.
//!
//! ```text
//!           apply, rollback, desired              applied
//!   idle ────────────────────────────► applying ──────────► probation ── confirm ──► idle
//!    ▲                                    │ failed, late       │ late, rollback
//!    └──────────── applied ── returning ◄─┴────────────────────┘
//! ```
//!
//! `good` is the one truth on disk, and the rename of `trial` to `good` the one
//! commit point. A start with a trial on disk returns to `good` and says why.
//!
//! Every call may write to disk and wait for it: call from a thread that may block.

pub mod audit;
pub mod document;
pub mod reply;
pub mod request;
pub mod seen;
pub mod slot;
pub mod store;

mod back;
mod confirm;
mod health;
mod inbox;
mod propose;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Lock, rfc3339};
use crate::failpoint;
use crate::model::{Mono, UtcMicros};
use anyhow::Context;
use audit::{Audit, Note};
use health::Trial;
pub use reply::{Failure, OnTrial, Outcome, Problem, Reply, Report, Standing, Worse};
use request::Request;
pub use request::{Op, PAYLOAD_MAX, is_txid, is_user};
use seen::{Entry, Seen};
use serde_json::Value;
pub use slot::Revision;
use store::{Disk, Store};

/// When something happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For what leaves the box.
    pub utc: UtcMicros,
    /// How far `utc` can be trusted.
    pub lock: Lock,
}

/// What the caller is to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Run this document, by difference to what runs; then say so with [`Changes::applied`].
    ///
    /// One may come while another is still being applied, to end it: the last one counts.
    Apply {
        /// Its number, to be given back.
        revision: u64,
        /// The configuration.
        document: Arc<Value>,
    },
    /// Publish under `cfg/res/<user>/<txid>`.
    Reply {
        /// Whose request it was.
        user: String,
        /// The answer.
        reply: Box<Reply>,
    },
    /// Publish, retained, as `cfg/reported`.
    Report(Box<Report>),
    /// Publish under `audit`: one JSON line without its end.
    Audit(String),
    /// Close the control session and open another one.
    Reconnect,
    /// End the process in order: the last good revision did not come back
    /// in place, and does on a start.
    Restart {
        /// Why.
        why: String,
    },
}

/// Says what a document is worth, without touching any device.
pub trait Judge {
    /// What differs from what runs, in words; or every mistake.
    fn judge(&self, document: &Value) -> Result<Vec<String>, Vec<Problem>>;
    /// The JSON Schema of documents.
    fn schema(&self) -> Value;
}

/// The user name of stored documents: none that a certificate can have.
const STORED: &str = "cfg/desired";
/// How long the last good revision may take to come back in place.
const RETURN_WITHIN: Duration = Duration::from_secs(60);

/// A box's configuration and the change that it is in.
pub struct Changes {
    store: Box<dyn Store>,
    audit: Audit,
    seen: Seen,
    good: Revision,
    previous: Option<Revision>,
    failure: Option<Failure>,
    /// The greatest revision number used yet.
    highest: u64,
    stage: Stage,
    /// Every part in the latest look at health, and those that worked.
    parts: BTreeSet<Arc<str>>,
    well: BTreeSet<Arc<str>>,
    /// A newer stored document came while another change was under way.
    missed: bool,
    /// The hash of the last stored message that was refused: it comes again
    /// with every session.
    refused: Option<String>,
}

enum Stage {
    Idle,
    Trial(Box<Trial>),
    Returning {
        /// What to say once the last good revision runs.
        then: Vec<Action>,
        deadline: Mono,
        /// The caller was told to restart.
        gave_up: bool,
    },
}

impl Changes {
    /// Opens a directory; with nothing good in it, `seed` is the first revision.
    ///
    /// Returns what is to run now, and what to say about it. An error means
    /// that there is no such directory; the caller runs its seed without changes.
    pub fn open(
        dir: &Path,
        seed: Value,
        now: Now,
    ) -> anyhow::Result<(Self, Revision, Vec<Action>)> {
        let disk = Disk::open(dir).with_context(|| format!("changes: open {}", dir.display()))?;
        Ok(Self::with(Box::new(disk), seed, now))
    }

    /// What was last good.
    pub fn good(&self) -> &Revision {
        &self.good
    }

    /// A command's audit line: what became of it, and why or what in particular.
    pub fn command(
        &mut self,
        user: &str,
        name: &str,
        txid: &str,
        (outcome, reason): (&str, &str),
        now: Now,
    ) -> Vec<Action> {
        let user = Some(user);
        let note = Note { what: name, user, txid, outcome, reason, ..Note::default() };
        let mut out = Vec::new();
        let _ = self.note("command.audit", note, now, &mut out);
        out
    }

    /// The caller has done an [`Action::Apply`], or could not.
    ///
    /// What runs after a failure may be anything: the last good revision
    /// follows, and if that fails too, a restart. Say this before the events
    /// of a control session that the change opened.
    pub fn applied(&mut self, revision: u64, result: Result<(), String>, now: Now) -> Vec<Action> {
        let mut out = self.tick(now);
        match (&mut self.stage, result) {
            (Stage::Trial(trial), result)
                if trial.revision.number == revision && !trial.applied =>
            {
                match result {
                    Ok(()) => self.on_probation(now, &mut out),
                    Err(why) => self.back(&format!("could not be applied: {why}"), now, &mut out),
                }
            }
            (Stage::Returning { then, .. }, Ok(())) if self.good.number == revision => {
                failpoint::here("back", "applied");
                out.append(then);
                self.idle(&mut out);
                failpoint::here("back", "reply");
            }
            (Stage::Returning { gave_up, .. }, Err(why)) if self.good.number == revision => {
                *gave_up = true;
                out.push(Action::Restart { why: format!("revision {revision}: {why}") });
            }
            _ => dropped("applied late"),
        }
        out
    }

    /// A control session is up: every subscription confirmed.
    pub fn session_up(&mut self, now: Now) -> Vec<Action> {
        let mut out = self.tick(now);
        // Stored messages are read again with the session.
        self.missed = false;
        if let Stage::Trial(trial) = &mut self.stage {
            trial.new_session |= trial.applied;
        }
        self.report(&mut out);
        out
    }

    /// The control session is gone.
    pub fn session_down(&mut self) {
        if let Stage::Trial(trial) = &mut self.stage {
            trial.new_session = false;
            trial.read_again = false;
        }
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Option<Mono> {
        match &self.stage {
            Stage::Idle | Stage::Returning { gave_up: true, .. } => None,
            Stage::Trial(trial) => Some(trial.due()),
            Stage::Returning { deadline, .. } => Some(*deadline),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) -> Vec<Action> {
        let mut out = Vec::new();
        match &mut self.stage {
            Stage::Trial(trial) if now.mono >= trial.deadline => {
                let why = trial.not_yet().unwrap_or_else(|| "nobody confirmed it".into());
                self.back(&format!("not confirmed in time: {why}"), now, &mut out);
            }
            Stage::Trial(_) => self.progress(now, &mut out),
            Stage::Returning { deadline, gave_up, .. } if !*gave_up && now.mono >= *deadline => {
                *gave_up = true;
                let why = format!("revision {}: not back in place in time", self.good.number);
                out.push(Action::Restart { why });
            }
            _ => {}
        }
        out
    }

    /// Says a reply and counts it.
    fn answer(&self, user: &str, reply: Reply, out: &mut Vec<Action>) {
        let status = word(&reply.status);
        metrics::counter!("floorcast_change_replies_total", "op" => reply.op, "status" => status)
            .increment(1);
        out.push(Action::Reply { user: user.into(), reply: Box::new(reply) });
    }

    /// Appends to the audit file, and for the topic.
    fn note(
        &mut self,
        at: &str,
        note: Note<'_>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> io::Result<()> {
        let line = self.audit.note(&mut *self.store, at, note, now)?;
        out.push(Action::Audit(line));
        Ok(())
    }

    /// The audit line of a request that was not done. If it cannot be written,
    /// the next one counts it.
    fn note_end(&mut self, user: &str, reply: &Reply, now: Now, out: &mut Vec<Action>) {
        let ours = [Op::Apply, Op::Confirm, Op::Rollback, Op::Desired].map(Op::name);
        if !ours.contains(&reply.op) {
            return;
        }
        let outcome = word(&reply.status);
        let note = Note {
            what: reply.op,
            user: Some(user),
            txid: &reply.txid,
            outcome: &outcome,
            reason: &reply.reason,
            ..Note::default()
        };
        let _ = self.note("refuse.audit", note, now, out);
    }

    /// Nothing is under way any more.
    fn idle(&mut self, out: &mut Vec<Action>) {
        self.stage = Stage::Idle;
        self.report(out);
        if std::mem::take(&mut self.missed) {
            out.push(Action::Reconnect);
        }
    }

    fn report(&self, out: &mut Vec<Action>) {
        out.push(Action::Report(Box::new(self.standing())));
    }

    /// How it stands, as in `cfg/reported`.
    pub fn standing(&self) -> Report {
        let trial = match &self.stage {
            Stage::Trial(trial) => Some(trial),
            _ => None,
        };
        let status = match &self.stage {
            Stage::Idle => Standing::Confirmed,
            Stage::Trial(trial) if trial.applied => Standing::Trial,
            Stage::Trial(_) => Standing::Applying,
            Stage::Returning { .. } => Standing::Returning,
        };
        Report {
            revision: self.good.number,
            sha256: self.good.sha256.clone(),
            by: self.good.by.clone(),
            since: rfc3339::text(self.good.since),
            status,
            trial: trial.map(|trial| OnTrial {
                revision: trial.revision.number,
                by: trial.revision.by.clone(),
                txid: trial.revision.txid.clone(),
                confirm_by: trial.confirm_by.clone(),
                worse: trial.worse.clone(),
            }),
            failure: self.failure.clone(),
        }
    }
}

/// What is remembered of a request that is about to run.
fn entry(request: &Request, outcome: Outcome, revision: Option<u64>) -> Entry {
    Entry {
        op: request.op.name().into(),
        expires: request.expires.unwrap_or_default(),
        outcome,
        revision,
        reason: String::new(),
        open: true,
    }
}

/// What a refusal because of the disk begins with.
const DISK: &str = "disk: ";

/// A refusal because of the disk.
fn disk(reply: Reply, error: &io::Error) -> Box<Reply> {
    let remedy = "free space or replace the disk; what runs goes on";
    Box::new(reply.because(format!("{DISK}{error}"), remedy))
}

/// A state or outcome as its JSON spells it.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).expect("a word has JSON");
    value.as_str().unwrap_or_default().to_owned()
}

/// What is not answered is counted.
fn dropped(why: &'static str) {
    metrics::counter!("floorcast_changes_dropped_total", "why" => why).increment(1);
}

/// Walks the audit files of a directory and checks every hash.
pub fn verify(dir: &Path) -> anyhow::Result<audit::Verified> {
    let disk = Disk::open(dir).with_context(|| format!("audit: open {}", dir.display()))?;
    audit::verify(&disk).context("audit: read")
}
