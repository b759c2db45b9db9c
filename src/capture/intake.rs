//! A camera on its own thread: from its driver to the [`Switch`].
//!
//! Every picture gets its judged capture time as it leaves the driver. Raw ones
//! go to the switch at once; JPEG goes through a decoder, and access units of
//! cameras that encode through a parser, in a pipeline of their own. So whatever
//! happens to a camera happens in front of the encoder.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tokio::sync::oneshot;

use super::doubt::{Print, Watch};
use super::encoder::{element, filter};
use super::flow::Flow;
use super::format::Coding;
use super::front::Exposure;
use super::ioctl::Stamp;
use super::line::{self, CODED};
use super::messages::Complaint;
use super::returns::Returns;
use super::stream::{Stream, Taken};
use super::switch::{Switch, Wants};
use super::timing::Edge;
use crate::clock;

/// Pictures that wait for the decoder at most: then the driver waits with the next.
const QUEUE: u64 = 1;

/// What looks at a camera's pictures, and where they go.
pub(super) struct Eye {
    /// Times and counts.
    pub flow: Arc<Flow>,
    /// Takes them.
    pub switch: Arc<Switch>,
    /// Looks for frozen and black ones.
    pub watch: Arc<Watch>,
    /// Read when pictures are stamped.
    pub exposure: Exposure,
}

/// A camera that streams. Stopped when dropped, which may block for as long as
/// the driver takes.
pub(super) struct Intake {
    returns: Arc<Returns>,
    thread: Option<JoinHandle<()>>,
    decoder: Option<Decoder>,
}

/// Resolves with the reason when the stream ends by itself.
pub(super) type Ended = oneshot::Receiver<Complaint>;

impl Intake {
    /// Starts the stream, and hands over what it gives. Blocks for as long as the
    /// driver takes.
    ///
    /// # Errors
    /// The driver refuses, or an element is missing.
    pub fn start(mut stream: Stream, coding: Coding, eye: Eye) -> Result<(Self, Ended), Complaint> {
        let decoder = Decoder::of(coding, stream.caps(), &eye).map_err(Complaint::failed)?;
        stream.start()?;
        let (tell, ended) = oneshot::channel();
        let returns = stream.returns().clone();
        let entry = decoder.as_ref().map(|decoder| decoder.entry.clone());
        let run = move || {
            // Told first: a driver in trouble may take its time to stop.
            if let Err(complaint) = eye.follow(&mut stream, coding, entry.as_ref()) {
                let _ = tell.send(complaint); // unless nobody asks any more
            }
            drop(stream);
        };
        let thread = thread::Builder::new().name("camera".into()).spawn(run);
        let thread = thread.context("start a thread for the camera").map_err(Complaint::failed)?;
        Ok((Self { returns, thread: Some(thread), decoder }, ended))
    }

