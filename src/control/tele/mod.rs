//! Telemetry for the plant: every sample, by MQTT, through the outbox.
//!
//! Comes in: the board's samples, of all tags, public or not. Goes out: once a
//! second, and for every [`batch::SAMPLES`], one record per source and group,
//! published as `tele/<source>/<group>`: source is a bus with group `unit-<n>`,
//! or a broker with group `tags`.
//!
//! ```json
//! {"seq":1766000000123,"late":false,"boot":"…","clock":"locked","samples":[
//!   {"tag":"speed","v":61.2,"q":"good","t_us":1766000000000000,"err_us":812,
//!    "req_us":1765999999999188,"rcv_us":1766000000000812,"why":null}]}
//! ```
//!
//! `seq` rises by one per record over all topics. A record may come twice with
//! the same number; who keeps samples drops the second. `late` marks what was
//! made before the session that brings it. Times are microseconds of UTC: when
//! the value held, ± `err_us`, when it was asked for, when it came. Integers
//! beyond 2^53 are strings.
//!
//! When full: while the disk takes its time, samples wait on the board; what
//! that loses is counted in `floorcast_tele_batches_missed_total`. See
//! [`outbox`] and [`deliver`] for the rest.
//!
//! [`outbox`]: crate::control::outbox

pub mod batch;
pub mod deliver;
mod held;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::batch::Batch;
use super::outbox::{Entry, Outbox};
use crate::clock::{self, WallClock};
use crate::feed::board::Board;
use crate::mqtt::Publisher;
use crate::status::Status;

/// Records are made durable, all of them at once, this often.
const PERIOD: Duration = Duration::from_secs(1);

/// Entries that wait for it; then samples wait on the board.
const READY: usize = 256;

/// What telemetry leaves by.
#[derive(Clone)]
pub struct Way {
    /// What is not acknowledged yet.
    pub outbox: Arc<Outbox>,
    /// The box's topics: `floorcast/v1/<site>/<box>`.
    pub root: String,
    /// This start of the box.
    pub boot: String,
    /// The session, while there is one.
    pub sessions: watch::Receiver<Option<Publisher>>,
}

/// Stores and publishes the board's samples until stopped. At the end the
/// samples that are left go to the outbox.
pub async fn run(
    way: Way,
    board: Arc<Board>,
    wall: Arc<WallClock>,
    status: Status,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Way { outbox, root, boot, sessions } = way;
    let sending = deliver::run(outbox.clone(), root, sessions, status, stop.clone());
    let storing = store(board, &wall, &boot, outbox, stop);
    // Polled first, so that no sample is missed once the status is set.
    tokio::try_join!(storing, sending).map(drop)
}

/// From the board to the outbox.
async fn store(
    board: Arc<Board>,
    wall: &WallClock,
    boot: &str,
    outbox: Arc<Outbox>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let missed = metrics::counter!("floorcast_tele_batches_missed_total");
    let mut samples = board.subscribe();
    let mut tags = board.tags();
    let mut batch = Batch::new(&tags, boot);
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Samples that are there already belong to this period.
            biased;
            next = samples.recv(), if batch.ready() < READY => match next {
                Ok(samples) => {
                    if !Arc::ptr_eq(&tags, &board.tags()) {
                        // Another revision: an id means the same tag before and after.
                        append(&outbox, batch.take(wall, clock::now())).await?;
                        tags = board.tags();
                        batch = Batch::new(&tags, boot);
                    }
                    batch.add(&samples, wall, clock::now());
                }
                Err(RecvError::Lagged(batches)) => missed.increment(batches),
                Err(RecvError::Closed) => anyhow::bail!("the board is gone"),
            },
            () = stop.cancelled() => {
                append(&outbox, batch.take(wall, clock::now())).await?;
                return Ok(());
            }
            _ = period.tick() => append(&outbox, batch.take(wall, clock::now())).await?,
        }
    }
}

async fn append(outbox: &Arc<Outbox>, entries: Vec<Entry>) -> anyhow::Result<()> {
    let outbox = outbox.clone();
    spawn_blocking(move || outbox.append(entries)).await?;
    Ok(())
}
