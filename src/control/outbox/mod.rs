//! What a broker must get, on disk until it has acknowledged it.
//!
//! Comes in: entries, about once a second; each becomes a record with a number
//! that rises by one for ever, and is durable when [`Outbox::append`] returns.
//! Goes out: records in order, to any number of readers, each with a [`Cursor`].
//! What is acknowledged is remembered, and deleted a segment at a time. That
//! memory may be a second old after a crash: then some records are sent again,
//! under the same number.
//!
//! When full: past its size the oldest segment goes. When the disk takes
//! nothing, what is stored stays, the newest few records wait in memory for a
//! broker that is there, and those before them go. Both are counted in
//! `floorcast_outbox_dropped_records_total` and `…_samples_total` with `why`
//! `limit` or `disk`, are the state of the part `outbox`, and a warning once a
//! minute. What a power cut tore, or the disk damaged, is cut off and counted in
//! `floorcast_outbox_torn_total` and `…_damaged_total`.
//!
//! Everything here blocks: it is for threads that may.

mod record;
mod segment;
mod spans;
mod store;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tracing::warn;

use crate::clock;
use crate::model::{Mono, UtcMicros};
use crate::status::{State, Status};
use spans::Spans;
use store::{Appended, Lost, Store};

pub use record::{BODY, Entry, Record};
pub use store::Cursor;

/// A warning about what was dropped, at most this often.
const WARN: Duration = Duration::from_secs(60);

/// The part's name in the status.
pub const PART: &str = "outbox";

/// Durable records that no broker has acknowledged. Shared by reference.
pub struct Outbox {
    store: Mutex<Store>,
    /// Locked after `store`, never before it.
    spans: Mutex<Spans>,
    durable: watch::Sender<u64>,
    /// Where acknowledgements are remembered.
    memory: PathBuf,
    remembered: Mutex<Spans>,
    most: u64,
    status: Status,
    dropped: Mutex<Dropped>,
}

/// What was dropped since the last warning.
#[derive(Default)]
struct Dropped {
    lost: Lost,
    warned: Option<Mono>,
}

impl Outbox {
    /// Opens a directory, or makes it; at most `most` bytes of it are used.
    ///
    /// The first record of a new one has the number of milliseconds since 1970
    /// at `now`: a box that lost its disk does not use numbers again.
    ///
    /// # Errors
    /// The directory cannot be read or written; also in the status.
    pub fn open(dir: &Path, most: u64, now: UtcMicros, status: Status) -> anyhow::Result<Self> {
        let first = (now.0 / 1000).max(1) as u64;
        let opened = Store::open(dir, most, first);
        let opened = opened.with_context(|| format!("outbox {}", dir.display()));
        let (mut store, torn) = opened.inspect_err(|error| {
            status.set_coded(PART, State::NoSignal, "disk", &format!("{error:#}"));
        })?;
        if torn > 0 {
            warn!(bytes = torn, "outbox: a power cut tore the end, cut off");
            metrics::counter!("floorcast_outbox_torn_total").increment(1);
        }
        let memory = dir.join("unacknowledged.json");
        let mut spans = remembered(&memory);
        spans.acknowledge(0..store.first());
        // What was acknowledged was not torn off, or its number is gone for good.
        store.next = store.next.max(spans.open());
        status.set(PART, State::Live, "");
        Ok(Self {
            durable: watch::Sender::new(store.next),
            store: Mutex::new(store),
            remembered: Mutex::new(spans.clone()),
            spans: Mutex::new(spans),
            memory,
            most,
            status,
            dropped: Mutex::default(),
        })
    }

