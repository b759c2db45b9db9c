//! A start: which revision runs, and what a power cut left behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;
use tracing::{info, warn};

use super::audit::Audit;
use super::back::{failure, set_aside};
use super::seen::Seen;
use super::slot::{FAILED, GOOD, PREVIOUS, PREVIOUS_NEXT, Revision, TRIAL};
use super::store::{Store, replace};
use super::{Action, Changes, Note, Now, Op, Stage, document};

/// Why a trial that a start finds did not stay.
const RESTARTED: &str = "the box restarted while it was on trial";
/// Why a trial that was set aside, but not more, did not stay.
const STOPPED: &str = "the box stopped while it went back";
/// A last good revision that cannot be read is kept under this name.
const DAMAGED: &str = "good.damaged";

impl Changes {
    /// Opens a store; see [`open`](Self::open).
    pub fn with(mut store: Box<dyn Store>, seed: Value, now: Now) -> (Self, Revision, Vec<Action>) {
        let mut trouble = Vec::new();
        let mut read = |name: &str| {
            let bytes = store.read(name).with_context(|| format!("{name}: read"));
            let revision = bytes.and_then(|bytes| {
                bytes.map(|b| Revision::decode(&b).context(name.to_owned())).transpose()
            });
            revision.unwrap_or_else(|error| {
                trouble.push(format!("{error:#}"));
                None
            })
        };
        let [good, previous, next, trial, failed] =
            [GOOD, PREVIOUS, PREVIOUS_NEXT, TRIAL, FAILED].map(&mut read);
        let (audit, line) = Audit::open(&mut *store, now);
        let seen = Seen::open(&*store).unwrap_or_else(|error| {
            trouble.push(format!("seen: {error:#}"));
            Seen::default()
        });
        let slots = [&good, &previous, &next, &trial, &failed];
        let named = slots.into_iter().flatten().map(|r| r.number).max().unwrap_or(0);
        let highest = named.max(audit.highest());
        let previous = settle_previous(&mut *store, good.as_ref(), previous, next);
        let found = good.is_some();
        let good = good.or_else(|| previous.clone()).unwrap_or_else(|| first(seed, highest, now));
        let mut changes = Self {
            highest: highest.max(good.number),
            previous: previous.filter(|p| p.number < good.number),
            failure: failed.as_ref().and_then(failure),
            store,
            audit,
            seen,
            good,
            stage: Stage::Idle,
            parts: BTreeSet::new(),
            well: BTreeSet::new(),
            missed: false,
            refused: None,
        };
        let mut out: Vec<Action> = line.map(Action::Audit).into_iter().collect();
        if !found {
            changes.adopt();
        }
        changes.end_trial(trial, failed, now, &mut out);
        changes.settle_seen();
        for reason in &trouble {
            warn!("changes: {reason}");
            let note = Note { what: "start", outcome: "damaged", reason, ..Note::default() };
            let _ = changes.note("start.audit", note, now, &mut out);
        }
        info!(revision = changes.good.number, "the last good revision runs");
        changes.report(&mut out);
        let good = changes.good.clone();
        (changes, good, out)
    }

    /// Writes down what runs because nothing good was found.
    fn adopt(&mut self) {
        let store = &mut *self.store;
        if let Ok(Some(_)) | Err(_) = store.read(GOOD)
            && let Err(error) = store.rename(GOOD, DAMAGED)
        {
            warn!("changes: the damaged revision is not kept: {error}");
        }
        if let Err(error) = replace(store, "start.good", GOOD, &self.good.encode()) {
            warn!("changes: revision {} is not on disk: {error}", self.good.number);
        }
    }

    /// A trial on disk never runs again; neither does one that was set aside
    /// without a reason yet.
    fn end_trial(
        &mut self,
        trial: Option<Revision>,
        failed: Option<Revision>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if !matches!(self.store.read(TRIAL), Ok(None))
            && let Err(error) = set_aside(&mut *self.store, "start")
        {
            warn!("changes: the trial stays on disk until the next start: {error}");
        }
        let stopped = failed.filter(|f| f.failed.is_none()).map(|f| (f, STOPPED));
        let Some((revision, why)) = trial.map(|t| (t, RESTARTED)).or(stopped) else { return };
        let op = Op::parse(&revision.op).unwrap_or(Op::Desired);
        let applicant = revision.by.clone().filter(|_| op != Op::Desired);
        let reply = self.ended(op.name(), applicant.as_deref(), revision, why, now, out);
        if let Some(user) = applicant {
            self.answer(&user, reply, out);
        }
    }

    fn settle_seen(&mut self) {
        let failure = self.failure.as_ref();
        let why = |revision| match failure {
            Some(failure) if failure.revision == revision => failure.why.clone(),
            _ => "the box restarted before it was on trial".into(),
        };
        if self.seen.settle(self.good.number, why)
            && let Err(error) = self.seen.write(&mut *self.store, "start.seen")
        {
            warn!("changes: ends are not remembered: {error}");
        }
    }
}

/// The revision before the good one: a commit may have stopped before it was put in place.
fn settle_previous(
    store: &mut dyn Store,
    good: Option<&Revision>,
    previous: Option<Revision>,
    next: Option<Revision>,
) -> Option<Revision> {
    let Some(next) = next else { return previous };
    if good.is_some_and(|good| good.number <= next.number) {
        if let Err(error) = store.remove(PREVIOUS_NEXT) {
            warn!("changes: {PREVIOUS_NEXT}: {error}");
        }
        return previous;
    }
    if let Err(error) = store.rename(PREVIOUS_NEXT, PREVIOUS).and_then(|()| store.sync()) {
        warn!("changes: {PREVIOUS_NEXT}: {error}");
    }
    Some(next)
}

/// What came with the box. Where revisions were used before, a number of its own.
fn first(seed: Value, highest: u64, now: Now) -> Revision {
    Revision {
        number: highest.saturating_add(1),
        sha256: document::sha256(&seed),
        by: None,
        txid: String::new(),
        op: String::new(),
        since: now.utc,
        failed: None,
        document: Arc::new(seed),
    }
}
