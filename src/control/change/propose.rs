//! A change before it runs: judged, remembered, written down. Nothing of it
//! runs until all of that is durable.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::info;

use super::document::{self, DOCUMENT_MAX};
use super::health::Trial;
use super::request::{Content, Request};
use super::slot::{Revision, TRIAL};
use super::store::replace;
use super::{Action, Changes, Judge, Note, Now, Outcome, Reply, STORED, Stage, disk, entry};
use crate::clock::rfc3339;
use crate::failpoint;
use crate::model::{Mono, UtcMicros};

impl Changes {
    /// Puts a document on trial: of an `apply`, of a stored message (`stored`:
    /// its hash), or of the revision before for a `rollback`.
    pub(super) fn propose(
        &mut self,
        user: Option<&str>,
        request: &Request,
        stored: Option<String>,
        judge: &dyn Judge,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), Box<Reply>> {
        let op = request.op.name();
        let reply = |status| Reply::new(&request.txid, op, status);
        failpoint::here("propose", "before");
        self.free(request)?;
        let (document, difference) = self.judged(request, judge)?;
        let number = request.revision.unwrap_or(self.highest.saturating_add(1));
        let revision = Revision {
            number,
            sha256: document::sha256(&document),
            by: user.map(str::to_owned).or(request.by.clone()),
            txid: request.txid.clone(),
            op: op.into(),
            since: now.utc,
            failed: None,
            document: Arc::new(document),
        };
        if let Some(user) = user {
            let key = (user, request.txid.as_str());
            let entry = entry(request, Outcome::Trial, Some(number));
            self.seen
                .remember(&mut *self.store, "propose.seen", key, entry, now)
                .map_err(|error| disk(reply(Outcome::Refused), &error))?;
        }
        let note = Note {
            what: op,
            user: Some(user.unwrap_or(STORED)),
            txid: &request.txid,
            outcome: "accepted",
            revision: Some(number),
            sha256: Some(&revision.sha256),
            reason: "",
        };
        self.note("propose.audit", note, now, out)
            .and_then(|()| replace(&mut *self.store, "propose.trial", TRIAL, &revision.encode()))
            .map_err(|error| {
                // In place, but perhaps not durable: it was refused, so it is to go.
                let _ = self.store.remove(TRIAL);
                disk(reply(Outcome::Refused), &error)
            })?;
        self.begin(revision, request, stored, difference, now, out);
        Ok(())
    }

    /// The trial is on disk: now it may run.
    fn begin(
        &mut self,
        revision: Revision,
        request: &Request,
        stored: Option<String>,
        difference: Vec<String>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let control = |document: &Value| document.get("control").cloned();
        let within = Duration::from_secs(request.confirm_s);
        let trial = Trial {
            op: request.op.name(),
            stored,
            read_again: false,
            deadline: now.mono + within,
            confirm_by: rfc3339::text(UtcMicros(now.utc.0 + within.as_micros() as i64)),
            applied: false,
            needs_session: control(&self.good.document) != control(&revision.document),
            new_session: false,
            parts: self.parts.clone(),
            well: self.well.clone(),
            looked: false,
            worse: Vec::new(),
            slow: Vec::new(),
            told: (Vec::new(), Mono(0)),
            confirm: None,
            revision,
        };
        let (number, document) = (trial.revision.number, trial.revision.document.clone());
        info!(revision = number, by = ?trial.revision.by, op = trial.op, "a change is on trial");
        self.highest = number;
        let reply = trial.reply().differing(difference);
        let applicant = trial.applicant().map(str::to_owned);
        self.stage = Stage::Trial(Box::new(trial));
        failpoint::here("propose", "reply");
        if let Some(user) = applicant {
            self.answer(&user, reply, out);
        }
        self.report(out);
        out.push(Action::Apply { revision: number, document });
    }

    /// Refuses a change while another one is under way.
    fn free(&self, request: &Request) -> Result<(), Box<Reply>> {
        let refuse = |reason: String, remedy: &str| {
            let reply = Reply::new(&request.txid, request.op.name(), Outcome::Refused);
            Err(Box::new(reply.because(reason, remedy)))
        };
        match &self.stage {
            Stage::Idle => Ok(()),
            Stage::Trial(trial) => {
                let Trial { revision, confirm_by, .. } = &**trial;
                let by = revision.by.as_deref().unwrap_or(STORED);
                let reason = format!("revision {} of {by} is on trial", revision.number);
                refuse(reason, &format!("it ends by {confirm_by}; rollback ends it now"))
            }
            Stage::Returning { .. } => {
                let reason = format!("the box returns to revision {}", self.good.number);
                refuse(reason, "try again shortly")
            }
        }
    }

    /// The document that a request results in and what differs, or why not.
    /// Changes nothing.
    pub(super) fn judged(
        &self,
        request: &Request,
        judge: &dyn Judge,
    ) -> Result<(Value, Vec<String>), Box<Reply>> {
        let reply = |status| Reply::new(&request.txid, request.op.name(), status);
        let refuse = |reason: String, remedy: String| {
            Err(Box::new(reply(Outcome::Refused).because(reason, remedy)))
        };
        if let Some(base) = request.base.filter(|base| *base != self.good.number) {
            return Err(Box::new(self.conflict(base, reply(Outcome::Conflict))));
        }
        let document = match (&request.content, &self.previous) {
            (Some(Content::Whole(document)), _) => document.clone(),
            (Some(Content::Patch(patch)), _) => {
                document::merge((*self.good.document).clone(), patch)
            }
            (None, Some(previous)) => (*previous.document).clone(),
            (None, None) => {
                let reason = "there is no earlier revision".into();
                return refuse(reason, "apply the document that you want".into());
            }
        };
        let size = document::canonical(&document).len();
        if size > DOCUMENT_MAX {
            return refuse(format!("a document of {size} bytes"), "at most 1 MiB".into());
        }
        if let Some(hash) = &request.sha256
            && !document::has_sha256(&document, hash)
        {
            let ours = document::sha256(&document);
            let remedy = format!("sha256 of `jq -cS .` without the line end; here it is {ours}");
            return refuse("sha256 is not of the document that results".into(), remedy);
        }
        match judge.judge(&document) {
            Ok(difference) => Ok((document, difference)),
            Err(problems) => {
                let invalid = reply(Outcome::Invalid).with_problems(problems);
                Err(Box::new(invalid.because("the document has problems", "")))
            }
        }
    }

    /// The sender has not seen the current revision: what has changed since.
    fn conflict(&self, base: u64, reply: Reply) -> Reply {
        let theirs = self.previous.as_ref().filter(|p| p.number == base);
        let difference = theirs.map(|p| document::difference(&p.document, &self.good.document));
        let reason = format!("base {base} is not the current revision {}", self.good.number);
        Reply { sha256: Some(self.good.sha256.clone()), ..reply }
            .about(self.good.number)
            .differing(difference.unwrap_or_default())
            .because(reason, "get the current document and build on it")
    }
}
