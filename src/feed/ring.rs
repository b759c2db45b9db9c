//! The ring: one feed's newest frames.
//!
//! Comes in: frames in capture order. Goes out: the same frames, shared, to
//! any number of [`Reader`]s. When full ([`Limits`]), the oldest GOP goes; a
//! reader that fell behind skips to the newest key frame and is told how many
//! frames it lost, so that a coded frame is never missing from the middle of
//! what it decodes. Upstream go two things: that somebody watches, and that
//! somebody wants a key frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::model::{FeedId, Frame};

/// How much a ring keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At most this many frames.
    pub frames: usize,
    /// At most this many coded bytes; the newest frame stays even if it alone is larger.
    pub bytes: usize,
}

impl Default for Limits {
    /// 20 s at 30 fps, 25 s at 2.5 Mbit/s.
    fn default() -> Self {
        Self { frames: 600, bytes: 8 << 20 }
    }
}

/// One feed's newest frames. Shared by reference.
pub struct Ring {
    id: FeedId,
    limits: Limits,
    kept: Mutex<Kept>,
    pushed: watch::Sender<u64>,
    key_wanted: Notify,
    watched: watch::Sender<usize>,
}

/// Somebody watches the feed, until this is dropped.
pub struct Watching(Arc<Ring>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watched.send_modify(|n| *n -= 1);
    }
}

#[derive(Default)]
struct Kept {
    frames: VecDeque<Arc<Frame>>,
    /// Position of the front: the number of frames that have left.
    first: u64,
    /// Positions of the key frames kept, oldest first.
    keys: VecDeque<u64>,
    bytes: usize,
    /// The last one taken, kept or not.
    newest: Option<Arc<Frame>>,
    /// Times that the feed broke with what was kept.
    breaks: u64,
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn drop_front(&mut self) {
        let Some(frame) = self.frames.pop_front() else { return };
        self.bytes -= frame.data.len();
        if self.keys.front() == Some(&self.first) {
            self.keys.pop_front();
        }
        self.first += 1;
    }

    /// Lets the oldest GOP go. A GOP that alone is too much loses its key
    /// frame first: who is up to date goes on, who joins waits for the next.
    fn evict(&mut self, limits: Limits) {
        while self.frames.len() > 1
            && (self.frames.len() > limits.frames || self.bytes > limits.bytes)
        {
            let next_key = self.keys.iter().copied().find(|at| *at > self.first);
            let until = next_key.unwrap_or(self.first + 1);
            while self.first < until {
                self.drop_front();
            }
        }
    }
}

impl Ring {
    /// An empty ring.
    pub fn new(id: FeedId) -> Arc<Self> {
        Self::with_limits(id, Limits::default())
    }

    /// An empty ring that keeps at most `limits`.
    pub fn with_limits(id: FeedId, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            id,
            limits,
            kept: Mutex::default(),
            pushed: watch::Sender::new(0),
            key_wanted: Notify::new(),
            watched: watch::Sender::new(0),
        })
    }

    /// Whose frames.
    pub fn id(&self) -> &FeedId {
        &self.id
    }

    /// Takes the next frame and wakes the readers. Never waits for them.
    pub fn push(&self, frame: Frame) {
        let end = {
            let mut kept = self.kept.lock().expect("ring lock");
            if frame.key {
                let at = kept.end();
                kept.keys.push_back(at);
            }
            kept.bytes += frame.data.len();
            let frame = Arc::new(frame);
            kept.newest = Some(frame.clone());
            kept.frames.push_back(frame);
            kept.evict(self.limits);
            kept.end()
        };
        self.pushed.send_replace(end);
    }

    /// The newest frame, decodable or not, kept or not.
    pub fn newest(&self) -> Option<Arc<Frame>> {
        self.kept.lock().expect("ring lock").newest.clone()
    }

    /// A reader that starts at the newest key frame, or at the next one if
    /// none is kept.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader { ring: self.clone(), pushed: self.pushed.subscribe(), next: None }
    }

    /// What was kept is of before and goes; a key frame comes next. The readers
    /// are woken.
    pub fn break_off(&self) {
        let mut kept = self.kept.lock().expect("ring lock");
        kept.first = kept.end();
        kept.frames.clear();
        kept.keys.clear();
        kept.bytes = 0;
        kept.breaks += 1;
        drop(kept);
        self.pushed.send_modify(|_| {});
    }

    /// How often the feed broke with what it kept.
    pub fn breaks(&self) -> u64 {
        self.kept.lock().expect("ring lock").breaks
    }

    /// Somebody watches, as long as the answer is kept: a feed on demand rests otherwise.
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.watched.send_modify(|n| *n += 1);
        Watching(self.clone())
    }

    /// How many watch, and changes of it (capture waits on this).
    pub fn watched(&self) -> watch::Receiver<usize> {
        self.watched.subscribe()
    }

    /// A viewer wants a key frame. Capture asks the encoder at most once a second.
    pub fn want_key(&self) {
        self.key_wanted.notify_one();
    }

    /// Resolves when a viewer wants a key frame (capture waits on this).
    pub async fn key_wanted(&self) {
        self.key_wanted.notified().await;
    }
}

