//! One feed inside the engine: its newest frames, packetised once for all.
//!
//! Comes in: frames from the feed's ring. Goes out: packets by place, to any
//! number of viewers at different places. When full ([`Limits`] as in the
//! ring), or when a newer key frame is [`GRACE`] old, the oldest frames go; a
//! viewer whose place is gone skips to the newest key frame. When the feed
//! breaks with what was (a rest, privacy), all of it goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::feed::ring::{Limits, Reader, Ring, Watching};
use crate::feed::rtp;
use crate::model::{FeedId, Mono};

/// How long after a key frame the frames before it are still sent to viewers
/// that are not through with them.
const GRACE: Duration = Duration::from_millis(500);
/// A key frame is asked for at most this often.
const KEY_EVERY: Duration = Duration::from_secs(1);
/// A cached GOP up to this size is replayed to who joins; a larger one takes
/// longer to send than a forced key frame takes to come.
const REPLAY: usize = 1_500_000;

/// One frame as RTP payloads.
pub struct Packed {
    /// Capture time.
    pub captured: Mono,
    /// An IDR picture with its parameter sets.
    pub key: bool,
    /// In order; the last carries the marker. Shared with every viewer.
    pub payloads: Vec<Arc<[u8]>>,
    bytes: usize,
}

/// A feed's packets.
pub struct Track {
    /// Whose.
    pub id: FeedId,
    ring: Arc<Ring>,
    reader: Reader,
    log: VecDeque<Arc<Packed>>,
    /// Place of the front of the log.
    first: u64,
    /// Places of the key frames in the log, oldest first.
    keys: VecDeque<u64>,
    bytes: usize,
    limits: Limits,
    profile: Arc<AtomicU32>,
    key_asked: Option<Instant>,
    breaks: u64,
    /// Tells of each frame, if somebody is to be told.
    waker: Option<AbortOnDropHandle<()>>,
}

impl Track {
    /// From the feed's newest key frame on. `profile` will show the
    /// profile-level-id of its SPS, 0 while unknown.
    pub fn new(ring: Arc<Ring>, profile: Arc<AtomicU32>) -> Self {
        Self {
            waker: None,
            id: ring.id().clone(),
            reader: ring.reader(),
            breaks: ring.breaks(),
            ring,
            log: VecDeque::new(),
            first: 0,
            keys: VecDeque::new(),
            bytes: 0,
            limits: Limits::default(),
            profile,
            key_asked: None,
        }
    }

    /// Takes what is new in the ring; true if there was something.
    pub fn take_new(&mut self) -> bool {
        let mut any = false;
        self.break_off(self.ring.breaks());
        while let Some(read) = self.reader.try_next() {
            self.break_off(read.breaks);
            any = true;
            if read.lost > 0 {
                // The engine itself fell behind: nothing before this key frame is whole.
                metrics::counter!("floorcast_web_frames_missed_total", "feed" => self.id.to_string())
                    .increment(read.lost);
                self.forget();
            }
            let payloads = rtp::packetise(&read.frame.data, rtp::PAYLOAD_MAX);
            if payloads.is_empty() {
                continue;
            }
            if read.frame.key {
                self.keys.push_back(self.end());
                if let Some(profile) = profile(&read.frame.data) {
                    self.profile.store(profile, Ordering::Relaxed);
                }
            }
            let bytes = payloads.iter().map(|p| p.len()).sum();
            self.bytes += bytes;
            let (captured, key) = (read.frame.captured.at, read.frame.key);
            self.log.push_back(Arc::new(Packed { captured, key, payloads, bytes }));
        }
        if any {
            self.evict();
        }
        any
    }

    /// Lets go of everything if the feed broke with it.
    fn break_off(&mut self, breaks: u64) {
        if std::mem::replace(&mut self.breaks, breaks) != breaks {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.first += self.log.len() as u64;
        self.log.clear();
        self.keys.clear();
        self.bytes = 0;
    }

    /// Somebody watches, as long as the answer is kept.
    pub fn watch(&self) -> Watching {
        self.ring.watch()
    }

    /// The same, and `frames` is notified of each frame. Needs a runtime.
    pub fn waking(mut self, frames: Arc<Notify>) -> Self {
        let mut reader = self.ring.reader();
        self.waker = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                reader.pushed().await;
                frames.notify_one();
            }
        })));
        self
    }

    /// True if these are the frames that it packs.
    pub fn is_of(&self, ring: &Arc<Ring>) -> bool {
        Arc::ptr_eq(&self.ring, ring)
    }

    fn evict(&mut self) {
        let Some(newest) = self.newest().map(|p| p.captured) else { return };
        loop {
            let Some(front) = self.log.front() else { return };
            let replaced = self.keys.back().is_some_and(|key| *key > self.first)
                && front.captured + GRACE < newest;
            let full = self.log.len() > self.limits.frames || self.bytes > self.limits.bytes;
            if self.log.len() == 1 || !(replaced || full) {
                return;
            }
            self.bytes -= front.bytes;
            self.log.pop_front();
            if self.keys.front() == Some(&self.first) {
                self.keys.pop_front();
            }
            self.first += 1;
        }
    }

    /// The place after the newest frame.
    pub fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// The frame at a place; nothing if it is gone or not there yet.
    pub fn get(&self, place: u64) -> Option<&Arc<Packed>> {
        self.log.get(place.checked_sub(self.first)? as usize)
    }

    /// The newest frame.
    pub fn newest(&self) -> Option<&Arc<Packed>> {
        self.log.back()
    }

    /// The place of the newest key frame, at or after `from`.
    pub fn newest_key(&self, from: u64) -> Option<u64> {
        self.keys.back().copied().filter(|key| *key >= from)
    }

    /// Where a viewer that joins starts: the newest key frame, unless what
    /// follows it is too much to replay.
    pub fn replay_from(&self) -> Option<u64> {
        let key = self.newest_key(self.first)?;
        let bytes: usize = self.log.range((key - self.first) as usize..).map(|p| p.bytes).sum();
        (bytes <= REPLAY).then_some(key)
    }

    /// Asks for a key frame, unless that was done just now.
    pub fn want_key(&mut self, now: Instant) {
        if self.key_asked.is_none_or(|at| now.duration_since(at) >= KEY_EVERY) {
            self.key_asked = Some(now);
            metrics::counter!("floorcast_web_key_frames_asked_total", "feed" => self.id.to_string())
                .increment(1);
            self.ring.want_key();
        }
    }
}

