//! The figures on the data channel.
//!
//! Comes in: batches from the board. Goes out: messages, encoded once for all
//! viewers; what differs per viewer is a short head. The channel loses
//! messages, so each sample is sent [`COPIES`] times in messages apart, and
//! the newest of every tag once per [`SNAPSHOT`]. When more comes than
//! [`TICK_BYTES`] per tick can carry, the oldest waits, and beyond
//! [`WAITING`] samples it is dropped and counted; snapshots heal. Private
//! tags never get here. Time is an argument.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::delay::Lag;
use crate::clock::WallClock;
use crate::feed::board::Board;
use crate::model::{Mono, Quality, Sample, Value};

/// Each sample goes out this often.
const COPIES: u8 = 4;
/// Messages with something new are at least this far apart …
const PACE: Duration = Duration::from_millis(25);
/// … those that only repeat, this …
const REPEAT: Duration = Duration::from_millis(60);
/// … and those with nothing to say, this.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// Every tag's newest sample, this often.
const SNAPSHOT: Duration = Duration::from_millis(1500);
/// Bytes of tags per message: with its head it stays below 12 kB.
const MESSAGE: usize = 11_500;
/// Bytes of new samples per tick.
const TICK_BYTES: usize = 4 * MESSAGE;
/// Bytes of repeated samples per tick.
const REPEAT_BYTES: usize = 6_000;
/// Samples that may wait for their turn.
const WAITING: usize = 20_000;
/// The recent past that a viewer gets when its channel opens, and how much.
const PAST: Duration = Duration::from_secs(3);
const PAST_BYTES: usize = 64 << 10;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// New samples, and repeated ones.
    Delta,
    /// Every tag's newest sample, or the recent past.
    Snapshot,
}

/// The shared part of one message: its kind and tags.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Delta or snapshot.
    pub kind: Kind,
    /// `[id,value,taken_utc_us,error_us,quality,reason],…` without the brackets around all.
    pub tags: String,
}

struct Line {
    text: Box<str>,
    taken: Mono,
}

/// The figures of one board for all viewers.
pub struct Telemetry {
    board: Arc<Board>,
    batches: broadcast::Receiver<Arc<[Sample]>>,
    wall: Arc<WallClock>,
    fresh: VecDeque<Line>,
    repeats: VecDeque<(Box<str>, u8)>,
    /// How late the figures are.
    pub lag: Lag,
    sent: Option<Instant>,
    snapshot: Option<Instant>,
}

impl Telemetry {
    /// Follows a board from now on.
    pub fn new(board: Arc<Board>, wall: Arc<WallClock>, now: Instant) -> Self {
        Self {
            batches: board.subscribe(),
            board,
            wall,
            fresh: VecDeque::new(),
            repeats: VecDeque::new(),
            lag: Lag::new(now),
            sent: None,
            snapshot: None,
        }
    }

    /// Waits for samples and takes them.
    pub async fn take(&mut self, listeners: bool) {
        match self.batches.recv().await {
            Ok(batch) => self.add(&batch, listeners),
            Err(RecvError::Lagged(n)) => self.lagged(n),
            // Not reached: the sender lives in the board, which `self` holds.
            Err(RecvError::Closed) => std::future::pending().await,
        }
        self.take_waiting(listeners);
    }

    fn take_waiting(&mut self, listeners: bool) {
        loop {
            match self.batches.try_recv() {
                Ok(batch) => self.add(&batch, listeners),
                Err(TryRecvError::Lagged(n)) => self.lagged(n),
                Err(_) => return,
            }
        }
    }

    fn lagged(&mut self, batches: u64) {
        metrics::counter!("floorcast_web_sample_batches_missed_total").increment(batches);
        self.snapshot = None;
    }

    fn add(&mut self, batch: &[Sample], listeners: bool) {
        for sample in batch.iter().filter(|sample| public(&self.board, sample)) {
            if !listeners {
                // Known before the first viewer comes.
                self.lag.add(sample.received.since(sample.taken) + PACE / 2);
                continue;
            }
            if self.fresh.len() == WAITING {
                self.fresh.pop_front();
                metrics::counter!("floorcast_web_samples_dropped_total").increment(1);
            }
            let text = line(sample, &self.wall).into();
            self.fresh.push_back(Line { text, taken: sample.taken });
        }
    }

    /// When the next [`Self::tick`] is due.
    pub fn due(&self, now: Instant) -> Instant {
        let Some(sent) = self.sent else { return now };
        let wait = match (self.fresh.is_empty(), self.repeats.is_empty()) {
            (false, _) => PACE,
            (true, false) => REPEAT,
            (true, true) => HEARTBEAT,
        };
        sent + wait
    }

    /// Something new waits and may go.
    pub fn ready(&self, now: Instant) -> bool {
        !self.fresh.is_empty() && self.due(now) <= now
    }

