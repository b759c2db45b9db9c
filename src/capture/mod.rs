//! Cameras to frames.
//!
//! Comes in: pictures of a V4L2 camera, or pushed ones. Goes out: encoded
//! frames with their capture time, into the camera's ring, and the truth about
//! them into the status. The encoder outlives the camera: while that has no
//! picture, the slate goes through the same encoder and says why. When the
//! encoder falls behind, raw pictures are shed in front of it and counted;
//! coded frames are never dropped.
//!
//! ```text
//! camera ── stream ── intake ──┐
//!                              switch ── line (encoder) ── flow ──► ring
//! slate ───────────────────────┘
//! ```

mod annexb;
mod blocking;
pub mod controls;
mod copies;
pub mod discovery;
mod doubt;
mod encode;
pub mod encoder;
mod flow;
mod format;
mod front;
mod intake;
pub mod ioctl;
mod lender;
mod line;
mod messages;
mod pix;
pub mod probe;
pub mod push;
pub mod quirks;
mod report;
mod rest;
mod returns;
mod session;
pub mod slate;
mod slates;
pub mod snapshot;
mod stream;
mod switch;
pub mod timing;
mod transit;
mod verdict;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use crate::clock;
use crate::config::camera::{ByHand, Camera, Settings};
use crate::config::means::{Means, SOFTWARE};
use crate::feed::ring::Ring;
use crate::status::Status;

use doubt::Watch;
use encode::{Keeper, Trouble};
use encoder::ladder::LADDER;
use encoder::machine;
use flow::Flow;
pub use push::{Pictures, Pixels, PushSource, RawPicture};
use report::Reporter;
use session::Sessions;
pub use slates::{Look, Style};
pub use snapshot::Wishes;
use switch::{Closer, Switch};

/// A viewer's wish for a key frame is granted once per this.
const KEYS: Duration = Duration::from_secs(1);

/// Where a camera's pictures come from.
#[derive(Clone)]
pub enum Source {
    /// The V4L2 device at the camera's port.
    V4l2,
    /// The application.
    Push(PushSource),
}

/// What is asked of a camera while it runs.
#[derive(Clone)]
pub struct Asked {
    /// What may change.
    pub settings: watch::Receiver<Settings>,
    /// Snapshots.
    pub wishes: Wishes,
}

impl From<watch::Receiver<Settings>> for Asked {
    /// Nobody asks for snapshots.
    fn from(settings: watch::Receiver<Settings>) -> Self {
        Self { settings, wishes: snapshot::channel().1 }
    }
}

/// What this machine can encode, as found the first time: that may take seconds.
pub fn means() -> &'static Means {
    static MEANS: OnceLock<Means> = OnceLock::new();
    MEANS.get_or_init(|| {
        let started = gstreamer::init().inspect_err(|error| warn!("GStreamer: {error}"));
        let found = started.map_or_else(|_| Vec::new(), |()| machine::all(LADDER));
        let there = || found.iter().filter(|(_, ways)| !ways.is_empty()).map(|(rung, _)| rung);
        // One name may stand for several chips.
        let names: BTreeSet<_> = there().map(|rung| rung.name).collect();
        Means {
            encoders: names.into_iter().collect(),
            chip: there().any(|rung| rung.auto && !SOFTWARE.contains(&rung.name)),
            cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
        }
    })
}

/// Captures until `stop`. Cameras and encoders that fail are tried again for
/// ever; the status says what is the matter, and the slate shows it. The
/// settings hold instead of the camera's own, and may change at any time.
///
/// # Errors
/// GStreamer does not start.
pub async fn run(
    camera: Camera,
    asked: impl Into<Asked>,
    source: Source,
    look: Look,
    ring: Arc<Ring>,
    status: Status,
    stop: CancellationToken,
) -> Result<()> {
    let asked = asked.into();
    let span = info_span!("camera", id = %camera.id, port = %camera.port);
    // The first time on a machine this reads every plugin there is: seconds on a small
    // box, in which the buses and the page must go on.
    tokio::select! {
        started = tokio::task::spawn_blocking(gstreamer::init) => {
            started.context("start GStreamer")?.context("start GStreamer")?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    film(&camera, &asked, &source, &look, &ring, &status, &stop).instrument(span).await;
    Ok(())
}

async fn film(
    camera: &Camera,
    Asked { settings, wishes }: &Asked,
    source: &Source,
    look: &Look,
    ring: &Arc<Ring>,
    status: &Status,
    stop: &CancellationToken,
) {
    let flow = &Flow::new(ring.clone(), camera.fps);
    let switch = &Switch::new(flow.clone(), &camera.id.0);
    // Before the first picture.
    closed(&settings.borrow(), switch);
    let watch = &Arc::new(Watch::new(camera.fps, camera.frozen_after));
    let trouble = &Trouble::default();
    let sessions = Sessions { camera, settings, flow, switch, watch, stop };
    let pictures = async {
        match source {
            Source::V4l2 => sessions.of_camera().await,
            Source::Push(push) => sessions.of_pushed(push).await,
        }
    };
    let reporter = Reporter { camera, flow, switch, watch, trouble, status };
    let beside = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = reporter.report() => {}
            () = keys(camera, ring, switch) => {}
            () = rest::run(settings, ring, switch) => {}
            () = by_hand(settings, switch) => {}
            () = snapshot::run(wishes, ring, switch) => {}
        }
    };
    tokio::join!(
        pictures,
        Keeper { camera, settings, ladder: LADDER, flow, switch, trouble, status, stop }.keep(),
        slates::run(camera, look, flow, switch, stop),
        beside,
    );
}

/// Closes the camera and opens it as the settings say; never resolves.
async fn by_hand(settings: &watch::Receiver<Settings>, switch: &Switch) {
    let mut settings = settings.clone();
    loop {
        let named = closed(&settings.borrow_and_update(), switch);
        tokio::select! {
            () = changed(&mut settings) => {}
            () = sleep(named.unwrap_or_default()), if named.is_some() => {}
        }
    }
}

/// Closes it or opens it at this moment; for how long its name is still shown.
fn closed(settings: &Settings, switch: &Switch) -> Option<Duration> {
    let ByHand { privacy, paused, named } = &settings.by_hand;
    let now = clock::now();
    let named = named.as_ref().filter(|(until, _)| *until > now);
    let closed =
        [(Closer::House, settings.privacy), (Closer::Hand, *privacy), (Closer::Pause, *paused)];
    switch.close_as(&closed, named.map(|(_, name)| name.clone()));
    named.map(|(until, _)| until.since(now))
}

/// Resolves when the settings changed; never if nobody can change them any more.
async fn changed(settings: &mut watch::Receiver<Settings>) {
    if settings.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Key frames on demand; a wish that comes too soon waits.
async fn keys(camera: &Camera, ring: &Ring, switch: &Switch) {
    let feed = camera.id.to_string();
    let forced = metrics::counter!("floorcast_capture_forced_keys_total", "feed" => feed);
    let (mut next, mut told) = (Instant::now(), false);
    loop {
        ring.key_wanted().await;
        sleep_until(next).await;
        if switch.force_key() {
            forced.increment(1);
        } else if !std::mem::replace(&mut told, true) {
            warn!("key frames cannot be asked for: viewers wait for the next");
        }
        next = Instant::now() + KEYS;
    }
}
