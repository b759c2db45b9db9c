//! Assembles a revision: the only place that knows two siblings.
//!
//! Start: bind every listener, build ring and board, start the stages, tell
//! systemd. Stop: viewers first, then cameras and buses, then the rest, five
//! seconds in all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use sd_notify::NotifyState;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::capture;
use crate::clock::WallClock;
use crate::config::Config;
use crate::config::mqtt::Connection;
use crate::control::change::{Action, Changes};
use crate::control::{self, Order, Overlay, Setting, adopt};
use crate::feed::board::Board;
use crate::observe::{self, local};
use crate::status::Status;
use crate::update;

pub use demo::Demo;
use demo::DemoLine;
use listeners::Bound;
use on_air::OnAir;
pub use orders::End;
use orders::Orders;
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

/// How the box is set up over MQTT, and where what must survive a power cut is kept.
pub enum Control {
    /// Technicians change its revisions.
    Revisions {
        /// What is on disk.
        changes: Box<Changes>,
        /// What is to be said about this start.
        first: Vec<Action>,
        /// Where they are kept.
        dir: PathBuf,
    },
    /// It has no site yet.
    Door {
        /// Where it knocks.
        door: Box<Connection>,
        /// What its first revision is made from.
        seed: Value,
        /// Where that goes.
        dir: PathBuf,
    },
}

impl Control {
    /// What people closed, from where it is kept.
    fn overlay(&self) -> Overlay {
        let (Self::Revisions { dir, .. } | Self::Door { dir, .. }) = self;
        Overlay::open(dir)
    }

    /// Runs in `house`; its orders.
    fn start(
        self,
        overlay: Overlay,
        config: &Config,
        floor: &Floor,
        house: &Stage,
    ) -> mpsc::Receiver<Order> {
        let (orders, ours) = mpsc::channel(ORDERS);
        let Floor { board, wall, status, .. } = floor;
        let (board, wall, status) = (board.clone(), wall.clone(), status.clone());
        let stop = house.stop.child_token();
        match self {
            Self::Revisions { changes, first, dir } => {
                let (changes, on_air) = (*changes, config.clone());
                let means = capture::means;
                let setting = Setting {
                    changes,
                    first,
                    on_air,
                    means,
                    dir,
                    overlay,
                    board,
                    wall,
                    status,
                    orders,
                };
                // Without it nobody could set the box up: the watchdog sees if it gets stuck.
                let status = floor.status.clone();
                let body =
                    async move { status.alive("control", control::run(setting, stop)).await };
                house.tasks.spawn(body);
            }
            Self::Door { door, seed, dir } => {
                let until = stop.clone();
                house.spawn("door".into(), stop, move || {
                    let (door, seed, dir) = (Connection::clone(&door), seed.clone(), dir.clone());
                    let (wall, status, orders) = (wall.clone(), status.clone(), orders.clone());
                    let waiting = adopt::Waiting { door, seed, dir, wall, status, orders };
                    adopt::run(waiting, until.clone())
                });
            }
        }
        ours
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
/// and becomes what it says. Updates come from `place` and are kept there; without it there
/// are none.
///
/// # Errors
/// A listener that cannot be bound, before any device is touched. With `control`, which can
/// mend it, it is retried for ever; with a `place`, where only the address is missing; so is
/// whatever fails later.
pub async fn run(
    config: Config,
    file: Option<PathBuf>,
    demo: Option<Demo>,
    control: Option<Control>,
    place: Option<update::Place>,
    inside: Inside,
    stop: CancellationToken,
) -> Result<End> {
    // First: without a handler it would end the process.
    let hangup = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    let bound = Bound::bind(&config.web, &config.metrics).await;
    let bound = match (&control, &place) {
        // It must stay within reach of who can mend this.
        (Some(_), _) => bound,
        // A box waits for its site to give it an address, and for nothing else.
        (None, Some(_)) => bound.both_or_late()?,
        (None, None) => bound.both()?,
    };
    let (page, numbers) = bound.addresses();
    if let Some(numbers) = numbers {
        observe::say(&format!("metrics: http://{numbers}/metrics"));
    }

    let wall = Arc::new(WallClock::new());
    let status = Status::new();
    let (viewers, sources, house) = (Stage::new(&status), Stage::new(&status), Stage::new(&status));
    house.tasks.spawn(observe::heartbeat(wall.clone(), status.clone(), house.stop.clone()));
    house.tasks.spawn(observe::upkeep(inside.metrics.clone(), house.stop.clone()));
    let (board, style) = (Board::new(config.tags.clone()), on_air::style_of(&config.studio));
    let floor = Floor { board, wall, status, style: watch::Sender::new(style) };
    // A camera that people closed shows nothing before it is known to be closed.
    let overlay = control.as_ref().map(Control::overlay).unwrap_or_default();
    let sources = Sources::new(floor, sources, DemoLine::new(demo), overlay.clone());
    let on_air = OnAir::start(sources, config, bound, viewers, inside.metrics.clone()).await?;
    let (updates, wishes) = mpsc::channel(1);
    if let Some(place) = place {
        let setting = update::Setting {
            place,
            status: on_air.floor().status.clone(),
            wall: on_air.floor().wall.clone(),
            watched: Arc::new(on_air.watched()),
            wishes,
        };
        house.tasks.spawn(update::run(setting, updates.clone(), house.stop.child_token()));
    }
    let orders = control.map(|c| c.start(overlay, on_air.config(), on_air.floor(), &house));
    let handle = inside.metrics.clone();
    let mut orders = Orders::new(on_air, inside, file, orders, updates);

    // Once all is begun: the health gate takes what is not there for what does not work.
    if let Some(at) = local::place(std::env::var_os("RUNTIME_DIRECTORY").as_deref()) {
        let stop = house.stop.child_token();
        let until = stop.clone();
        house.spawn("local metrics".into(), stop, move || {
            let handle = handle.clone();
            local::serve(at.clone(), move || handle.render(), until.clone())
        });
    }
    observe::tell_systemd(NotifyState::Ready);
    match page {
        Some(page) => observe::say(&format!("on air: {}", page_url(page))),
        None => warn!("no page yet: web.listen or web.media cannot be bound"),
    }
    let end = orders.take(hangup, &stop).await;
    // After that word systemd kills whatever has this process's number, a new start in place too.
    if end == End::Stopped {
        observe::tell_systemd(NotifyState::Stopping);
    }
    orders.end(DRAIN_SOURCES).await;
    house.drain("house", Duration::from_millis(300)).await;
    info!("off air");
    Ok(end)
}

/// The page's address as a person types it.
fn page_url(at: SocketAddr) -> String {
    match at.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}/", at.port()),
        false => format!("http://{at}/"),
    }
}
