//! The encoder and all behind it: raw pictures in, access units to [`Flow`].
//!
//! It outlives cameras: whoever pictures, it goes through the same elements, so
//! that the stream's parameters stay and no viewer notices more than another
//! picture. Its base time is zero and its clock is `CLOCK_MONOTONIC`, so a
//! running time *is* a [`Mono`]. When the encoder falls behind, the oldest raw
//! picture of two goes and is counted. Coded pictures are never dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::copies;
use super::encoder::{Encoder, Press, element, filter};
use super::flow::Flow;
use crate::clock;
use crate::model::Mono;

/// Raw pictures that wait for the encoder at most.
const QUEUE: u64 = 2;

/// What is done with an access unit: its PTS, its bytes, when it came out.
pub(super) type Taker = Box<dyn Fn(Mono, &[u8], Mono) + Send + Sync>;

/// An encoder in its pipeline. Stopped when dropped.
pub(super) struct Line {
    pipeline: gst::Pipeline,
    entry: gst_app::AppSrc,
    out: gst_app::AppSink,
    press: Arc<Press>,
    /// The first picture of this time or later is to be a key frame; zero for none.
    key_due: Arc<AtomicU64>,
}

/// A pipeline whose running time is the monotonic clock.
pub(super) fn monotonic() -> gst::Pipeline {
    let pipeline = gst::Pipeline::new();
    pipeline.set_start_time(gst::ClockTime::NONE); // keep base time
    pipeline.set_base_time(gst::ClockTime::ZERO);
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    pipeline
}

impl Line {
    /// A line that is not playing yet; `taker` gets what it encodes.
    ///
    /// # Errors
    /// An element is missing or does not link.
    pub fn new(encoder: Encoder, flow: &Arc<Flow>, taker: Taker) -> Result<Self> {
        let pipeline = monotonic();
        let entry = gst_app::AppSrc::builder().is_live(true).format(gst::Format::Time).build();
        entry.set_property("max-buffers", QUEUE);
        entry.set_property("max-bytes", 0u64);
        entry.set_property_from_str("leaky-type", "downstream"); // the oldest goes
        let noted = flow.clone();
        on_buffer(entry.upcast_ref(), "src", move |at, _| noted.admitted(at))?;
        let (noted, key_due) = (flow.clone(), Arc::new(AtomicU64::default()));
        let (due, press) = (key_due.clone(), Arc::new(encoder.press()));
        let (asks, encode) = (press.clone(), encoder.encode.downgrade());
        on_buffer(&encoder.encode, "sink", move |at, now| {
            noted.entered(at, now);
            // Asked for here it is of this very picture, not of one that was queued.
            if (1..=at.0).contains(&due.load(Ordering::Relaxed))
                && let Some(encode) = encode.upgrade()
            {
                due.store(0, Ordering::Relaxed);
                asks.key(&encode);
            }
        })?;
        copies::count(&encoder, flow.feed())?;
        let parse = element("h264parse")?;
        parse.set_property("config-interval", -1i32); // parameter sets with every key frame
        let coded = filter(CODED)?;
        let out = sink(taker);
        let mut chain = vec![entry.clone().upcast()];
        chain.extend(encoder.chain);
        chain.extend([parse, coded, out.clone().upcast()]);
        pipeline.add_many(&chain).context("assemble the encoder's pipeline")?;
        gst::Element::link_many(&chain).context("link the encoder's pipeline: caps do not fit")?;
        Ok(Self { pipeline, entry, out, press, key_due })
    }

    /// Starts it; may block for as long as the driver takes.
    ///
    /// # Errors
    /// It does not start; the bus has the reason.
    pub fn play(&self) -> Result<()> {
        play(&self.pipeline, "the encoder's pipeline does not start")
    }

    /// Stops it; may block for as long as the driver takes.
    pub fn stop(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// Its messages.
    pub fn bus(&self) -> Option<gst::Bus> {
        self.pipeline.bus()
    }

    /// Hands a raw picture over; never waits. Its PTS is its capture time.
    pub fn picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        // Refused while it stops or has failed: then another line is on its way.
        let _ = self.entry.push_sample(&gst::Sample::builder().buffer(buffer).caps(caps).build());
    }

    /// The same; it, or the next that is not shed, is to be a key frame.
    pub fn key_picture(&self, buffer: &gst::Buffer, caps: &gst::Caps) {
        let at = buffer.pts().map_or(0, |pts| pts.nseconds());
        self.key_due.store(at, Ordering::Relaxed);
        self.picture(buffer, caps);
    }

