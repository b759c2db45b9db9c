//! The near end: a V4L2 camera is opened, and what it offers is chosen from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;

use super::controls;
use super::discovery::Found;
use super::encoder::ladder::LADDER;
use super::encoder::machine;
use super::format::{self, Asked, Coding};
use super::ioctl::Node;
use super::lender;
use super::messages::Complaint;
use super::stream::{self, Stream};
use crate::config::camera::{Camera, ControlValue};
use crate::model::Reason;

/// A camera's shutter time in nanoseconds; zero while unknown.
pub(super) type Exposure = Arc<AtomicU64>;

/// A V4L2 camera, ready to be started.
pub(super) struct V4l2 {
    /// Its pictures.
    pub stream: Stream,
    /// What it was asked for.
    pub asked: Asked,
}

/// Opens the camera: sets its controls, chooses its format. Blocks.
///
/// # Errors
/// It cannot be opened, or does not offer what is wanted.
pub(super) fn v4l2(camera: &Camera, found: &Found) -> Result<(V4l2, Vec<String>), Complaint> {
    let node = Node::open(&found.node)
        .map_err(|error| Complaint::refused(&format!("open port {}", found.port), &error))?;
    stream::prepare(&node)?;
    let offers = node.offers(found.planes);
    let rates = |fourcc| node.rates(fourcc, camera.width, camera.height);
    let asked = format::choose(&offers, rates, camera)
        .map_err(|why| Complaint { kind: Reason::WrongFormat, reason: anyhow!(why) })?;
    // For encoders that read pictures where they are.
    let lends = asked.coding == Coding::Raw
        && machine::imports(LADDER, camera.encoder.as_deref())
        && lender::lends(&node, found.planes);
    let refused = controls::apply(&found.node, &camera.controls);
    let stream = Stream::open(node, found.planes, &asked, lends)?;
    Ok((V4l2 { stream, asked }, refused))
}

/// Asks the camera whether its shutter is closed. Blocks.
pub(super) fn shutter_closed(found: &Found) -> Option<bool> {
    controls::shutter_closed(&Node::open(&found.node).ok()?)
}

/// Asks the camera for its shutter time. Blocks.
pub(super) fn read_exposure(found: &Found, exposure: &Exposure) {
    let Ok(node) = Node::open(&found.node) else { return };
    let known = controls::list(&node);
    let named = |c: &&controls::Control| {
        // Kernels before 5.17 call it exposure_absolute.
        c.name == "exposure_time_absolute" || c.name == "exposure_absolute"
    };
    let value = known.iter().find(named).and_then(|c| c.value);
    // In units of 100 µs (kernel V4L2 docs, "Camera Control Reference").
    let ns = value.and_then(|v| u64::try_from(v).ok()).map_or(0, |v| v.saturating_mul(100_000));
    exposure.store(ns, Ordering::Relaxed);
}

/// Asks an H.264 camera itself for a key frame; false if it has no such control.
pub(super) fn press_force_key(found: &Found) -> bool {
    let Ok(node) = Node::open(&found.node) else { return false };
    let known = controls::list(&node);
    controls::set(&node, &known, "force_key_frame", &ControlValue::Switch(true)).is_ok()
}
