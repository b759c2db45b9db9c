//! Keeps a feed's encoder: chosen by trial, watched, replaced when it fails.
//!
//! Comes in: the pictures' colorimetry, the encoder's messages, the deadline.
//! Goes out: the [`Line`] of the moment, to the switch. An encoder that takes a
//! picture and gives nothing for [`DEADLINE`] is given up at once; the third
//! time it steps down the ladder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::blocking::blocking;
use super::encoder::choice::{self, Chosen};
use super::encoder::ladder::Rung;
use super::encoder::machine::{Candidate, Keys};
use super::encoder::trial::Example;
use super::encoder::{self, Encoder, Wanted};
use super::flow::Flow;
use super::line::{Line, Taker};
use super::messages::first_error;
use super::slates;
use super::switch::{Shape, Switch};
use crate::clock;
use crate::config::camera::Camera;
use crate::status::{State, Status};
use crate::task::Backoff;

/// An encoder gives something for each picture within this.
const DEADLINE: Duration = Duration::from_millis(700);
/// How often that is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// Before another choice where none worked, or one that works only briefly.
const PACE: Backoff = Backoff {
    first: Duration::from_millis(50),
    cap: Duration::from_secs(5),
    steady: Duration::from_secs(2),
};

/// Why there is no encoder at the moment; `None` while there is one, or none is wanted.
pub(super) type Trouble = Mutex<Option<Arc<str>>>;

/// Keeps the encoder of one feed.
pub(super) struct Keeper<'a> {
    /// Whose.
    pub camera: &'a Camera,
    /// The encoders there are, best first.
    pub ladder: &'static [Rung],
    /// What comes out goes there.
    pub flow: &'a Arc<Flow>,
    /// Where pictures come from.
    pub switch: &'a Arc<Switch>,
    /// What the feed's state is to say.
    pub trouble: &'a Trouble,
    /// Where it is told which encoder it is.
    pub status: &'a Status,
    /// Until then.
    pub stop: &'a CancellationToken,
}