    /// Makes entries durable, in order, and tidies up. Call it about once a
    /// second, also with none. Never fails: what is dropped is counted.
    pub fn append(&self, entries: Vec<Entry>) {
        let some = !entries.is_empty();
        let (mut done, file, next) = {
            let mut store = self.store.lock().expect("outbox lock");
            let mut spans = self.spans.lock().expect("outbox lock");
            let done = store.append(entries, &mut spans);
            store.tidy(&spans);
            (done, store.file.clone(), store.next)
        };
        // Readers and acknowledgements go on meanwhile.
        if some && let Err(error) = file.sync_data() {
            done.error = done.error.or(Some(error));
        }
        self.durable.send_if_modified(|durable| std::mem::replace(durable, next) != next);
        self.remember();
        self.report(done, clock::now());
    }

    /// The number after the last durable record, and its changes.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Unacknowledged records from the cursor on, before `until`: at least
    /// `enough` bytes if there are. Moves the cursor behind them.
    pub fn read(&self, cursor: &mut Cursor, until: u64, enough: usize) -> Vec<Record> {
        let store = self.store.lock().expect("outbox lock");
        let spans = self.spans.lock().expect("outbox lock").clone();
        let (records, damaged) = store.read(cursor, until, &spans, enough);
        if damaged > 0 {
            metrics::counter!("floorcast_outbox_damaged_total").increment(damaged);
        }
        records
    }

    /// A broker has these.
    pub fn acknowledge(&self, records: Range<u64>) {
        self.spans.lock().expect("outbox lock").acknowledge(records);
    }

    /// Records that wait for a broker.
    pub fn waiting(&self) -> u64 {
        let next = *self.durable.borrow();
        self.spans.lock().expect("outbox lock").waiting(next)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.store.lock().expect("outbox lock").bytes()
    }

    /// Stores what is acknowledged. Not synced: an older state only sends more again.
    fn remember(&self) {
        let spans = self.spans.lock().expect("outbox lock").clone();
        let mut remembered = self.remembered.lock().expect("outbox lock");
        if *remembered == spans {
            return;
        }
        let new = self.memory.with_extension("new");
        let text = serde_json::to_vec(&spans).unwrap_or_default();
        if fs::write(&new, text).and_then(|()| fs::rename(&new, &self.memory)).is_ok() {
            *remembered = spans;
        }
    }

    fn report(&self, done: Appended, now: Mono) {
        let bytes = self.bytes();
        metrics::gauge!("floorcast_outbox_bytes").set(bytes as f64);
        metrics::gauge!("floorcast_outbox_waiting_records").set(self.waiting() as f64);
        for (why, lost) in [("limit", done.oldest), ("disk", done.newest)] {
            let count = |name: &'static str| metrics::counter!(name, "why" => why);
            count("floorcast_outbox_dropped_records_total").increment(lost.records);
            count("floorcast_outbox_dropped_samples_total").increment(lost.samples);
        }
        let mut dropped = self.dropped.lock().expect("outbox lock");
        dropped.lost.records += done.oldest.records + done.newest.records;
        dropped.lost.samples += done.oldest.samples + done.newest.samples;
        if dropped.lost.records > 0 && dropped.warned.is_none_or(|at| now.since(at) >= WARN) {
            let Lost { records, samples } = std::mem::take(&mut dropped.lost);
            warn!(records, samples, "outbox: dropped, no broker has them");
            dropped.warned = Some(now);
        }
        if let Some(error) = done.error {
            let reason = format!("telemetry is not stored: {error}");
            self.status.set_coded(PART, State::NoSignal, "disk", &reason);
        } else if done.oldest.records > 0 {
            let reason = "full: the oldest telemetry is dropped; raise outbox_max_mib";
            self.status.set_coded(PART, State::Suspect, "limit", reason);
        } else if bytes < self.most / 8 * 7 || self.code() == "disk" {
            self.status.set(PART, State::Live, "");
        }
    }

    fn code(&self) -> &'static str {
        self.status.get(PART).map_or("", |health| health.code)
    }
}

/// What was acknowledged before the last stop; nothing, where that is not known.
fn remembered(path: &Path) -> Spans {
    let stored = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    stored.unwrap_or_else(|| Spans::from(0))
}

#[cfg(test)]
mod tests;
