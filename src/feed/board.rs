//! The board: every tag's newest sample, and the stream of all samples.
//!
//! Comes in: batches of samples from telemetry. Goes out: the newest sample
//! of each tag, every batch to subscribers, and the recent past to who joins
//! late. A subscriber that falls more than [`BACKLOG`] batches behind loses
//! the oldest, is told how many, and reads [`Board::newest`] to heal. The past
//! ends at [`PAST`] or [`PAST_SAMPLES`], whichever is less.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::model::{Mono, Sample, Tag, TagId};

/// Batches a subscriber may fall behind.
pub const BACKLOG: usize = 1024;

/// Samples received longer ago than this are forgotten.
pub const PAST: Duration = Duration::from_secs(5);

/// At most this many samples of the past are kept, batches as a whole.
pub const PAST_SAMPLES: usize = 50_000;

/// Every tag's newest sample. Shared by reference.
pub struct Board {
    tags: Arc<[Tag]>,
    newest: RwLock<Vec<Option<Sample>>>,
    past: Mutex<Past>,
    batches: broadcast::Sender<Arc<[Sample]>>,
}

#[derive(Default)]
struct Past {
    batches: VecDeque<(Mono, Arc<[Sample]>)>,
    samples: usize,
}

impl Board {
    /// A board for a revision's tags; `tags[i].id` is `TagId(i)`.
    pub fn new(tags: Arc<[Tag]>) -> Arc<Self> {
        Arc::new(Self {
            newest: RwLock::new(vec![None; tags.len()]),
            past: Mutex::default(),
            batches: broadcast::Sender::new(BACKLOG),
            tags,
        })
    }

    /// The revision's tags.
    pub fn tags(&self) -> &Arc<[Tag]> {
        &self.tags
    }

    /// Publishes samples that became known together. A sample older than the
    /// newest of its tag is passed on but does not replace it.
    pub fn publish(&self, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        {
            let mut newest = self.newest.write().expect("board lock");
            for sample in &samples {
                let slot = &mut newest[sample.tag.0 as usize];
                if slot.as_ref().is_none_or(|old| old.taken <= sample.taken) {
                    *slot = Some(sample.clone());
                }
            }
        }
        let samples: Arc<[Sample]> = samples.into();
        let received = samples.iter().map(|s| s.received).max().unwrap_or_default();
        let mut past = self.past.lock().expect("board lock");
        past.samples += samples.len();
        past.batches.push_back((received, samples.clone()));
        while past.batches.len() > 1
            && (past.samples > PAST_SAMPLES || past.batches[0].0 + PAST < received)
        {
            let gone = past.batches.pop_front().map_or(0, |(_, batch)| batch.len());
            past.samples -= gone;
        }
        // Still under the lock, so that the past and a subscription made with
        // it neither overlap nor leave a gap. No subscriber is not an error.
        let _ = self.batches.send(samples);
    }

    /// The batches received at or after `since`, oldest first: at least the
    /// last two seconds, unless more than [`PAST_SAMPLES`] came in them.
    pub fn past(&self, since: Mono) -> Vec<Arc<[Sample]>> {
        let past = self.past.lock().expect("board lock");
        past.batches.iter().filter(|(at, _)| *at >= since).map(|(_, b)| b.clone()).collect()
    }

    /// A tag's newest sample.
    pub fn newest(&self, tag: TagId) -> Option<Sample> {
        self.newest.read().expect("board lock").get(tag.0 as usize).cloned().flatten()
    }

    /// The newest sample of every tag that has one.
    pub fn snapshot(&self) -> Vec<Sample> {
        self.newest.read().expect("board lock").iter().flatten().cloned().collect()
    }

    /// All batches from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Sample]>> {
        self.batches.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Label, Quality, Source, Value};

    fn board(tags: u32) -> Arc<Board> {
        let tag = |id| Tag {
            id: TagId(id),
            name: format!("t{id}").into(),
            label: Label::default(),
            unit: String::new(),
            decimals: 0,
            range: None,
            warn: (None, None),
            stale_after: Duration::from_secs(2),
            public: true,
            source: Source::Broker("test".into()),
        };
        Board::new((0..tags).map(tag).collect())
    }

    fn sample(tag: u32, value: i128, ms: u64) -> Sample {
        let at = Mono(ms * 1_000_000);
        Sample {
            tag: TagId(tag),
            value: Value::Int(value),
            quality: Quality::Good,
            reason: None,
            taken: at,
            error: Duration::ZERO,
            requested: at,
            received: at,
        }
    }

    /// A late sample is passed on, but the newest one stays the newest.
    #[test]
    fn a_late_sample_does_not_replace_the_newest() {
        let board = board(1);
        let mut batches = board.subscribe();
        board.publish(vec![sample(0, 2, 20)]);
        board.publish(vec![sample(0, 1, 10)]);
        assert_eq!(board.newest(TagId(0)).map(|s| s.value), Some(Value::Int(2)));
        let got = [batches.try_recv(), batches.try_recv()].map(|b| b.expect("batch").len());
        assert_eq!(got, [1, 1]);
    }

    /// The past reaches back five seconds and no further.
    #[test]
    fn the_past_is_bounded_in_time() {
        let board = board(1);
        for second in 0..20 {
            board.publish(vec![sample(0, i128::from(second), second * 1000)]);
        }
        let values: Vec<_> = board.past(Mono(0)).iter().map(|b| b[0].value.clone()).collect();
        assert_eq!(values, (14..20).map(Value::Int).collect::<Vec<_>>());
        assert_eq!(board.past(Mono(18_000_000_000)).len(), 2);
    }

    /// A flood of samples does not grow the past beyond its limit.
    #[test]
    fn the_past_is_bounded_in_samples() {
        let board = board(1);
        for i in 0..60u64 {
            board.publish((0..1000).map(|v| sample(0, v, i)).collect());
        }
        let kept: usize = board.past(Mono(0)).iter().map(|b| b.len()).sum();
        assert_eq!(kept, PAST_SAMPLES);
    }
}
