//! Modbus TCP and RTU: one owner per endpoint or tty.
//!
//! Comes in: a checked bus, whose reads are planned. Goes out: samples on the
//! board, with the times of request and reply; the health of the bus
//! (`bus/<id>`) and of its units (`unit/<bus>/<unit>`). When a unit or the
//! bus cannot keep up, slots are skipped and counted, nothing queues up.
//!
//! The protocol is spoken here rather than through a crate: the four read
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

use std::sync::Arc;
use std::time::Duration;

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

/// Polls a bus until `stop`. Never fails: whatever breaks is tried again,
/// after pauses that double up to [`Backoff::DEVICE`]'s cap while nothing answers.
pub async fn run(
    bus: Arc<Bus>,
    board: Arc<Board>,
    status: Status,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let span = info_span!("modbus", bus = %bus.id);
    own(&bus, board, status, &stop).instrument(span).await;
    Ok(())
}

async fn own(bus: &Bus, board: Arc<Board>, status: Status, stop: &CancellationToken) {
    let part = format!("bus/{}", bus.id);
    let mut poller = Poller::new(bus, board, status.clone(), clock::now());
    let mut pause = Backoff::DEVICE.first;
    status.set(&part, State::Connecting, "");
    while !stop.is_cancelled() {
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = Wire::open(&bus.link) => opened,
        };
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
                let ended = wire.run(&mut poller, stop).await;
                poller.lost();
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
        wait(pause, stop).await;
        pause = Backoff::DEVICE.next(pause);
    }
}

async fn wait(pause: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(pause) => {}
    }
}
