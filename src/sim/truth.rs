//! One truth for every reader: the line's seed, when it started, and its tick.

use std::time::Duration;

use super::line::Line;
use crate::clock::WallClock;
use crate::model::Mono;

/// The line has run this long when the program starts: bottles stand under the
/// nozzles, the first reject is seconds away and the next lot half a minute.
const HEAD_START: Duration = Duration::from_secs(94);

/// Length of a tick, nanoseconds: 25 Hz.
const TICK_NS: i64 = 40_000_000;

/// What all readers share. Each follows it on its own, without a lock.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    seed: u64,
    start: Mono,
    /// UTC minus monotonic when the line started, nanoseconds.
    offset: i64,
}

impl Truth {
    /// A line that starts at `now`.
    pub fn new(seed: u64, wall: &WallClock, now: Mono) -> Self {
        let offset = wall.utc(now).0 * 1000 - now.0 as i64;
        Self { seed, start: now - HEAD_START, offset }
    }

    /// The 25 Hz tick: whole periods of 40 ms since 1970 by the UTC of the
    /// start, and steady from then on, even if the wall clock is stepped. Its
    /// low 16 bits, which come round every 44 minutes.
    pub fn tick(&self, at: Mono) -> u16 {
        (at.0 as i64).saturating_add(self.offset).div_euclid(TICK_NS) as u16
    }

    /// UTC at `at`, microseconds, by the same line as [`Self::tick`].
    pub fn utc_us(&self, at: Mono) -> i64 {
        (at.0 as i64).saturating_add(self.offset).div_euclid(1000)
    }

    /// A reader of its own.
    pub fn follow(&self) -> Follower {
        let mut line = Line::new(self.seed);
        line.advance(HEAD_START);
        Follower { truth: *self, line }
    }
}

/// One reader.
pub struct Follower {
    truth: Truth,
    line: Line,
}

impl Follower {
    /// The state at `at`, or the newest asked for if that was later. Costs
    /// 0.2 µs for each step of 2 ms since then.
    pub fn at(&mut self, at: Mono) -> &Line {
        self.line.advance(at.since(self.truth.start));
        &self.line
    }

    /// The line's tick and UTC.
    pub fn truth(&self) -> Truth {
        self.truth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tick is UTC in units of 40 ms, to the very edge.
    #[test]
    fn tick_agrees_with_utc() {
        let wall = WallClock::fixed(Duration::from_secs(1_700_000_000));
        let truth = Truth::new(1, &wall, Mono(5_000_000_000));
        for ns in [5_000_000_000, 5_039_999_999, 5_040_000_000, 99_123_456_789] {
            let at = Mono(ns);
            assert_eq!(truth.tick(at), (wall.utc(at).0 / 40_000) as u16);
        }
        assert_eq!(truth.tick(Mono(5_040_000_000)), truth.tick(Mono(5_000_000_000)) + 1);
    }

    /// A reader that starts late sees what the others see.
    #[test]
    fn followers_agree() {
        let truth = Truth::new(7, &WallClock::new(), Mono(200_000_000_000));
        let (mut early, mut late) = (truth.follow(), truth.follow());
        for s in 200..260 {
            early.at(Mono(s * 1_000_000_000));
        }
        let at = Mono(260_000_000_000);
        assert!(early.at(at) == late.at(at));
    }
}
