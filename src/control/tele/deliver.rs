//! What the outbox holds, to the broker that is there.
//!
//! Comes in: records of the outbox, and sessions as they come and go. Goes
//! out: messages, each taken from the outbox once its broker has acknowledged
//! it. Two lanes per session: live records go out as they are made; those from
//! before the session go beside them, marked late, so that no live one waits
//! for a backlog. Each lane keeps its order.
//!
//! When full: a lane waits with [`LIVE`] or [`REPLAY`] unacknowledged; the
//! records wait in the outbox. So do those of a topic that the broker does not
//! take ([`held`](super::held)): the others go on, and nothing is lost.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::batch::message;
use super::held::Held;
use crate::clock;
use crate::control::outbox::{Cursor, Outbox, Record};
use crate::control::suspects::Way;
use crate::model::Mono;
use crate::mqtt::{Publisher, Receipt, Unsent};
use crate::status::{State, Status};

/// The part's name in the status.
pub const PART: &str = "tele";

/// How much a lane sends before the first of it is acknowledged.
struct Window {
    messages: usize,
    /// One message may be larger.
    bytes: usize,
}

/// Of live records.
const LIVE: Window = Window { messages: 32, bytes: 128 << 10 };

/// Of late ones: on a slow line, a live record waits behind this much.
const REPLAY: Window = Window { messages: 16, bytes: 64 << 10 };

/// Sends until stopped. `root` is the box's own, `floorcast/v1/<site>/<box>`.
pub async fn run(
    outbox: Arc<Outbox>,
    root: String,
    mut sessions: watch::Receiver<Option<Publisher>>,
    status: Status,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let held = Held::new(status.clone(), PART);
    loop {
        let session = sessions.borrow_and_update().clone();
        if let Some(publisher) = session {
            held.session();
            let way = Sender { outbox: &outbox, root: &root, held: &held, publisher };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = way.serve() => ended?,
            }
        }
        status.set(PART, State::Connecting, "");
        tokio::select! {
            // A stop ends the sessions too: it is the stop that counts.
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = sessions.changed() => changed.context("sessions ended")?,
        }
    }
}

/// Sends over one session.
struct Sender<'a> {
    outbox: &'a Arc<Outbox>,
    root: &'a str,
    held: &'a Held,
    publisher: Publisher,
}

/// A record that was to be sent.
struct Sent {
    topic: String,
    seq: u64,
    bytes: usize,
    samples: u32,
    late: bool,
    way: Way,
    since: Mono,
}

/// Unless it waits, whether it was handed over.
type Handed = Option<Result<Receipt, Unsent>>;

/// What came of it.
enum Outcome {
    /// The broker has it.
    Taken,
    /// It waits in the outbox, and its topic with it.
    Held,
    /// The session has ended.
    Lost,
}

