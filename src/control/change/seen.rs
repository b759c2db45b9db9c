//! The txids that have run: each runs once, also across restarts.
//!
//! Comes in: a request that is about to run, and its end. Goes out: the earlier
//! outcome of one that comes again. Holds [`SEEN_MAX`]; one is forgotten only
//! when its request has expired, so when it is full, requests are refused.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::Now;
use super::reply::Outcome;
use super::request::unset;
use super::slot;
use super::store::{Store, replace};
use crate::model::UtcMicros;

/// How many are remembered.
pub const SEEN_MAX: usize = 4096;
const FILE: &str = "seen";
/// A request cannot be valid for longer, microseconds.
const HOUR: i64 = 3_600_000_000;

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The request's operation.
    pub op: String,
    /// From then on the request is refused anyway.
    pub expires: UtcMicros,
    /// How it stands or ended.
    pub outcome: Outcome,
    /// The revision in question.
    pub revision: Option<u64>,
    /// Why it ended like that.
    pub reason: String,
    /// Not ended yet.
    pub open: bool,
}

/// All of them, by user and txid.
#[derive(Debug, Default)]
pub struct Seen {
    entries: BTreeMap<(String, String), Entry>,
    /// The latest `expires` that has been forgotten: with a clock that was set
    /// back, such a request would be valid again.
    forgotten: UtcMicros,
}

#[derive(Serialize, Deserialize)]
struct SeenFile {
    forgotten: UtcMicros,
    entries: Vec<(String, String, Entry)>,
}

impl Seen {
    /// Reads what is remembered.
    pub fn open(store: &dyn Store) -> anyhow::Result<Self> {
        let Some(bytes) = store.read(FILE)? else { return Ok(Self::default()) };
        let file: SeenFile = slot::open(&bytes)?;
        let entries = file.entries.into_iter().map(|(user, txid, e)| ((user, txid), e));
        Ok(Self { entries: entries.collect(), forgotten: file.forgotten })
    }

    /// The earlier run of a txid.
    pub fn get(&self, user: &str, txid: &str) -> Option<&Entry> {
        self.entries.get(&(user.to_owned(), txid.to_owned()))
    }

    /// True if a request with this `expires` may have run and been forgotten.
    ///
    /// What would be true of every request says that the clock had been far
    /// ahead; then it says nothing about this one.
    pub fn may_be_forgotten(&self, expires: UtcMicros, now: Now) -> bool {
        expires <= self.forgotten && self.forgotten.0 <= now.utc.0.saturating_add(HOUR / 2)
    }

    /// Remembers a request before it runs; durable when this returns.
    pub fn remember(
        &mut self,
        store: &mut dyn Store,
        at: &str,
        (user, txid): (&str, &str),
        entry: Entry,
        now: Now,
    ) -> io::Result<()> {
        if !unset(now) {
            self.forget(now.utc);
        }
        if self.entries.len() >= SEEN_MAX {
            let why = format!("{SEEN_MAX} requests of the last hour are remembered");
            return Err(io::Error::other(why));
        }
        let key = (user.to_owned(), txid.to_owned());
        self.entries.insert(key.clone(), entry);
        self.write(store, at).inspect_err(|_| {
            self.entries.remove(&key);
        })
    }

    /// Notes how a request ended. If that cannot be written, the next start
    /// finds it out from the revisions.
    pub fn end(
        &mut self,
        store: &mut dyn Store,
        at: &str,
        (user, txid): (&str, &str),
        (outcome, reason): (Outcome, &str),
    ) -> io::Result<()> {
        if let Some(entry) = self.entries.get_mut(&(user.to_owned(), txid.to_owned())) {
            (entry.outcome, entry.open) = (outcome, false);
            reason.clone_into(&mut entry.reason);
        }
        self.write(store, at)
    }

    /// Ends what a restart left open: it is good, or it did not stay. `why`: of
    /// a revision that did not. True if there was any.
    pub fn settle(&mut self, good: u64, why: impl Fn(Option<u64>) -> String) -> bool {
        let mut any = false;
        for entry in self.entries.values_mut().filter(|e| e.open) {
            any = true;
            entry.open = false;
            if entry.revision == Some(good) {
                (entry.outcome, entry.reason) = (Outcome::Confirmed, String::new());
            } else {
                (entry.outcome, entry.reason) = (Outcome::RolledBack, why(entry.revision));
            }
        }
        any
    }

    fn forget(&mut self, now: UtcMicros) {
        let forgotten = &mut self.forgotten;
        self.entries.retain(|_, entry| {
            let keep = entry.open || entry.expires > now;
            if !keep {
                *forgotten = entry.expires.max(*forgotten);
            }
            keep
        });
    }

    /// Writes all of them down.
    pub fn write(&self, store: &mut dyn Store, at: &str) -> io::Result<()> {
        let entries = self.entries.iter().map(|((u, t), e)| (u.clone(), t.clone(), e.clone()));
        let file = SeenFile { forgotten: self.forgotten, entries: entries.collect() };
        replace(store, at, FILE, &slot::seal(&file))
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::Disk;
    use super::*;
    use crate::clock::Lock;
    use crate::model::Mono;

    /// When the file is full, requests are refused until the first have expired, and one
    /// of those does not run again when the clock is set back.
    #[test]
    fn a_full_memory_refuses_and_forgets_only_what_has_expired() {
        const NOON: i64 = 1_800_000_000_000_000;
        let now = |utc| Now { mono: Mono(0), utc: UtcMicros(utc), lock: Lock::Locked };
        let entry = |expires| Entry {
            op: "apply".into(),
            expires: UtcMicros(expires),
            outcome: Outcome::Refused,
            revision: None,
            reason: String::new(),
            open: false,
        };
        let dir = tempfile::tempdir().unwrap();
        let mut store = Disk::open(dir.path()).unwrap();
        let mut seen = Seen::default();
        let first = (1..SEEN_MAX as i64)
            .map(|n| (("li".to_owned(), n.to_string()), entry(NOON + HOUR / 2 + n)));
        seen.entries.extend(first);
        let mut ask = |seen: &mut Seen, txid, at: i64| {
            seen.remember(&mut store, "apply", ("li", txid), entry(at + HOUR), now(at))
        };
        ask(&mut seen, "last", NOON).unwrap();
        let full = ask(&mut seen, "one more", NOON + HOUR / 2).unwrap_err();
        assert!(full.to_string().contains("4096 requests"), "{full}");
        assert!(seen.get("li", "one more").is_none() && seen.get("li", "1").is_some());
        // The first has expired, and nothing else.
        ask(&mut seen, "one more", NOON + HOUR / 2 + 1).unwrap();
        assert!(seen.get("li", "1").is_none() && seen.get("li", "2").is_some());
        let mut seen = Seen::open(&Disk::open(dir.path()).unwrap()).unwrap();
        assert_eq!(seen.entries.len(), SEEN_MAX);
        assert!(seen.may_be_forgotten(UtcMicros(NOON + HOUR / 2 + 1), now(NOON + HOUR / 4)));
        assert!(!seen.may_be_forgotten(UtcMicros(NOON + HOUR / 2 + 2), now(NOON + HOUR / 4)));
        seen.forget(UtcMicros(NOON + 2 * HOUR + 1));
        assert!(seen.entries.is_empty());
    }
}
