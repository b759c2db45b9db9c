//! A camera's own pipeline: from its driver to the [`Switch`].
//!
//! It ends where raw pictures (or, from cameras that encode, access units) are
//! handed over, so that whatever happens to a camera happens in front of the
//! encoder. Every picture gets its judged capture time as it leaves the driver.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::doubt::{Print, Watch};
use super::encoder::{element, filter};
use super::flow::Flow;
use super::line::{self, CODED};
use super::switch::{Switch, Wants};
use super::timing::Edge;
use crate::clock;
use crate::model::Mono;

/// What a source says of a picture.
pub(super) struct Claimed {
    /// When its [`Edge`] was.
    pub at: Option<Mono>,
    /// Which instant that is.
    pub edge: Edge,
    /// Pictures that its numbers say were lost before it.
    pub lost: u32,
}

/// Asks a source what it says of a picture.
pub(super) type Claim = Box<dyn FnMut(&gst::BufferRef) -> Claimed + Send>;

/// What a camera's pipeline is made of.
pub(super) struct Front {
    /// Gives pictures.
    pub source: gst::Element,
    /// Reads their times.
    pub claim: Claim,
    /// The caps asked of the source.
    pub asked: gst::Element,
    /// Decoder of compressed pictures.
    pub decode: Option<gst::Element>,
    /// The camera encodes by itself.
    pub coded: bool,
}

/// A camera's pipeline. Stopped when dropped.
pub(super) struct Intake(gst::Pipeline);

impl Intake {
    /// From the camera to the switch; not playing yet.
    ///
    /// # Errors
    /// An element is missing or does not link.
    pub fn new(
        front: Front,
        flow: &Arc<Flow>,
        switch: &Arc<Switch>,
        watch: &Arc<Watch>,
    ) -> Result<Self> {
        let Front { source, claim, asked, decode, coded } = front;
        let pipeline = line::monotonic();
        stamp(&source, claim, coded, (flow, switch, watch))?;
        let mut chain = vec![source, asked];
        chain.extend(decode);
        let switch = switch.clone();
        if coded {
            let parse = element("h264parse")?;
            parse.set_property("config-interval", -1i32); // parameter sets with every key frame
            let out = line::sink(Box::new(move |at, data, now| switch.coded(at, data, now)));
            chain.extend([parse, filter(CODED)?, out.upcast()]);
        } else {
            chain.push(raw_sink(switch, watch.clone()).upcast());
        }
        pipeline.add_many(&chain).context("assemble the camera's pipeline")?;
        gst::Element::link_many(&chain).context("link the camera's pipeline: caps do not fit")?;
        Ok(Self(pipeline))
    }

    /// Starts it; may block for as long as the driver takes.
    ///
    /// # Errors
    /// It does not start; the bus has the reason.
    pub fn play(&self) -> Result<()> {
        line::play(&self.0, "the camera does not start")
    }

    /// Stops it; may block for as long as the driver takes.
    pub fn stop(&self) {
        let _ = self.0.set_state(gst::State::Null);
    }

    /// Its messages.
    pub fn bus(&self) -> Option<gst::Bus> {
        self.0.bus()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every picture that leaves the source gets its judged capture time as PTS.
/// One that the driver marks as damaged goes no further, and is counted; one
/// that nobody wants is not even decoded.
fn stamp(
    source: &gst::Element,
    claim: Claim,
    coded: bool,
    (flow, switch, watch): (&Arc<Flow>, &Arc<Switch>, &Arc<Watch>),
) -> Result<()> {
    let pad = source.static_pad("src").context("the source has no src pad")?;
    let (flow, switch, watch) = (flow.clone(), switch.clone(), watch.clone());
    let claim = Mutex::new(claim);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let now = clock::now();
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
            let Claimed { at, edge, lost } = claim.lock().expect("claim lock")(buffer);
            flow.lost_by_driver(lost);
            watch.missed(lost, 0);
            if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
                flow.damaged();
                watch.missed(0, 1);
                return gst::PadProbeReturn::Drop;
            }
            let captured = flow.seen(at, edge, now);
            watch.came(now);
            let wanted = match switch.wants() {
                Wants::All => true,
                Wants::Looks => coded || watch.due(now),
                Wants::Nothing => false,
            };
            if !wanted {
                flow.unused(captured.at);
                return gst::PadProbeReturn::Drop;
            }
            // The source owns its picture alone here, so nothing is copied.
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(captured.at.0));
            buffer.set_dts(gst::ClockTime::NONE);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Hands each raw picture to the switch, on the driver's own thread.
fn raw_sink(switch: Arc<Switch>, watch: Arc<Watch>) -> gst_app::AppSink {
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if let (Some(buffer), Some(caps)) = (sample.buffer_owned(), sample.caps_owned()) {
            if switch.wants() != Wants::Nothing {
                watch.picture(clock::now(), || Print::of(&buffer, &caps));
            }
            switch.picture(&buffer, &caps);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(1)
        .callbacks(gst_app::AppSinkCallbacks::builder().new_sample(take).build())
        .build()
}
