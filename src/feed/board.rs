//! The board: every tag's newest sample, and the stream of all samples.
//!
//! Comes in: batches of samples from telemetry. Goes out: the newest sample
//! of each tag, and every batch to subscribers. A subscriber that falls more
//! than [`BACKLOG`] batches behind loses the oldest, is told how many, and
//! reads [`Board::newest`] to heal.

use std::sync::{Arc, RwLock};

use tokio::sync::broadcast;

use crate::model::{Sample, Tag, TagId};

/// Batches a subscriber may fall behind.
pub const BACKLOG: usize = 1024;

/// Every tag's newest sample. Shared by reference.
pub struct Board {
    tags: Arc<[Tag]>,
    newest: RwLock<Vec<Option<Sample>>>,
    batches: broadcast::Sender<Arc<[Sample]>>,
}

impl Board {
    /// A board for a revision's tags; `tags[i].id` is `TagId(i)`.
    pub fn new(tags: Arc<[Tag]>) -> Arc<Self> {
        Arc::new(Self {
            newest: RwLock::new(vec![None; tags.len()]),
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
        // No subscriber is not an error.
        let _ = self.batches.send(samples.into());
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