/// A place in a [`Ring`].
pub struct Reader {
    ring: Arc<Ring>,
    pushed: watch::Receiver<u64>,
    /// Position of the frame to read next; none before the first read.
    next: Option<u64>,
}

/// What a reader finds.
#[derive(Clone, Debug)]
pub struct Read {
    /// The next frame; a key frame if `lost` is not zero, and at first.
    pub frame: Arc<Frame>,
    /// Frames that left the ring before this reader came for them.
    pub lost: u64,
    /// How often the feed had broken with what was before.
    pub breaks: u64,
}

impl Reader {
    /// The next frame, or nothing if there is none yet.
    pub fn try_next(&mut self) -> Option<Read> {
        let kept = self.ring.kept.lock().expect("ring lock");
        let at = match self.next {
            Some(next) if next >= kept.first => next,
            // At first, and after a loss: the shortest way to now.
            _ => *kept.keys.back()?,
        };
        let frame = kept.frames.get((at - kept.first) as usize)?.clone();
        let lost = self.next.map_or(0, |next| at - next);
        self.next = Some(at + 1);
        Some(Read { frame, lost, breaks: kept.breaks })
    }

    /// Waits for the next frame.
    pub async fn next(&mut self) -> Read {
        loop {
            self.pushed.mark_unchanged();
            if let Some(read) = self.try_next() {
                return read;
            }
            self.pushed().await;
        }
    }

