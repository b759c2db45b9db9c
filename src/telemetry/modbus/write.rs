//! Guarded writes: what is wished for, and what became of it.
//!
//! Comes in: wishes, at most [`QUEUE`] that wait for one bus; more are refused. Goes out:
//! an outcome for each. The bus's owner does them, one at a time, between its reads.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::model::{Mono, TagId, Value};

/// Wishes that wait for one bus.
pub const QUEUE: usize = 4;

/// Somebody wants a tag to have a value.
pub struct Wish {
    /// Which.
    pub tag: TagId,
    /// In the tag's own unit.
    pub value: Value,
    /// Nothing is sent later than this.
    pub until: Mono,
    /// What became of it.
    pub reply: oneshot::Sender<Outcome>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The unit holds the value: it was read back.
    Written {
        /// What the tag showed before.
        before: Value,
        /// What it holds.
        holds: Value,
        /// The unit said so itself; its reply was lost otherwise.
        replied: bool,
        /// When the unit was asked to read it back.
        read: Mono,
    },
    /// Nothing was sent.
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// It was sent, and the unit holds something else.
    NotTaken {
        /// Why, as far as known.
        reason: String,
        /// What it holds, where that could be read.
        holds: Option<Value>,
    },
    /// It was sent, and nobody knows what the unit holds.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Nothing was sent.
    pub fn refused(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), remedy: remedy.into() }
    }

    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Written { .. } => "written",
            Self::Refused { .. } => "refused",
            Self::NotTaken { .. } => "not_taken",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// Where writes on a bus are asked for.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<Wish>);

/// Where they are heard: by the bus's owner.
#[derive(Clone)]
pub struct Wishes(pub(super) Arc<Mutex<mpsc::Receiver<Wish>>>);

/// Both ends.
pub fn channel() -> (Asker, Wishes) {
    let (asker, wishes) = mpsc::channel(QUEUE);
    (Asker(asker), Wishes(Arc::new(Mutex::new(wishes))))
}

impl Asker {
    /// Asks; never waits.
    pub fn ask(&self, wish: Wish) {
        let (wish, why) = match self.0.try_send(wish) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(wish)) => (wish, "others are being written"),
            Err(mpsc::error::TrySendError::Closed(wish)) => (wish, "the bus does not run"),
        };
        wish.end(Outcome::refused(why, "send it anew later"));
    }
}

impl Wish {
    /// Says what became of it.
    pub fn end(self, outcome: Outcome) {
        // Who asked may have given up.
        let _ = self.reply.send(outcome);
    }
}
