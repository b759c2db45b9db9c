//! Probation: is anything worse than before the change?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::request::Request;
use super::{Action, Changes, Now, Outcome, Reply, Revision, Stage, Worse, word};
use crate::failpoint;
use crate::model::Mono;
use crate::status::{Health, Parts, State};

/// A revision on trial.
pub(super) struct Trial {
    pub(super) revision: Revision,
    pub(super) op: &'static str,
    /// The hash of the stored message that asked for it; then that message,
    /// read again over a new session, is the confirm.
    pub(super) stored: Option<String>,
    pub(super) read_again: bool,
    /// Back to the last good revision at this time.
    pub(super) deadline: Mono,
    pub(super) confirm_by: String,
    pub(super) applied: bool,
    /// The control session itself is of the change.
    pub(super) needs_session: bool,
    /// A session came up after the change was applied, and is up.
    pub(super) new_session: bool,
    /// What there was before, and what of it worked.
    pub(super) parts: BTreeSet<Arc<str>>,
    pub(super) well: BTreeSet<Arc<str>>,
    /// Health was looked at since.
    pub(super) looked: bool,
    pub(super) worse: Vec<Worse>,
    /// New parts that do not work yet: not held against the change.
    pub(super) slow: Vec<Arc<str>>,
    /// What is worse, as last said, and when.
    pub(super) told: (Vec<Worse>, Mono),
    /// The sender's confirm, which counts as soon as nothing is worse.
    pub(super) confirm: Option<Request>,
}

/// News of a trial at most this often: parts may flap.
const NEWS_EVERY: Duration = Duration::from_secs(1);

impl Trial {
    /// Who is to confirm; none if a stored message asked.
    pub(super) fn applicant(&self) -> Option<&str> {
        self.revision.by.as_deref().filter(|_| self.stored.is_none())
    }

    /// Why a confirm would not tell that the box can be reached.
    pub(super) fn unheard(&self) -> Option<&'static str> {
        if !self.applied {
            return Some("it is still being applied");
        }
        let unheard = (self.needs_session || self.stored.is_some()) && !self.new_session;
        unheard.then_some("no control session came up after the change")
    }

    /// Why it cannot be kept now.
    pub(super) fn not_yet(&self) -> Option<String> {
        if let Some(why) = self.unheard() {
            return Some(why.into());
        }
        if !self.looked {
            return Some("health was not looked at after the change".into());
        }
        let [first, more @ ..] = self.worse.as_slice() else { return None };
        let more = if more.is_empty() { "" } else { ", and more" };
        Some(format!("{} worked before: {}{more}", first.part, first.reason))
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Mono {
        let news = (self.told.0 != self.worse).then(|| self.told.1 + NEWS_EVERY);
        news.map_or(self.deadline, |news| news.min(self.deadline))
    }

    /// How it stands.
    pub(super) fn reply(&self) -> Reply {
        let slow: Vec<&str> = self.slow.iter().take(10).map(|part| &**part).collect();
        let reason = match (self.applied, slow.as_slice()) {
            (false, _) => "it is being applied".into(),
            (true, []) => String::new(),
            (true, slow) => format!("new and not live yet: {}", slow.join(", ")),
        };
        let revision = self.revision.number;
        let remedy = format!("confirm revision {revision} by {}", self.confirm_by);
        Reply {
            sha256: Some(self.revision.sha256.clone()),
            confirm_by: Some(self.confirm_by.clone()),
            worse: self.worse.clone(),
            ..Reply::new(&self.revision.txid, self.op, Outcome::Trial)
                .about(revision)
                .because(reason, remedy)
        }
    }
}

/// Does its work, or would if somebody asked.
fn works(health: &Health) -> bool {
    matches!(health.state, State::Live | State::Resting | State::Paused)
}

impl Changes {
    /// A look at health: of what runs now. `present`: the parts that the
    /// revision being run is to have; one that it gave up is not worse.
    pub fn parts(
        &mut self,
        parts: &Parts,
        present: &dyn Fn(&str) -> bool,
        now: Now,
    ) -> Vec<Action> {
        let mut out = self.tick(now);
        self.parts = parts.keys().cloned().collect();
        self.well = parts.iter().filter(|(_, h)| works(h)).map(|(part, _)| part.clone()).collect();
        let Stage::Trial(trial) = &mut self.stage else { return out };
        if !trial.applied {
            return out;
        }
        let lost = trial.well.iter().filter(|part| present(part) && !self.well.contains(*part));
        let worse = lost.map(|part| Worse {
            part: part.clone(),
            reason: parts.get(part).map_or("gone".into(), |health| {
                let state = word(&health.state);
                if health.reason.is_empty() { state } else { format!("{state}: {}", health.reason) }
            }),
        });
        trial.worse = worse.take(WORSE_MAX).collect();
        let fresh = self.parts.difference(&self.well).filter(|part| !trial.parts.contains(*part));
        trial.slow = fresh.cloned().collect();
        trial.looked = true;
        self.progress(now, &mut out);
        self.keep_stored(now, &mut out);
        self.keep_confirmed(now, &mut out);
        out
    }

    /// The change is applied: its probation begins.
    pub(super) fn on_probation(&mut self, now: Now, out: &mut Vec<Action>) {
        let Stage::Trial(trial) = &mut self.stage else { return };
        failpoint::here("probation", "before");
        trial.applied = true;
        let (stored, reply) = (trial.stored.is_some(), trial.reply());
        trial.told = (Vec::new(), now.mono);
        if let Some(user) = trial.applicant().map(str::to_owned) {
            self.answer(&user, reply, out);
        }
        self.report(out);
        if stored {
            out.push(Action::Reconnect);
        }
        failpoint::here("probation", "reply");
    }

    /// Says what became worse or better.
    pub(super) fn progress(&mut self, now: Now, out: &mut Vec<Action>) {
        let Stage::Trial(trial) = &mut self.stage else { return };
        if trial.told.0 == trial.worse || now.mono < trial.told.1 + NEWS_EVERY {
            return;
        }
        trial.told = (trial.worse.clone(), now.mono);
        let reply = trial.reply();
        if let Some(user) = trial.applicant().map(str::to_owned) {
            self.answer(&user, reply, out);
        }
        self.report(out);
    }
}

/// At most this many parts are named.
const WORSE_MAX: usize = 100;
