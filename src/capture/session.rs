//! A camera's sessions: opened, watched, opened again.
//!
//! Comes in: the camera at its port, its pipeline's messages, its pictures'
//! pace. Goes out: pictures to the switch; and when they end, the slate with
//! the reason. A camera that gives nothing for its frame deadline has ended.

use std::cell::Cell;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use gstreamer as gst;
use metrics::counter;
use tokio::sync::watch;
use tokio::time::{interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::blocking::blocking;
use super::discovery::{self, Found, Listed, Roots};
use super::doubt::{Print, Watch};
use super::flow::Flow;
use super::format::Coding;
use super::front::{self, Exposure, V4l2};
use super::intake::{Eye, Intake};
use super::ioctl::Node;
use super::messages::{Complaint, first_error};
use super::push::{PushSource, RawPicture};
use super::switch::{Closer, Switch, Wants};
use super::timing::Edge;
use super::{changed, controls};
use crate::clock;
use crate::config::camera::{Camera, Settings};
use crate::model::Reason;
use crate::task::Backoff;

/// The first picture may take this much longer than any other: sensors power up.
const START: Duration = Duration::from_secs(4);
/// How often an absent port is looked for.
const LOOK: Duration = Duration::from_millis(100);
/// How often the camera is asked whether its shutter is closed.
const SHUTTER: Duration = Duration::from_millis(500);
/// How often the shutter time is asked for.
const EXPOSURE: Duration = Duration::from_secs(5);
/// Between two attempts: trying a camera costs little, and somebody waits for it.
const PACE: Backoff = Backoff {
    first: Duration::from_millis(100),
    cap: Duration::from_secs(1),
    steady: Duration::from_secs(5),
};

/// One camera and where its pictures go.
pub(super) struct Sessions<'a> {
    /// What is wanted.
    pub camera: &'a Camera,
    /// What of that may change.
    pub settings: &'a watch::Receiver<Settings>,
    /// Times and counts.
    pub flow: &'a Arc<Flow>,
    /// Takes pictures.
    pub switch: &'a Arc<Switch>,
    /// Looks at them.
    pub watch: &'a Arc<Watch>,
    /// Until then.
    pub stop: &'a CancellationToken,
}

