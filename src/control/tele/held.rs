//! Topics of telemetry that a broker does not take, while the others go on.
//!
//! Comes in: records that were refused, or that ended one session after the other. Goes
//! out: which topics wait, and when the first record of each is tried again: after
//! [`ASK_AGAIN`] where the broker said no, at the next session or after
//! [`ASIDE`](suspects::ASIDE) where it hung up. What waits stays in the outbox. As many topics
//! as the configuration has groups.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use crate::control::suspects::{self, LIMIT, Suspects, Way};
use crate::model::Mono;
use crate::status::{State, Status};

/// A broker that refused a record is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Shared by the lanes, and over sessions.
pub struct Held {
    status: Status,
    part: &'static str,
    inner: Mutex<Inner>,
    /// Something else waits now.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    suspects: Suspects,
    topics: BTreeMap<String, Hold>,
}

/// Why a topic waits, and since which record.
struct Hold {
    first: u64,
    until: Mono,
    why: String,
    /// The broker said so; otherwise it hung up.
    told: bool,
}

impl Held {
    /// Nothing waits; what does later is in the status of `part`.
    pub fn new(status: Status, part: &'static str) -> Self {
        Self { status, part, inner: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session is up: who refused may have learnt better, or be another broker.
    pub fn session(&self) {
        let mut inner = self.lock();
        inner.topics.retain(|_, hold| !hold.told);
        self.tell(&inner);
    }

    /// How a record goes; one that waits is noted.
    pub fn way(&self, topic: &str, seq: u64, now: Mono) -> Way {
        let mut inner = self.lock();
        if let Some(hold) = inner.topics.get_mut(topic) {
            hold.first = hold.first.min(seq);
            return Way::Aside;
        }
        // Whoever is aside waits above, or waits no longer.
        match inner.suspects.way(topic, now) {
            Way::Free => Way::Free,
            Way::Alone | Way::Aside => Way::Alone,
        }
    }

    /// The broker has a record.
    pub fn acknowledged(&self, topic: &str) {
        self.lock().suspects.answered(topic);
    }

    /// The broker does not take a record: its topic waits.
    pub fn refused(&self, topic: &str, seq: u64, why: String, now: Mono) {
        let mut inner = self.lock();
        inner.suspects.answered(topic);
        inner.hold(topic, Hold { first: seq, until: now + ASK_AGAIN, why, told: true });
        self.tell(&inner);
        self.changed.notify_one();
    }

    /// The session ended `waited` after a record was sent; a topic that did so too often waits.
    pub fn ended(&self, topic: &str, seq: u64, way: Way, waited: Duration, now: Mono) {
        let mut inner = self.lock();
        if !inner.suspects.ended(topic, way, waited, now) {
            return;
        }
        let why = format!(
            "ended {LIMIT} sessions; give the box the right to it, or raise the broker's limit \
             for a message"
        );
        warn!(topic, "kept back: it {why}");
        inner.hold(topic, Hold { first: seq, until: now + suspects::ASIDE, why, told: false });
        self.tell(&inner);
        self.changed.notify_one();
    }

    /// The topic that is tried again first: with which record, and when.
    pub fn next(&self) -> Option<(String, u64, Mono)> {
        let inner = self.lock();
        let (topic, hold) = inner.topics.iter().min_by_key(|(_, hold)| hold.until)?;
        Some((topic.clone(), hold.first, hold.until))
    }

    /// Waits until another topic waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The broker takes this topic again.
    pub fn freed(&self, topic: &str) {
        let mut inner = self.lock();
        inner.suspects.answered(topic);
        inner.topics.remove(topic);
        self.tell(&inner);
    }

    fn tell(&self, inner: &Inner) {
        metrics::gauge!("floorcast_tele_held_topics").set(inner.topics.len() as f64);
        match inner.topics.iter().next() {
            None => self.status.set(self.part, State::Live, ""),
            Some((topic, hold)) => {
                let others = match inner.topics.len() - 1 {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                let reason = format!("{topic}: {}{others}", hold.why);
                self.status.set(self.part, State::NoSignal, &reason);
            }
        }
    }
}

impl Inner {
    fn hold(&mut self, topic: &str, hold: Hold) {
        let first = self.topics.get(topic).map_or(hold.first, |old| old.first.min(hold.first));
        self.topics.insert(topic.to_owned(), Hold { first, ..hold });
    }
}
