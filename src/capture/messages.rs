//! A pipeline's messages: the first error, as who failed and why.

use std::future::pending;

use anyhow::anyhow;
use futures_util::StreamExt;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::model::Reason;

/// What a pipeline complains of.
pub(super) struct Complaint {
    /// For the slate.
    pub kind: Reason,
    /// For technicians.
    pub reason: anyhow::Error,
}

/// Resolves with the first error, or the end of the stream; never without a bus.
pub(super) async fn first_error(bus: Option<gst::Bus>) -> Complaint {
    let Some(bus) = bus else { return pending().await };
    let mut messages = bus.stream();
    while let Some(message) = messages.next().await {
        match message.view() {
            gst::MessageView::Error(error) => return complaint(error),
            gst::MessageView::Eos(_) => {
                return Complaint { kind: Reason::NoSignal, reason: anyhow!("the stream ended") };
            }
            _ => {}
        }
    }
    Complaint { kind: Reason::Failed, reason: anyhow!("the pipeline went away") }
}

fn complaint(error: &gst::message::Error) -> Complaint {
    let (kind, words) = in_words(error);
    Complaint { kind, reason: anyhow!(words) }
}

/// An error message in a few words for people: the usual ones without GStreamer's.
pub(super) fn in_words(error: &gst::message::Error) -> (Reason, String) {
    use gst::{CoreError, ResourceError, StreamError};
    let cause = error.error();
    let detail = error.debug().map(|d| d.to_string()).unwrap_or_default();
    let tail = detail.lines().last().unwrap_or("").trim().to_owned();
    if cause.matches(ResourceError::Busy) || detail.contains("Device or resource busy") {
        return (Reason::Busy, "device busy: another program has it".into());
    }
    if cause.matches(ResourceError::NotFound) || detail.contains("No such device") {
        return (Reason::Unplugged, "device gone".into());
    }
    if detail.contains("not-negotiated") || cause.matches(CoreError::Negotiation) {
        let words = "not negotiated: the device does not give the format asked for";
        return (Reason::WrongFormat, words.into());
    }
    if cause.matches(StreamError::Encode) {
        return (Reason::Encoder, format!("encoder failed: {tail}"));
    }
    let from = error.src().map_or_else(String::new, |s| format!("{}: ", s.name()));
    let words =
        if tail.is_empty() { format!("{from}{cause}") } else { format!("{from}{cause} ({tail})") };
    (Reason::Failed, words)
}
