//! One life of a camera's pipeline: from choosing the encoder to its first failure.
//!
//! Comes in: the pipeline's messages, wishes for key frames, the stop token.
//! Goes out: the feed's status. A source or encoder that gives nothing for the
//! camera's frame deadline ends the session with the reason. Slates will take
//! the place of an absent camera in front of the same encoder.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::StreamExt;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Source;
use super::discovery::{self, Found, Roots};
use super::encoder::{self, Encoder, Wanted, choice};
use super::flow::Flow;
use super::format::Coding;
use super::front::{self, Exposure, V4l2};
use super::ioctl::Node;
use super::pipeline::{Front, Pipeline, in_words};
use super::push::{self, PushSource, RawPicture};
use crate::clock;
use crate::config::camera::Camera;
use crate::feed::ring::Ring;
use crate::model::Mono;
use crate::status::{State, Status};

/// The first frame may take this much longer than any other: sensors power up,
/// encoders load firmware.
const START: Duration = Duration::from_secs(4);

/// A driver that does not open or close in this time is left behind.
const DRIVER: Duration = Duration::from_secs(10);

/// How often an absent port is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// How often the shutter time is asked for.
const EXPOSURE: Duration = Duration::from_secs(5);

/// One session; see [`super::run`].
pub(super) async fn run(
    camera: Camera,
    source: Source,
    ring: Arc<Ring>,
    status: Status,
    stop: CancellationToken,
) -> Result<()> {
    let part = format!("feed/{}", camera.id);
    // After a failure its reason stands until a frame comes.
    if status.get(&part).is_none_or(|health| health.state != State::NoSignal) {
        status.set(&part, State::Connecting, "starting");
    }
    let session = Session { camera: &camera, ring, status: &status, part: &part, stop: &stop };
    let ended = session.run(source).await;
    if let Err(error) = &ended
        && !stop.is_cancelled()
    {
        counter!("floorcast_capture_restarts_total", "feed" => camera.id.to_string()).increment(1);
        status.set(&part, State::NoSignal, &format!("{error:#}"));
    }
    ended
}

struct Session<'a> {
    camera: &'a Camera,
    ring: Arc<Ring>,
    status: &'a Status,
    part: &'a str,
    stop: &'a CancellationToken,
}

/// A source and its encoder, ready to be played.
struct Opened {
    front: Front,
    coding: Coding,
    duty: Duty,
    /// With its factory; none for cameras that encode.
    encoder: Option<(Encoder, String)>,
}

/// What a session does besides waiting for trouble.
enum Duty {
    Feed(PushSource, gst_app::AppSrc),
    Watch(Found, Exposure),
}

