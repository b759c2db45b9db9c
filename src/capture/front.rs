//! The near end of a pipeline: a V4L2 camera, or pushed pictures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::controls;
use super::discovery::Found;
use super::encoder::ladder::LADDER;
use super::encoder::{element, filter, machine, set};
use super::format::{self, Asked, Coding};
use super::intake::{Claim, Claimed, Front};
use super::ioctl::{self, Node};
use super::lender;
use super::messages::Complaint;
use super::rehearsal::rehearse;
use super::timing::Edge;
use crate::config::camera::{Camera, ControlValue};
use crate::model::{Mono, Reason};

/// A camera's shutter time in nanoseconds; zero while unknown.
pub(super) type Exposure = Arc<AtomicU64>;

/// A V4L2 camera, ready to be played.
pub(super) struct V4l2 {
    /// Elements.
    pub front: Front,
    /// What it was asked for.
    pub asked: Asked,
    /// Read when pictures are stamped.
    pub exposure: Exposure,
}

/// Opens the camera: chooses its format, sets its controls. One that failed
/// before must rehearse its start. Blocks.
///
/// # Errors
/// It cannot be opened, or does not offer what is wanted.
pub(super) fn v4l2(
    camera: &Camera,
    found: &Found,
    again: bool,
) -> Result<(V4l2, Vec<String>), Complaint> {
    let node = Node::open(&found.node).map_err(|error| {
        let kind = match error.raw_os_error() {
            Some(libc::EBUSY) => Reason::Busy,
            Some(libc::ENODEV | libc::ENOENT | libc::ENXIO) => Reason::Unplugged,
            _ => Reason::Failed,
        };
        Complaint { kind, reason: anyhow!(error).context(format!("open port {}", found.port)) }
    })?;
    let offers = node.offers(found.planes);
    let rates = |fourcc| node.rates(fourcc, camera.width, camera.height);
    let asked = format::choose(&offers, rates, camera)
        .map_err(|why| Complaint { kind: Reason::WrongFormat, reason: anyhow!(why) })?;
    let lends = asked.coding == Coding::Raw
        && machine::imports(LADDER, camera.encoder.as_deref())
        && lender::lends(&node, found.planes);
    drop(node);
    let refused = controls::apply(&found.node, &camera.controls);
    let v4l2 = elements(found, asked, lends, again)
        .map_err(|reason| Complaint { kind: Reason::Failed, reason })?;
    Ok((v4l2, refused))
}

fn elements(found: &Found, asked: Asked, lends: bool, again: bool) -> Result<V4l2> {
    let source = element("v4l2src")?;
    source.set_property("device", found.node.display().to_string());
    source.set_property("name", "v4l2src"); // without a number that tells one attempt from the next
    if lends {
        // For encoders that read pictures where they are.
        set(&source, "io-mode", "dmabuf")?;
    }
    let exposure = Exposure::default();
    let claim = driver_claim(&source, found, &exposure);
    more_buffers(&source, again.then(|| found.clone()))?;
    let decode = match asked.coding {
        Coding::Jpeg => {
            let decode = element("jpegdec")?;
            decode.set_property("max-errors", -1i32); // a torn picture costs itself only
            Some(decode)
        }
        Coding::Raw | Coding::H264 => None,
    };
    let coded = asked.coding == Coding::H264;
    let front = Front { source, claim, asked: filter(&asked.caps)?, decode, coded };
    Ok(V4l2 { front, asked, exposure })
}

/// Pictures that may be on their way at once: the queue, those being decoded or
/// encoded where they are, and one in hand.
const ON_THE_WAY: u32 = 6;

/// Gives the driver that many buffers more, so that it never runs dry while the
/// encoder is slow: pictures are to be shed in the queue, where they are counted.
/// Asked just before the stream starts, it rehearses the start where that is due.
fn more_buffers(source: &gst::Element, rehearses: Option<Found>) -> Result<()> {
    let pad = source.static_pad("src").context("v4l2src has no src pad")?;
    // What refused to start stays open, so that v4l2src is refused before it has buffers to lose.
    let (rehearses, refused) = (Mutex::new(rehearses), Mutex::new(None));
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |pad, info| {
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Allocation(allocation) = query.view_mut()
        {
            allocation.add_allocation_pool(None::<&gst::BufferPool>, 0, ON_THE_WAY, 0);
            // Rows may be padded: the elements behind all read the layout.
            allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
            if let Some(found) = rehearses.lock().expect("rehearsal lock").take()
                && let Ok(node) = Node::open(&found.node)
                && let Err(error) = rehearse(&node, found.planes)
                && let Some(source) = pad.parent_element()
            {
                *refused.lock().expect("rehearsal lock") = Some(node);
                let words = error.to_string();
                gst::element_error!(
                    source,
                    gst::ResourceError::Failed,
                    ("the stream does not start"),
                    ["{words}"]
                );
            }
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// The driver's own stamp where it can be had, else v4l2src's time.
fn driver_claim(source: &gst::Element, found: &Found, exposure: &Exposure) -> Claim {
    let (source, planes, exposure) = (source.downgrade(), found.planes, exposure.clone());
    let mut descriptor = None;
    let (mut last, mut unstamped) = (None, 0u32);
    Box::new(move |buffer| {
        let fd = *descriptor
            .get_or_insert_with(|| source.upgrade().map_or(-1, |s| s.property("device-fd")));
        let stamp = if fd < 0 { None } else { ioctl::newest_stamp(fd, planes, last) };
        unstamped += 1; // this one
        let mut lost = 0;
        if let Some(stamp) = stamp {
            if let Some(last) = last.replace(stamp.sequence) {
                let passed = stamp.sequence.wrapping_sub(last);
                lost = passed.saturating_sub(unstamped);
            }
            unstamped = 0;
        }
        let (at, edge) = match stamp {
            Some(ioctl::Stamp { at, edge: Edge::ExposureStart { .. }, .. }) => {
                let open = Some(exposure.load(Ordering::Relaxed)).filter(|ns| *ns > 0);
                (Some(at), Edge::ExposureStart { exposure: open.map(Duration::from_nanos) })
            }
            Some(ioctl::Stamp { at, edge, .. }) => (Some(at), edge),
            None => (buffer.pts().map(|t| Mono(t.nseconds())), Edge::FrameEnd),
        };
        Claimed { at, edge, lost }
    })
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
