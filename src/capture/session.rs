//! One life of a camera's pipeline: from choosing the encoder to its first failure.
//!
//! Comes in: the pipeline's messages, wishes for key frames, the stop token.
//! Goes out: the feed's status. A source or encoder that gives nothing for the
//! camera's frame deadline ends the session with the reason.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::StreamExt;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Source;
use super::encoder::ladder::{Candidate, LADDER, candidates};
use super::encoder::{self, Wanted, trial};
use super::flow::Flow;
use super::pipeline::{Front, Pipeline, in_words};
use super::push::{self, PushSource, RawPicture};
use super::timing::Edge;
use crate::clock;
use crate::config::camera::Camera;
use crate::feed::ring::Ring;
use crate::model::Mono;
use crate::status::{State, Status};

/// The first frame may take this much longer than any other: sensors power up,
/// encoders load firmware.
const START: Duration = Duration::from_secs(4);

/// A trial encode takes this long at most.
const TRIAL: Duration = Duration::from_secs(3);

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
    if status.get(&part).is_none_or(|health| health.state == State::Live) {
        status.set(&part, State::Connecting, "starting");
    }
    let ended = session(&camera, source, ring, &status, &part, &stop).await;
    if let Err(error) = &ended
        && !stop.is_cancelled()
    {
        counter!("floorcast_capture_restarts_total", "feed" => camera.id.to_string()).increment(1);
        status.set(&part, State::NoSignal, &format!("{error:#}"));
    }
    ended
}

async fn session(
    camera: &Camera,
    source: Source,
    ring: Arc<Ring>,
    status: &Status,
    part: &str,
    stop: &CancellationToken,
) -> Result<()> {
    let Source::Push(push) = source else { bail!("no V4L2 yet") };
    let wanted = Wanted {
        width: push.width,
        height: push.height,
        fps: push.fps,
        bitrate_kbps: camera.bitrate_kbps,
        gop_frames: camera.gop_frames,
    };
    let name = camera.encoder.clone();
    let chosen = spawn_blocking(move || choose(&wanted, name.as_deref()))
        .await
        .context("choose an encoder")??;
    info!(encoder = chosen.factory, chip = chosen.rung.chip, "encoder chosen");
    let flow = Flow::new(ring.clone(), camera.period(), Edge::Exact);
    let (front, app) = push_front(&push)?;
    let encoder = encoder::make(&chosen, &wanted)?;
    let pipeline = Arc::new(Pipeline::build(front, Some(encoder), &flow)?);
    let mut messages = pipeline.bus().context("the pipeline has no bus")?.stream();
    let started = pipeline.clone();
    spawn_blocking(move || started.play()).await.context("start the pipeline")??;
    let watch = Watch { camera, flow: &flow, status, part, began: clock::now() };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = watch.deadline() => Err(error),
        error = feed(&push, &app) => Err(error),
        error = fails(&mut messages) => Err(error),
        () = keys(camera, &ring, &pipeline) => Ok(()),
    };
    drop(messages);
    spawn_blocking(move || pipeline.stop()).await.context("stop the pipeline")?;
    ended
}

struct Watch<'a> {
    camera: &'a Camera,
    flow: &'a Flow,
    status: &'a Status,
    part: &'a str,
    began: Mono,
}

impl Watch<'_> {
    /// Resolves when nothing came for too long; sets the feed live when something does.
    async fn deadline(&self) -> anyhow::Error {
        let limit = self.camera.frame_deadline;
        let mut live = false;
        loop {
            let now = clock::now();
            let (out, allowed) = match self.flow.last_out() {
                Some(out) => (out, limit),
                None => (self.began, limit + START),
            };
            if !live && self.flow.last_out().is_some() {
                live = true;
                self.status.set(self.part, State::Live, "");
            }
            if now.since(out) >= allowed {
                let silent = self.flow.last_seen().is_none_or(|seen| now.since(seen) >= limit);
                let whose = if silent { "no frame" } else { "nothing from the encoder" };
                return anyhow!("{whose} for {:.1} s", now.since(out).as_secs_f64());
            }
            let wait = if live { allowed - now.since(out) } else { Duration::from_millis(5) };
            sleep_until(Instant::now() + wait).await;
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
async fn fails(messages: &mut gst::bus::BusStream) -> anyhow::Error {
    while let Some(message) = messages.next().await {
        match message.view() {
            gst::MessageView::Error(error) => return anyhow!(in_words(error)),
            gst::MessageView::Eos(_) => return anyhow!("the stream ended"),
            _ => {}
        }
    }
    anyhow!("the pipeline went away")
}

/// Key frames on demand, at most one a second; a wish that comes too soon waits.
async fn keys(camera: &Camera, ring: &Ring, pipeline: &Pipeline) {
    let forced = counter!("floorcast_capture_forced_keys_total", "feed" => camera.id.to_string());
    let mut next = Instant::now();
    loop {
        ring.key_wanted().await;
        sleep_until(next).await;
        if pipeline.force_key() {
            forced.increment(1);
        } else {
            warn!("the encoder takes no request for a key frame");
        }
        next = Instant::now() + Duration::from_secs(1);
    }
}

fn push_front(push: &PushSource) -> Result<(Front, gst_app::AppSrc)> {
    let caps = format!(
        "video/x-raw,format={},width={},height={},framerate={}/1",
        push.pixels.caps_name(),
        push.width,
        push.height,
        push.fps
    );
    let app = gst_app::AppSrc::builder()
        .is_live(true)
        .format(gst::Format::Time)
        .caps(&caps.parse::<gst::Caps>()?)
        .build();
    let front =
        Front { source: app.clone().upcast(), asked: encoder::filter(&caps)?, decode: None };
    Ok((front, app))
}

/// Encoders that passed, by what was wanted: a restart does not try again.
static CHOSEN: LazyLock<Mutex<Vec<Choice>>> = LazyLock::new(Mutex::default);

type Choice = (Wanted, Option<String>, Candidate);

/// Choices remembered at most; the oldest goes.
const REMEMBERED: usize = 32;

fn choose(wanted: &Wanted, name: Option<&str>) -> Result<Candidate> {
    let known = CHOSEN.lock().expect("ladder lock").iter().find_map(|(w, n, candidate)| {
        (w == wanted && n.as_deref() == name).then(|| candidate.clone())
    });
    if let Some(candidate) = known {
        return Ok(candidate);
    }
    let mut refused = Vec::new();
    for candidate in candidates(LADDER, name) {
        match trial::run(&candidate, wanted, TRIAL).outcome {
            Ok(passed) => {
                info!(encoder = candidate.factory, ?passed, "trial passed");
                let mut chosen = CHOSEN.lock().expect("ladder lock");
                if chosen.len() == REMEMBERED {
                    chosen.remove(0);
                }
                chosen.push((*wanted, name.map(str::to_owned), candidate.clone()));
                return Ok(candidate);
            }
            Err(reason) => {
                warn!(encoder = candidate.factory, reason, "trial failed");
                refused.push(format!("{}: {reason}", candidate.factory));
            }
        }
    }
    if refused.is_empty() {
        refused.push(format!("{} is not installed", name.unwrap_or("any")));
    }
    bail!("no encoder works: {}", refused.join("; "))
}