    /// Messages of its decoder, if it has one.
    pub fn bus(&self) -> Option<gst::Bus> {
        self.decoder.as_ref().and_then(|decoder| decoder.pipeline.bus())
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.returns.stop();
        // First: the thread may wait for it.
        self.decoder = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Eye {
    /// Until it is to stop; an error is why the stream has ended.
    fn follow(
        &self,
        stream: &mut Stream,
        coding: Coding,
        entry: Option<&gst_app::AppSrc>,
    ) -> Result<(), Complaint> {
        let caps = stream.caps().clone();
        while let Some(taken) = stream.next()? {
            let Some(picture) = self.judged(taken, coding) else { continue };
            match entry {
                // Refused while it stops or has failed: its bus says why.
                Some(entry) => drop(entry.push_buffer(picture)),
                None => show(&self.switch, &self.watch, &picture, &caps),
            }
        }
        Ok(())
    }

    /// The picture with its capture time as PTS. One that is damaged goes no
    /// further, and is counted; one that nobody wants is not even decoded.
    fn judged(&self, taken: Taken, coding: Coding) -> Option<gst::Buffer> {
        let now = clock::now();
        let Taken { buffer, stamp, lost } = taken;
        self.flow.lost_by_driver(lost);
        self.watch.missed(lost, 0);
        let Some(mut picture) = buffer else {
            self.flow.damaged();
            self.watch.missed(0, 1);
            return None;
        };
        let (at, edge) = match stamp {
            Some(Stamp { at, edge: Edge::ExposureStart { .. } }) => {
                let open = Some(self.exposure.load(Ordering::Relaxed)).filter(|ns| *ns > 0);
                (Some(at), Edge::ExposureStart { exposure: open.map(Duration::from_nanos) })
            }
            Some(Stamp { at, edge }) => (Some(at), edge),
            None => (None, Edge::FrameEnd),
        };
        let captured = self.flow.seen(at, edge, now);
        self.watch.came(now);
        let wanted = match self.switch.wants() {
            Wants::All => true,
            Wants::Looks => coding == Coding::H264 || self.watch.due(now),
            Wants::Nothing => false,
        };
        if !wanted {
            self.flow.unused(captured.at);
            return None;
        }
        picture.get_mut()?.set_pts(gst::ClockTime::from_nseconds(captured.at.0));
        Some(picture)
    }
}

/// Hands a raw picture over.
fn show(switch: &Switch, watch: &Watch, picture: &gst::Buffer, caps: &gst::Caps) {
    if switch.wants() != Wants::Nothing {
        watch.picture(clock::now(), || Print::of(picture, caps));
    }
    switch.picture(picture, caps);
}

/// What stands between a camera that compresses and the switch. Stopped when dropped.
struct Decoder {
    pipeline: gst::Pipeline,
    entry: gst_app::AppSrc,
}

impl Decoder {
    /// Playing; `None` where pictures are raw.
    fn of(coding: Coding, caps: &gst::Caps, eye: &Eye) -> Result<Option<Self>> {
        let switch = eye.switch.clone();
        let rest = match coding {
            Coding::Raw => return Ok(None),
            Coding::Jpeg => {
                let decode = element("jpegdec")?;
                decode.set_property("max-errors", -1i32); // a torn picture costs itself only
                vec![decode, raw_sink(switch, eye.watch.clone()).upcast()]
            }
            Coding::H264 => {
                let parse = element("h264parse")?;
                parse.set_property("config-interval", -1i32); // parameter sets with every key frame
                let out = line::sink(Box::new(move |at, data, now| switch.coded(at, data, now)));
                vec![parse, filter(CODED)?, out.upcast()]
            }
        };
        let entry = gst_app::AppSrc::builder().is_live(true).format(gst::Format::Time);
        let entry = entry.caps(caps).block(true).build();
        entry.set_property("max-buffers", QUEUE);
        entry.set_property("max-bytes", 0u64);
        let pipeline = line::monotonic();
        let mut chain = vec![entry.clone().upcast()];
        chain.extend(rest);
        pipeline.add_many(&chain).context("assemble the camera's pipeline")?;
        gst::Element::link_many(&chain).context("link the camera's pipeline: caps do not fit")?;
        let decoder = Self { pipeline, entry };
        line::play(&decoder.pipeline, "the camera's decoder does not start")?;
        Ok(Some(decoder))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Hands each decoded picture to the switch, on the decoder's own thread.
fn raw_sink(switch: Arc<Switch>, watch: Arc<Watch>) -> gst_app::AppSink {
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) {
            show(&switch, &watch, &buffer, &caps);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(1)
        .callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build())
        .build()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::switch::On;
    use super::*;
    use crate::feed::ring::Ring;

    /// One picture, as a camera that compresses gives it.
    fn compressed(elements: &str) -> gst::Sample {
        let line = format!("videotestsrc num-buffers=1 ! {elements} ! appsink name=out sync=false");
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let sample = out.pull_sample().unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
        sample
    }

    /// Pictures of cameras that compress come on, with the caps that are asked of a driver.
    #[tokio::test]
    async fn compressed_pictures_come_on() {
        gst::init().unwrap();
        let size = "width=64,height=48,framerate=10/1";
        for (coding, encode, caps) in [
            (Coding::Jpeg, "jpegenc", format!("image/jpeg,{size}")),
            (Coding::H264, "x264enc tune=zerolatency", format!("{CODED},{size}")),
        ] {
            let sample = compressed(&format!("video/x-raw,format=I420,{size} ! {encode} ! {caps}"));
            let flow = Flow::new(Ring::new("t".into()), 10);
            let eye = Eye {
                switch: Switch::new(flow.clone(), "t"),
                watch: Arc::new(Watch::new(10, Duration::from_secs(2))),
                flow,
                exposure: Exposure::default(),
            };
            let asked: gst::Caps = caps.parse().unwrap();
            let decoder = Decoder::of(coding, &asked, &eye).unwrap().expect("it compresses");
            let mut picture = sample.buffer_owned().unwrap();
            let now = gst::ClockTime::from_nseconds(clock::now().0);
            picture.make_mut().set_pts(now);
            // A parser tells an access unit's end by the begin of the next.
            for n in 0..3 {
                let mut next = picture.copy();
                next.make_mut().set_pts(now + gst::ClockTime::from_mseconds(100 * n));
                decoder.entry.push_buffer(next).unwrap();
            }
            let mut on = eye.switch.on();
            let came = timeout(Duration::from_secs(20), on.wait_for(|on| *on == On::Camera)).await;
            assert!(came.is_ok(), "{coding:?} did not come on");
        }
    }
}
