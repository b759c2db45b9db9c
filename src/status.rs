//! Health of every part, each with since-when and reason.
//!
//! Comes in: states set by the stages. Goes out: a snapshot, a watch for
//! changes, and one log line per change. Bounded by the number of parts in
//! the configuration.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tracing::info;

use crate::clock;
use crate::model::Mono;

/// What a part is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Starting, or trying again.
    Connecting,
    /// Works: for a feed, new and decodable pictures leave it.
    Live,
    /// The device is there, but nothing useful comes from it.
    NoSignal,
    /// Switched off on purpose.
    Paused,
}

/// One part's health.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Mono,
    /// Why, in a few words; empty when live.
    pub reason: Arc<str>,
}

/// All parts: `feed/<id>`, `bus/<id>`, `unit/<bus>/<unit>`, `broker/<id>`.
pub type Parts = BTreeMap<Arc<str>, Health>;

/// The shared registry. Clones share it.
#[derive(Clone)]
pub struct Status {
    parts: Arc<Mutex<Parts>>,
    changes: watch::Sender<u64>,
    beats: Arc<Mutex<Vec<Arc<Pulse>>>>,
}

struct Pulse {
    name: String,
    limit: Duration,
    last: AtomicU64,
}

/// A loop's sign of life; dropping it says that the loop ended in order.
pub struct Beat {
    pulse: Arc<Pulse>,
    all: Arc<Mutex<Vec<Arc<Pulse>>>>,
}

impl Beat {
    /// The loop has come round.
    pub fn touch(&self) {
        self.pulse.last.store(clock::now().0, Ordering::Relaxed);
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.all.lock().expect("beats lock").retain(|p| !Arc::ptr_eq(p, &self.pulse));
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Status {
    /// No parts yet.
    pub fn new() -> Self {
        Self { parts: Arc::default(), changes: watch::Sender::new(0), beats: Arc::default() }
    }

    /// Sets a part's state; logged and announced only if it differs.
    pub fn set(&self, part: &str, state: State, reason: &str) {
        let mut parts = self.parts.lock().expect("status lock");
        if let Some(old) = parts.get(part)
            && old.state == state
            && &*old.reason == reason
        {
            return;
        }
        info!(part, ?state, reason, "state changed");
        metrics::gauge!("floorcast_part_live", "part" => part.to_owned())
            .set(if state == State::Live { 1.0 } else { 0.0 });
        let health = Health { state, since: clock::now(), reason: reason.into() };
        parts.insert(part.into(), health);
        drop(parts);
        self.changes.send_modify(|n| *n += 1);
    }

    /// One part's health.
    pub fn get(&self, part: &str) -> Option<Health> {
        self.parts.lock().expect("status lock").get(part).cloned()
    }

    /// All parts.
    pub fn all(&self) -> Parts {
        self.parts.lock().expect("status lock").clone()
    }

    /// Wakes on every change; the number counts changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Registers a loop that comes round at least every `limit`.
    pub fn beat(&self, name: &str, limit: Duration) -> Beat {
        let last = AtomicU64::new(clock::now().0);
        let pulse = Arc::new(Pulse { name: name.into(), limit, last });
        self.beats.lock().expect("beats lock").push(pulse.clone());
        Beat { pulse, all: self.beats.clone() }
    }

    /// The loops that have not come round within their limit before `now`.
    pub fn stuck(&self, now: Mono) -> Vec<String> {
        let beats = self.beats.lock().expect("beats lock");
        let late = |p: &&Arc<Pulse>| now.since(Mono(p.last.load(Ordering::Relaxed))) > p.limit;
        beats.iter().filter(late).map(|p| p.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Setting the same state again changes neither since-when nor the count.
    #[test]
    fn same_state_is_no_change() {
        let status = Status::new();
        status.set("feed/a", State::Live, "");
        let first = status.get("feed/a");
        status.set("feed/a", State::Live, "");
        assert_eq!(status.get("feed/a"), first);
        assert_eq!(*status.changes().borrow(), 1);
    }

    /// A loop is stuck past its limit, and forgotten once it ended in order.
    #[test]
    fn a_loop_is_stuck_past_its_limit() {
        let status = Status::new();
        let beat = status.beat("engine", Duration::from_secs(1));
        let now = clock::now();
        assert_eq!(status.stuck(now), [""; 0]);
        assert_eq!(status.stuck(now + Duration::from_secs(2)), ["engine"]);
        drop(beat);
        assert_eq!(status.stuck(now + Duration::from_secs(2)), [""; 0]);
    }
}