    /// The messages of this tick, at least one.
    pub fn tick(&mut self, now: Instant, mono: Mono) -> Vec<Chunk> {
        self.sent = Some(now);
        let mut chunks = Chunks::new(Kind::Delta);
        let mut repeated = 0;
        let mut again = VecDeque::new();
        for (text, left) in std::mem::take(&mut self.repeats) {
            repeated += text.len();
            if repeated > REPEAT_BYTES {
                // The rest are the youngest: they keep their turn.
                again.push_back((text, left));
                continue;
            }
            chunks.add(&text);
            if left > 1 {
                again.push_back((text, left - 1));
            }
        }
        let mut bytes = 0;
        while bytes < TICK_BYTES
            && let Some(fresh) = self.fresh.pop_front()
        {
            bytes += fresh.text.len();
            chunks.add(&fresh.text);
            self.lag.add(mono.since(fresh.taken));
            again.push_back((fresh.text, COPIES - 1));
        }
        // More than can be repeated: the oldest have had most of their turns.
        let mut kept: usize = again.iter().map(|(text, _)| text.len()).sum();
        while kept > 2 * REPEAT_BYTES
            && let Some((text, _)) = again.pop_front()
        {
            kept -= text.len();
        }
        self.repeats = again;
        let mut messages = chunks.finish(true);
        if self.snapshot.is_none_or(|at| now.duration_since(at) >= SNAPSHOT) {
            self.snapshot = Some(now);
            messages.extend(self.newest().finish(false));
        }
        messages
    }

    /// No viewer listens: forget what waits.
    pub fn idle(&mut self) {
        self.fresh.clear();
        self.repeats.clear();
        self.sent = None;
    }

    /// What a viewer gets when its channel opens: the newest sample of every
    /// tag and the recent past, so that the first frames have their figures.
    pub fn opening(&self, now: Mono) -> Vec<Chunk> {
        let mut chunks = self.newest();
        let past = self.board.past(now - PAST);
        let mut lines = Vec::new();
        let mut bytes = 0;
        'past: for batch in past.iter().rev() {
            for sample in batch.iter().rev().filter(|s| public(&self.board, s)) {
                let text = line(sample, &self.wall);
                bytes += text.len();
                if bytes > PAST_BYTES {
                    break 'past;
                }
                lines.push(text);
            }
        }
        lines.iter().rev().for_each(|text| chunks.add(text));
        chunks.finish(true)
    }

    fn newest(&self) -> Chunks {
        let mut chunks = Chunks::new(Kind::Snapshot);
        for sample in self.board.snapshot().iter().filter(|s| public(&self.board, s)) {
            chunks.add(&line(sample, &self.wall));
        }
        chunks
    }
}

fn public(board: &Board, sample: &Sample) -> bool {
    board.tags().get(sample.tag.0 as usize).is_some_and(|tag| tag.public)
}

/// Lines cut into messages.
struct Chunks {
    kind: Kind,
    done: Vec<Chunk>,
    open: String,
}

impl Chunks {
    fn new(kind: Kind) -> Self {
        Self { kind, done: Vec::new(), open: String::new() }
    }

    fn add(&mut self, line: &str) {
        if self.open.len() + line.len() + 1 > MESSAGE {
            let tags = std::mem::take(&mut self.open);
            self.done.push(Chunk { kind: self.kind, tags });
        }
        if !self.open.is_empty() {
            self.open.push(',');
        }
        self.open.push_str(line);
    }

    /// All messages; an empty one if there is nothing and `at_least_one`.
    fn finish(mut self, at_least_one: bool) -> Vec<Chunk> {
        if !self.open.is_empty() || (self.done.is_empty() && at_least_one) {
            self.done.push(Chunk { kind: self.kind, tags: self.open });
        }
        self.done
    }
}

/// Integers beyond this are not exact in JavaScript and are sent as strings.
const EXACT: u128 = 1 << 53;

/// `[id,value,taken_utc_us,error_us,"good",null]`
pub fn line(sample: &Sample, wall: &WallClock) -> String {
    let mut text = String::with_capacity(64);
    let (id, taken) = (sample.tag.0, wall.utc(sample.taken).0);
    // Writing to a String cannot fail.
    let _ = write!(text, "[{id},");
    let _ = match &sample.value {
        Value::None => write!(text, "null"),
        Value::Bool(bit) => write!(text, "{bit}"),
        Value::Int(n) if n.unsigned_abs() <= EXACT => write!(text, "{n}"),
        Value::Int(n) => write!(text, "\"{n}\""),
        Value::Real(x) => write!(text, "{}", serde_json::Value::from(*x)),
        Value::Text(t) => write!(text, "{}", serde_json::Value::from(&**t)),
    };
    let quality = match sample.quality {
        Quality::Good => "good",
        Quality::Stale => "stale",
        Quality::Bad => "bad",
    };
    let reason = serde_json::Value::from(sample.reason.as_deref());
    let error = sample.error.as_micros();
    let _ = write!(text, ",{taken},{error},\"{quality}\",{reason}]");
    text
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