/// The profile-level-id of the first SPS (RFC 6184, 8.1).
fn profile(annex_b: &[u8]) -> Option<u32> {
    let sps = rtp::nal_units(annex_b).find(|unit| unit[0] & 0x1f == 7)?;
    let bytes = sps.get(1..4)?;
    Some(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Captured, Frame};

    const SPS: [u8; 8] = [0, 0, 0, 1, 0x67, 0x42, 0xe0, 0x1f];

    fn push(ring: &Ring, seq: u64, key: bool) {
        let at = Mono(seq * 40_000_000);
        let unit = [0, 0, 0, 1, if key { 0x65 } else { 0x41 }, 7];
        let data = if key { [&SPS[..], &unit].concat() } else { unit.to_vec() };
        let captured = Captured { at, error: Duration::ZERO };
        ring.push(Frame { seq, captured, encoded: at, key, data: data.into() });
    }

    fn track() -> (Arc<Ring>, Track) {
        let ring = Ring::new("cam".into());
        (ring.clone(), Track::new(ring, Arc::default()))
    }

    /// A viewer in the last frames of a GOP may finish it after the next key frame.
    #[test]
    fn the_end_of_the_last_gop_stays_a_moment() {
        let (ring, mut track) = track();
        for seq in 0..20 {
            push(&ring, seq, seq % 10 == 0);
            assert!(track.take_new());
        }
        assert_eq!(track.replay_from(), Some(10));
        // 500 ms before frame 19 at 40 ms each: frames from 7 on.
        let kept: Vec<_> = (0..20).filter(|place| track.get(*place).is_some()).collect();
        assert_eq!(kept, (7..20).collect::<Vec<_>>());
        assert_eq!(track.profile.load(Ordering::Relaxed), 0x42e01f);
    }

    /// However many viewers wait for a key frame, one is asked for per second.
    #[tokio::test]
    async fn a_key_frame_is_asked_for_once_per_second() {
        let (ring, mut track) = track();
        let start = Instant::now();
        (0..10).for_each(|_| track.want_key(start));
        ring.key_wanted().await;
        track.want_key(start + Duration::from_millis(999));
        let waiting = tokio::time::timeout(Duration::ZERO, ring.key_wanted()).await;
        assert!(waiting.is_err());
        track.want_key(start + Duration::from_secs(1));
        ring.key_wanted().await;
    }

    /// After a break (a rest, privacy) who joins waits for the key frame that
    /// comes next, and who is in the middle of what was goes on there too.
    #[test]
    fn nothing_of_before_a_break_is_left() {
        let (ring, mut track) = track();
        (0..3).for_each(|seq| push(&ring, seq, seq == 0));
        track.take_new();
        assert_eq!(track.replay_from(), Some(0));
        push(&ring, 3, false); // not taken yet: it goes as well
        ring.break_off();
        assert!(!track.take_new());
        assert_eq!((track.replay_from(), track.newest().is_none()), (None, true));
        let end = track.end();
        push(&ring, 4, true);
        assert!(track.take_new());
        assert!(track.replay_from().is_some_and(|at| at >= end));
        assert_eq!(track.newest().map(|p| p.captured), Some(Mono(160_000_000)));
    }

    /// When the engine itself lost frames, no viewer is sent the rest of that GOP.
    #[test]
    fn a_gap_in_the_ring_empties_the_log() {
        let limits = Limits { frames: 4, bytes: 1 << 20 };
        let ring = Ring::with_limits("cam".into(), limits);
        let mut track = Track::new(ring.clone(), Arc::default());
        push(&ring, 0, true);
        track.take_new();
        (1..9).for_each(|seq| push(&ring, seq, seq == 7));
        track.take_new();
        assert!(track.get(0).is_none());
        assert_eq!(track.replay_from().and_then(|at| track.get(at)).map(|p| p.key), Some(true));
    }
}