impl Keeper<'_> {
    /// Until the stop token.
    pub async fn keep(self) {
        let mut pause = PACE.first;
        while let Some(shape) = self.wanted().await {
            let began = tokio::time::Instant::now();
            let ended = self.life(shape).await;
            self.flow.encoder_gone();
            if self.stop.is_cancelled() {
                return;
            }
            if let Err(error) = ended {
                warn!("encoder: {error:#}");
                *self.trouble.lock().expect("trouble lock") = Some(format!("{error:#}").into());
            }
            if began.elapsed() >= PACE.steady {
                pause = PACE.first;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = sleep(pause) => pause = PACE.next(pause),
            }
        }
    }

    /// Waits for raw pictures: what they are made of, or `None` at the end.
    async fn wanted(&self) -> Option<Shape> {
        let mut shape = self.switch.shape();
        tokio::select! {
            () = self.stop.cancelled() => None,
            shape = shape.wait_for(Option::is_some) => shape.ok()?.clone(),
        }
    }

    /// One encoder, from its choice to its failure; `Ok` at the stop token.
    async fn life(&self, shape: Shape) -> Result<()> {
        let (encoder, chosen) = self.choose(shape).await?;
        let switch = self.switch.clone();
        let taker: Taker = Box::new(move |at, data, now| switch.line_coded(at, data, now));
        let line = Arc::new(Line::new(encoder, self.flow, taker)?);
        let started = line.clone();
        blocking("start the encoder", move || started.play()).await??;
        self.switch.set_line(Some(line.clone()));
        *self.trouble.lock().expect("trouble lock") = None;
        self.tell(&chosen.candidate).await;
        let on_air = self.on_air(&chosen.candidate);
        on_air.set(1.0);
        let failed = tokio::select! {
            () = self.stop.cancelled() => None,
            error = self.silence(&chosen) => Some(error),
            error = first_error(line.bus()) => Some(error.reason),
        };
        self.switch.set_line(None);
        on_air.set(0.0);
        if failed.is_some() {
            choice::failed(&chosen.candidate);
        }
        // The blocking thread holds its own reference: an encoder that hangs is
        // left behind, and nobody waits for it.
        let stopped = blocking("stop the encoder", move || line.stop());
        match failed {
            None => stopped.await,
            Some(error) => {
                tokio::spawn(stopped);
                Err(error)
            }
        }
    }

    async fn choose(&self, shape: Shape) -> Result<(Encoder, Chosen)> {
        let Camera { width, height, fps, bitrate_kbps, gop_frames, .. } = *self.camera;
        let wanted = Wanted { width, height, fps, bitrate_kbps, gop_frames };
        let name = self.camera.encoder.clone();
        let ladder = self.ladder;
        let example = Example { picture: self.switch.waiting(), shape: shape.clone() };
        let span = tracing::Span::current();
        let choose = move || {
            span.in_scope(|| choice::choose(ladder, &wanted, Some(&example), name.as_deref()))
        };
        // Every trial has its deadline; how many there are is the ladder's.
        let chosen = spawn_blocking(choose).await.context("choose an encoder")??;
        let Candidate { factory, rung, .. } = &chosen.candidate;
        let (driver, node) = (chosen.candidate.driver(), chosen.candidate.node());
        let io_mode = chosen.candidate.way.name();
        info!(encoder = factory, chip = rung.chip, driver, node, io_mode, "encoder chosen");
        if chosen.candidate.keys() == Keys::Never {
            warn!(encoder = factory, "it cannot be asked for key frames: one comes each second");
        }
        Ok((encoder::make(&chosen.candidate, &wanted, Some(&shape))?, chosen))
    }

    /// Says which encoder the feed has, and whether better ones lost their place.
    async fn tell(&self, candidate: &Candidate) {
        let (ladder, name) = (self.ladder, self.camera.encoder.clone());
        let over = spawn_blocking(move || choice::stepped_over(ladder, name.as_deref())).await;
        let over = over.unwrap_or_default().join(", ");
        let part = format!("encoder/{}", self.camera.id);
        let it = format!("{}, driver {}", candidate.factory, candidate.driver());
        let it = format!("{it}, io-mode {}", candidate.way.name());
        if over.is_empty() {
            self.status.set(&part, State::Live, &it);
        } else {
            let why = format!("stepped down the ladder to {it}: {over} failed on air");
            self.status.set_coded(&part, State::Suspect, "stepped_down", &why);
        }
    }

    /// The gauge that is 1 while this encoder serves the feed.
    fn on_air(&self, candidate: &Candidate) -> metrics::Gauge {
        metrics::gauge!("floorcast_encoder_on_air",
            "feed" => self.camera.id.to_string(), "encoder" => candidate.factory.clone(),
            "driver" => candidate.driver().to_owned(), "io_mode" => candidate.way.name())
    }

    /// Resolves when the encoder keeps a picture for too long.
    async fn silence(&self, chosen: &Chosen) -> anyhow::Error {
        let began = clock::now();
        let mut tick = interval(LOOK);
        loop {
            tick.tick().await;
            let waits = self.flow.encoding_since().map(|since| clock::now().since(since));
            let out = self.flow.last_coded().is_some_and(|coded| coded > began);
            let limit = patience(chosen, self.camera.period(), out);
            if let Some(waits) = waits.filter(|waits| *waits >= limit) {
                return anyhow!("nothing from the encoder for {:.1} s", waits.as_secs_f64());
            }
        }
    }
}

/// How long an encoder may keep a picture: those that it may hold back come on top, and
/// the first may take twice as long as it did in the trial.
fn patience(chosen: &Chosen, period: Duration, out: bool) -> Duration {
    let usual = DEADLINE + chosen.candidate.rung.holds * period.max(slates::PERIOD);
    if out { usual } else { usual.max(2 * chosen.first) }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
