//! One feed's frames from source to ring: times, counts, order.
//!
//! Comes in: every picture as it leaves the source and as it enters the
//! encoder, and every access unit. Goes out: [`Frame`]s into the ring, on the
//! encoder's own thread. Holds no pictures; what [`Transit`] notes is bounded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};

use super::annexb::Head;
use super::copies;
use super::timing::{Edge, Fault, Stamps};
use super::transit::Transit;
use crate::clock;
use crate::feed::ring::Ring;
use crate::model::{Captured, Frame, Mono};

/// One feed's frames on their way.
pub struct Flow {
    ring: Arc<Ring>,
    period: Duration,
    state: Mutex<State>,
    fps: u32,
    /// When a picture last came from the camera; nanoseconds, zero for never.
    seen: AtomicU64,
    /// When a frame of the camera last went into the ring; nanoseconds, zero for never.
    out: AtomicU64,
    /// When anything last came out of the encoder; nanoseconds, zero for never.
    coded: AtomicU64,
    shed: AtomicU64,
    implausible: AtomicU64,
    damaged: AtomicU64,
    driver_lost: AtomicU64,
    meters: Meters,
}

struct State {
    stamps: Stamps,
    transit: Transit,
    seq: u64,
    /// A key frame with parameter sets came.
    decodable: bool,
    after: Option<Mono>,
}

struct Meters {
    feed: Arc<str>,
    seen: Counter,
    frames: Counter,
    keys: Counter,
    bytes: Counter,
    copied: Counter,
    shed: Counter,
    lost: Counter,
    damaged: Counter,
    driver_lost: Counter,
    undecodable: Counter,
    encode: Histogram,
    to_ring: Histogram,
    own: Histogram,
}

impl Meters {
    fn new(feed: &Arc<str>) -> Self {
        let label = || feed.to_string();
        let count = |name: &'static str| counter!(name, "feed" => label());
        let time = |name: &'static str| histogram!(name, "feed" => label());
        Self {
            feed: feed.clone(),
            seen: count("floorcast_capture_pictures_total"),
            frames: count("floorcast_capture_frames_total"),
            keys: count("floorcast_capture_key_frames_total"),
            bytes: count("floorcast_capture_bytes_total"),
            copied: copies::counted(feed, "ring"),
            shed: counter!("floorcast_capture_shed_total", "feed" => label(), "where" => "encoder"),
            lost: count("floorcast_capture_lost_total"),
            damaged: count("floorcast_capture_damaged_total"),
            driver_lost: count("floorcast_capture_driver_lost_total"),
            undecodable: count("floorcast_capture_undecodable_total"),
            encode: time("floorcast_capture_encode_seconds"),
            to_ring: time("floorcast_capture_to_ring_seconds"),
            own: time("floorcast_capture_own_seconds"),
        }
    }

    fn implausible(&self, fault: Fault) {
        let labels = [("feed", self.feed.to_string()), ("fault", fault.name().to_owned())];
        counter!("floorcast_capture_implausible_stamps_total", &labels).increment(1);
    }
}

impl Flow {
    /// A flow into `ring` at `fps` pictures a second, going on after its newest frame.
    pub fn new(ring: Arc<Ring>, fps: u32) -> Arc<Self> {
        let period = Duration::from_secs(1) / fps.max(1);
        let newest = ring.newest();
        let after = newest.as_ref().map(|frame| frame.captured.at);
        Arc::new(Self {
            meters: Meters::new(&ring.id().0),
            state: Mutex::new(State {
                stamps: Stamps::new(period, after),
                transit: Transit::default(),
                seq: newest.map_or(0, |frame| frame.seq + 1),
                decodable: false,
                after,
            }),
            seen: AtomicU64::new(0),
            out: AtomicU64::new(0),
            coded: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            implausible: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            driver_lost: AtomicU64::new(0),
            ring,
            period,
            fps,
        })
    }

    /// Whose.
    pub fn feed(&self) -> &str {
        &self.meters.feed
    }

