//! The slate's pictures, while the camera has none.
//!
//! Comes in: who is on. Goes out: drawn pictures to the switch, [`FPS`] a
//! second, which keeps the encoder and its viewers going; none while the feed
//! rests. A camera that starts quickly is waited for: the slate begins after
//! [`GRACE`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use gstreamer as gst;
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::blocking::blocking;
use super::flow::Flow;
use super::push::Pixels;
use super::slate::Painter;
use super::switch::{On, Switch};
use crate::clock::{self, WallClock};
use crate::config::camera::Camera;
use crate::model::{Label, Reason};

/// Slates per second: its clock shows seconds, and encoders want to be fed.
const FPS: u32 = 10;
/// Time from slate to slate.
pub(super) const PERIOD: Duration = Duration::from_millis(1000 / FPS as u64);
/// A camera that is there has its first picture within this; then the stream
/// takes its colours from the camera and shows no slate at all.
const GRACE: Duration = Duration::from_secs(3);

/// The house's style, from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Style {
    /// The manufacturer's name.
    pub brand: Label,
    /// `#rrggbb`
    pub accent: String,
}

/// What every slate of a box looks like.
#[derive(Clone)]
pub struct Look {
    /// The house's style, and changes of it.
    pub style: watch::Receiver<Style>,
    /// For the time on it.
    pub wall: Arc<WallClock>,
}

/// Shows slates whenever the camera is off, until the stop token.
pub(super) async fn run(
    camera: &Camera,
    look: &Look,
    flow: &Flow,
    switch: &Switch,
    stop: &CancellationToken,
) {
    let show = async {
        let mut on = switch.on();
        tokio::select! {
            () = sleep(GRACE) => {}
            // Nothing will come of a camera that is closed.
            _ = on.wait_for(is_closed) => {}
        }
        if let Err(error) = show(camera, look, flow, switch).await {
            warn!("no slate: {error:#}");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = show => {}
    }
}

fn is_closed(on: &On) -> bool {
    matches!(on, On::Slate(Reason::Privacy | Reason::Paused | Reason::Identify, _))
}

async fn show(camera: &Camera, look: &Look, flow: &Flow, switch: &Switch) -> Result<()> {
    let caps = Pixels::I420.caps(camera.width, camera.height, camera.fps)?;
    let (mut on, mut resting) = (switch.on(), switch.resting());
    let mut style = look.style.clone();
    let mut painter: Option<Arc<Mutex<Painter>>> = None;
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        resting.wait_for(|resting| !resting).await?;
        let (reason, why) = match &*on.wait_for(|on| *on != On::Camera).await? {
            On::Slate(reason, why) => (*reason, why.clone()),
            On::Camera => (Reason::Starting, "".into()),
        };
        let painter = match &painter {
            Some(painter) if !style.has_changed().unwrap_or(false) => painter.clone(),
            _ => {
                let (width, height) = (camera.width, camera.height);
                let Style { brand, accent } = style.borrow_and_update().clone();
                let made = blocking("draw the slate", move || {
                    Painter::new(width, height, &brand, &accent)
                });
                painter.insert(Arc::new(Mutex::new(made.await??))).clone()
            }
        };
        let utc = look.wall.utc(clock::now());
        let draw = move || painter.lock().expect("slate lock").picture_naming(reason, &why, utc);
        let mut buffer = gst::Buffer::from_slice(blocking("draw the slate", draw).await?);
        let at = flow.drawn(clock::now());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(at.0));
        }
        switch.slate_picture(&buffer, &caps);
        tokio::select! {
            _ = tick.tick() => {}
            // Another reason, or the slate's turn: at once.
            changed = on.changed() => changed?,
        }
    }
}
