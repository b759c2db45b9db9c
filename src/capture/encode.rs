//! Keeps a feed's encoder: chosen by trial, watched, replaced when it fails.
//!
//! Comes in: the pictures' colorimetry, the bit rate, the encoder's messages,
//! the deadline. Goes out: the [`Line`] of the moment, to the switch. An encoder
//! that takes a picture and gives nothing for [`DEADLINE`] is given up at once;
//! the third time it steps down the ladder. One that cannot do what is asked of
//! it while it runs (another bit rate, a key frame) begins anew.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::blocking::blocking;
use super::changed;
use super::encoder::choice::{self, Chosen};
use super::encoder::ladder::Rung;
use super::encoder::machine::{Candidate, Keys};
use super::encoder::retune::retune;
use super::encoder::trial::Example;
use super::encoder::{self, Wanted};
use super::flow::Flow;
use super::line::{Line, Taker};
use super::messages::first_error;
use super::slates;
use super::switch::{Shape, Switch};
use crate::clock;
use crate::config::camera::{Camera, Settings};
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
    /// Its bit rate, which may change.
    pub settings: &'a watch::Receiver<Settings>,
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
        let mut again = None;
        while let Some(shape) = self.wanted().await {
            let began = tokio::time::Instant::now();
            let ended = self.life(shape, again.take()).await;
            self.flow.encoder_gone();
            if self.stop.is_cancelled() {
                return;
            }
            match ended {
                Ok(candidate) => {
                    again = candidate;
                    continue;
                }
                Err(error) => {
                    warn!("encoder: {error:#}");
                    *self.trouble.lock().expect("trouble lock") = Some(format!("{error:#}").into());
                }
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

    /// One encoder, from its choice to its end: `Ok` at the stop token, or with
    /// the one that is to begin anew.
    async fn life(&self, shape: Shape, again: Option<Chosen>) -> Result<Option<Chosen>> {
        let mut settings = self.settings.clone();
        let wanted = self.asked(&mut settings);
        let chosen = match again {
            Some(chosen) => chosen,
            None => self.choose(wanted, &shape).await?,
        };
        let encoder = encoder::make(&chosen.candidate, &wanted, Some(&shape))?;
        let encode = encoder.encode.clone();
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
        let ended = tokio::select! {
            () = self.stop.cancelled() => Ok(None),
            error = self.silence(&chosen) => Err(error),
            error = first_error(line.bus()) => Err(error.reason),
            why = self.retune(&mut settings, wanted, &encode, chosen.candidate.rung) => {
                Ok(Some(why))
            }
            why = self.keyless(&chosen) => Ok(Some(why)),
        };
        self.switch.set_line(None);
        on_air.set(0.0);
        if ended.is_err() {
            choice::failed(&chosen.candidate);
        }
        // The blocking thread holds its own reference: an encoder that hangs is
        // left behind, and nobody waits for it.
        let stopped = blocking("stop the encoder", move || line.stop());
        match ended {
            Ok(None) => stopped.await.map(|()| None),
            Ok(Some(why)) => {
                info!(encoder = chosen.candidate.factory, why, "encoder begins anew");
                // The chip may have room for one only.
                stopped.await.map(|()| Some(chosen))
            }
            Err(error) => {
                tokio::spawn(stopped);
                Err(error)
            }
        }
    }

    /// What is asked of the encoder now.
    fn asked(&self, settings: &mut watch::Receiver<Settings>) -> Wanted {
        let Camera { width, height, fps, gop_frames, .. } = *self.camera;
        let bitrate_kbps = settings.borrow_and_update().bitrate_kbps;
        Wanted { width, height, fps, bitrate_kbps, gop_frames }
    }

    async fn choose(&self, wanted: Wanted, shape: &Shape) -> Result<Chosen> {
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
        Ok(chosen)
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

    /// Follows the bit rate; resolves when the encoder cannot, with the reason.
    async fn retune(
        &self,
        settings: &mut watch::Receiver<Settings>,
        mut has: Wanted,
        encode: &gst::Element,
        rung: &'static Rung,
    ) -> String {
        loop {
            changed(settings).await;
            let wanted = self.asked(settings);
            if wanted == std::mem::replace(&mut has, wanted) {
                continue;
            }
            let kbps = wanted.bitrate_kbps;
            let encode = encode.clone();
            let set = move || retune(&encode, rung, &wanted);
            match blocking("change the bit rate", set).await.flatten() {
                Ok(()) => info!(kbps, "the encoder has another bit rate"),
                Err(error) => return format!("{kbps} kbit/s: {error:#}"),
            }
        }
    }

    /// Resolves when the encoder owes a key frame for too long.
    async fn keyless(&self, chosen: &Chosen) -> String {
        if chosen.candidate.keys() == Keys::Never {
            // It is not asked: the next of its own is near.
            return pending().await;
        }
        let mut tick = interval(LOOK);
        loop {
            tick.tick().await;
            if self.switch.waits_for_key(clock::now() - DEADLINE) {
                return "it gives no key frame when asked".into();
            }
        }
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
