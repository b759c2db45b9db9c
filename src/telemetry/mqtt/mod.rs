//! MQTT messages to samples.
//!
//! Comes in: a broker's messages. Goes out: samples on the board; the broker's
//! health as `broker/<id>`. When full: see [`ingest`] (per tag the newest
//! wins) and [`crate::mqtt`] (reading pauses).
//!
//! A payload that is not what was configured makes a bad sample with the
//! reason; everything else goes on. Nothing needs a restart to recover.

mod gate;
pub mod ingest;
mod payload;
mod say;
mod when;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::WallClock;
use crate::config::mqtt::Broker;
use crate::feed::board::Board;
use crate::mqtt::{Link, Subscription};
use crate::status::Status;

/// Reads one broker until stopped; reconnects by itself.
pub async fn run(
    broker: Broker,
    board: Arc<Board>,
    wall: Arc<WallClock>,
    status: Status,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let wanted = broker.tags.iter().map(|t| Subscription { filter: t.topic.clone(), qos: t.qos });
    let connections = [broker.connection.clone()];
    let link = Link::new(&format!("broker/{}", broker.id), connections, wanted, status);
    let mut ingest = ingest::Ingest::new(&broker, board, wall);
    link.run(&mut ingest, &stop).await;
    Ok(())
}
