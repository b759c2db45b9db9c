//! One feed's frames on their way from source to ring: times, counts, order.
//!
//! Comes in: every picture as it leaves the source, as it enters the encoder,
//! and every access unit. Goes out: [`Frame`]s into the ring. Each picture is
//! written down when it is seen and struck off when its access unit comes, so
//! that what was lost in between is counted exactly. At most [`TRANSIT`]
//! pictures are written down; beyond that the oldest counts as lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::Notify;

use super::annexb::Head;
use super::timing::{Edge, Fault, Stamps};
use crate::clock;
use crate::feed::ring::Ring;
use crate::model::{Captured, Frame, Mono};

/// Pictures between source and ring at most.
const TRANSIT: usize = 64;

/// A time that went through a microsecond clock (V4L2 encoders) is off by less than this.
const ROUNDED: Duration = Duration::from_micros(1);

/// One feed's frames on their way.
pub struct Flow {
    ring: Arc<Ring>,
    state: Mutex<State>,
    /// When a picture last came from the source; nanoseconds, zero for never.
    seen: AtomicU64,
    /// When an access unit last went into the ring; nanoseconds, zero for never.
    out: AtomicU64,
    first: Notify,
    meters: Meters,
}

struct State {
    stamps: Stamps,
    transit: VecDeque<Transit>,
    seq: u64,
    /// A key frame with parameter sets came.
    decodable: bool,
    after: Option<Mono>,
}

struct Transit {
    captured: Captured,
    /// Left the queue in front of the encoder.
    admitted: bool,
    /// Handed to the encoder.
    entered: Option<Mono>,
}

struct Meters {
    seen: Counter,
    frames: Counter,
    keys: Counter,
    bytes: Counter,
    shed: Counter,
    lost: Counter,
    broken: Counter,
    encode: Histogram,
    to_ring: Histogram,
    ours: Histogram,
    feed: Arc<str>,
}

impl Meters {
    fn new(feed: &Arc<str>) -> Self {
        let label = || feed.to_string();
        let count = |name: &'static str| counter!(name, "feed" => label());
        let time = |name: &'static str| histogram!(name, "feed" => label());
        Self {
            seen: count("floorcast_capture_pictures_total"),
            frames: count("floorcast_capture_frames_total"),
            keys: count("floorcast_capture_key_frames_total"),
            bytes: count("floorcast_capture_bytes_total"),
            shed: counter!("floorcast_capture_shed_total", "feed" => label(), "where" => "encoder"),
            lost: count("floorcast_capture_lost_total"),
            broken: count("floorcast_capture_undecodable_total"),
            encode: time("floorcast_capture_encode_seconds"),
            to_ring: time("floorcast_capture_to_ring_seconds"),
            ours: time("floorcast_capture_own_seconds"),
            feed: feed.clone(),
        }
    }
}

impl Flow {
    /// A flow into `ring`, going on after its newest frame.
    pub fn new(ring: Arc<Ring>, period: Duration) -> Arc<Self> {
        let newest = ring.newest();
        let after = newest.as_ref().map(|frame| frame.captured.at);
        Arc::new(Self {
            meters: Meters::new(&ring.id().0),
            state: Mutex::new(State {
                stamps: Stamps::new(period, after),
                transit: VecDeque::new(),
                seq: newest.map_or(0, |frame| frame.seq + 1),
                decodable: false,
                after,
            }),
            seen: AtomicU64::new(0),
            out: AtomicU64::new(0),
            first: Notify::new(),
            ring,
        })
    }

    /// A picture left the source: its capture time, to be carried to the ring.
    pub fn seen(&self, claim: Option<Mono>, edge: Edge, now: Mono) -> Captured {
        self.seen.store(now.0, Ordering::Relaxed);
        self.meters.seen.increment(1);
        let mut state = self.state.lock().expect("flow lock");
        let (captured, fault) = state.stamps.judge(claim, edge, now);
        state.transit.push_back(Transit { captured, admitted: false, entered: None });
        if state.transit.len() > TRANSIT {
            state.transit.pop_front();
            self.meters.lost.increment(1);
        }
        drop(state);
        if let Some(fault) = fault {
            self.implausible(fault);
        }
        captured
    }

    fn implausible(&self, fault: Fault) {
        counter!("floorcast_capture_implausible_stamps_total",
            "feed" => self.meters.feed.to_string(), "fault" => fault.name())
        .increment(1);
    }

    /// The picture of this time left the queue: those before it were shed there.
    pub fn admitted(&self, at: Mono) {
        let mut state = self.state.lock().expect("flow lock");
        let before = state.transit.len();
        state.transit.retain(|t| t.admitted || t.captured.at + ROUNDED >= at);
        self.meters.shed.increment((before - state.transit.len()) as u64);
        if let Some(t) = state.transit.iter_mut().find(|t| is(t, at)) {
            t.admitted = true;
        }
    }

    /// The picture of this time went into the encoder.
    pub fn entered(&self, at: Mono, now: Mono) {
        let mut state = self.state.lock().expect("flow lock");
        if let Some(t) = state.transit.iter_mut().find(|t| is(t, at)) {
            t.entered = Some(now);
        }
    }

    /// An access unit came out: into the ring with it.
    pub fn coded(&self, at: Mono, data: &[u8], now: Mono) {
        let head = Head::of(data);
        let key = head.idr;
        let mut state = self.state.lock().expect("flow lock");
        state.decodable |= key && head.sps && head.pps;
        if !state.decodable || key && !(head.sps && head.pps) {
            // Nobody could decode it: viewers join at key frames with parameter sets.
            drop(state);
            self.meters.broken.increment(1);
            return;
        }
        let mut found = None;
        while let Some(t) = state.transit.front() {
            if t.captured.at > at + ROUNDED {
                break;
            }
            let t = state.transit.pop_front();
            match t {
                Some(t) if is(&t, at) => found = Some(t),
                _ => self.meters.lost.increment(1),
            }
        }
        let captured = found
            .as_ref()
            .map_or(Captured { at, error: Duration::from_secs(1) / 30 }, |t| t.captured);
        if state.after.is_some_and(|after| captured.at <= after) {
            drop(state);
            self.meters.lost.increment(1);
            return;
        }
        state.after = Some(captured.at);
        let seq = state.seq;
        state.seq += 1;
        drop(state);
        let data = Bytes::copy_from_slice(&data[head.begin..]);
        self.meters.frames.increment(1);
        self.meters.keys.increment(u64::from(key));
        self.meters.bytes.increment(data.len() as u64);
        self.ring.push(Frame { seq, captured, encoded: now, key, data });
        let done = clock::now();
        if self.out.swap(done.0, Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
        let whole = done.since(captured.at);
        self.meters.to_ring.record(whole);
        if let Some(entered) = found.and_then(|t| t.entered) {
            let encode = now.since(entered);
            self.meters.encode.record(encode);
            self.meters.ours.record(whole.saturating_sub(encode));
        }
    }

    /// Resolves when the first frame is in the ring.
    pub async fn first(&self) {
        self.first.notified().await;
    }

    /// When a picture last came from the source.
    pub fn last_seen(&self) -> Option<Mono> {
        Some(Mono(self.seen.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// When a frame last went into the ring.
    pub fn last_out(&self) -> Option<Mono> {
        Some(Mono(self.out.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }
}

fn is(t: &Transit, at: Mono) -> bool {
    t.captured.at.since(at).max(at.since(t.captured.at)) <= ROUNDED
}
