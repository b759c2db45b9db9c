//! Which rung of the ladder a camera stands on.
//!
//! Comes in: what is wanted, and how encoders did. Goes out: the first
//! candidate that passes a trial. A passed trial is remembered, so that a
//! restart does not try again; an encoder that failed [`STRIKES`] times since
//! then is stepped over for [`BANNED`]. Remembers [`REMEMBERED`] choices; the
//! oldest goes.

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use tracing::{info, warn};

use super::Wanted;
use super::ladder::{Rung, Way};
use super::machine::{Candidate, candidates};
use super::trial::{self, Example};
use crate::capture::switch::Shape;
use crate::clock;
use crate::model::Mono;

/// A trial encode takes this long at most.
const TRIAL: Duration = Duration::from_secs(4);

/// Failures on air that cost an encoder its place.
const STRIKES: u32 = 3;

/// How long it is stepped over.
const BANNED: Duration = Duration::from_secs(3600);

const REMEMBERED: usize = 32;

/// An encoder and a way to use it.
type Use = (String, Way);

/// An encoder that passed, and what its trial said.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Chosen {
    /// Which, and how.
    pub candidate: Candidate,
    /// Its first picture took so long.
    pub first: Duration,
}

impl Candidate {
    fn used(&self) -> Use {
        (self.factory.clone(), self.way)
    }
}

#[derive(Default)]
struct Memory {
    passed: Vec<(Asked, Chosen)>,
    strikes: Vec<(Use, u32, Mono)>,
}

/// What a trial was for.
#[derive(Clone, PartialEq, Eq)]
struct Asked {
    wanted: Wanted,
    shape: Option<Shape>,
}

impl Memory {
    fn known(&self, asked: &Asked, name: Option<&str>, now: Mono) -> Option<Chosen> {
        let fits = |c: &Candidate| name.map_or(c.rung.auto, |n| c.rung.name == n);
        (self.passed.iter())
            .find(|(a, c)| a == asked && fits(&c.candidate) && !self.banned(&c.candidate, now))
            .map(|(_, chosen)| chosen.clone())
    }

    fn banned(&self, candidate: &Candidate, now: Mono) -> bool {
        self.strikes.iter().any(|(used, strikes, last)| {
            *used == candidate.used() && *strikes >= STRIKES && now.since(*last) < BANNED
        })
    }

    fn pass(&mut self, asked: Asked, chosen: Chosen) {
        if self.passed.len() == REMEMBERED {
            self.passed.remove(0);
        }
        self.passed.push((asked, chosen));
    }

    /// Notes a failure; true if it just cost the encoder its place.
    fn strike(&mut self, used: Use, now: Mono) -> bool {
        self.strikes.retain(|(_, _, last)| now.since(*last) < BANNED);
        let strikes = match self.strikes.iter_mut().find(|(u, ..)| *u == used) {
            Some((_, strikes, last)) => {
                *last = now;
                *strikes += 1;
                *strikes
            }
            None => {
                self.strikes.push((used, 1, now));
                1
            }
        };
        strikes == STRIKES
    }
}

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

/// The encoder of `ladder` for `wanted`, only `name` if given, and for pictures like the
/// example. Blocks for the trials, each of which has its deadline.
///
/// # Errors
/// None works; the reason of each is in the message.
pub(in crate::capture) fn choose(
    ladder: &'static [Rung],
    wanted: &Wanted,
    example: Option<&Example>,
    name: Option<&str>,
) -> Result<Chosen> {
    let now = clock::now();
    let asked = Asked { wanted: *wanted, shape: example.map(|example| example.shape.clone()) };
    if let Some(known) = MEMORY.lock().expect("ladder lock").known(&asked, name, now) {
        return Ok(known);
    }
    let mut refused = Vec::new();
    let (banned, fit): (Vec<_>, Vec<_>) = {
        let memory = MEMORY.lock().expect("ladder lock");
        candidates(ladder, name).into_iter().partition(|c| memory.banned(c, now))
    };
    // A banned encoder is better than none.
    for candidate in fit.into_iter().chain(banned) {
        let (encoder, driver) = (&candidate.factory, candidate.driver());
        let (node, io_mode) = (candidate.node(), candidate.way.name());
        match trial::run(&candidate, wanted, example, TRIAL).outcome {
            Ok(trial::Passed { first_ms, each_ms, profile }) => {
                info!(
                    encoder,
                    driver,
                    node,
                    io_mode,
                    "trial passed: {each_ms:.1} ms a picture, first after {first_ms:.0} ms, {profile}"
                );
                let first = Duration::from_secs_f64(first_ms / 1000.0);
                let chosen = Chosen { candidate, first };
                MEMORY.lock().expect("ladder lock").pass(asked, chosen.clone());
                return Ok(chosen);
            }
            Err(reason) => {
                warn!(encoder, driver, node, io_mode, "trial failed: {reason}");
                refused.push(format!("{encoder}: {io_mode}: {reason}"));
            }
        }
    }
    if refused.is_empty() {
        refused.push(format!("{} is not on this machine", name.unwrap_or("any")));
    }
    bail!("no encoder works: {}", refused.join("; "))
}

