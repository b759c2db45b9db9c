//! Counts the bytes that are copied on a picture's way.
//!
//! `floorcast_capture_copied_bytes_total`, by `where`: `convert` (into another
//! layout), `encoder` (into the encoder's memory), `ring` (the access unit, out
//! of the encoder's). Seen, not assumed: a picture whose memory is another one
//! behind an element was copied there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use metrics::{Counter, counter};

use super::encoder::Encoder;
use super::encoder::ladder::Way;

/// The counter of a feed's copies at a place.
pub(super) fn counted(feed: &str, place: &'static str) -> Counter {
    counter!("floorcast_capture_copied_bytes_total", "feed" => feed.to_owned(), "where" => place)
}

/// Counts the copies in front of an encoder.
///
/// # Errors
/// An element without the usual pads.
pub(super) fn count(encoder: &Encoder, feed: &str) -> Result<()> {
    let convert = encoder.chain.first().context("an encoder without elements")?;
    let (converted, taken) = (counted(feed, "convert"), counted(feed, "encoder"));
    let into_driver = encoder.way != Way::Dmabuf;
    // All on one thread, one picture at a time.
    let memory = Arc::new(AtomicUsize::new(0));
    let moved = |memory: &Arc<AtomicUsize>| {
        let memory = memory.clone();
        move |buffer: &gst::BufferRef| {
            let at = address(buffer);
            memory.swap(at, Ordering::Relaxed) != at
        }
    };
    let (came, out, into) = (moved(&memory), moved(&memory), moved(&memory));
    watch(convert, "sink", move |buffer| {
        came(buffer);
    })?;
    watch(convert, "src", move |buffer| {
        if out(buffer) {
            converted.increment(buffer.size() as u64);
        }
    })?;
    watch(&encoder.encode, "sink", move |buffer| {
        if into(buffer) | into_driver {
            taken.increment(buffer.size() as u64);
        }
    })
}

/// Where a picture lies.
fn address(buffer: &gst::BufferRef) -> usize {
    if buffer.n_memory() == 0 { 0 } else { buffer.peek_memory(0).as_ptr() as usize }
}

fn watch(
    element: &gst::Element,
    pad: &str,
    note: impl Fn(&gst::BufferRef) + Send + Sync + 'static,
) -> Result<()> {
    let pad =
        element.static_pad(pad).with_context(|| format!("{} has no {pad}", element.name()))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            note(buffer);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
