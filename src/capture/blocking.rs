//! Calls that a driver may never answer.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A driver that does not answer in this time is left behind.
const DRIVER: Duration = Duration::from_secs(10);

/// Runs what may block for as long as a driver likes, but waits for [`DRIVER`] at most.
///
/// # Errors
/// It hangs; its thread is left behind and counted.
pub(super) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    match timeout(DRIVER, spawn_blocking(move || span.in_scope(work))).await {
        Ok(done) => done.with_context(|| what.to_owned()),
        Err(_) => {
            counter!("floorcast_capture_stuck_total").increment(1);
            bail!("{what}: the driver hangs since {} s", DRIVER.as_secs())
        }
    }
}
