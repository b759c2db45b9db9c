//! Cameras to frames.
//!
//! Comes in: pictures of a V4L2 camera, or pushed ones. Goes out: encoded
//! frames with their capture time, into the camera's ring. When the encoder
//! falls behind, raw pictures are shed in front of it and counted; coded
//! frames are never dropped.

mod annexb;
pub mod controls;
pub mod discovery;
pub mod encoder;
mod flow;
mod format;
mod front;
pub mod ioctl;
mod pipeline;
pub mod probe;
pub mod push;
mod session;
pub mod slate;
pub mod timing;
mod transit;

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use crate::config::camera::Camera;
use crate::feed::ring::Ring;
use crate::status::Status;

pub use push::{Pictures, Pixels, PushSource, RawPicture};

/// Where a camera's pictures come from.
#[derive(Clone)]
pub enum Source {
    /// The V4L2 device at the camera's port.
    V4l2,
    /// The application.
    Push(PushSource),
}

/// Captures until `stop`, then returns `Ok`.
///
/// # Errors
/// The camera or its encoder failed; the status says why. Run it again, with
/// the same ring, after a pause.
pub async fn run(
    camera: Camera,
    source: Source,
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
    session::run(camera, source, ring, status, stop).instrument(span).await
}
