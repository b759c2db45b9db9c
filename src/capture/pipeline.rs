//! One camera's GStreamer pipeline, from source to [`Flow`].
//!
//! Its base time is zero and its clock is `CLOCK_MONOTONIC`, so a running
//! time *is* a [`Mono`]. A queue of two sits behind the source: when the
//! encoder falls behind, the oldest raw picture goes. Coded pictures are never
//! dropped.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::encoder::{Encoder, element, filter};
use super::flow::Flow;
use super::timing::Edge;
use crate::clock;
use crate::model::Mono;

/// Raw pictures that wait for the encoder at most.
const QUEUE: u32 = 2;

/// A pipeline, not yet playing. Stopped when dropped.
pub(super) struct Pipeline {
    pipeline: gst::Pipeline,
    out: gst_app::AppSink,
}

/// A source's claim: when which instant of a picture was.
pub(super) type Claim = Box<dyn FnMut(&gst::BufferRef) -> (Option<Mono>, Edge) + Send>;

/// What comes in front of the encoder.
pub(super) struct Front {
    /// Gives pictures.
    pub source: gst::Element,
    /// Reads their times.
    pub claim: Claim,
    /// The caps asked of the source.
    pub asked: gst::Element,
    /// Decoder of compressed pictures.
    pub decode: Option<gst::Element>,
}

