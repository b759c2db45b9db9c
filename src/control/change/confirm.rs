//! A trial becomes the last good revision: one rename.

use std::io;

use tracing::{info, warn};

use super::request::Request;
use super::slot::{GOOD, PREVIOUS, PREVIOUS_NEXT, TRIAL};
use super::store::replace;
use super::{Action, Changes, Note, Now, Outcome, Reply, STORED, Stage, disk, entry};
use crate::failpoint;

impl Changes {
    /// The sender says that the change works.
    pub(super) fn confirm(
        &mut self,
        user: &str,
        request: &Request,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Box<Reply>> {
        let op = request.op.name();
        let reply = |status| Reply::new(&request.txid, op, status);
        let refuse = |reason: String, remedy: &str| {
            Err(Box::new(reply(Outcome::Refused).because(reason, remedy)))
        };
        let number = request.revision.unwrap_or_default();
        let trial = match &self.stage {
            Stage::Trial(trial) if trial.revision.number == number => trial,
            Stage::Trial(trial) => {
                let on_trial = trial.revision.number;
                let remedy = format!("on trial is revision {on_trial}");
                return refuse(format!("revision {number} is not on trial"), &remedy);
            }
            _ => {
                let remedy = format!("revision {} runs", self.good.number);
                return refuse("nothing is on trial".into(), &remedy);
            }
        };
        if trial.applicant() != Some(user) {
            let by = trial.applicant().unwrap_or(STORED);
            return refuse(format!("revision {number} is for {by} to confirm"), "or roll it back");
        }
        let (not_yet, unheard) = (trial.not_yet(), trial.unheard());
        let known = trial.confirm.is_some();
        let standing = Reply { txid: request.txid.clone(), op, ..trial.reply() };
        if let Some(why) = unheard {
            let remedy = format!("confirm under a new txid by {}", trial.confirm_by);
            return Err(Box::new(standing.because(format!("not yet: {why}"), remedy)));
        }
        let kept = format!("kept as soon as nothing is worse, by {}", trial.confirm_by);
        if let (Some(why), true) = (&not_yet, known) {
            return Err(Box::new(standing.because(format!("not yet: {why}"), kept)));
        }
        let key = (user, request.txid.as_str());
        let outcome = if not_yet.is_some() { Outcome::Trial } else { Outcome::Confirmed };
        let remembered = entry(request, outcome, Some(number));
        let refused = |error: &io::Error| disk(reply(Outcome::Refused), error);
        self.seen
            .remember(&mut *self.store, "confirm.seen", key, remembered, now)
            .map_err(|error| refused(&error))?;
        let Some(why) = not_yet else {
            return self.commit(Some((user, request)), now, out).map_err(|error| refused(&error));
        };
        let Stage::Trial(trial) = &mut self.stage else { return Ok(()) };
        trial.confirm = Some(request.clone());
        self.answer(user, standing.because(format!("not yet: {why}"), kept), out);
        Ok(())
    }

    /// The sender has confirmed already, and now nothing is worse.
    pub(super) fn keep_confirmed(&mut self, now: Now, out: &mut Vec<Action>) {
        let Stage::Trial(trial) = &self.stage else { return };
        let (Some(request), Some(user)) = (trial.confirm.clone(), trial.applicant()) else {
            return;
        };
        if trial.not_yet().is_some() {
            return;
        }
        let user = user.to_owned();
        if let Err(error) = self.commit(Some((&user, &request)), now, out) {
            warn!("changes: the trial goes on: {error}");
        }
    }

    /// The confirm of a stored document: it was read again over a session that
    /// came up after the change, and nothing is worse.
    pub(super) fn keep_stored(&mut self, now: Now, out: &mut Vec<Action>) {
        let Stage::Trial(trial) = &self.stage else { return };
        if trial.stored.is_none() || !trial.read_again || trial.not_yet().is_some() {
            return;
        }
        if let Err(error) = self.commit(None, now, out) {
            warn!("changes: the trial goes on: {error}");
            // Again with the next session, not with every look at health.
            if let Stage::Trial(trial) = &mut self.stage {
                trial.read_again = false;
            }
            out.push(Action::Reconnect);
        }
    }

    /// Trial to good. On an error nothing changed, and the trial goes on.
    fn commit(
        &mut self,
        confirm: Option<(&str, &Request)>,
        now: Now,
        out: &mut Vec<Action>,
    ) -> io::Result<()> {
        let Stage::Trial(trial) = &self.stage else { return Ok(()) };
        let (fresh, op) = (trial.revision.clone(), trial.op);
        let (applicant, reply) = (trial.applicant().map(str::to_owned), trial.reply());
        let note = Note {
            what: confirm.map_or("desired", |(_, request)| request.op.name()),
            user: Some(confirm.map_or(STORED, |(user, _)| user)),
            txid: confirm.map_or(&fresh.txid, |(_, request)| &request.txid),
            outcome: "accepted",
            revision: Some(fresh.number),
            sha256: Some(&fresh.sha256),
            reason: "",
        };
        self.note("confirm.audit", note, now, out)?;
        replace(&mut *self.store, "confirm.previous", PREVIOUS_NEXT, &self.good.encode())?;
        failpoint::here("confirm.commit", "before");
        self.store.rename(TRIAL, GOOD)?;
        failpoint::here("confirm.commit", "renamed");
        // From here on it is good, whatever else fails.
        let mut reason = String::new();
        if let Err(error) = self.store.sync() {
            let old = self.good.number;
            reason = format!("disk: {error}: after a power cut, revision {old} may run again");
            warn!("changes: {reason}");
        }
        failpoint::here("confirm.commit", "synced");
        let kept = self.store.rename(PREVIOUS_NEXT, PREVIOUS).and_then(|()| self.store.sync());
        failpoint::here("confirm.previous", "kept");
        if let Err(error) = kept {
            warn!("changes: the revision before is not kept: {error}");
        }
        let (number, sha256) = (fresh.number, fresh.sha256.clone());
        let txid = fresh.txid.clone();
        self.previous = Some(std::mem::replace(&mut self.good, fresh));
        info!(revision = number, "the change is confirmed");
        let note = Note {
            what: op,
            user: applicant.as_deref().or(Some(STORED)),
            txid: &txid,
            outcome: "confirmed",
            revision: Some(number),
            sha256: Some(&sha256),
            reason: &reason,
        };
        let _ = self.note("confirmed.audit", note, now, out);
        let outcome = (Outcome::Confirmed, reason.as_str());
        let ends = [
            applicant.as_deref().map(|user| (user, txid.as_str())),
            confirm.map(|(user, request)| (user, request.txid.as_str())),
        ];
        for (at, key) in ["applied.seen", "confirmed.seen"].into_iter().zip(ends) {
            let Some(key) = key else { continue };
            if let Err(error) = self.seen.end(&mut *self.store, at, key, outcome) {
                warn!("changes: an end is not remembered: {error}");
            }
        }
        failpoint::here("confirmed", "before");
        let confirmed = |reply: Reply| Reply {
            status: Outcome::Confirmed,
            confirm_by: None,
            ..reply.because(reason.clone(), "")
        };
        if let Some((user, request)) = confirm {
            let reply = Reply { txid: request.txid.clone(), op: "confirm", ..reply.clone() };
            self.answer(user, confirmed(reply), out);
        }
        if let Some(user) = &applicant {
            self.answer(user, confirmed(reply), out);
        }
        self.idle(out);
        failpoint::here("confirmed", "reply");
        Ok(())
    }
}
