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

use arc_swap::ArcSwap;
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
    tags: ArcSwap<Arc<[Tag]>>,
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
    /// A board for a revision's tags; `tags[i].id` is `TagId(i)`, also where retired.
    pub fn new(tags: Arc<[Tag]>) -> Arc<Self> {
        Arc::new(Self {
            newest: RwLock::new(vec![None; tags.len()]),
            past: Mutex::default(),
            batches: broadcast::Sender::new(BACKLOG),
            tags: ArcSwap::from_pointee(tags),
        })
    }

    /// The revision's tags.
    pub fn tags(&self) -> Arc<[Tag]> {
        self.tags.load().as_ref().clone()
    }

    /// Another revision's tags, of which those with the same id are the same. What
    /// is known of tags that have gone is forgotten; a sample of theirs that still
    /// comes is nobody's.
    pub fn retag(&self, tags: Arc<[Tag]>) {
        let mut newest = self.newest.write().expect("board lock");
        newest.resize(tags.len(), None);
        for (slot, tag) in newest.iter_mut().zip(&*tags) {
            if tag.is_retired() {
                *slot = None;
            }
        }
        let mut past = self.past.lock().expect("board lock");
        let known =
            |sample: &Sample| tags.get(sample.tag.0 as usize).is_some_and(|t| !t.is_retired());
        for (_, batch) in &mut past.batches {
            if !batch.iter().all(known) {
                *batch = batch.iter().filter(|sample| known(sample)).cloned().collect();
            }
        }
        past.samples = past.batches.iter().map(|(_, batch)| batch.len()).sum();
        self.tags.store(Arc::new(tags));
    }

    /// Publishes samples that became known together. A sample older than the
    /// newest of its tag is passed on but does not replace it.
    pub fn publish(&self, mut samples: Vec<Sample>) {
        {
            let mut newest = self.newest.write().expect("board lock");
            let tags = self.tags.load();
            let known = |tag: TagId| tags.get(tag.0 as usize).is_some_and(|t| !t.is_retired());
            samples.retain(|sample| known(sample.tag));
            for sample in &samples {
                let Some(slot) = newest.get_mut(sample.tag.0 as usize) else { continue };
                if slot.as_ref().is_none_or(|old| old.taken <= sample.taken) {
                    *slot = Some(sample.clone());
                }
            }
        }
        if samples.is_empty() {
            return;
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

    /// After another revision's tags: those that stay keep their newest sample, those
    /// that went are forgotten, and late samples of theirs reach nobody.
    #[test]
    fn another_revision_keeps_what_stays() {
        let board = board(2);
        board.publish(vec![sample(0, 1, 10), sample(1, 2, 10)]);
        let mut tags: Vec<Tag> = board.tags().to_vec();
        tags[0] = Tag::retired(TagId(0));
        tags.push(Tag { id: TagId(2), name: "t2".into(), ..tags[1].clone() });
        board.retag(tags.into());
        let mut batches = board.subscribe();
        board.publish(vec![sample(0, 3, 20)]);
        assert!(batches.try_recv().is_err());
        board.publish(vec![sample(0, 3, 20), sample(2, 4, 20), sample(9, 5, 20)]);
        let values = |batch: &[Sample]| batch.iter().map(|s| s.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&batches.try_recv().unwrap()), [Value::Int(4)]);
        assert_eq!(values(&board.snapshot()), [Value::Int(2), Value::Int(4)]);
        assert_eq!(values(&board.past(Mono(0)).concat()), [Value::Int(2), Value::Int(4)]);
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