impl Session<'_> {
    async fn run(self, source: Source) -> Result<()> {
        let camera = self.camera;
        let flow = Flow::new(self.ring.clone(), camera.period());
        let opened = tokio::select! {
            opened = self.open(source) => opened?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let Opened { front, coding, duty, encoder } = opened;
        let factory = encoder.as_ref().map(|(_, factory)| factory.clone());
        let pipeline = Arc::new(Pipeline::build(front, encoder.map(|(e, _)| e), &flow)?);
        let ended = self.play(&pipeline, &flow, duty, coding).await;
        if let Err(Trouble::Encoder(_)) = &ended
            && let Some(factory) = factory
        {
            choice::failed(&factory);
        }
        // The blocking thread holds its own reference: one that hangs is left behind.
        blocking("stop the pipeline", move || pipeline.stop()).await?;
        ended.map_err(Trouble::into_error)
    }

    async fn open(&self, source: Source) -> Result<Opened> {
        let camera = self.camera;
        match source {
            Source::Push(push) => {
                let encoder = self.encoder((push.width, push.height, push.fps)).await?;
                let (front, app) = front::push(&push)?;
                let duty = Duty::Feed(push, app);
                Ok(Opened { front, coding: Coding::Raw, duty, encoder: Some(encoder) })
            }
            Source::V4l2 => {
                // The trial runs while the camera is looked for.
                let wanted = (camera.width, camera.height, camera.fps);
                let (opened, encoder) = tokio::join!(self.open_v4l2(), self.encoder(wanted));
                let (found, V4l2 { front, asked, exposure }) = opened?;
                // A camera that encodes by itself needs none.
                let encoder = if asked.coding == Coding::H264 { None } else { Some(encoder?) };
                let duty = Duty::Watch(found, exposure);
                Ok(Opened { front, coding: asked.coding, duty, encoder })
            }
        }
    }

    async fn open_v4l2(&self) -> Result<(Found, V4l2)> {
        let found = self.find().await;
        let (camera, at) = (self.camera.clone(), found.clone());
        let (v4l2, refused) =
            blocking("open the camera", move || front::v4l2(&camera, &at)).await??;
        let (node, asked) = (found.node.display(), &v4l2.asked);
        let driver = &found.identity.driver;
        info!(%node, driver, format = asked.fourcc, caps = asked.caps, "camera found");
        self.report(&refused);
        Ok((found, v4l2))
    }

    /// Waits for a camera at the port.
    async fn find(&self) -> Found {
        let port = &self.camera.port;
        let mut before = None;
        loop {
            // Opening nodes may wake devices up: only when something changed.
            let nodes = discovery::list(&Roots::default());
            if before.as_ref() != Some(&nodes) {
                let listed = nodes.clone();
                let identify = |node: &std::path::Path| Node::open(node)?.identity();
                let found =
                    blocking("look for cameras", move || discovery::cameras(&listed, identify));
                let found = found.await.unwrap_or_default();
                if let Some(found) = discovery::at(&found, port) {
                    return found.clone();
                }
                let others: Vec<_> = found.iter().map(|f| &*f.port).collect();
                info!(?others, "no camera at this port");
                self.status.set(self.part, State::NoSignal, &format!("port {port} absent"));
                before = Some(nodes);
            }
            sleep(LOOK).await;
        }
    }

    fn report(&self, refused: &[String]) {
        for reason in refused {
            error!(reason, "control not set");
        }
        metrics::gauge!("floorcast_capture_controls_refused",
            "feed" => self.camera.id.to_string())
        .set(refused.len() as f64);
    }

    async fn encoder(&self, (width, height, fps): (u32, u32, u32)) -> Result<(Encoder, String)> {
        let Camera { bitrate_kbps, gop_frames, .. } = *self.camera;
        let wanted = Wanted { width, height, fps, bitrate_kbps, gop_frames };
        let name = self.camera.encoder.clone();
        let chosen =
            blocking("choose an encoder", move || choice::choose(&wanted, name.as_deref()));
        let chosen = chosen.await??;
        info!(encoder = chosen.factory, chip = chosen.rung.chip, "encoder chosen");
        Ok((encoder::make(&chosen, &wanted)?, chosen.factory))
    }

    /// Plays until something fails, or `Ok` at the stop token.
    async fn play(
        &self,
        pipeline: &Arc<Pipeline>,
        flow: &Arc<Flow>,
        duty: Duty,
        coding: Coding,
    ) -> Result<(), Trouble> {
        let bus = pipeline.bus().context("the pipeline has no bus").map_err(Trouble::Source)?;
        let mut messages = bus.stream();
        let started = pipeline.clone();
        let played = blocking("start the pipeline", move || started.play());
        if let Err(error) = played.await.and_then(|played| played) {
            // The reason is on the bus by now, if there is one.
            let told = timeout(Duration::from_millis(100), fails(&mut messages)).await;
            return Err(told.unwrap_or(Trouble::Source(error)));
        }
        let found = match &duty {
            Duty::Watch(found, _) if coding == Coding::H264 => Some(found.clone()),
            _ => None,
        };
        tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            trouble = self.deadline(flow) => Err(trouble),
            trouble = fails(&mut messages) => Err(trouble),
            error = attend(&duty) => Err(Trouble::Source(error)),
            () = tell(flow) => Ok(()),
            () = self.keys(pipeline, found) => Ok(()),
        }
    }

    /// Resolves when nothing came for too long; sets the feed live when something does.
    async fn deadline(&self, flow: &Flow) -> Trouble {
        let limit = self.camera.frame_deadline;
        let began = clock::now();
        if timeout(limit + START, flow.first()).await.is_err() {
            return silence(flow, began, limit);
        }
        self.status.set(self.part, State::Live, "");
        loop {
            let last = flow.last_out().unwrap_or(began);
            let silent = clock::now().since(last);
            if silent >= limit {
                return silence(flow, last, limit);
            }
            sleep(limit - silent).await;
        }
    }

    /// Key frames on demand, at most one a second; a wish that comes too soon waits.
    async fn keys(&self, pipeline: &Pipeline, h264: Option<Found>) {
        let feed = self.camera.id.to_string();
        let forced = counter!("floorcast_capture_forced_keys_total", "feed" => feed);
        let (mut next, mut told) = (Instant::now(), false);
        loop {
            self.ring.key_wanted().await;
            sleep_until(next).await;
            let taken = match h264.clone() {
                Some(found) => {
                    let press = blocking("ask for a key", move || front::press_force_key(&found));
                    press.await.unwrap_or(false)
                }
                None => pipeline.force_key(),
            };
            if taken {
                forced.increment(1);
            } else if !std::mem::replace(&mut told, true) {
                warn!("key frames cannot be asked for: viewers wait for the next");
            }
            next = Instant::now() + Duration::from_secs(1);
        }
    }
}

