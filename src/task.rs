//! Named, supervised tasks: restarted with capped backoff, stoppable while they wait.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span, warn};

/// How long to wait between restarts.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// A body that ran at least this long starts again at `first`.
    pub steady: Duration,
}

impl Backoff {
    /// Cameras, buses, brokers: back soon, never in a tight loop.
    pub const DEVICE: Self = Self {
        first: Duration::from_millis(250),
        cap: Duration::from_secs(5),
        steady: Duration::from_secs(10),
    };

    /// The pause after `pause`.
    pub fn next(&self, pause: Duration) -> Duration {
        (pause * 2).min(self.cap)
    }
}

/// Runs `body` again and again until `stop`; the body must watch `stop` too.
///
/// A body that returns `Ok` before `stop` is restarted like one that failed.
/// Every restart is one on the counter `floorcast_task_restarts_total`, and one warning with
/// the cause: not again and again where the same one lasts, once pauses no longer grow.
pub async fn supervise<F, Fut>(name: String, stop: CancellationToken, pace: Backoff, mut body: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let span = info_span!("task", name = %name);
    let restarts = metrics::counter!("floorcast_task_restarts_total", "task" => name);
    let run = async {
        let (mut pause, mut told) = (pace.first, String::new());
        while !stop.is_cancelled() {
            let began = Instant::now();
            let ended = body().await;
            if stop.is_cancelled() {
                break;
            }
            if began.elapsed() >= pace.steady {
                pause = pace.first;
            }
            restarts.increment(1);
            let why = ended.map_or_else(|error| format!("{error:#}"), |()| "ended early".into());
            if pause < pace.cap || why != told {
                warn!(?pause, "restarting: {why}");
            } else {
                debug!(?pause, "restarting: {why}");
            }
            told = why;
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pause) => pause = pace.next(pause),
            }
        }
    };
    run.instrument(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Pauses double up to the cap, and the stop token ends the wait at once.
    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_stop_interrupts() {
        let stop = CancellationToken::new();
        let runs = Cell::new(0);
        let began = Instant::now();
        supervise("t".into(), stop.clone(), Backoff::DEVICE, || {
            runs.set(runs.get() + 1);
            if runs.get() == 7 {
                stop.cancel();
            }
            async { anyhow::bail!("broken") }
        })
        .await;
        // 250 + 500 + 1000 + 2000 + 4000 + 5000 ms
        assert_eq!(began.elapsed(), Duration::from_millis(12_750));
    }
}
