//! Back to the last good revision: by request, by deadline, by failure.
//!
//! This goes on whatever the disk says: the trial is only in the way of a next
//! start, and a start returns by itself.

use tracing::warn;

use super::health::Trial;
use super::request::Request;
use super::slot::{FAILED, Failed, Revision, TRIAL};
use super::store::{Store, replace};
use super::{
    Action, Changes, Failure, Note, Now, Outcome, RETURN_WITHIN, Reply, STORED, Stage, disk, entry,
};
use crate::clock::rfc3339;
use crate::failpoint;

impl Changes {
    /// `rollback` while a change is on trial.
    pub(super) fn cancel(
        &mut self,
        user: &str,
        request: &Request,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Box<Reply>> {
        let op = request.op.name();
        let reply = |status| Reply::new(&request.txid, op, status);
        let Stage::Trial(trial) = &self.stage else {
            let reason = format!("the box returns to revision {} already", self.good.number);
            return Err(Box::new(reply(Outcome::Refused).because(reason, "")));
        };
        let number = trial.revision.number;
        let key = (user, request.txid.as_str());
        let remembered = entry(request, Outcome::RolledBack, Some(number));
        self.seen
            .remember(&mut *self.store, "cancel.seen", key, remembered, now)
            .map_err(|error| disk(reply(Outcome::Refused), &error))?;
        let note = Note {
            what: op,
            user: Some(user),
            txid: &request.txid,
            outcome: "accepted",
            revision: Some(number),
            ..Note::default()
        };
        let _ = self.note("cancel.audit", note, now, out);
        self.back(&format!("rolled back by {user}"), now, out);
        let why = format!("revision {number} is off");
        let ended = (Outcome::RolledBack, why.as_str());
        if let Err(error) = self.seen.end(&mut *self.store, "cancelled.seen", key, ended) {
            warn!("changes: an end is not remembered: {error}");
        }
        let mut said = Vec::new();
        let reply = reply(Outcome::RolledBack).about(self.good.number).because(why, "");
        self.answer(user, reply, &mut said);
        if let Stage::Returning { then, .. } = &mut self.stage {
            then.append(&mut said);
        }
        Ok(())
    }

    /// Ends the trial. Its sender hears of it when the last good revision runs.
    pub(super) fn back(&mut self, why: &str, now: Now, out: &mut Vec<Action>) {
        let Stage::Trial(trial) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let Trial { revision, worse, op, stored, confirm, .. } = *trial;
        warn!(revision = revision.number, why, "the change did not stay");
        metrics::counter!("floorcast_changes_rolled_back_total").increment(1);
        failpoint::here("back", "before");
        if let Err(error) = set_aside(&mut *self.store, "back") {
            warn!("changes: the trial stays on disk until the next start: {error}");
        }
        let applicant = revision.by.clone().filter(|_| stored.is_none());
        let reply = self.ended(op, applicant.as_deref(), revision, why, now, out);
        let mut then = Vec::new();
        if let Some(user) = &applicant {
            if let Some(Request { txid, .. }) = &confirm {
                let (key, ended) = ((user.as_str(), txid.as_str()), (Outcome::RolledBack, why));
                if let Err(error) = self.seen.end(&mut *self.store, "unkept.seen", key, ended) {
                    warn!("changes: an end is not remembered: {error}");
                }
                let reply = Reply { txid: txid.clone(), op: "confirm", ..reply.clone() };
                self.answer(user, Reply { worse: worse.clone(), ..reply }, &mut then);
            }
            self.answer(user, Reply { worse, ..reply }, &mut then);
        }
        let deadline = now.mono + RETURN_WITHIN;
        self.stage = Stage::Returning { then, deadline, gave_up: false };
        self.report(out);
        let (revision, document) = (self.good.number, self.good.document.clone());
        out.push(Action::Apply { revision, document });
        failpoint::here("back", "return");
    }

    /// A trial is set aside: why, for the audit, for its txid and for everybody.
    pub(super) fn ended(
        &mut self,
        op: &'static str,
        applicant: Option<&str>,
        mut revision: Revision,
        why: &str,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Reply {
        revision.failed = Some(Failed { at: now.utc, why: why.into() });
        if let Err(error) = replace(&mut *self.store, "back.failed", FAILED, &revision.encode()) {
            warn!("changes: why it failed is not kept: {error}");
        }
        let note = Note {
            what: op,
            user: Some(applicant.unwrap_or(STORED)),
            txid: &revision.txid,
            outcome: "rolled_back",
            revision: Some(revision.number),
            sha256: Some(&revision.sha256),
            reason: why,
        };
        let _ = self.note("back.audit", note, now, out);
        if let Some(user) = applicant {
            let (key, ended) = ((user, revision.txid.as_str()), (Outcome::RolledBack, why));
            if let Err(error) = self.seen.end(&mut *self.store, "back.seen", key, ended) {
                warn!("changes: an end is not remembered: {error}");
            }
        }
        self.failure = failure(&revision);
        let good = self.good.number;
        Reply::new(&revision.txid, op, Outcome::RolledBack)
            .about(revision.number)
            .because(why, format!("revision {good} runs"))
    }
}

/// The trial is never to run again.
pub(super) fn set_aside(store: &mut dyn Store, at: &str) -> std::io::Result<()> {
    failpoint::here(at, "aside");
    store.rename(TRIAL, FAILED)?;
    failpoint::here(at, "renamed");
    store.sync()?;
    failpoint::here(at, "synced");
    Ok(())
}

/// For everybody: the last revision that did not stay.
pub(super) fn failure(revision: &Revision) -> Option<Failure> {
    let unknown = Failed { at: revision.since, why: "the box stopped while it went back".into() };
    let Failed { at, why } = revision.failed.clone().unwrap_or(unknown);
    Some(Failure {
        revision: Some(revision.number),
        txid: revision.txid.clone(),
        by: revision.by.clone(),
        at: rfc3339::text(at),
        why,
    })
}