    /// Asks the encoder for a key frame with its parameter sets, as soon as it
    /// can; false if it cannot be asked.
    pub fn force_key(&self) -> bool {
        self.press.key(self.out.upcast_ref())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whole access units with start codes.
pub(super) const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au";

/// Starts a pipeline; its bus says why it does not.
pub(super) fn play(pipeline: &gst::Pipeline, failed: &'static str) -> Result<()> {
    if pipeline.set_state(gst::State::Playing).is_ok() {
        return Ok(());
    }
    bail!(failed)
}

/// The end: hands each access unit on, on the encoder's own thread.
pub(super) fn sink(taker: Taker) -> gst_app::AppSink {
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
            taker(Mono(at.nseconds()), &data, now);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(8)
        .callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build())
        .build()
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

#[cfg(test)]
mod tests {
    use super::super::encoder::ladder::LADDER;
    use super::super::encoder::machine::candidates;
    use super::super::encoder::{Wanted, make};
    use super::super::timing::Edge;
    use super::*;
    use crate::feed::ring::Ring;
    use std::sync::{Mutex, mpsc};
    use std::time::{Duration, Instant};

    /// Waits for `done`, at most 20 s.
    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The picture asked for is the key frame, and no other, however many wait before it.
    #[test]
    fn the_very_picture_is_the_key_frame() {
        gst::init().unwrap();
        let wanted = Wanted { width: 64, height: 64, fps: 30, bitrate_kbps: 100, gop_frames: 1000 };
        for name in ["x264enc", "openh264enc"] {
            let candidate = &candidates(LADDER, Some(name))[0];
            let encoder = make(candidate, &wanted, None).unwrap();
            let ring = Ring::new("t".into());
            let flow = Flow::new(ring.clone(), 30);
            let taker = flow.clone();
            let taker: Taker = Box::new(move |at, data, now| taker.coded(at, data, now));
            let line = Line::new(encoder, &flow, taker).unwrap();
            line.play().unwrap();
            let caps = "video/x-raw,format=I420,width=64,height=64,framerate=30/1".parse().unwrap();
            let mut reader = ring.reader();
            for round in 0..20u8 {
                let mut asked = Mono(0);
                for n in 0..2u8 {
                    let now = clock::now();
                    let at = flow.seen(Some(now), Edge::Exact, now).at;
                    let mut buffer = gst::Buffer::from_slice(vec![round + n; 64 * 64 * 3 / 2]);
                    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
                    match n {
                        0 => line.picture(&buffer, &caps),
                        _ => line.key_picture(&buffer, &caps),
                    }
                    asked = at;
                }
                let mut got = Vec::new();
                until("both", || {
                    got.extend(std::iter::from_fn(|| reader.try_next()).map(|read| read.frame));
                    got.last().is_some_and(|f| f.captured.at >= asked)
                });
                let keys: Vec<_> = got.iter().map(|f| f.key).collect();
                // A reader begins at a key frame, and may find the second of the first two.
                let expected: &[bool] = if round == 0 { &[true] } else { &[false, true] };
                assert!(keys.ends_with(expected), "{name}, round {round}: {keys:?}");
            }
            line.stop();
        }
    }

    /// While the encoder is busy with one picture, two wait and the rest are
    /// shed, the oldest first; every one is counted.
    #[test]
    fn busy_encoder_sheds_raw_pictures_and_counts_them() {
        gst::init().unwrap();
        let wanted = Wanted { width: 64, height: 64, fps: 30, bitrate_kbps: 100, gop_frames: 1000 };
        let candidate = &candidates(LADDER, Some("x264enc"))[0];
        let mut encoder = make(candidate, &wanted, None).unwrap();
        let busy = element("identity").unwrap();
        busy.set_property("signal-handoffs", true);
        let (release, released) = mpsc::channel::<()>();
        let (entered, enters) = mpsc::channel::<()>();
        let (released, entered) = (Mutex::new(released), Mutex::new(entered));
        busy.connect("handoff", false, move |_| {
            let _ = entered.lock().unwrap().send(());
            let _ = released.lock().unwrap().recv(); // until the test lets go of it
            None
        });
        encoder.chain.insert(0, busy);
        let ring = Ring::new("t".into());
        let flow = Flow::new(ring.clone(), 30);
        let taker = flow.clone();
        let taker: Taker = Box::new(move |at, data, now| taker.coded(at, data, now));
        let line = Line::new(encoder, &flow, taker).unwrap();
        line.play().unwrap();
        let caps = "video/x-raw,format=I420,width=64,height=64,framerate=30/1".parse().unwrap();
        let push = |n: u8| {
            let now = clock::now();
            let at = flow.seen(Some(now), Edge::Exact, now).at;
            let mut buffer = gst::Buffer::from_slice(vec![n; 64 * 64 * 3 / 2]);
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
            line.picture(&buffer, &caps);
        };
        push(0);
        enters.recv_timeout(Duration::from_secs(20)).expect("the first picture goes in");
        (1..=10).for_each(push);
        drop(release);
        let frames = || ring.newest().map_or(0, |newest| newest.seq + 1);
        until("all 11 to come out or be counted", || frames() + flow.shed() == 11);
        assert!(flow.shed() >= 7, "{} shed", flow.shed());
        line.stop();
    }
}