impl Sender<'_> {
    /// Both lanes until the session ends; anew when a topic need wait no longer.
    async fn serve(&self) -> anyhow::Result<()> {
        loop {
            let border = *self.outbox.durable().borrow();
            let lanes = async {
                tokio::try_join!(self.lane(border..u64::MAX, false), self.lane(0..border, true))
            };
            tokio::select! {
                ended = lanes => return ended.map(drop),
                tried = self.try_again() => match tried? {
                    Outcome::Lost => return Ok(()),
                    Outcome::Taken | Outcome::Held => {}
                },
            }
        }
    }

    /// Waits for the time of a topic that waits, and sends its first record until one is
    /// taken, or the session ends.
    async fn try_again(&self) -> anyhow::Result<Outcome> {
        loop {
            let Some((topic, seq, until)) = self.held.next() else {
                self.held.changed().await;
                continue;
            };
            tokio::select! {
                () = sleep(until.since(clock::now())) => {}
                () = self.held.changed() => continue,
            }
            let first = self.read(&mut Cursor::at(seq), seq + 1, 1).await?.into_iter().next();
            // It went for room: so the next one is the first.
            let Some(record) = first else {
                self.held.freed(&topic);
                return Ok(Outcome::Held);
            };
            let (sent, handed) = self.send(record, true, Way::Alone).await;
            match self.outcome(sent, handed).await.1 {
                Outcome::Held => continue,
                Outcome::Taken => {
                    self.outbox.acknowledge(seq..seq + 1);
                    self.held.freed(&topic);
                    return Ok(Outcome::Taken);
                }
                Outcome::Lost => return Ok(Outcome::Lost),
            }
        }
    }

    /// Sends the unacknowledged records of the range, in order, until the session ends.
    async fn lane(&self, range: Range<u64>, late: bool) -> anyhow::Result<()> {
        let window = if late { REPLAY } else { LIVE };
        let mut durable = self.outbox.durable();
        let mut cursor = Cursor::at(range.start);
        let (mut ahead, mut under_way, mut bytes) =
            (Vec::new().into_iter(), FuturesOrdered::new(), 0);
        // What is before this was settled.
        let mut settled = range.start;
        loop {
            let until = range.end.min(*durable.borrow_and_update());
            if ahead.len() == 0 && cursor.seq < until {
                ahead = self.read(&mut cursor, until, window.bytes).await?.into_iter();
            }
            let room = under_way.len() < window.messages && bytes < window.bytes;
            if room && let Some(record) = ahead.next() {
                let way = self.held.way(&record.entry.topic, record.seq, clock::now());
                let (sent, handed) = self.send(record, late, way).await;
                bytes += sent.bytes;
                under_way.push_back(self.outcome(sent, handed));
                continue;
            }
            if under_way.is_empty() && ahead.len() == 0 && cursor.seq >= range.end {
                // Also what was in none of the segments any more.
                self.outbox.acknowledge(settled..range.end);
                return Ok(());
            }
            tokio::select! {
                Some((sent, outcome)) = under_way.next() => {
                    bytes -= sent.bytes;
                    match outcome {
                        Outcome::Taken => self.outbox.acknowledge(settled..sent.seq + 1),
                        Outcome::Held => self.outbox.acknowledge(settled..sent.seq),
                        Outcome::Lost => {
                            // The others were under way, too.
                            while let Some((sent, outcome)) = under_way.next().await {
                                if let Outcome::Taken = outcome {
                                    self.outbox.acknowledge(sent.seq..sent.seq + 1);
                                }
                            }
                            return Ok(());
                        }
                    }
                    settled = sent.seq + 1;
                }
                changed = durable.changed(), if ahead.len() == 0 && cursor.seq < range.end => {
                    changed?;
                }
                () = self.publisher.ended(), if under_way.is_empty() => return Ok(()),
            }
        }
    }

    /// Hands a record over, unless its topic waits.
    async fn send(&self, record: Record, late: bool, way: Way) -> (Sent, Handed) {
        let Record { seq, entry } = record;
        let topic = format!("{}/{}", self.root, entry.topic);
        let payload = message(seq, late, &entry.body);
        let bytes = payload.len();
        let handed = match way {
            Way::Free => Some(self.publisher.send(&topic, payload, 1, false).await),
            Way::Alone => Some(self.publisher.alone().send(&topic, payload, 1, false).await),
            Way::Aside => None,
        };
        let (samples, since) = (entry.samples, clock::now());
        (Sent { topic: entry.topic, seq, bytes, samples, late, way, since }, handed)
    }

    /// Waits for the broker's answer, and notes it.
    async fn outcome(&self, sent: Sent, handed: Handed) -> (Sent, Outcome) {
        let (answer, under_way) = match handed {
            None => return (sent, Outcome::Held),
            Some(Ok(receipt)) => (receipt.acknowledged().await, true),
            Some(Err(unsent)) => (Err(unsent), false),
        };
        let Sent { ref topic, seq, samples, late, way, since, .. } = sent;
        let now = clock::now();
        let outcome = match answer {
            Ok(()) => {
                let lane = if late { "late" } else { "live" };
                metrics::counter!("floorcast_tele_acknowledged_samples_total", "lane" => lane)
                    .increment(samples.into());
                self.held.acknowledged(topic);
                Outcome::Taken
            }
            Err(Unsent::Lost) => {
                if under_way {
                    self.held.ended(topic, seq, way, now.since(since), now);
                }
                Outcome::Lost
            }
            Err(why) => {
                self.held.refused(topic, seq, why.to_string(), now);
                Outcome::Held
            }
        };
        (sent, outcome)
    }

    async fn read(
        &self,
        cursor: &mut Cursor,
        until: u64,
        enough: usize,
    ) -> anyhow::Result<Vec<Record>> {
        let (outbox, mut from) = (self.outbox.clone(), cursor.clone());
        let read = spawn_blocking(move || {
            let records = outbox.read(&mut from, until, enough);
            (records, from)
        });
        let (records, moved) = read.await?;
        *cursor = moved;
        Ok(records)
    }
}