    /// Pictures per second, nominal.
    pub fn fps(&self) -> u32 {
        self.fps
    }

    /// A camera was opened: its stamps have nothing to do with those before.
    pub fn begin(&self) {
        self.state.lock().expect("flow lock").stamps.begin();
    }

    /// The driver marked a picture as damaged; it goes no further.
    pub fn damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        self.meters.damaged.increment(1);
    }

    /// The driver's numbers say that it lost so many pictures.
    pub fn lost_by_driver(&self, pictures: u32) {
        self.driver_lost.fetch_add(pictures.into(), Ordering::Relaxed);
        self.meters.driver_lost.increment(pictures.into());
    }

    /// A picture was drawn for the slate: its time.
    pub fn drawn(&self, now: Mono) -> Mono {
        let mut state = self.state.lock().expect("flow lock");
        let captured = state.stamps.drawn(now);
        let given_up = state.transit.seen(captured, true);
        drop(state);
        self.meters.lost.increment(u64::from(given_up));
        captured.at
    }

    /// A picture left the camera: its capture time, to be carried to the ring.
    pub fn seen(&self, claim: Option<Mono>, edge: Edge, now: Mono) -> Captured {
        self.seen.store(now.0, Ordering::Relaxed);
        self.meters.seen.increment(1);
        let mut state = self.state.lock().expect("flow lock");
        let (captured, fault) = state.stamps.judge(claim, edge, now);
        let given_up = state.transit.seen(captured, false);
        drop(state);
        self.meters.lost.increment(u64::from(given_up));
        if let Some(fault) = fault {
            self.implausible.fetch_add(1, Ordering::Relaxed);
            self.meters.implausible(fault);
        }
        captured
    }

    /// The picture of this time left the queue: those before it were shed there.
    pub fn admitted(&self, at: Mono) {
        let shed = self.state.lock().expect("flow lock").transit.admitted(at) as u64;
        self.shed.fetch_add(shed, Ordering::Relaxed);
        self.meters.shed.increment(shed);
    }

    /// The picture of this time went into the encoder.
    pub fn entered(&self, at: Mono, now: Mono) {
        self.state.lock().expect("flow lock").transit.entered(at, now);
    }

    /// The picture of this time, or its access unit, goes no further: nobody wants it.
    pub fn unused(&self, at: Mono) {
        self.state.lock().expect("flow lock").transit.unused(at);
    }

    /// The feed breaks with what was: nobody waits for pictures on their way, nor
    /// joins with frames of before.
    pub fn break_off(&self) {
        self.state.lock().expect("flow lock").transit.rest();
        self.ring.break_off();
    }

    /// When the oldest picture went into the encoder that has not come out.
    pub fn encoding_since(&self) -> Option<Mono> {
        self.state.lock().expect("flow lock").transit.encoding_since()
    }

    /// The encoder was given up, with what was in it.
    pub fn encoder_gone(&self) {
        let lost = self.state.lock().expect("flow lock").transit.encoder_gone();
        self.meters.lost.increment(lost as u64);
    }

    /// An access unit came out at `now`: into the ring with it.
    pub fn coded(&self, at: Mono, data: &[u8], now: Mono) {
        self.coded.store(now.0, Ordering::Relaxed);
        let head = Head::of(data);
        let mut state = self.state.lock().expect("flow lock");
        let (picture, lost) = state.transit.coded(at);
        self.meters.lost.increment(lost as u64);
        let starts = head.idr && head.sps && head.pps;
        state.decodable |= starts;
        if !state.decodable || head.idr && !starts {
            // Nobody could decode it: viewers join at key frames with parameter sets.
            drop(state);
            self.meters.undecodable.increment(1);
            return;
        }
        let unknown = Captured { at, error: self.period };
        let captured = picture.map_or(unknown, |picture| picture.captured);
        if state.after.is_some_and(|after| captured.at <= after) {
            drop(state);
            self.meters.lost.increment(1);
            return;
        }
        state.after = Some(captured.at);
        let seq = state.seq;
        state.seq += 1;
        drop(state);
        // The one copy: the encoder's buffers are few and go back to it.
        let data = Bytes::copy_from_slice(&data[head.begin..]);
        self.meters.frames.increment(1);
        self.meters.keys.increment(u64::from(head.idr));
        self.meters.bytes.increment(data.len() as u64);
        self.meters.copied.increment(data.len() as u64);
        self.ring.push(Frame { seq, captured, encoded: now, key: head.idr, data });
        if picture.is_none_or(|p| !p.slate) {
            self.done(captured.at, picture.and_then(|p| p.entered), now);
        }
    }

    fn done(&self, captured: Mono, entered: Option<Mono>, coded: Mono) {
        let now = clock::now();
        self.out.store(now.0, Ordering::Relaxed);
        let whole = now.since(captured);
        self.meters.to_ring.record(whole);
        if let Some(entered) = entered {
            let encode = coded.since(entered);
            self.meters.encode.record(encode);
            self.meters.own.record(whole.saturating_sub(encode));
        }
    }

    /// When a picture last came from the camera.
    pub fn last_seen(&self) -> Option<Mono> {
        Some(Mono(self.seen.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// When a frame of the camera last went into the ring.
    pub fn last_out(&self) -> Option<Mono> {
        Some(Mono(self.out.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// When anything last came out of the encoder.
    pub fn last_coded(&self) -> Option<Mono> {
        Some(Mono(self.coded.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// Pictures shed in front of the encoder so far.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Pictures that the driver marked as damaged so far.
    pub fn damaged_so_far(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Pictures that the driver lost so far.
    pub fn driver_lost(&self) -> u64 {
        self.driver_lost.load(Ordering::Relaxed)
    }

    /// Stamps that were not believed so far.
    pub fn implausible(&self) -> u64 {
        self.implausible.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[0, 0, 1, 9, 0x10, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1];
    const DELTA: &[u8] = &[0, 0, 1, 9, 0x30, 0, 0, 1, 0x41, 1];

    fn flow() -> (Arc<Ring>, Arc<Flow>) {
        let ring = Ring::new("t".into());
        (ring.clone(), Flow::new(ring, 25))
    }

    /// One picture, through everything.
    fn pass(flow: &Flow, data: &[u8]) -> Mono {
        let now = clock::now();
        let at = flow.seen(Some(now), Edge::Exact, now).at;
        flow.admitted(at);
        flow.entered(at, now);
        flow.coded(at, data, now);
        at
    }

    /// A feed begins with a picture that can be decoded.
    #[test]
    fn frames_before_the_first_key_frame_are_left_out() {
        let (ring, flow) = flow();
        pass(&flow, DELTA);
        pass(&flow, &KEY[13..]); // IDR without parameter sets
        assert!(ring.newest().is_none());
        let at = pass(&flow, KEY);
        let frame = ring.newest().unwrap();
        assert_eq!((frame.seq, frame.key, frame.captured.at), (0, true, at));
        assert_eq!(frame.data[..], KEY[5..]); // without the delimiter
        pass(&flow, DELTA);
        assert_eq!(ring.newest().map(|f| (f.seq, f.key)), Some((1, false)));
    }

    /// What comes out without having gone in still has a time, and an honest error.
    #[test]
    fn unknown_picture_is_marked_uncertain() {
        let (ring, flow) = flow();
        flow.coded(Mono(1_000_000), KEY, Mono(2_000_000));
        let captured = ring.newest().unwrap().captured;
        assert_eq!(captured, Captured { at: Mono(1_000_000), error: Duration::from_millis(40) });
    }

    /// An encoder that repeats or turns back time never disorders the ring.
    #[test]
    fn ring_times_only_rise() {
        let (ring, flow) = flow();
        flow.coded(Mono(2_000_000), KEY, Mono(3_000_000));
        flow.coded(Mono(2_000_000), KEY, Mono(3_000_000));
        flow.coded(Mono(1_000_000), DELTA, Mono(3_000_000));
        assert_eq!(ring.newest().map(|f| f.seq), Some(0));
    }
}
