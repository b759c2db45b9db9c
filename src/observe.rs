//! How the box is watched: logs, `/metrics` and its local socket, the systemd watchdog.

mod lines;
pub mod local;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::clock::{self, WallClock};
use crate::status::Status;

pub use lines::Lines;

/// Logs to standard error: `RUST_LOG` selects, `info` by default. Colours are
/// for terminals; under systemd the journal adds the time. The newest lines are kept.
pub fn start_logs() -> Lines {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logs = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let logs = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => logs.without_time().boxed(),
        None => logs.boxed(),
    };
    let lines = Lines::default();
    let all = tracing_subscriber::registry().with(filter).with(logs).with(lines.layer());
    // A second call, as in tests, keeps the first subscriber.
    let _ = all.try_init();
    lines
}

/// Buckets for durations in seconds: from a tenth of a millisecond to 5 s.
const SECONDS: [f64; 13] =
    [0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 5.0];

/// Installs the recorder behind the `metrics` macros. Call once, before any
/// stage starts: handles made earlier count nothing.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .context("metrics: buckets")?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics: a recorder is already installed")?;
    Ok(handle)
}

/// How often durations are sorted into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves `/metrics` (Prometheus text) until `stop`.
pub async fn serve_metrics(
    listener: TcpListener,
    handle: PrometheusHandle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let page = get(move || {
        let text = handle.render();
        async { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text) }
    });
    axum::serve(listener, Router::new().route("/metrics", page))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("metrics listener")
}

/// Until somebody reads them, every duration measured is kept as it is: nobody may come, and
/// the listener may have no address to be at.
pub async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => handle.run_upkeep(),
        }
    }
}

/// Binds a TCP listener; the error names the key that is to change.
pub async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: listen on {address}"))
}

/// Once a second: the wall clock's line and the systemd watchdog, which is fed
/// only while every task gives signs of life.
pub async fn heartbeat(wall: std::sync::Arc<WallClock>, status: Status, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reported = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        wall.refit();
        let stuck = status.stuck(clock::now());
        metrics::gauge!("floorcast_stuck_tasks").set(stuck.len() as f64);
        if stuck.is_empty() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        if stuck != reported {
            match stuck.is_empty() {
                true => info!("every task is alive again"),
                false => error!(?stuck, "tasks give no sign of life; the watchdog is not fed"),
            }
            reported = stuck;
        }
    }
}

/// Tells systemd; without systemd it does nothing.
pub fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}

/// Prints what was asked for; a closed pipe is not an error.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}