impl Pipeline {
    /// Source to ring, through `encoder` or, for H.264 cameras, untouched.
    ///
    /// # Errors
    /// An element is missing or does not link.
    pub fn build(front: Front, encoder: Option<Encoder>, flow: &Arc<Flow>) -> Result<Self> {
        let pipeline = gst::Pipeline::new();
        pipeline.set_start_time(gst::ClockTime::NONE); // keep base time
        pipeline.set_base_time(gst::ClockTime::ZERO);
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));

        stamp(&front.source, front.claim, flow)?;
        let mut chain = vec![front.source, front.asked];
        if let Some(encoder) = encoder {
            let shed = element("queue")?; // full: lose raw pictures here, never coded ones
            shed.set_property_from_str("leaky", "downstream");
            shed.set_property("max-size-buffers", QUEUE);
            shed.set_property("max-size-bytes", 0u32);
            shed.set_property("max-size-time", 0u64);
            let noted = flow.clone();
            on_buffer(&shed, "src", move |at, _| noted.admitted(at))?;
            let noted = flow.clone();
            on_buffer(&encoder.encode, "sink", move |at, now| noted.entered(at, now))?;
            chain.push(shed);
            chain.extend(front.decode);
            chain.extend(encoder.chain);
        }
        let parse = element("h264parse")?;
        parse.set_property("config-interval", -1i32); // parameter sets with every key frame
        let coded = filter("video/x-h264,stream-format=byte-stream,alignment=au")?;
        let out = sink(flow);
        chain.extend([parse, coded, out.clone().upcast()]);
        pipeline.add_many(&chain).context("assemble the pipeline")?;
        gst::Element::link_many(&chain).context("link the pipeline: caps do not fit")?;
        Ok(Self { pipeline, out })
    }

    /// Starts it; may block for as long as the driver takes.
    ///
    /// # Errors
    /// It does not start; the bus has the reason.
    pub fn play(&self) -> Result<()> {
        if self.pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(());
        }
        bail!("the pipeline does not start") // its bus says why
    }

    /// Stops it; may block for as long as the driver takes.
    pub fn stop(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// Its messages.
    pub fn bus(&self) -> Option<gst::Bus> {
        self.pipeline.bus()
    }

    /// Asks the encoder for a key frame with its parameter sets; false if nobody took it.
    pub fn force_key(&self) -> bool {
        let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
        self.out.send_event(event)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every picture that leaves the source gets its judged capture time as PTS.
fn stamp(source: &gst::Element, claim: Claim, flow: &Arc<Flow>) -> Result<()> {
    let pad = source.static_pad("src").context("the source has no src pad")?;
    let (flow, claim) = (flow.clone(), Mutex::new(claim));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = clock::now();
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            let (at, edge) = claim.lock().expect("claim lock")(buffer);
            let captured = flow.seen(at, edge, now);
            // The source owns its picture alone here, so nothing is copied.
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(captured.at.0));
            buffer.set_dts(gst::ClockTime::NONE);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Calls `note` with the capture time of each picture that passes a pad.
fn on_buffer(
    element: &gst::Element,
    pad: &str,
    note: impl Fn(Mono, Mono) + Send + Sync + 'static,
) -> Result<()> {
    let pad =
        element.static_pad(pad).with_context(|| format!("{} has no {pad}", element.name()))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(at) = info.buffer().and_then(|b| b.pts()) {
            note(Mono(at.nseconds()), clock::now());
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// The end: each access unit goes into the ring on the encoder's own thread.
fn sink(flow: &Arc<Flow>) -> gst_app::AppSink {
    let flow = flow.clone();
    let take = move |sink: &gst_app::AppSink| {
        let now = clock::now();
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        // x264enc shifts its PTS by 1000 h and its segment with them.
        let at = (sample.segment())
            .and_then(|s| s.downcast_ref::<gst::ClockTime>())
            .zip(sample.buffer().and_then(|b| b.pts()))
            .and_then(|(segment, pts)| segment.to_running_time(pts));
        if let (Some(at), Some(buffer)) = (at, sample.buffer())
            && let Ok(data) = buffer.map_readable()
        {
            flow.coded(Mono(at.nseconds()), &data, now);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(8)
        .callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build())
        .build()
}

/// An error message in a few words for people: the usual ones without GStreamer's.
pub(super) fn in_words(error: &gst::message::Error) -> String {
    use gst::{CoreError, ResourceError, StreamError};
    let cause = error.error();
    let detail = error.debug().map(|d| d.to_string()).unwrap_or_default();
    let tail = detail.lines().last().unwrap_or("").trim().to_owned();
    if cause.matches(ResourceError::Busy) || detail.contains("Device or resource busy") {
        return "device busy: another program has it".into();
    }
    if cause.matches(ResourceError::NotFound) || detail.contains("No such device") {
        return "device gone".into();
    }
    if detail.contains("not-negotiated") || cause.matches(CoreError::Negotiation) {
        return "not negotiated: the device does not give the format asked for".into();
    }
    if cause.matches(StreamError::Encode) {
        return format!("encoder failed: {tail}");
    }
    let from = error.src().map_or_else(String::new, |s| format!("{}: ", s.name()));
    if tail.is_empty() { format!("{from}{cause}") } else { format!("{from}{cause} ({tail})") }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::ladder::{LADDER, candidates};
    use super::super::encoder::{Wanted, make};
    use super::*;
    use crate::feed::ring::Ring;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    /// Waits for `done`, at most 20 s.
    fn until(what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// While the encoder is busy with one picture, two wait and the rest are
    /// shed, the oldest first; every one is counted.
    #[test]
    fn busy_encoder_sheds_raw_pictures_and_counts_them() {
        gst::init().unwrap();
        let wanted = Wanted { width: 64, height: 64, fps: 30, bitrate_kbps: 100, gop_frames: 1000 };
        let mut encoder = make(&candidates(LADDER, Some("x264enc"))[0], &wanted).unwrap();
        let busy = element("identity").unwrap();
        busy.set_property("signal-handoffs", true);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        busy.connect("handoff", false, move |_| {
            let _ = released.lock().unwrap().recv(); // until the test lets go of it
            None
        });
        encoder.chain.insert(0, busy);
        let caps = "video/x-raw,format=I420,width=64,height=64,framerate=30/1";
        let app = gst_app::AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            .caps(&caps.parse().unwrap())
            .build();
        let front = Front {
            source: app.clone().upcast(),
            claim: Box::new(|b| (b.pts().map(|t| Mono(t.nseconds())), Edge::Exact)),
            asked: filter(caps).unwrap(),
            decode: None,
        };
        let ring = Ring::new("t".into());
        let flow = Flow::new(ring.clone(), Duration::from_millis(33));
        let pipeline = Pipeline::build(front, Some(encoder), &flow).unwrap();
        pipeline.play().unwrap();
        let push = |n: u8| {
            let at = clock::now();
            let mut buffer = gst::Buffer::from_slice(vec![n; 64 * 64 * 3 / 2]);
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
            app.push_buffer(buffer).unwrap();
            until("the source", || flow.last_seen().is_some_and(|seen| seen >= at));
        };
        (0..=10).for_each(push);
        drop(release);
        let frames = || ring.newest().map_or(0, |newest| newest.seq + 1);
        until("all 11 to come out or be counted", || frames() + flow.shed() == 11);
        assert!(flow.shed() >= 7, "{} shed", flow.shed());
        pipeline.stop();
    }
}
