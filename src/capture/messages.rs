//! What drivers and pipelines complain of, as who failed and why.

use std::future::pending;
use std::io;

use anyhow::anyhow;
use futures_util::StreamExt;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::model::Reason;

const BUSY: &str = "device busy: another program has it";
const GONE: &str = "device gone";

/// What a camera or a pipeline complains of.
pub(super) struct Complaint {
    /// For the slate.
    pub kind: Reason,
    /// For technicians.
    pub reason: anyhow::Error,
}

impl Complaint {
    /// No kind of its own.
    pub fn failed(reason: anyhow::Error) -> Self {
        Self { kind: Reason::Failed, reason }
    }

    /// A device's refusal of `what`.
    pub fn refused(what: &str, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBUSY) => Self { kind: Reason::Busy, reason: anyhow!(BUSY) },
            Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => {
                Self { kind: Reason::Unplugged, reason: anyhow!(GONE) }
            }
            _ => Self::failed(anyhow!("{what}: {error}")),
        }
    }
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
        return (Reason::Busy, BUSY.into());
    }
    if cause.matches(ResourceError::NotFound) || detail.contains("No such device") {
        return (Reason::Unplugged, GONE.into());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a device refuses is told as what people can do something about.
    #[test]
    fn refusals_are_told_by_kind() {
        let told = |code| {
            let complaint =
                Complaint::refused("the stream broke", &io::Error::from_raw_os_error(code));
            (complaint.kind, complaint.reason.to_string())
        };
        assert_eq!(told(libc::EBUSY).0, Reason::Busy);
        assert_eq!(told(libc::ENODEV), (Reason::Unplugged, "device gone".into()));
        let (kind, words) = told(libc::EINVAL);
        assert_eq!(kind, Reason::Failed);
        assert!(words.starts_with("the stream broke: Invalid argument"), "{words}");
    }
}
