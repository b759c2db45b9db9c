//! When light was captured: a driver's claim, judged.
//!
//! Comes in: the time that the source put on a picture, and when the picture
//! was seen. Goes out: a capture time on `CLOCK_MONOTONIC` with its
//! uncertainty, strictly rising whatever the driver says. Pure: time is an
//! argument.

use std::time::Duration;

use crate::model::{Captured, Mono};

/// Least distance of two frames: nine ticks of RTP's 90 kHz clock, so that no
/// two frames of a feed share an RTP time.
pub const STEP: Duration = Duration::from_micros(100);

/// A claim may be ahead of the moment it is seen by no more than this: both
/// are read from one clock, one after the other.
const AHEAD: Duration = Duration::from_millis(1);

/// A picture older than this (or than eight periods) when first seen was not
/// captured when its stamp says: real cameras hold a few pictures at most.
const OLD: Duration = Duration::from_millis(500);

/// Which instant of a picture its driver stamps (kernel V4L2 docs, "Buffers",
/// `V4L2_BUF_FLAG_TSTAMP_SRC_MASK`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// Exactly the capture time: pushed pictures carry their own truth.
    Exact,
    /// Start of exposure. Corrected to its middle when the exposure is known.
    ExposureStart {
        /// Time the shutter is open, if the camera tells.
        exposure: Option<Duration>,
    },
    /// End of frame. The flag is zero, so a driver that says nothing reads as
    /// this too: the stamp is kept, and the light came in the period before it.
    FrameEnd,
}

/// Why a claim was not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No time at all.
    Missing,
    /// Ahead of the clock.
    Future,
    /// The same as the picture before.
    Frozen,
    /// Before the picture before.
    Backward,
    /// Too long ago.
    Old,
}

impl Fault {
    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Future => "future",
            Self::Frozen => "frozen",
            Self::Backward => "backward",
            Self::Old => "old",
        }
    }
}

/// One source's stamps.
#[derive(Debug)]
pub struct Stamps {
    period: Duration,
    /// The source's claim before this one.
    claimed: Option<Mono>,
    /// The time given out before this one.
    given: Option<Mono>,
}

impl Stamps {
    /// Stamps of a source with one picture per `period`; `after` is the time of
    /// the feed's newest frame, if it has one.
    pub fn new(period: Duration, after: Option<Mono>) -> Self {
        Self { period, claimed: None, given: after }
    }

    /// Judges one picture's claim to its `edge`, seen at `seen`.
    pub fn judge(
        &mut self,
        claim: Option<Mono>,
        edge: Edge,
        seen: Mono,
    ) -> (Captured, Option<Fault>) {
        let fault = self.fault(claim, seen);
        self.claimed = claim.or(self.claimed);
        let mut captured = match (claim, fault) {
            (Some(claim), None) => self.corrected(claim, edge),
            // It was captured before it was seen, most likely one transfer ago.
            _ => Captured { at: seen - self.period, error: self.period },
        };
        if let Some(given) = self.given
            && captured.at < given + STEP
        {
            let at = given + STEP;
            captured = Captured { at, error: captured.error + at.since(captured.at) };
        }
        self.given = Some(captured.at);
        (captured, fault)
    }

    /// The time of a picture drawn at `now`: exact, and later than all before.
    pub fn drawn(&mut self, now: Mono) -> Captured {
        let at = self.given.map_or(now, |given| now.max(given + STEP));
        self.given = Some(at);
        Captured { at, error: Duration::ZERO }
    }

    /// Another source, or the same one opened again: its claims begin anew.
    pub fn begin(&mut self) {
        self.claimed = None;
    }

    fn fault(&self, claim: Option<Mono>, seen: Mono) -> Option<Fault> {
        let Some(claim) = claim else { return Some(Fault::Missing) };
        if claim > seen + AHEAD {
            return Some(Fault::Future);
        }
        match self.claimed {
            Some(before) if claim == before => return Some(Fault::Frozen),
            Some(before) if claim < before => return Some(Fault::Backward),
            _ => {}
        }
        (seen.since(claim) > OLD.max(self.period * 8)).then_some(Fault::Old)
    }