/// The encoders of `ladder` that have lost their place for a while, in words.
pub(in crate::capture) fn stepped_over(ladder: &'static [Rung], name: Option<&str>) -> Vec<String> {
    let now = clock::now();
    let here = candidates(ladder, name);
    let memory = MEMORY.lock().expect("ladder lock");
    let lost = here.iter().filter(|candidate| memory.banned(candidate, now));
    lost.map(|candidate| format!("{} by {}", candidate.factory, candidate.way.name())).collect()
}

/// An encoder failed on air. The third time it loses its place for a while.
pub(in crate::capture) fn failed(candidate: &Candidate) {
    let (encoder, io_mode) = candidate.used();
    metrics::counter!("floorcast_encoder_failures_total", "encoder" => encoder.clone())
        .increment(1);
    if MEMORY.lock().expect("ladder lock").strike(candidate.used(), clock::now()) {
        let (io_mode, minutes) = (io_mode.name(), BANNED.as_secs() / 60);
        warn!(encoder, io_mode, minutes, "stepping down the ladder");
        metrics::counter!("floorcast_encoder_steps_down_total", "encoder" => encoder).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::{LADDER, Way};
    use super::*;

    const WANTED: Wanted =
        Wanted { width: 320, height: 180, fps: 30, bitrate_kbps: 500, gop_frames: 30 };

    const ASKED: Asked = Asked { wanted: WANTED, shape: None };

    fn chosen(name: &str, way: Way) -> Chosen {
        let rung = LADDER.iter().find(|r| r.name == name).unwrap();
        let candidate = Candidate { factory: name.into(), rung, device: None, way };
        Chosen { candidate, first: Duration::ZERO }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    /// Three failures cost an encoder its place; an hour later it may try again.
    #[test]
    fn repeated_failures_step_down_and_are_forgiven() {
        let x264 = || ("x264enc".to_owned(), Way::Memory);
        let mut memory = Memory::default();
        memory.pass(ASKED, chosen("x264enc", Way::Memory));
        assert!(memory.known(&ASKED, None, at(0)).is_some());
        assert!(!memory.strike(x264(), at(1)));
        assert!(!memory.strike(x264(), at(2)));
        assert!(memory.known(&ASKED, None, at(3)).is_some());
        assert!(memory.strike(x264(), at(4)));
        assert!(memory.known(&ASKED, None, at(5)).is_none());
        assert!(memory.known(&ASKED, None, at(3605)).is_some());
    }

    /// A way that fails costs an encoder that way; the next is another way to use it.
    #[test]
    fn a_failing_way_leaves_the_other() {
        let mut memory = Memory::default();
        memory.pass(ASKED, chosen("v4l2h264enc", Way::Dmabuf));
        memory.pass(ASKED, chosen("v4l2h264enc", Way::Mmap));
        let way = |memory: &Memory| memory.known(&ASKED, None, at(9)).map(|c| c.candidate.way);
        assert_eq!(way(&memory), Some(Way::Dmabuf));
        for second in 0..3 {
            memory.strike(("v4l2h264enc".into(), Way::Dmabuf), at(second));
        }
        assert_eq!(way(&memory), Some(Way::Mmap));
    }

    /// What passed for a camera's dmabufs says nothing about other pictures.
    #[test]
    fn a_trial_is_remembered_for_its_pictures() {
        use crate::capture::switch::Memory as Lies;
        let shape = |memory| Shape { format: "NV12".into(), colorimetry: "bt709".into(), memory };
        let asked = |memory| Asked { shape: Some(shape(memory)), ..ASKED };
        let mut memory = Memory::default();
        memory.pass(asked(Lies::Dmabuf), chosen("v4l2h264enc", Way::Dmabuf));
        assert!(memory.known(&asked(Lies::Dmabuf), None, at(0)).is_some());
        assert!(memory.known(&asked(Lies::Plain), None, at(0)).is_none());
    }

    /// A remembered encoder is not taken where another was asked for by name.
    #[test]
    fn name_wins_over_memory() {
        let mut memory = Memory::default();
        memory.pass(ASKED, chosen("openh264enc", Way::Memory));
        assert!(memory.known(&ASKED, Some("x264enc"), at(0)).is_none());
        assert!(memory.known(&ASKED, Some("openh264enc"), at(0)).is_some());
    }

    /// What is not here is said in so many words.
    #[test]
    fn no_encoder_is_an_error_with_reasons() {
        gstreamer::init().unwrap();
        let error = choose(LADDER, &WANTED, None, Some("vpuenc_h264")).unwrap_err().to_string();
        assert_eq!(error, "no encoder works: vpuenc_h264 is not on this machine");
    }
}