    /// Resolves when a frame was pushed since the last look.
    pub async fn pushed(&mut self) {
        if self.pushed.changed().await.is_err() {
            // Not reached: the sender lives in the ring, which `self` holds.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Captured, Mono};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::time::Duration;

    fn frame(seq: u64, key: bool, len: usize) -> Frame {
        let at = Mono(seq * 40_000_000);
        let captured = Captured { at, error: Duration::ZERO };
        Frame { seq, captured, encoded: at, key, data: Bytes::from(vec![0; len]) }
    }

    fn ring(frames: usize, bytes: usize) -> Arc<Ring> {
        Ring::with_limits("cam".into(), Limits { frames, bytes })
    }

    fn all(reader: &mut Reader) -> Vec<u64> {
        std::iter::from_fn(|| reader.try_next()).map(|read| read.frame.seq).collect()
    }

    /// A viewer that joins starts at the newest key frame, not in the middle of a GOP.
    #[test]
    fn joining_starts_at_the_newest_key_frame() {
        let ring = ring(100, 1000);
        for seq in 0..8 {
            ring.push(frame(seq, seq % 3 == 0, 1));
        }
        assert_eq!(all(&mut ring.reader()), [6, 7]);
    }

    /// Before the first key frame nothing is decodable, so nothing is read.
    #[test]
    fn joining_without_a_key_frame_waits_for_it() {
        let ring = ring(100, 1000);
        ring.push(frame(0, false, 1));
        let mut reader = ring.reader();
        assert!(all(&mut reader).is_empty());
        ring.push(frame(1, true, 1));
        assert_eq!(all(&mut reader), [1]);
    }

    /// Who fell behind resumes at the newest key frame and learns how much is lost.
    #[test]
    fn a_slow_reader_skips_to_the_newest_key_frame() {
        let ring = ring(6, 1000);
        let mut reader = ring.reader();
        ring.push(frame(0, true, 1));
        assert_eq!(all(&mut reader), [0]);
        for seq in 1..14 {
            ring.push(frame(seq, seq % 3 == 0, 1));
        }
        let read = reader.try_next().expect("a frame");
        assert_eq!((read.frame.seq, read.frame.key, read.lost), (12, true, 11));
        assert_eq!(all(&mut reader), [13]);
    }

    /// After a break nothing of before is read, whoever reads; numbers go on.
    #[test]
    fn nothing_of_before_a_break_is_read() {
        let ring = ring(100, 1000);
        let mut reader = ring.reader();
        (0..4).for_each(|seq| ring.push(frame(seq, seq == 0, 1)));
        assert_eq!(reader.try_next().map(|read| read.frame.seq), Some(0));
        ring.break_off();
        assert!(all(&mut reader).is_empty());
        assert!(all(&mut ring.reader()).is_empty());
        assert_eq!(ring.newest().map(|frame| frame.seq), Some(3));
        ring.push(frame(4, true, 1));
        let read = reader.try_next().expect("the key frame");
        assert_eq!((read.frame.seq, read.lost, read.breaks), (4, 3, 1));
        assert_eq!(all(&mut ring.reader()), [4]);
    }

    /// A feed is watched as long as somebody does.
    #[test]
    fn watching_ends_with_the_last_who_watch() {
        let ring = ring(100, 1000);
        let watched = ring.watched();
        let (one, two) = (ring.watch(), ring.watch());
        drop(one);
        assert_eq!(*watched.borrow(), 1);
        drop(two);
        assert_eq!(*watched.borrow(), 0);
    }

    /// A GOP larger than the ring never stops a reader that keeps up.
    #[test]
    fn an_endless_gop_keeps_flowing_to_who_keeps_up() {
        let ring = ring(4, 1000);
        let mut reader = ring.reader();
        for seq in 0..20 {
            ring.push(frame(seq, seq == 0, 1));
            assert_eq!(all(&mut reader), [seq]);
        }
        assert!(all(&mut ring.reader()).is_empty());
    }

    /// A wish for a key frame is remembered until capture looks.
    #[tokio::test]
    async fn a_wish_for_a_key_frame_is_kept() {
        let ring = ring(4, 1000);
        ring.want_key();
        ring.want_key();
        ring.key_wanted().await;
    }

    proptest! {
        /// Whatever comes: both limits hold, and every reader sees rising
        /// frames in which a gap is always followed by a key frame.
        #[test]
        fn limits_hold_and_gaps_end_at_key_frames(
            frames in proptest::collection::vec((proptest::bool::weighted(0.2), 1usize..60), 1..200),
            max_frames in 1usize..40,
            max_bytes in 60usize..600,
            every in 1usize..12,
        ) {
            let ring = ring(max_frames, max_bytes);
            let mut reader = ring.reader();
            let mut last: Option<u64> = None;
            for (seq, (key, len)) in frames.iter().enumerate() {
                ring.push(frame(seq as u64, *key, *len));
                {
                    let kept = ring.kept.lock().expect("ring lock");
                    prop_assert!(kept.frames.len() <= max_frames && kept.bytes <= max_bytes);
                    prop_assert_eq!(kept.bytes, kept.frames.iter().map(|f| f.data.len()).sum::<usize>());
                    for at in &kept.keys {
                        prop_assert!(kept.frames[(at - kept.first) as usize].key);
                    }
                }
                if seq % every == 0 {
                    while let Some(read) = reader.try_next() {
                        let expected = last.map_or(read.frame.seq, |last| last + 1 + read.lost);
                        prop_assert_eq!(read.frame.seq, expected);
                        prop_assert!(read.frame.key || (last.is_some() && read.lost == 0));
                        last = Some(read.frame.seq);
                    }
                }
            }
        }
    }
}