    fn corrected(&self, claim: Mono, edge: Edge) -> Captured {
        match edge {
            Edge::Exact => Captured { at: claim, error: Duration::ZERO },
            Edge::ExposureStart { exposure: Some(open) } => {
                let half = open.min(self.period) / 2;
                Captured { at: claim + half, error: half }
            }
            Edge::ExposureStart { exposure: None } | Edge::FrameEnd => {
                Captured { at: claim, error: self.period }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const PERIOD: Duration = Duration::from_millis(40);

    fn at(ms: u64) -> Mono {
        Mono(ms * MS)
    }

    fn camera() -> Stamps {
        Stamps::new(PERIOD, None)
    }

    /// A pushed picture's time is taken as it is.
    #[test]
    fn exact_time_is_kept() {
        let mut stamps = camera();
        let (captured, fault) = stamps.judge(Some(at(1000)), Edge::Exact, at(1007));
        assert_eq!(captured, Captured { at: at(1000), error: Duration::ZERO });
        assert_eq!(fault, None);
    }

    /// Start of exposure plus half the exposure is the middle of the light.
    #[test]
    fn exposure_start_is_moved_to_mid_exposure() {
        let exposure = Some(Duration::from_millis(10));
        let edge = Edge::ExposureStart { exposure };
        let (captured, _) = camera().judge(Some(at(1000)), edge, at(1030));
        assert_eq!(captured, Captured { at: at(1005), error: Duration::from_millis(5) });
    }

    /// Unbelievable claims become one period before they were seen, and are marked.
    #[test]
    fn implausible_claims_are_replaced_and_marked() {
        let cases = [
            (None, Fault::Missing),
            (Some(at(1100)), Fault::Future),
            (Some(at(960)), Fault::Frozen),
            (Some(at(920)), Fault::Backward),
        ];
        for (claim, expected) in cases {
            let mut stamps = camera();
            assert_eq!(stamps.judge(Some(at(960)), Edge::FrameEnd, at(961)).1, None);
            let (captured, fault) = stamps.judge(claim, Edge::FrameEnd, at(1041));
            assert_eq!(fault, Some(expected));
            assert_eq!(captured, Captured { at: at(1001), error: PERIOD });
        }
        let (_, fault) = camera().judge(Some(at(1000)), Edge::FrameEnd, at(2000));
        assert_eq!(fault, Some(Fault::Old));
    }

    /// A driver that comes to its senses is believed again at once.
    #[test]
    fn one_bad_claim_does_not_condemn_the_next() {
        let mut stamps = camera();
        assert_eq!(stamps.judge(Some(at(1000)), Edge::FrameEnd, at(1001)).1, None);
        assert_eq!(stamps.judge(Some(at(900)), Edge::FrameEnd, at(1041)).1, Some(Fault::Backward));
        assert_eq!(stamps.judge(Some(at(1080)), Edge::FrameEnd, at(1081)).1, None);
    }

    /// A restarted source goes on after the feed's newest frame.
    #[test]
    fn restart_never_goes_behind_the_feed() {
        let mut stamps = Stamps::new(PERIOD, Some(at(1000)));
        let (captured, _) = stamps.judge(Some(at(990)), Edge::FrameEnd, at(1001));
        assert_eq!(captured.at, at(1000) + STEP);
    }

    proptest! {
        /// Whatever a driver claims, times rise, RTP times differ, and honest
        /// claims pass unchanged.
        #[test]
        fn times_always_rise(
            claims in prop::collection::vec((prop::option::of(0u64..5000), 0u64..100), 1..200),
        ) {
            let mut stamps = camera();
            let (mut seen, mut before) = (at(1000), None);
            for (claim, wait) in claims {
                seen = seen + Duration::from_millis(wait);
                let (captured, _) = stamps.judge(claim.map(at), Edge::FrameEnd, seen);
                if let Some(before) = before {
                    prop_assert!(captured.at > before);
                    prop_assert_ne!(captured.at.rtp(), before.rtp());
                }
                prop_assert!(captured.error <= PERIOD + captured.at.since(Mono(0)));
                before = Some(captured.at);
            }
        }

        /// An honest 25 fps camera with up to a period of transfer time is never corrected.
        #[test]
        fn honest_claims_pass(delays in prop::collection::vec(0u64..40, 1..200)) {
            let mut stamps = camera();
            for (i, delay) in delays.into_iter().enumerate() {
                let claim = at(1000 + 40 * i as u64);
                let (captured, fault) = stamps.judge(Some(claim), Edge::FrameEnd, claim + Duration::from_millis(delay));
                prop_assert_eq!(fault, None);
                prop_assert_eq!(captured.at, claim);
            }
        }
    }
}
