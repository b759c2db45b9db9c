//! Assembles a revision: the only place that knows two siblings.
//!
//! Start: bind every listener, build ring and board, start the stages, tell
//! systemd. Stop: viewers first, then cameras and buses, then the rest, five
//! seconds in all.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::WallClock;
use crate::config::Config;
use crate::config::camera::Camera;
use crate::config::modbus::Bus;
use crate::config::mqtt::Broker;
use crate::config::studio::Studio;
use crate::feed::board::Board;
use crate::feed::ring::Ring;
use crate::model::Label;
use crate::status::Status;
use crate::task::{Backoff, supervise};
use crate::web::{FeedInfo, Listeners, StudioInfo};
use crate::{capture, observe, telemetry, web};

pub use demo::Demo;
use demo::DemoLine;
use reload::OnAir;

mod demo;
mod reload;

/// Viewers may take this long to be told goodbye.
const DRAIN_VIEWERS: Duration = Duration::from_secs(2);
/// Cameras and buses may take this long to let go of their devices.
const DRAIN_SOURCES: Duration = Duration::from_millis(2500);

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

/// One stage's tasks with the token that stops them.
struct Stage {
    tasks: TaskTracker,
    stop: CancellationToken,
    status: Status,
}

impl Stage {
    fn new(status: &Status) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { tasks, stop, status: status.clone() }
    }

    /// Runs `body` under supervision as `name`; the watchdog sees if it gets stuck.
    fn spawn<F, Fut>(&self, name: String, body: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, status) = (self.stop.clone(), self.status.clone());
        self.tasks.spawn(async move {
            status.alive(&name, supervise(name.clone(), stop, Backoff::DEVICE, body)).await;
        });
    }

    /// Stops and waits; what has not ended by then is left behind, with a warning.
    async fn drain(self, name: &str, within: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(within, self.tasks.wait()).await.is_err() {
            warn!(stage = name, left = self.tasks.len(), "did not end in time");
        }
    }
}

/// Goes on air and stays there until `stop`. At SIGHUP it reads `file` again
/// and takes what of it can change on air.
///
/// # Errors
/// A listener that cannot be bound, before any device is touched. Devices that
/// fail later are retried for ever.
pub async fn run(
    config: Config,
    file: Option<PathBuf>,
    demo: Option<Demo>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> Result<()> {
    // First: without a handler it would end the process.
    let hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    let metrics_listener = observe::bind("metrics.listen", config.metrics.listen).await?;
    let listeners = Listeners::bind(&config.web)?;
    observe::say(&format!("metrics: http://{}/metrics", metrics_listener.local_addr()?));
    let page = page_url(listeners.tcp()?);

    let wall = Arc::new(WallClock::new());
    let status = Status::new();
    let board = Board::new(config.tags.clone());
    let (viewers, sources, house) = (Stage::new(&status), Stage::new(&status), Stage::new(&status));
    house.tasks.spawn(observe::heartbeat(wall.clone(), status.clone(), house.stop.clone()));
    let until = house.stop.clone();
    house.tasks.spawn(async move {
        if let Err(error) = observe::serve_metrics(metrics_listener, metrics, until).await {
            warn!("no metrics from now on: {error:#}");
        }
    });

    let look = capture::Look {
        brand: brand(&config.studio),
        accent: config.studio.accent.clone(),
        wall: wall.clone(),
    };
    let floor = Floor { board, wall, status, look, sources };
    let on_air = OnAir::new(&config);
    let demo = DemoLine::start(demo, &config, &floor.wall, &floor.sources).await?;
    floor.read_telemetry(config.buses, config.brokers);
    let feeds = floor.start_cameras(config.cameras, &on_air, &demo)?;
    house.tasks.spawn(reload::at_hangup(hangup, file, on_air, house.stop.clone()));

    let info = Arc::new(StudioInfo {
        site: config.site,
        studio: config.studio,
        feeds,
        board: floor.board.clone(),
        wall: floor.wall.clone(),
        status: floor.status.clone(),
    });
    let (web, until) = (config.web, viewers.stop.clone());
    let mut listeners = Some(listeners);
    viewers.spawn("web".into(), move || {
        // The first run has the bound ports; a restart binds them again.
        let bound = listeners.take().map_or_else(|| Listeners::bind(&web), Ok);
        let (web, info, until) = (web.clone(), info.clone(), until.clone());
        async move { web::serve(bound?, web, info, web::Tuning::default(), until).await }
    });

    observe::tell_systemd(NotifyState::Ready);
    observe::say(&format!("on air: {page}"));
    stop.cancelled().await;
    observe::tell_systemd(NotifyState::Stopping);
    viewers.drain("viewers", DRAIN_VIEWERS).await;
    floor.sources.drain("sources", DRAIN_SOURCES).await;
    house.drain("house", Duration::from_millis(300)).await;
    info!("off air");
    Ok(())
}

/// What every source writes to.
struct Floor {
    board: Arc<Board>,
    wall: Arc<WallClock>,
    status: Status,
    /// Of every slate.
    look: capture::Look,
    sources: Stage,
}

impl Floor {
    fn read_telemetry(&self, buses: Vec<Bus>, brokers: Vec<Broker>) {
        for bus in buses.into_iter().map(Arc::new) {
            let (board, status, stop) = self.shared();
            self.sources.spawn(format!("modbus {}", bus.id), move || {
                telemetry::modbus::run(bus.clone(), board.clone(), status.clone(), stop.clone())
            });
        }
        for broker in brokers {
            let (board, status, stop) = self.shared();
            let wall = self.wall.clone();
            self.sources.spawn(format!("mqtt {}", broker.id), move || {
                let (board, wall) = (board.clone(), wall.clone());
                telemetry::mqtt::run(broker.clone(), board, wall, status.clone(), stop.clone())
            });
        }
    }

    /// Starts every camera into a ring of its own.
    fn start_cameras(
        &self,
        cameras: Vec<Camera>,
        on_air: &OnAir,
        demo: &DemoLine,
    ) -> Result<Arc<[FeedInfo]>> {
        let mut feeds = Vec::new();
        for camera in cameras {
            let ring = Ring::new(camera.id.clone());
            let source = demo.source(&camera)?;
            feeds.push(FeedInfo {
                id: camera.id.clone(),
                name: camera.name.clone(),
                width: camera.width,
                height: camera.height,
                fps: f64::from(camera.fps),
                ring: ring.clone(),
                profile: Arc::default(),
            });
            let (look, (_, status, stop)) = (self.look.clone(), self.shared());
            let settings = on_air.settings(&camera);
            self.sources.spawn(format!("camera {}", camera.id), move || {
                let (camera, settings, source) = (camera.clone(), settings.clone(), source.clone());
                let (look, ring) = (look.clone(), ring.clone());
                capture::run(camera, settings, source, look, ring, status.clone(), stop.clone())
            });
        }
        Ok(feeds.into())
    }

    fn shared(&self) -> (Arc<Board>, Status, CancellationToken) {
        (self.board.clone(), self.status.clone(), self.sources.stop.clone())
    }
}

/// What a slate calls the house; the line's name where it has none.
fn brand(studio: &Studio) -> Label {
    let own = |brand: &str, name: &str| (if brand.is_empty() { name } else { brand }).to_owned();
    Label { zh: own(&studio.brand.zh, &studio.name.zh), en: own(&studio.brand.en, &studio.name.en) }
}

/// The page's address as a person types it.
fn page_url(at: SocketAddr) -> String {
    match at.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}/", at.port()),
        false => format!("http://{at}/"),
    }
}