impl Sessions<'_> {
    /// A V4L2 camera, until the stop token.
    pub async fn of_camera(self) {
        let (mut pause, mut told) = (PACE.first, String::new());
        while !self.stop.is_cancelled() {
            let Some(found) = self.find(&mut pause).await else { return };
            let began = clock::now();
            let Err(complaint) = self.session(&found).await else { return };
            if clock::now().since(began) >= PACE.steady {
                pause = PACE.first;
            }
            if self.flow.last_seen().is_some_and(|seen| seen >= began) {
                told.clear(); // it was on
            }
            self.ended(&complaint, &mut told);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pause) => pause = PACE.next(pause),
            }
        }
    }

    /// Pushed pictures, until the stop token.
    pub async fn of_pushed(self, push: &PushSource) {
        let caps = match push.pixels.caps(push.width, push.height, push.fps) {
            Ok(caps) => caps,
            Err(error) => return error!("pushed pictures: {error:#}"),
        };
        let limit = self.camera.frame_deadline;
        let mut silent_told = false;
        self.flow.begin();
        loop {
            let picture = tokio::select! {
                () = self.stop.cancelled() => return,
                picture = push.next() => picture,
                () = sleep(limit), if !silent_told && self.flow.last_seen().is_some() => {
                    self.switch.slate(Reason::NoSignal, &silence(limit));
                    silent_told = true;
                    continue;
                }
            };
            silent_told = false;
            let RawPicture { at, data } = picture;
            let now = clock::now();
            let captured = self.flow.seen(Some(at), Edge::Exact, now);
            let mut buffer = gst::Buffer::from_slice(data);
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(gst::ClockTime::from_nseconds(captured.at.0));
            }
            self.watch.came(now);
            if self.switch.wants() != Wants::Nothing {
                self.watch.picture(now, || Print::of(&buffer, &caps));
            }
            self.switch.picture(&buffer, &caps);
        }
    }

    /// A camera that is off for the same reason again and again says so once.
    fn ended(&self, complaint: &Complaint, told: &mut String) {
        let feed = self.camera.id.to_string();
        counter!("floorcast_capture_restarts_total", "feed" => feed).increment(1);
        let why = format!("{:#}", complaint.reason);
        if *told != why {
            warn!(reason = why, "camera off");
        }
        // Once more: a last picture may have come while the camera was being stopped.
        self.off(complaint);
        *told = why;
    }

    /// Waits for a camera at the port. One that was gone begins anew.
    async fn find(&self, pause: &mut Duration) -> Option<Found> {
        let port = &self.camera.port;
        let (mut before, mut told) = (None, None);
        loop {
            // Opening nodes may wake devices up: only when something changed.
            let nodes = discovery::list(&Roots::default());
            if before.as_ref() != Some(&nodes) {
                let listed = nodes.clone();
                let looked = blocking("look for cameras", move || look(&listed)).await;
                let (found, shut) = looked.unwrap_or_default();
                if let Some(found) = discovery::at(&found, port) {
                    return Some(found.clone());
                }
                // A node that has just come gets its file and its rights a moment later.
                before = (!shut).then_some(nodes);
                let others: Vec<_> = found.into_iter().map(|f| f.port).collect();
                if told.as_ref() != Some(&others) {
                    info!(?others, "no camera at this port");
                    told = Some(others);
                }
                self.switch.close(Closer::Shutter, false);
                self.switch.slate(Reason::Unplugged, &format!("port {port} absent"));
                *pause = PACE.first;
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// From opening the camera to its first failure; `Ok` at the stop token.
    async fn session(&self, found: &Found) -> Result<(), Complaint> {
        let mut settings = self.settings.clone();
        // Before the first picture, and before anything is held.
        let shutter = self.shutter_closed(found).await;
        self.switch.close(Closer::Shutter, shutter == Some(true));
        let (camera, at) = (self.camera.with(settings.borrow_and_update().clone()), found.clone());
        let opened = blocking("open the camera", move || front::v4l2(&camera, &at));
        let (V4l2 { stream, asked }, refused) = opened.await.map_err(Complaint::failed)??;
        let (node, driver) = (found.node.display(), &found.identity.driver);
        info!(%node, driver, format = asked.fourcc, caps = asked.caps, "camera found");
        self.report(&refused);
        let coding = asked.coding;
        self.flow.begin();
        self.watch.begin();
        let eye = Eye {
            flow: self.flow.clone(),
            switch: self.switch.clone(),
            watch: self.watch.clone(),
            exposure: Exposure::default(),
        };
        let shown = eye.exposure.clone();
        let started = blocking("start the camera", move || Intake::start(stream, coding, eye));
        let started = started.await.map_err(Complaint::failed).and_then(|started| started);
        let (intake, ended) = started.inspect_err(|complaint| self.off(complaint))?;
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            complaint = ended => Some(complaint.unwrap_or_else(|_| Complaint::failed(anyhow!("it broke off")))),
            complaint = first_error(intake.bus()) => Some(complaint),
            complaint = self.deadline() => Some(complaint),
            () = exposure(found, &shown) => None,
            () = self.keys((coding == Coding::H264).then_some(found)) => None,
            () = self.controls(found, settings) => None,
            () = self.shutter(found), if shutter.is_some() => None,
        };
        if let Some(complaint) = &ended {
            self.off(complaint);
        }
        // The blocking thread owns it: one that hangs is left behind.
        let stopped = blocking("stop the camera", move || drop(intake)).await;
        match ended {
            Some(complaint) => Err(complaint),
            None => stopped.map_err(Complaint::failed),
        }
    }

    fn off(&self, complaint: &Complaint) {
        self.switch.slate(complaint.kind, &format!("{:#}", complaint.reason));
    }

    /// Whether the camera's shutter is closed; `None` if it does not tell.
    async fn shutter_closed(&self, found: &Found) -> Option<bool> {
        let found = found.clone();
        let look = blocking("look at the shutter", move || front::shutter_closed(&found));
        look.await.ok().flatten()
    }

    /// Follows the camera's shutter; never resolves.
    async fn shutter(&self, found: &Found) {
        let mut tick = interval(SHUTTER);
        loop {
            tick.tick().await;
            let Some(closed) = self.shutter_closed(found).await else {
                // It stays as it was; the frame deadline judges the camera.
                return pending().await;
            };
            self.switch.close(Closer::Shutter, closed);
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

    /// Sets the controls that change while the camera streams; never resolves.
    async fn controls(&self, found: &Found, mut settings: watch::Receiver<Settings>) {
        let mut set = settings.borrow().controls.clone();
        loop {
            changed(&mut settings).await;
            let wanted = settings.borrow_and_update().controls.clone();
            let mut other = wanted.clone();
            other.retain(|name, value| set.get(name) != Some(value));
            set = wanted;
            if other.is_empty() {
                continue;
            }
            info!(controls = ?other, "controls change");
            let node = found.node.clone();
            let apply = move || controls::apply(&node, &other);
            match blocking("set controls", apply).await {
                Ok(refused) => self.report(&refused),
                Err(error) => error!("{error:#}"),
            }
        }
    }

    /// Resolves when no picture came for too long.
    async fn deadline(&self) -> Complaint {
        let limit = self.camera.frame_deadline;
        let began = clock::now();
        let (mut last, mut damaged) = (None, self.flow.damaged_so_far());
        loop {
            let seen = self.flow.last_seen().filter(|seen| *seen >= began);
            let until = seen.map_or(began + limit + START, |seen| seen + limit);
            let now = clock::now();
            if std::mem::replace(&mut last, seen) != seen {
                damaged = self.flow.damaged_so_far();
            }
            if now >= until {
                let silent = silence(now.since(seen.unwrap_or(began)));
                // Damaged pictures are pictures to the driver only.
                let why = match self.flow.damaged_so_far() - damaged {
                    0 => silent,
                    n => format!("{silent}, but {n} damaged ones"),
                };
                return Complaint { kind: Reason::NoSignal, reason: anyhow!(why) };
            }
            sleep(until.since(now)).await;
        }
    }

    /// Key frames on demand, at most one a second, from a camera that encodes.
    async fn keys(&self, h264: Option<&Found>) {
        let Some(found) = h264 else { return pending().await };
        let mut next = tokio::time::Instant::now();
        let mut told = false;
        loop {
            self.switch.key_wanted().await;
            sleep_until(next).await;
            let found = found.clone();
            let press = blocking("ask for a key", move || front::press_force_key(&found));
            if !press.await.unwrap_or(false) && !std::mem::replace(&mut told, true) {
                warn!("key frames cannot be asked for: viewers wait for the next");
            }
            next = tokio::time::Instant::now() + Duration::from_secs(1);
        }
    }
}

/// The cameras among `nodes`, and whether a node could not be opened. Blocks.
fn look(nodes: &[Listed]) -> (Vec<Found>, bool) {
    let shut = Cell::new(false);
    let identify = |node: &Path| {
        let node = Node::open(node).inspect_err(|_| shut.set(true))?;
        node.identity()
    };
    (discovery::cameras(nodes, identify), shut.into_inner())
}

fn silence(silent: Duration) -> String {
    format!("no frame for {:.1} s", silent.as_secs_f64())
}

/// Keeps the shutter time known; never resolves.
async fn exposure(found: &Found, exposure: &Exposure) {
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
