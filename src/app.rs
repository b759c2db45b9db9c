//! Assembles a revision: the only place that knows two siblings.
//!
//! Start: bind every listener, build ring and board, start the stages, tell
//! systemd. Stop: viewers first, then cameras and buses, then the rest, five
//! seconds in all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use metrics_exporter_prometheus::PrometheusHandle;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::WallClock;
use crate::config::Config;
use crate::control::change::{Action, Changes};
use crate::control::{self, Order, Overlay, Setting};
use crate::feed::board::Board;
use crate::observe;
use crate::status::Status;

pub use demo::Demo;
use demo::DemoLine;
use listeners::Bound;
use on_air::OnAir;
use orders::{End, Orders};
use sources::{Floor, Sources};
use stage::Stage;

mod deeds;
mod demo;
mod listeners;
mod on_air;
mod orders;
mod sources;
mod stage;

/// Cameras and buses may take this long to let go of their devices.
const DRAIN_SOURCES: Duration = Duration::from_millis(2500);

/// Orders of control that wait; then it waits too.
const ORDERS: usize = 16;

/// What can be seen of the process from within.
#[derive(Clone)]
pub struct Inside {
    /// All counters.
    pub metrics: PrometheusHandle,
    /// The newest log lines.
    pub lines: observe::Lines,
}

/// Where the configuration comes from when technicians change it over MQTT.
pub struct Revisions {
    /// What is on disk.
    pub changes: Changes,
    /// What is to be said about this start.
    pub first: Vec<Action>,
    /// Where they are kept.
    pub dir: PathBuf,
}

impl Revisions {
    fn setting(
        self,
        config: &Config,
        overlay: Overlay,
        floor: &Floor,
        orders: mpsc::Sender<Order>,
    ) -> Setting {
        let Self { changes, first, dir } = self;
        let Floor { board, wall, status, .. } = floor;
        let (board, wall, status) = (board.clone(), wall.clone(), status.clone());
        let on_air = config.clone();
        Setting { changes, first, on_air, dir, overlay, board, wall, status, orders }
    }
}

/// Cancels `stop` at the first SIGTERM or SIGINT; the second ends at once.
pub async fn stop_on_signal(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        warn!("no signal handler: stop with SIGKILL");
        return;
    };
    for first in [true, false] {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if first {
            info!("stopping");
            stop.cancel();
        } else {
            warn!("second signal: ending at once");
            std::process::exit(1);
        }
    }
}

/// Goes on air and stays there until `stop`. At SIGHUP it reads `file` again
/// and becomes what it says.
///
/// # Errors
/// A listener that cannot be bound, before any device is touched. Devices that
/// fail later are retried for ever.
pub async fn run(
    config: Config,
    file: Option<PathBuf>,
    demo: Option<Demo>,
    revisions: Option<Revisions>,
    inside: Inside,
    stop: CancellationToken,
) -> Result<()> {
    // First: without a handler it would end the process.
    let hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    let bound = Bound::bind(&config.web, &config.metrics).await?;
    let (page, numbers) = bound.addresses()?;
    observe::say(&format!("metrics: http://{numbers}/metrics"));

    let wall = Arc::new(WallClock::new());
    let status = Status::new();
    let (viewers, sources, house) = (Stage::new(&status), Stage::new(&status), Stage::new(&status));
    house.tasks.spawn(observe::heartbeat(wall.clone(), status.clone(), house.stop.clone()));
    let demo = DemoLine::start(demo, &config, &wall, &sources).await?;
    let (board, style) = (Board::new(config.tags.clone()), on_air::style_of(&config.studio));
    let floor = Floor { board, wall, status, style: watch::Sender::new(style) };
    // A camera that people closed shows nothing before it is known to be closed.
    let overlay = revisions.as_ref().map(|r| Overlay::open(&r.dir)).unwrap_or_default();
    let sources = Sources::new(floor, sources, demo, overlay.clone());
    let on_air = OnAir::start(sources, config, bound, viewers, inside.metrics.clone()).await?;
    let orders = revisions.map(|revisions| {
        let (to_us, orders) = mpsc::channel(ORDERS);
        let setting = revisions.setting(on_air.config(), overlay, on_air.floor(), to_us);
        let stop = house.stop.child_token();
        // A panic here must not cost the pictures: the watchdog sees that it is gone.
        house.tasks.spawn(control::run(setting, stop));
        orders
    });
    let mut orders = Orders::new(on_air, inside, file, orders);

    observe::tell_systemd(NotifyState::Ready);
    observe::say(&format!("on air: {}", page_url(page)));
    let end = orders.take(hangup, &stop).await;
    observe::tell_systemd(NotifyState::Stopping);
    orders.end(DRAIN_SOURCES).await;
    house.drain("house", Duration::from_millis(300)).await;
    info!("off air");
    ensure!(end == End::Stopped, "to be started again");
    Ok(())
}

/// The page's address as a person types it.
fn page_url(at: SocketAddr) -> String {
    match at.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}/", at.port()),
        false => format!("http://{at}/"),
    }
}
