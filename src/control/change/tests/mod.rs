//! Rules of the transaction: a technician's day, histories with power cuts, any bytes.

mod bytes;
mod chain;
mod histories;
mod memory;
mod rules;

use serde_json::{Value, json};

use super::*;
use crate::status::{Health, Parts, State};
use memory::Memory;

/// 2026-06-01T00:00:00Z.
const UTC: i64 = 1_780_272_000_000_000;

/// So many seconds after the start.
fn at(seconds: u64) -> Now {
    let utc = UtcMicros(UTC + seconds as i64 * 1_000_000);
    Now { mono: Mono(0) + Duration::from_secs(1000 + seconds), utc, lock: Lock::Locked }
}

fn seed() -> Value {
    json!({"camera": [{"id": "a"}], "n": 0})
}

/// Documents with `bad` are invalid.
struct Strict;

impl Judge for Strict {
    fn judge(&self, document: &Value) -> Result<Vec<String>, Vec<Problem>> {
        match document.get("bad") {
            None => Ok(vec!["n changed".into()]),
            Some(_) => Err(vec![Problem { pointer: "/bad".into(), message: "remove it".into() }]),
        }
    }

    fn schema(&self) -> Value {
        json!({"type": "object"})
    }
}

fn health(all: &[(&str, State)]) -> Parts {
    let one = |state| Health { state, since: Mono(0), code: "", reason: "".into() };
    all.iter().map(|(part, state)| ((*part).into(), one(*state))).collect()
}

/// A box with what the caller of the machine would do.
struct Rig {
    changes: Changes,
    store: Memory,
    now: u64,
    actions: Vec<Action>,
}

impl Rig {
    fn new() -> Self {
        Self::on(Memory::default())
    }

    fn on(store: Memory) -> Self {
        let (changes, _, actions) = Changes::with(Box::new(store.clone()), seed(), at(0));
        let mut rig = Self { changes, store, now: 0, actions };
        rig.look(&[("feed/a", State::Live)]);
        rig
    }

    /// The process ends and starts again.
    fn restart(&mut self) {
        let (changes, _, actions) =
            Changes::with(Box::new(self.store.clone()), seed(), at(self.now));
        (self.changes, self.actions) = (changes, actions);
    }

    fn expires(&self) -> String {
        rfc3339::text(at(self.now + 600).utc)
    }

    fn send(&mut self, user: &str, op: Op, payload: Value) -> Reply {
        let payload = payload.to_string();
        self.actions =
            self.changes.request(user, op, payload.as_bytes(), false, &Strict, at(self.now));
        self.replies(user).into_iter().next().expect("an answer")
    }

    fn apply(&mut self, txid: &str, document: &Value) -> Reply {
        let base = self.changes.good().number;
        let (sha256, expires) = (document::sha256(document), self.expires());
        let request = json!({"txid": txid, "base": base, "document": document,
            "sha256": sha256, "expires": expires, "confirm_s": 60});
        self.send("li", Op::Apply, request)
    }

    fn confirm(&mut self, user: &str, txid: &str, revision: u64) -> Reply {
        let expires = self.expires();
        let request = json!({"txid": txid, "revision": revision, "expires": expires});
        self.send(user, Op::Confirm, request)
    }

    fn rollback(&mut self, txid: &str) -> Reply {
        let expires = self.expires();
        self.send("li", Op::Rollback, json!({"txid": txid, "expires": expires}))
    }

    fn applied(&mut self, revision: u64) {
        self.actions = self.changes.applied(revision, Ok(()), at(self.now));
    }

    fn look(&mut self, parts: &[(&str, State)]) {
        let actions = self.changes.parts(&health(parts), &|_| true, at(self.now));
        self.actions.extend(actions);
    }

    fn replies(&self, user: &str) -> Vec<Reply> {
        let of = |action: &Action| match action {
            Action::Reply { user: to, reply } if to == user => Some((**reply).clone()),
            _ => None,
        };
        self.actions.iter().filter_map(of).collect()
    }

    /// What is to run by the last actions.
    fn to_run(&self) -> Option<u64> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Apply { revision, .. } => Some(*revision),
            _ => None,
        })
    }

    fn report(&self) -> Report {
        let of = |action: &Action| match action {
            Action::Report(report) => Some((**report).clone()),
            _ => None,
        };
        self.actions.iter().rev().find_map(of).expect("a report")
    }
}
