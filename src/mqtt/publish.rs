//! Publishing over one session.
//!
//! Comes in: messages, sent in the order in which they are handed over. Goes
//! out: the broker's acknowledgement of each. When full: [`INFLIGHT`] messages
//! without an acknowledgement, then handing over waits. A broker that leaves
//! one unacknowledged for [`ACKNOWLEDGE`] is given up: the session ends. When a
//! session ends, whoever waits hears at once that no acknowledgement will come.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::wire::{Client, INFLIGHT, Notice};

/// Each acknowledgement comes within this time.
pub const ACKNOWLEDGE: Duration = Duration::from_secs(30);

/// Hands messages to one session; clones share it.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    room: Arc<Semaphore>,
    /// How much of the room a message takes.
    share: u32,
    /// The greatest packet that the broker takes, bytes.
    packet_max: u32,
    /// Cancelled where the session has ended, or is to end.
    over: CancellationToken,
}

/// Why a message did not get through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// The session ended first: whether the broker has it is not known.
    Lost,
    /// The broker does not take it, in its own terms.
    Refused(String),
    /// It exceeds what the broker takes.
    TooLarge {
        /// The packet with its head, bytes.
        size: usize,
        /// The greatest that the broker takes, bytes.
        most: u32,
    },
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => write!(f, "the session ended first"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::TooLarge { size, most } => {
                write!(f, "a packet of {size} bytes; the broker takes {most}: raise its limit")
            }
        }
    }
}

impl std::error::Error for Unsent {}

/// A message that was handed over.
pub struct Receipt(oneshot::Receiver<Result<(), Unsent>>);

impl Publisher {
    pub(super) fn new(client: Client, packet_max: u32, over: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(INFLIGHT.into()));
        Self { client, room, share: 1, packet_max, over }
    }

    /// For messages that go alone: handed over once the broker has answered for all others,
    /// which wait for its answer in turn.
    pub fn alone(&self) -> Self {
        Self { share: INFLIGHT.into(), ..self.clone() }
    }

    /// Waits until the session has ended.
    pub async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// Hands a message over; waits while too many are unacknowledged.
    ///
    /// # Errors
    /// [`Unsent::TooLarge`] before anything is sent, [`Unsent::Lost`] when the
    /// session has ended, [`Unsent::Refused`] where `topic` has a wildcard.
    pub async fn send(
        &self,
        topic: &str,
        payload: Bytes,
        qos: u8,
        retain: bool,
    ) -> Result<Receipt, Unsent> {
        let size = packet(topic.len(), payload.len());
        if size > self.packet_max as usize {
            return Err(Unsent::TooLarge { size, most: self.packet_max });
        }
        let room = self.room.clone().acquire_many_owned(self.share);
        let handed = async {
            let room = room.await.map_err(|_| Unsent::Lost)?;
            let notice = self.client.publish(topic, payload, qos, retain).await?;
            Ok((notice, room))
        };
        // A session that hangs keeps its room to itself.
        let (notice, room) = tokio::select! {
            handed = handed => handed?,
            () = self.over.cancelled() => return Err(Unsent::Lost),
        };
        let (tell, answer) = oneshot::channel();
        let over = self.over.clone();
        // By itself: others get the room also where nobody looks at the receipt.
        tokio::spawn(async move {
            let answer = answer_to(notice, &over).await;
            drop(room);
            // Nobody may want to know.
            let _ = tell.send(answer);
        });
        Ok(Receipt(answer))
    }

    /// Publishes; resolves when the broker has acknowledged, with `qos` 0 when
    /// it is sent.
    ///
    /// # Errors
    /// Those of [`Self::send`], and the broker's refusal (MQTT 5; 3.1.1 has none).
    pub fn publish(
        &self,
        topic: String,
        payload: Bytes,
        qos: u8,
        retain: bool,
    ) -> impl Future<Output = Result<(), Unsent>> + Send + use<> {
        let publisher = self.clone();
        async move { publisher.send(&topic, payload, qos, retain).await?.acknowledged().await }
    }
}

impl Receipt {
    /// Waits for the broker's acknowledgement.
    ///
    /// # Errors
    /// The broker's refusal, or the end of the session.
    pub async fn acknowledged(self) -> Result<(), Unsent> {
        self.0.await.unwrap_or(Err(Unsent::Lost))
    }
}

async fn answer_to(notice: Notice, over: &CancellationToken) -> Result<(), Unsent> {
    tokio::select! {
        // What was answered before the end was answered.
        biased;
        answer = timeout(ACKNOWLEDGE, notice.acknowledged()) => answer.unwrap_or_else(|_| {
            over.cancel();
            Err(Unsent::Lost)
        }),
        // The library keeps what it had not taken from its queue, without an answer.
        () = over.cancelled() => Err(Unsent::Lost),
    }
}

/// Size of a PUBLISH, at most (MQTT 5, section 3.3): type, remaining length,
/// topic with its length, packet identifier, no properties.
fn packet(topic: usize, payload: usize) -> usize {
    1 + 4 + 2 + topic + 2 + 1 + payload
}
