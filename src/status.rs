//! Health of every part, each with since-when and reason.
//!
//! Comes in: states set by the stages. Goes out: a snapshot, a watch for
//! changes, and one log line per change. Bounded by the number of parts in
//! the configuration.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

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
    /// Works, but what comes from it may not be worth showing.
    Suspect,
    /// Switched off on purpose.
    Paused,
    /// Would be live if somebody watched.
    Resting,
}

impl State {
    /// For metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::NoSignal => "no_signal",
            Self::Suspect => "suspect",
            Self::Paused => "paused",
            Self::Resting => "resting",
        }
    }
}

/// One for the state that a part is in, zero for those it was in.
fn gauge(part: &str, state: State, code: &'static str) -> metrics::Gauge {
    let part = part.to_owned();
    metrics::gauge!("floorcast_part_state", "part" => part, "state" => state.name(), "code" => code)
}

/// One part's health.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: Mono,
    /// Why, for programs and for the page's own words; empty where there is none.
    pub code: &'static str,
    /// Why, in a few words for technicians; empty when live.
    pub reason: Arc<str>,
}

/// All parts: `feed/<id>`, `encoder/<feed>`, `bus/<id>`, `unit/<bus>/<unit>`, `broker/<id>`,
/// `outbox`, `tele`, `disk`, `web`, `metrics`, `update`, `stick`.
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
    last: AtomicU64,
}

/// How often a task gives a sign of life.
const BEAT: Duration = Duration::from_secs(1);
/// A task without one for this long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// A task's sign of life; dropping it says that the task ended in order.
struct Beat {
    pulse: Arc<Pulse>,
    all: Arc<Mutex<Vec<Arc<Pulse>>>>,
}

impl Beat {
    /// Resolves never.
    async fn go_on(&self) {
        loop {
            self.pulse.last.store(clock::now().0, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
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
        self.set_coded(part, state, "", reason);
    }

    /// The same with a reason for programs.
    pub fn set_coded(&self, part: &str, state: State, code: &'static str, reason: &str) {
        self.put(part, state, code, reason, false);
    }

    /// The same for what takes its time: a reason that says how far it is neither begins the
    /// state anew nor is logged.
    pub fn progress(&self, part: &str, state: State, code: &'static str, reason: &str) {
        self.put(part, state, code, reason, true);
    }

    fn put(&self, part: &str, state: State, code: &'static str, reason: &str, goes_on: bool) {
        let mut parts = self.parts.lock().expect("status lock");
        let old = parts.get(part);
        let same = old.filter(|old| (old.state, old.code) == (state, code));
        if same.is_some_and(|old| &*old.reason == reason) {
            return;
        }
        let goes_on = same.filter(|_| goes_on).map(|old| old.since);
        if goes_on.is_none() {
            info!(part, ?state, code, reason, "state changed");
            if let Some(old) = old {
                gauge(part, old.state, old.code).set(0.0);
            }
            gauge(part, state, code).set(1.0);
            metrics::gauge!("floorcast_part_live", "part" => part.to_owned())
                .set(if state == State::Live { 1.0 } else { 0.0 });
            let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics::gauge!("floorcast_part_since_timestamp_seconds", "part" => part.to_owned())
                .set(utc.as_secs_f64());
        }
        let since = goes_on.unwrap_or_else(clock::now);
        parts.insert(part.into(), Health { state, since, code, reason: reason.into() });
        drop(parts);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Forgets the parts that are no more.
    pub fn forget(&self, gone: impl Fn(&str) -> bool) {
        let mut parts = self.parts.lock().expect("status lock");
        for (part, old) in parts.extract_if(.., |part, _| gone(part)) {
            gauge(&part, old.state, old.code).set(0.0);
            metrics::gauge!("floorcast_part_live", "part" => part.to_string()).set(0.0);
        }
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

    /// Runs `body` and, in the same task, gives signs of life: they cease when
    /// the body blocks its thread, spins, or is not run at all.
    pub async fn alive<T>(&self, name: &str, body: impl Future<Output = T>) -> T {
        let pulse = Arc::new(Pulse { name: name.into(), last: AtomicU64::new(clock::now().0) });
        self.beats.lock().expect("beats lock").push(pulse.clone());
        let beat = Beat { pulse, all: self.beats.clone() };
        tokio::select! {
            ended = body => ended,
            () = beat.go_on() => unreachable!("signs of life do not end"),
        }
    }

    /// The tasks without a sign of life in the ten seconds before `now`.
    pub fn stuck(&self, now: Mono) -> Vec<String> {
        let beats = self.beats.lock().expect("beats lock");
        let late = |p: &&Arc<Pulse>| now.since(Mono(p.last.load(Ordering::Relaxed))) > STUCK;
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

    /// How far something is, changes the reason and nothing else.
    #[test]
    fn progress_is_no_new_state() {
        let status = Status::new();
        status.progress("update", State::Connecting, "fetching", "0 %");
        let first = status.get("update").unwrap();
        status.progress("update", State::Connecting, "fetching", "1 %");
        let second = status.get("update").unwrap();
        assert_eq!((&*second.reason, second.since), ("1 %", first.since));
        status.progress("update", State::Connecting, "installing", "0 %");
        assert!(status.get("update").unwrap().since > first.since);
        assert_eq!(*status.changes().borrow(), 3);
    }

    /// A task that blocks gives no sign of life; one that ended in order is forgotten.
    #[tokio::test]
    async fn a_task_that_blocks_is_stuck() {
        let status = Status::new();
        let (entered, wait) = std::sync::mpsc::channel::<()>();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let blocked = status.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(blocked.alive("camera", async {
                entered.send(()).unwrap();
                released.recv().unwrap();
            }));
        });
        wait.recv().unwrap();
        let later = clock::now() + STUCK + BEAT;
        assert_eq!(status.stuck(clock::now()), [""; 0]);
        assert_eq!(status.stuck(later), ["camera"]);
        release.send(()).unwrap();
        thread.join().unwrap();
        assert_eq!(status.stuck(later), [""; 0]);
    }

    /// A task that only waits is alive.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_is_alive() {
        let status = Status::new();
        let seen = status.alive("mqtt", async {
            let before = status.beats.lock().unwrap()[0].last.load(Ordering::Relaxed);
            tokio::time::sleep(BEAT * 2).await;
            status.beats.lock().unwrap()[0].last.load(Ordering::Relaxed) > before
        });
        assert!(seen.await);
    }
}
