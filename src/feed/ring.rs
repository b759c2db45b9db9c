//! The ring: one feed's newest frames.
//!
//! Comes in: frames in capture order. Goes out: the same frames, shared. When
//! full, the oldest GOP goes; a reader that fell behind skips to a key frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::model::{FeedId, Frame};

/// One feed's newest frames. Shared by reference.
pub struct Ring {
    id: FeedId,
    frames: Mutex<VecDeque<Arc<Frame>>>,
    newest: watch::Sender<u64>,
    key_wanted: Notify,
}

/// At most this many frames are kept.
const FRAMES: usize = 600;

impl Ring {
    /// An empty ring.
    pub fn new(id: FeedId) -> Arc<Self> {
        Arc::new(Self {
            id,
            frames: Mutex::default(),
            newest: watch::Sender::new(0),
            key_wanted: Notify::new(),
        })
    }

    /// Whose frames.
    pub fn id(&self) -> &FeedId {
        &self.id
    }

    /// Takes the next frame and wakes the readers.
    pub fn push(&self, frame: Frame) {
        let seq = frame.seq;
        let mut frames = self.frames.lock().expect("ring lock");
        if frames.len() == FRAMES {
            frames.pop_front();
        }
        frames.push_back(Arc::new(frame));
        drop(frames);
        self.newest.send_replace(seq);
    }

    /// The newest frame.
    pub fn newest(&self) -> Option<Arc<Frame>> {
        self.frames.lock().expect("ring lock").back().cloned()
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