/// Why a session ended.
enum Trouble {
    /// The camera, or whatever is not the encoder.
    Source(anyhow::Error),
    /// The encoder.
    Encoder(anyhow::Error),
}

impl Trouble {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Source(error) | Self::Encoder(error) => error,
        }
    }
}

/// Nothing since `last`: whose fault is it?
fn silence(flow: &Flow, last: Mono, limit: Duration) -> Trouble {
    let now = clock::now();
    let silent = now.since(last).as_secs_f64();
    if flow.last_seen().is_none_or(|seen| now.since(seen) >= limit) {
        Trouble::Source(anyhow!("no frame for {silent:.1} s"))
    } else {
        Trouble::Encoder(anyhow!("nothing from the encoder for {silent:.1} s"))
    }
}

/// Work beside the pipeline; resolves only when it fails.
async fn attend(duty: &Duty) -> anyhow::Error {
    match duty {
        Duty::Feed(push, app) => feed(push, app).await,
        Duty::Watch(found, exposure) => {
            let mut tick = interval(EXPOSURE);
            loop {
                tick.tick().await;
                let (found, exposure) = (found.clone(), exposure.clone());
                let read = move || front::read_exposure(&found, &exposure);
                if blocking("read the exposure", read).await.is_err() {
                    // It hangs: ask no more, the frame deadline judges the camera.
                    return pending().await;
                }
            }
        }
    }
}

/// Tells of shed pictures and strange stamps: a line when they begin, one when they end.
async fn tell(flow: &Flow) {
    let mut tick = interval(Duration::from_secs(1));
    let (mut shed, mut strange) = (flow.shed(), flow.implausible());
    let (mut shedding, mut doubting) = (false, false);
    loop {
        tick.tick().await;
        let pictures = flow.shed() - std::mem::replace(&mut shed, flow.shed());
        match (pictures > 0, std::mem::replace(&mut shedding, pictures > 0)) {
            (true, false) => warn!(pictures, "the encoder falls behind: pictures are shed"),
            (false, true) => info!("the encoder keeps up again"),
            _ => {}
        }
        let stamps = flow.implausible() - std::mem::replace(&mut strange, flow.implausible());
        match (stamps > 0, std::mem::replace(&mut doubting, stamps > 0)) {
            (true, false) => warn!(stamps, "implausible capture times: they are estimated"),
            (false, true) => info!("capture times are plausible again"),
            _ => {}
        }
    }
}

/// Pushed pictures into the pipeline; resolves when it takes no more.
async fn feed(push: &PushSource, app: &gst_app::AppSrc) -> anyhow::Error {
    loop {
        let RawPicture { at, data } = push.next().await;
        if app.property::<u64>("current-level-buffers") >= push::WAITING as u64 {
            push.shed(); // the pipeline is starting or stuck
            continue;
        }
        let mut buffer = gst::Buffer::from_slice(data);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(at.0));
        }
        if let Err(error) = app.push_buffer(buffer) {
            return anyhow!("the pipeline takes no pictures: {error}");
        }
    }
}

/// Resolves with the first error of the pipeline.
async fn fails(messages: &mut gst::bus::BusStream) -> Trouble {
    while let Some(message) = messages.next().await {
        match message.view() {
            gst::MessageView::Error(error) => {
                let encoder = error.error().matches(gst::StreamError::Encode);
                let reason = anyhow!(in_words(error));
                return if encoder { Trouble::Encoder(reason) } else { Trouble::Source(reason) };
            }
            gst::MessageView::Eos(_) => return Trouble::Source(anyhow!("the stream ended")),
            _ => {}
        }
    }
    Trouble::Source(anyhow!("the pipeline went away"))
}

/// Runs what may block for as long as a driver likes, but waits for [`DRIVER`] at most.
async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    match timeout(DRIVER, spawn_blocking(move || span.in_scope(work))).await {
        Ok(done) => done.with_context(|| what.to_owned()),
        Err(_) => {
            counter!("floorcast_capture_stuck_total").increment(1);
            bail!("{what}: the driver hangs since {} s", DRIVER.as_secs())
        }
    }
}
