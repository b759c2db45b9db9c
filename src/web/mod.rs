//! What viewers reach: the page, WHEP, and the API.
//!
//! Comes in: HTTP from anyone, frames and samples. Goes out: the page, the
//! studio's description, pictures and figures. Everything that anyone can make
//! us hold is bounded: connections, heads, bodies, sessions, opens per second.

pub mod api;
pub mod crypto;
pub mod http;
pub mod page;
pub mod whep;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use axum::Router;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::WallClock;
use crate::config::studio::{Site, Studio, Web};
use crate::feed::board::Board;
use crate::model::FeedId;
use crate::status::Status;

pub use whep::FeedInfo;
pub use whep::engine::Patience;

/// What the page tells. Another revision replaces it as a whole.
pub struct Showing {
    /// Another one each time: a page that knows another number asks anew.
    pub number: u32,
    /// The box and its site.
    pub site: Site,
    /// The page's looks.
    pub studio: Studio,
    /// The feeds, in the order of the page.
    pub feeds: Vec<FeedInfo>,
}

/// What there is to show.
pub struct StudioInfo {
    /// What the page tells, and changes of it.
    pub showing: watch::Receiver<Arc<Showing>>,
    /// The figures.
    pub board: Arc<Board>,
    /// UTC.
    pub wall: Arc<WallClock>,
    /// The feeds' states.
    pub status: Status,
}

/// The two ports, bound: the errors of both come before anything starts.
pub struct Listeners {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Listeners {
    /// Binds both; port 0 takes a free one.
    pub fn bind(web: &Web) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind(web.listen)
            .with_context(|| format!("web.listen: bind TCP {}", web.listen))?;
        tcp.set_nonblocking(true).context("web.listen: make it non-blocking")?;
        let udp = whep::socket::bind(web.media)?;
        Ok(Self { tcp, udp })
    }

    /// Where the page and WHEP listen.
    pub fn tcp(&self) -> anyhow::Result<SocketAddr> {
        self.tcp.local_addr().context("web.listen: its address")
    }

    /// The media port.
    pub fn udp(&self) -> anyhow::Result<SocketAddr> {
        self.udp.local_addr().context("web.media: its address")
    }
}

/// How [`serve`] differs from the usual; for tests and small boxes.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// How long to wait for viewers.
    pub patience: Patience,
    /// Limits of the gate, instead of those that follow from `viewers_max`.
    pub gate: Option<whep::gate::Limits>,
}

/// Binds and serves until `stop`. A convenience where nobody asks for addresses.
pub async fn run(web: Web, info: Arc<StudioInfo>, stop: CancellationToken) -> anyhow::Result<()> {
    serve(Listeners::bind(&web)?, web, info, Tuning::default(), stop).await
}

/// Serves on bound ports until `stop`; then viewers get a clean end. Fails
/// when the engine does.
pub async fn serve(
    listeners: Listeners,
    web: Web,
    info: Arc<StudioInfo>,
    tuning: Tuning,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (page, media) = (listeners.tcp()?, listeners.udp()?);
    let limits = whep::gate::Limits::new(web.viewers_max as usize);
    let gate = whep::gate::Gate::new(tuning.gate.unwrap_or(limits), Instant::now());
    let (commands, queue) = mpsc::channel(64);
    // The engine outlives the listener, so that its end can be told to everyone.
    let stop_engine = CancellationToken::new();
    let engine = spawn_engine(
        listeners.udp,
        &info,
        gate.clone(),
        tuning.patience,
        queue,
        stop_engine.clone(),
    )?;
    let whep = whep::Whep {
        showing: info.showing.clone(),
        gate: gate.clone(),
        identity: whep::answer::Identity::new()?,
        media,
        extra: web.extra_addresses.into(),
        origins: web.cors_origins.clone().into(),
        commands,
    };
    let logo = info.showing.borrow().studio.logo.clone();
    let router = Router::new()
        .merge(whep::routes(whep))
        .merge(api::routes(api::Api { info: info.clone(), gate }))
        .merge(page::router(logo.as_deref(), &web.cors_origins)?);
    let tcp = tokio::net::TcpListener::from_std(listeners.tcp).context("web.listen: watch it")?;
    info!(%page, %media, "on air");
    let stop_http = stop.child_token();
    let http = http::serve(tcp, router, stop_http.clone());
    let (mut http, mut engine) = (std::pin::pin!(http), engine);
    let ended = tokio::select! {
        ended = &mut engine => Some(ended),
        () = &mut http => None,
    };
    stop_engine.cancel();
    let ended = match ended {
        Some(ended) => {
            stop_http.cancel();
            http.await;
            ended
        }
        None => engine.await,
    };
    ended.context("whep: the engine's thread died")?
}

/// Runs the engine in a thread of its own: nothing else delays its turns.
fn spawn_engine(
    udp: UdpSocket,
    info: &StudioInfo,
    gate: whep::gate::Gate,
    patience: Patience,
    queue: mpsc::Receiver<whep::engine::Command>,
    stop: CancellationToken,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (showing, board) = (info.showing.clone(), info.board.clone());
    let (wall, status) = (info.wall.clone(), info.status.clone());
    let (done, ended) = oneshot::channel();
    let body = move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("whep: start the engine's runtime")?;
        runtime.block_on(async {
            let socket = whep::socket::Socket::new(udp)?;
            let watched = status.clone();
            let parts =
                whep::engine::Parts { socket, showing, board, wall, status, gate, patience };
            let engine = whep::engine::Engine::new(parts);
            watched.alive("engine", engine.run(queue, stop)).await
        })
    };
    std::thread::Builder::new()
        .name("whep".into())
        // Its answer is for who still waits.
        .spawn(move || _ = done.send(body()))
        .context("whep: start the engine's thread")?;
    Ok(ended)
}

/// A feed's state as the API and the data channel tell it.
fn state_json(status: &Status, feed: &FeedId, wall: &WallClock) -> serde_json::Value {
    match status.get(&format!("feed/{feed}")) {
        Some(health) => serde_json::json!({
            "state": health.state,
            // The page has words for it; what technicians are told stays here.
            "code": health.code,
            "since_utc_us": wall.utc(health.since),
        }),
        None => serde_json::json!({ "state": "connecting", "code": "", "since_utc_us": 0 }),
    }
}
