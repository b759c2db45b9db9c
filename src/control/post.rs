//! What the box says over its control session.
//!
//! Comes in: letters. Goes out: each to the broker, in order, until it is acknowledged;
//! over the next session if one ends first. When full ([`QUEUE`], [`BYTES`]), what is said
//! last is dropped and counted. What the broker refuses is dropped, counted and logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::mqtt::{Publisher, Unsent};

/// Letters that wait.
const QUEUE: usize = 512;
/// Payload bytes that wait: pictures are large.
const BYTES: usize = 8 << 20;

/// Over which session; `None` while there is none.
pub type Line = watch::Receiver<Option<Publisher>>;

/// One message.
pub struct Letter {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    /// Only of use now: gone with the session.
    pub passing: bool,
}

/// Where letters are handed in; clones share it.
#[derive(Clone)]
pub struct Post {
    letters: mpsc::Sender<Letter>,
    /// Payload bytes that wait.
    waiting: Arc<AtomicUsize>,
}

fn dropped(why: &'static str) {
    metrics::counter!("floorcast_control_letters_dropped_total", "why" => why).increment(1);
}

impl Post {
    /// A post office and its work, to be run until `stop`.
    pub fn open(line: Line, stop: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (post, letters) = mpsc::channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let of = waiting.clone();
        let work = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = deliver(letters, line, of) => {}
            }
        };
        (Self { letters: post, waiting }, work)
    }

    /// Hands a letter in; never waits.
    pub fn send(&self, letter: Letter) {
        let bytes = letter.payload.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > BYTES || self.letters.try_send(letter).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            dropped("full");
        }
    }
}

async fn deliver(mut letters: mpsc::Receiver<Letter>, mut line: Line, waiting: Arc<AtomicUsize>) {
    while let Some(letter) = letters.recv().await {
        waiting.fetch_sub(letter.payload.len(), Ordering::Relaxed);
        loop {
            // Whoever could open a session is gone: so is what was to be said.
            let Ok(publisher) = line.wait_for(Option::is_some).await.map(|p| p.clone()) else {
                return;
            };
            let Some(publisher) = publisher else { continue };
            let Letter { topic, payload, retain, passing } = &letter;
            match publisher.publish(topic.clone(), payload.clone(), 1, *retain).await {
                Ok(()) => break,
                Err(Unsent::Lost) if *passing => break,
                // This session has nothing more to offer.
                Err(Unsent::Lost) => {
                    if line.changed().await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    dropped("refused");
                    warn!(topic, "not published: {why}");
                    break;
                }
            }
        }
    }
}
