//! What the outbox holds, to the broker that is there.
//!
//! Comes in: records of the outbox, and sessions as they come and go. Goes
//! out: messages, each taken from the outbox once its broker has acknowledged
//! it. Two lanes per session: live records go out as they are made; those from
//! before the session go beside them, marked late, so that no live one waits
//! for a backlog. Each lane keeps its order.
//!
//! When full: a lane waits with [`LIVE`] or [`REPLAY`] unacknowledged; the
//! records wait in the outbox. A broker that refuses one is asked again after
//! [`ASK_AGAIN`]: until then nothing is sent, and nothing is lost.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::batch::message;
use crate::control::outbox::{Cursor, Outbox, Record};
use crate::mqtt::{Publisher, Unsent};
use crate::status::{State, Status};

/// The part's name in the status.
pub const PART: &str = "tele";

/// A broker that refused a record is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);

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
    loop {
        let session = sessions.borrow_and_update().clone();
        let state = if session.is_some() { State::Live } else { State::Connecting };
        status.set(PART, state, "");
        let sending = async {
            let Some(publisher) = session else { return std::future::pending().await };
            let border = *outbox.durable().borrow();
            let lane = |range, late| {
                let (outbox, publisher) = (outbox.clone(), publisher.clone());
                Lane { outbox, publisher, root: &root, range, late }.run()
            };
            tokio::try_join!(lane(border..u64::MAX, false), lane(0..border, true)).map(drop)
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = sessions.changed() => changed.context("sessions ended")?,
            ended = sending => {
                let wait = match ended {
                    Ok(()) | Err(Failure::Unsent(_, Unsent::Lost)) => {
                        status.set(PART, State::Connecting, "");
                        Duration::MAX
                    }
                    Err(Failure::Unsent(topic, refused)) => {
                        status.set(PART, State::NoSignal, &format!("{topic}: {refused}"));
                        ASK_AGAIN
                    }
                    Err(Failure::Other(error)) => return Err(error),
                };
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    changed = sessions.changed() => changed.context("sessions ended")?,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Why a lane ended.
enum Failure {
    /// The message on this topic did not get through.
    Unsent(String, Unsent),
    Other(anyhow::Error),
}

struct Lane<'a> {
    outbox: Arc<Outbox>,
    publisher: Publisher,
    root: &'a str,
    range: Range<u64>,
    late: bool,
}

impl Lane<'_> {
    /// Sends the unacknowledged records of the range, in order.
    async fn run(self) -> Result<(), Failure> {
        let window = if self.late { REPLAY } else { LIVE };
        let lane = if self.late { "late" } else { "live" };
        let sent = metrics::counter!("floorcast_tele_acknowledged_samples_total", "lane" => lane);
        let mut durable = self.outbox.durable();
        let mut cursor = Cursor::at(self.range.start);
        let (mut ahead, mut under_way, mut bytes) =
            (Vec::new().into_iter(), FuturesOrdered::new(), 0);
        let mut acknowledged = self.range.start;
        loop {
            let until = self.range.end.min(*durable.borrow_and_update());
            if ahead.len() == 0 && cursor.seq < until {
                ahead = self.read(&mut cursor, until, window.bytes).await?.into_iter();
            }
            let room = under_way.len() < window.messages && bytes < window.bytes;
            if room && let Some(record) = ahead.next() {
                let Record { seq, entry } = record;
                let topic = format!("{}/{}", self.root, entry.topic);
                let payload = message(seq, self.late, &entry.body);
                let size = payload.len();
                // Waits for acknowledgements of others at most: this lane's own
                // are fewer than a session takes.
                let receipt = match self.publisher.send(&topic, payload, 1, false).await {
                    Ok(receipt) => receipt,
                    Err(unsent) => return Err(Failure::Unsent(topic, unsent)),
                };
                bytes += size;
                under_way.push_back(async move {
                    let answer = receipt.acknowledged().await;
                    (seq, size, entry.samples, answer.map_err(|e| Failure::Unsent(topic, e)))
                });
                continue;
            }
            if under_way.is_empty() && ahead.len() == 0 && cursor.seq >= self.range.end {
                // Also what was in none of the segments any more.
                self.outbox.acknowledge(acknowledged..self.range.end);
                return Ok(());
            }
            tokio::select! {
                Some((seq, size, samples, answer)) = under_way.next() => {
                    answer?;
                    bytes -= size;
                    sent.increment(samples.into());
                    self.outbox.acknowledge(acknowledged..seq + 1);
                    acknowledged = seq + 1;
                }
                changed = durable.changed(), if ahead.len() == 0 && cursor.seq < self.range.end => {
                    changed.map_err(|error| Failure::Other(error.into()))?;
                }
            }
        }
    }

    async fn read(
        &self,
        cursor: &mut Cursor,
        until: u64,
        enough: usize,
    ) -> Result<Vec<Record>, Failure> {
        let (outbox, mut from) = (self.outbox.clone(), cursor.clone());
        let read = spawn_blocking(move || {
            let records = outbox.read(&mut from, until, enough);
            (records, from)
        });
        let (records, moved) = read.await.map_err(|error| Failure::Other(error.into()))?;
        *cursor = moved;
        Ok(records)
    }
}
