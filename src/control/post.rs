//! What the box says over its control session.
//!
//! Comes in: letters. Goes out: each to the broker, in order, until it is acknowledged;
//! over the next session if one ends first. When full ([`QUEUE`], [`BYTES`]), what is said
//! last is dropped and counted. What the broker refuses is dropped, counted and logged;
//! so is what ends one session after the other ([`suspects`](super::suspects)).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::suspects::{ASIDE, LIMIT, Suspects, Way};
use crate::clock;
use crate::model::Mono;
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
    let mut suspects = Suspects::default();
    while let Some(letter) = letters.recv().await {
        waiting.fetch_sub(letter.payload.len(), Ordering::Relaxed);
        loop {
            // Whoever could open a session is gone: so is what was to be said.
            let Ok(publisher) = line.wait_for(Option::is_some).await.map(|p| p.clone()) else {
                return;
            };
            let Some(publisher) = publisher else { continue };
            let Letter { topic, payload, retain, passing } = &letter;
            let way = suspects.way(topic, clock::now());
            let publisher = match way {
                Way::Free => publisher,
                Way::Alone => publisher.alone(),
                Way::Aside => {
                    dropped("aside");
                    break;
                }
            };
            match say(&publisher, topic, payload.clone(), *retain).await {
                Ok(()) => {
                    suspects.answered(topic);
                    break;
                }
                Err((Unsent::Lost, since)) => {
                    let now = clock::now();
                    if let Some(since) = since
                        && suspects.ended(topic, way, now.since(since), now)
                    {
                        dropped("aside");
                        warn!(
                            topic,
                            "put aside for {ASIDE:?}: it ended {LIMIT} sessions; give the box the \
                             right to it, or raise the broker's limit for a message"
                        );
                        break;
                    }
                    // This session has nothing more to offer.
                    if *passing {
                        break;
                    }
                    if line.changed().await.is_err() {
                        return;
                    }
                }
                Err((why, _)) => {
                    suspects.answered(topic);
                    dropped("refused");
                    warn!(topic, "not published: {why}");
                    break;
                }
            }
        }
    }
}

/// Publishes, and waits for the answer; with why not, since when it was under way.
async fn say(
    publisher: &Publisher,
    topic: &str,
    payload: Bytes,
    retain: bool,
) -> Result<(), (Unsent, Option<Mono>)> {
    let sent = publisher.send(topic, payload, 1, retain).await.map_err(|why| (why, None))?;
    let since = clock::now();
    sent.acknowledged().await.map_err(|why| (why, Some(since)))
}
