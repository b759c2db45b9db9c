//! Keeps a feed's encoder: chosen by trial, watched, replaced when it fails.
//!
//! Comes in: the pictures' colorimetry, the encoder's messages, the deadline.
//! Goes out: the [`Line`] of the moment, to the switch. An encoder that takes a
//! picture and gives nothing for [`DEADLINE`] is given up at once; the third
//! time it steps down the ladder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::blocking::blocking;
use super::encoder::ladder::Rung;
use super::encoder::{self, Encoder, Wanted, choice};
use super::flow::Flow;
use super::line::{Line, Taker};
use super::messages::first_error;
use super::switch::{Shape, Switch};
use crate::clock;
use crate::config::camera::Camera;
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
        let (encoder, factory) = self.choose(shape).await?;
        let switch = self.switch.clone();
        let taker: Taker = Box::new(move |at, data, now| switch.line_coded(at, data, now));
        let line = Arc::new(Line::new(encoder, self.flow, taker)?);
        let started = line.clone();
        blocking("start the encoder", move || started.play()).await??;
        self.switch.set_line(Some(line.clone()));
        *self.trouble.lock().expect("trouble lock") = None;
        let failed = tokio::select! {
            () = self.stop.cancelled() => None,
            error = self.silence() => Some(error),
            error = first_error(line.bus()) => Some(error.reason),
        };
        self.switch.set_line(None);
        if failed.is_some() {
            choice::failed(&factory);
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

    async fn choose(&self, shape: Shape) -> Result<(Encoder, String)> {
        let Camera { width, height, fps, bitrate_kbps, gop_frames, .. } = *self.camera;
        let wanted = Wanted { width, height, fps, bitrate_kbps, gop_frames };
        let name = self.camera.encoder.clone();
        let ladder = self.ladder;
        let choose = move || choice::choose(ladder, &wanted, name.as_deref());
        let chosen = blocking("choose an encoder", choose).await??;
        info!(
            encoder = chosen.factory,
            chip = chosen.rung.chip,
            driver = chosen.driver(),
            node = chosen.node(),
            io_mode = chosen.way.name(),
            "encoder chosen"
        );
        Ok((encoder::make(&chosen, &wanted, Some(&shape))?, chosen.factory))
    }

    /// Resolves when the encoder keeps a picture for too long.
    async fn silence(&self) -> anyhow::Error {
        let mut tick = interval(LOOK);
        loop {
            tick.tick().await;
            let waits = self.flow.encoding_since().map(|since| clock::now().since(since));
            if let Some(waits) = waits.filter(|waits| *waits >= DEADLINE) {
                return anyhow!("nothing from the encoder for {:.1} s", waits.as_secs_f64());
            }
        }
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
