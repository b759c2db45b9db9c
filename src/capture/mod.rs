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
//! camera ── intake ──┐
//!                    switch ── line (encoder) ── flow ──► ring
//! slate ─────────────┘
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
pub mod probe;
pub mod push;
pub mod quirks;
mod rehearsal;
mod report;
mod rest;
mod session;
pub mod slate;
mod slates;
mod switch;
pub mod timing;
mod transit;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};

use crate::config::camera::{Camera, Settings};
use crate::feed::ring::Ring;
use crate::status::Status;

use doubt::Watch;
use encode::{Keeper, Trouble};
use encoder::ladder::LADDER;
use flow::Flow;
pub use push::{Pictures, Pixels, PushSource, RawPicture};
use report::Reporter;
use session::Sessions;
pub use slates::{Look, Style};
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

/// Captures until `stop`. Cameras and encoders that fail are tried again for
/// ever; the status says what is the matter, and the slate shows it. The
/// `settings` hold instead of the camera's own, and may change at any time.
///
/// # Errors
/// GStreamer does not start.
pub async fn run(
    camera: Camera,
    settings: watch::Receiver<Settings>,
    source: Source,
    look: Look,
    ring: Arc<Ring>,
    status: Status,
    stop: CancellationToken,
) -> Result<()> {
    let span = info_span!("camera", id = %camera.id, port = %camera.port);
    // The first time on a machine this reads every plugin there is: seconds on a small
    // box, in which the buses and the page must go on.
    tokio::select! {
        started = tokio::task::spawn_blocking(gstreamer::init) => {
            started.context("start GStreamer")?.context("start GStreamer")?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    film(&camera, &settings, &source, &look, &ring, &status, &stop).instrument(span).await;
    Ok(())
}

async fn film(
    camera: &Camera,
    settings: &watch::Receiver<Settings>,
    source: &Source,
    look: &Look,
    ring: &Arc<Ring>,
    status: &Status,
    stop: &CancellationToken,
) {
    let flow = &Flow::new(ring.clone(), camera.fps);
    let switch = &Switch::new(flow.clone(), &camera.id.0);
    // Before the first picture.
    switch.close(Closer::House, settings.borrow().privacy);
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
            () = privacy(settings, switch) => {}
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
async fn privacy(settings: &watch::Receiver<Settings>, switch: &Switch) {
    let mut settings = settings.clone();
    loop {
        switch.close(Closer::House, settings.borrow_and_update().privacy);
        changed(&mut settings).await;
    }
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
