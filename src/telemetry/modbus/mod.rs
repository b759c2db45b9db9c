//! Modbus TCP and RTU: one owner per endpoint or tty.
//!
//! Comes in: a checked bus, whose reads are planned. Goes out: samples on the
//! board, with the times of request and reply; the health of the bus
//! (`bus/<id>`) and of its units (`unit/<bus>/<unit>`). When a unit or the
//! bus cannot keep up, slots are skipped and counted, nothing queues up.
//! What somebody wants written goes the same way, between the reads ([`write`]).
//!
//! The protocol is spoken here rather than through a crate: its few
//! functions are small, and what matters about them (checks of every length,
//! recognising late replies, several units at once over one connection, no
//! panic on any input) is what a general client leaves to its caller.

mod block;
mod decode;
mod fault;
mod job;
mod meters;
mod pdu;
mod poller;
mod rtu;
mod schedule;
mod tcp;
mod unit;
mod wire;
pub mod write;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span};

use crate::clock;
use crate::config::modbus::Bus;
use crate::feed::board::Board;
use crate::status::{State, Status};
use crate::task::Backoff;
use poller::Poller;
use wire::Wire;
use write::{Outcome, Wish, Wishes};

/// Polls a bus until `stop`. Never fails: whatever breaks is tried again,
/// after pauses that double up to [`Backoff::DEVICE`]'s cap while nothing answers.
pub async fn run(
    bus: Arc<Bus>,
    board: Arc<Board>,
    status: Status,
    wishes: Wishes,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let span = info_span!("modbus", bus = %bus.id);
    // One owner at a time: the one before lets go when it has ended.
    let mut wishes = wishes.0.lock().await;
    own(&bus, board, status, &mut wishes, &stop).instrument(span).await;
    Ok(())
}

async fn own(
    bus: &Bus,
    board: Arc<Board>,
    status: Status,
    wishes: &mut mpsc::Receiver<Wish>,
    stop: &CancellationToken,
) {
    let part = format!("bus/{}", bus.id);
    let mut poller = Poller::new(bus, board, status.clone(), clock::now());
    let mut pause = Backoff::DEVICE.first;
    status.set(&part, State::Connecting, "");
    while !stop.is_cancelled() {
        let opening = stop.run_until_cancelled(Wire::open(&bus.link));
        let Some(opened) = without_wire(opening, &mut poller, wishes).await else { return };
        let before = poller.replies();
        match opened {
            Err(error) => {
                let why: Arc<str> = format!("{error:#}").into();
                status.set(&part, State::Connecting, &why);
                poller.unreachable(&why, clock::now());
            }
            Ok(mut wire) => {
                status.set(&part, State::Live, "");
                poller.rest(clock::now() + bus.connect_pause);
                let ended = wire.run(&mut poller, wishes, stop).await;
                poller.lost(clock::now());
                if let Err(error) = ended {
                    metrics::counter!("floorcast_modbus_reconnects_total", "bus" => bus.id.to_string())
                        .increment(1);
                    debug!("connecting anew: {error:#}");
                }
            }
        }
        if poller.replies() > before {
            pause = Backoff::DEVICE.first;
            continue;
        }
        without_wire(stop.run_until_cancelled(sleep(pause)), &mut poller, wishes).await;
        pause = Backoff::DEVICE.next(pause);
    }
}

/// Waits for `work` while there is no connection: nothing is written, and what is in doubt
/// is so until its time has come.
async fn without_wire<T>(
    work: impl Future<Output = T>,
    poller: &mut Poller,
    wishes: &mut mpsc::Receiver<Wish>,
) -> T {
    tokio::pin!(work);
    loop {
        let doubt = poller.write_ends().map(|end| end.since(clock::now()));
        tokio::select! {
            done = &mut work => return done,
            Some(wish) = wishes.recv() => {
                wish.end(Outcome::refused("there is no connection to the device", "see health"));
            }
            () = sleep(doubt.unwrap_or_default()), if doubt.is_some() => {
                poller.write_overdue(clock::now());
            }
        }
    }
}
