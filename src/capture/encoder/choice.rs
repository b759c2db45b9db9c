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
use super::ladder::Rung;
use super::machine::{Candidate, candidates};
use super::trial;
use crate::clock;
use crate::model::Mono;

/// A trial encode takes this long at most.
const TRIAL: Duration = Duration::from_secs(3);

/// Failures on air that cost an encoder its place.
const STRIKES: u32 = 3;

/// How long it is stepped over.
const BANNED: Duration = Duration::from_secs(3600);

const REMEMBERED: usize = 32;

#[derive(Default)]
struct Memory {
    passed: Vec<(Wanted, Candidate)>,
    strikes: Vec<(String, u32, Mono)>,
}

impl Memory {
    fn known(&self, wanted: &Wanted, name: Option<&str>, now: Mono) -> Option<Candidate> {
        let fits = |c: &Candidate| name.is_none_or(|n| c.rung.name == n) && !self.banned(c, now);
        self.passed.iter().find(|(w, c)| w == wanted && fits(c)).map(|(_, c)| c.clone())
    }

    fn banned(&self, candidate: &Candidate, now: Mono) -> bool {
        self.strikes.iter().any(|(factory, strikes, last)| {
            *factory == candidate.factory && *strikes >= STRIKES && now.since(*last) < BANNED
        })
    }

    fn pass(&mut self, wanted: Wanted, candidate: Candidate) {
        if self.passed.len() == REMEMBERED {
            self.passed.remove(0);
        }
        self.passed.push((wanted, candidate));
    }

    /// Notes a failure; true if it just cost the encoder its place.
    fn strike(&mut self, factory: &str, now: Mono) -> bool {
        self.strikes.retain(|(_, _, last)| now.since(*last) < BANNED);
        let strikes = match self.strikes.iter_mut().find(|(f, ..)| f == factory) {
            Some((_, strikes, last)) => {
                *last = now;
                *strikes += 1;
                *strikes
            }
            None => {
                self.strikes.push((factory.to_owned(), 1, now));
                1
            }
        };
        strikes == STRIKES
    }
}

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

/// The encoder of `ladder` for `wanted`, only `name` if given. Blocks for the trials.
///
/// # Errors
/// None works; the reason of each is in the message.
pub(in crate::capture) fn choose(
    ladder: &'static [Rung],
    wanted: &Wanted,
    name: Option<&str>,
) -> Result<Candidate> {
    let now = clock::now();
    if let Some(known) = MEMORY.lock().expect("ladder lock").known(wanted, name, now) {
        return Ok(known);
    }
    let mut refused = Vec::new();
    let (banned, fit): (Vec<_>, Vec<_>) = {
        let memory = MEMORY.lock().expect("ladder lock");
        candidates(ladder, name).into_iter().partition(|c| memory.banned(c, now))
    };
    // A banned encoder is better than none.
    for candidate in fit.into_iter().chain(banned) {
        match trial::run(&candidate, wanted, TRIAL).outcome {
            Ok(passed) => {
                let trial::Passed { first_ms, each_ms, ref profile, .. } = passed;
                info!(
                    encoder = candidate.factory,
                    driver = candidate.driver(),
                    node = candidate.node(),
                    io_mode = candidate.way.name(),
                    "trial passed: {each_ms:.1} ms a picture, first after {first_ms:.0} ms, {profile}"
                );
                MEMORY.lock().expect("ladder lock").pass(*wanted, candidate.clone());
                return Ok(candidate);
            }
            Err(reason) => {
                warn!(
                    encoder = candidate.factory,
                    driver = candidate.driver(),
                    node = candidate.node(),
                    io_mode = candidate.way.name(),
                    "trial failed: {reason}"
                );
                refused.push(format!("{}: {reason}", candidate.factory));
            }
        }
    }
    if refused.is_empty() {
        refused.push(format!("{} is not on this machine", name.unwrap_or("any")));
    }
    bail!("no encoder works: {}", refused.join("; "))
}

/// An encoder failed on air. The third time it loses its place for a while.
pub(in crate::capture) fn failed(factory: &str) {
    metrics::counter!("floorcast_encoder_failures_total", "encoder" => factory.to_owned())
        .increment(1);
    if MEMORY.lock().expect("ladder lock").strike(factory, clock::now()) {
        warn!(encoder = factory, minutes = BANNED.as_secs() / 60, "stepping down the ladder");
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::{LADDER, Way};
    use super::*;

    const WANTED: Wanted =
        Wanted { width: 320, height: 180, fps: 30, bitrate_kbps: 500, gop_frames: 30 };

    fn candidate(name: &str) -> Candidate {
        let rung = LADDER.iter().find(|r| r.name == name).unwrap();
        Candidate { factory: name.into(), rung, device: None, way: Way::Memory }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    /// Three failures cost an encoder its place; an hour later it may try again.
    #[test]
    fn repeated_failures_step_down_and_are_forgiven() {
        let mut memory = Memory::default();
        memory.pass(WANTED, candidate("x264enc"));
        assert!(memory.known(&WANTED, None, at(0)).is_some());
        assert!(!memory.strike("x264enc", at(1)));
        assert!(!memory.strike("x264enc", at(2)));
        assert!(memory.known(&WANTED, None, at(3)).is_some());
        assert!(memory.strike("x264enc", at(4)));
        assert!(memory.known(&WANTED, None, at(5)).is_none());
        assert!(memory.known(&WANTED, None, at(3605)).is_some());
    }

    /// A remembered encoder is not taken where another was asked for by name.
    #[test]
    fn name_wins_over_memory() {
        let mut memory = Memory::default();
        memory.pass(WANTED, candidate("openh264enc"));
        assert!(memory.known(&WANTED, Some("x264enc"), at(0)).is_none());
        assert!(memory.known(&WANTED, Some("openh264enc"), at(0)).is_some());
    }

    /// What is not here is said in so many words.
    #[test]
    fn no_encoder_is_an_error_with_reasons() {
        gstreamer::init().unwrap();
        let error = choose(LADDER, &WANTED, Some("vpuenc_h264")).unwrap_err().to_string();
        assert_eq!(error, "no encoder works: vpuenc_h264 is not on this machine");
    }
}
