//! Health of every part, each with since-when and reason.
//!
//! Comes in: states set by the stages. Goes out: a snapshot, a watch for
//! changes, and one log line per change. Bounded by the number of parts in
//! the configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

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
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Status {
    /// No parts yet.
    pub fn new() -> Self {
        Self { parts: Arc::default(), changes: watch::Sender::new(0) }
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
}
