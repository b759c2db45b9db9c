//! What technicians and the broker send: judged, answered, run at most once.
//!
//! Everything that comes is answered, or dropped and counted; nothing is run in part.

use tracing::warn;

use super::document;
use super::request::{self, Op, Request, is_user};
use super::seen::Entry;
use super::{Action, Changes, Failure, Judge, Now, Outcome, Reply, STORED, Stage};
use super::{DISK, dropped, entry};
use crate::clock::rfc3339;

impl Changes {
    /// A message on `cfg/req/<user>/<op>`.
    ///
    /// A user that no certificate can have is dropped and counted; everybody
    /// else is answered.
    pub fn request(
        &mut self,
        user: &str,
        op: Op,
        payload: &[u8],
        retained: bool,
        judge: &dyn Judge,
        now: Now,
    ) -> Vec<Action> {
        let mut out = self.tick(now);
        if !is_user(user) || op == Op::Desired {
            dropped("user");
            return out;
        }
        let parsed = request::parse(op, payload, self.highest, now).and_then(|request| {
            let stored = |txid: String| request::Refusal {
                txid,
                reason: "a stored message is not run".into(),
                remedy: "publish without retain, and clear the topic".into(),
            };
            if retained { Err(stored(request.txid)) } else { Ok(request) }
        });
        let request = match parsed {
            Ok(request) => request,
            Err(refusal) => {
                let reply = Reply::new(&refusal.txid, op.name(), Outcome::Refused);
                let reply = reply.because(refusal.reason, refusal.remedy);
                self.note_end(user, &reply, now, &mut out);
                self.answer(user, reply, &mut out);
                return out;
            }
        };
        if op.changes() {
            self.once(user, &request, judge, now, &mut out);
        } else {
            let reply = self.look(&request, judge).unwrap_or_else(|no| *no);
            self.answer(user, reply, &mut out);
        }
        out
    }

    /// The retained message `cfg/desired`, whenever it is read.
    pub fn desired(&mut self, payload: &[u8], judge: &dyn Judge, now: Now) -> Vec<Action> {
        let mut out = self.tick(now);
        if payload.is_empty() {
            return out;
        }
        let hash = document::hex(payload);
        if let Stage::Trial(trial) = &mut self.stage
            && trial.stored.as_ref() == Some(&hash)
        {
            trial.read_again |= trial.new_session;
            self.keep_stored(now, &mut out);
            return out;
        }
        if self.refused.as_ref() == Some(&hash) {
            dropped("desired refused before");
            return out;
        }
        let refused = match request::parse(Op::Desired, payload, self.highest, now) {
            Ok(request) if request.revision <= Some(self.highest) => {
                dropped("desired old");
                return out;
            }
            Ok(_) if !matches!(self.stage, Stage::Idle) => {
                self.missed = true;
                return out;
            }
            Ok(request) => {
                match self.propose(None, &request, Some(hash.clone()), judge, now, &mut out) {
                    Ok(()) => return out,
                    Err(no) => (*no, request.by),
                }
            }
            Err(refusal) => {
                let reply = Reply::new(&refusal.txid, Op::Desired.name(), Outcome::Refused);
                (reply.because(refusal.reason, refusal.remedy), None)
            }
        };
        let (reply, by) = refused;
        // A disk may have room again when it comes with the next session.
        self.refused = Some(hash).filter(|_| !reply.reason.starts_with(DISK));
        self.note_end(STORED, &reply, now, &mut out);
        let mut why = [reply.reason.as_str(), &reply.remedy].join("; ");
        for problem in reply.problems.iter().take(5) {
            why += &format!("; {}: {}", problem.pointer, problem.message);
        }
        let at = rfc3339::text(now.utc);
        self.failure = Some(Failure { revision: None, txid: reply.txid, by, at, why });
        self.report(&mut out);
        out
    }

    /// What asks and changes nothing.
    fn look(&self, request: &Request, judge: &dyn Judge) -> Result<Reply, Box<Reply>> {
        let reply = |status| Reply::new(&request.txid, request.op.name(), status);
        match request.op {
            Op::Validate => {
                let (_, difference) = self.judged(request, judge)?;
                Ok(reply(Outcome::Valid).about(self.good.number).differing(difference))
            }
            Op::Schema => Ok(Reply { schema: Some(judge.schema()), ..reply(Outcome::Ok) }),
            _ => Ok(Reply {
                sha256: Some(self.good.sha256.clone()),
                document: Some(self.good.document.clone()),
                ..reply(Outcome::Ok).about(self.good.number)
            }),
        }
    }

    /// Runs a request unless its txid has run.
    fn once(
        &mut self,
        user: &str,
        request: &Request,
        judge: &dyn Judge,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let reply = |status| Reply::new(&request.txid, request.op.name(), status);
        if let Some(earlier) = self.seen.get(user, &request.txid) {
            dropped("txid seen");
            let reply = Reply {
                earlier: Some(earlier.outcome),
                revision: earlier.revision,
                ..reply(Outcome::Seen)
                    .because(earlier.reason.clone(), "a new request needs a new txid")
            };
            return self.answer(user, reply, out);
        }
        let expires = request.expires.unwrap_or_default();
        let result = if self.seen.may_be_forgotten(expires, now) {
            let reason = "the clock was set back, and this may have run";
            Err(Box::new(
                reply(Outcome::Refused).because(reason, "send it anew with a later expires"),
            ))
        } else {
            match request.op {
                Op::Confirm => self.confirm(user, request, now, out),
                Op::Rollback if !matches!(self.stage, Stage::Idle) => {
                    self.cancel(user, request, now, out)
                }
                _ => self.propose(Some(user), request, None, judge, now, out),
            }
        };
        let Err(no) = result else { return };
        let key = (user, request.txid.as_str());
        let ended = if self.seen.get(user, &request.txid).is_some() {
            self.seen.end(&mut *self.store, "refuse.seen", key, (no.status, &no.reason))
        } else {
            let entry = entry(request, no.status, None);
            let entry = Entry { reason: no.reason.clone(), open: false, ..entry };
            self.seen.remember(&mut *self.store, "refuse.seen", key, entry, now)
        };
        if let Err(error) = ended {
            warn!(user, "changes: a refused txid is not remembered: {error}");
        }
        self.note_end(user, &no, now, out);
        self.answer(user, *no, out);
    }
}
