//! One unit's health: whether it answers, how fast, and when to ask it again.
//!
//! Pure: time is an argument. A unit that does not answer is asked again at
//! its next slot, then after pauses that double up to [`CAP`], for ever.

use std::time::Duration;

use crate::config::modbus::unit;
use crate::model::Mono;

/// The first pause, after the second failure in a row.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause.
const CAP: Duration = Duration::from_secs(5);

/// What is known of a unit.
#[derive(Debug)]
pub struct Unit {
    /// Its Modbus unit id.
    pub id: u8,
    /// How long it may take to answer.
    pub timeout: Duration,
    pause: Duration,
    failures: u32,
    answered: bool,
    ready_at: Mono,
    /// A usual round trip, smoothed over about eight.
    usual: Option<Duration>,
}

impl Unit {
    /// A unit that was never asked.
    pub fn new(unit: &unit::Unit) -> Self {
        Self {
            id: unit.id,
            timeout: unit.timeout,
            pause: unit.pause,
            failures: 0,
            answered: false,
            ready_at: Mono(0),
            usual: None,
        }
    }

    /// It may be asked from then on.
    pub fn ready_at(&self) -> Mono {
        self.ready_at
    }

    /// Failures since it last answered.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It answered the last time it was asked.
    pub fn live(&self) -> bool {
        self.answered && self.failures == 0
    }

    /// It answered. True if that is news.
    pub fn answers(&mut self, now: Mono, trip: Duration) -> bool {
        let news = !self.live();
        (self.failures, self.answered) = (0, true);
        self.ready_at = now + self.pause;
        self.usual = Some(self.usual.map_or(trip, |usual| (usual * 7 + trip) / 8));
        news
    }

    /// It did not answer, or not to what was asked.
    pub fn fails(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.failures {
            1 => Duration::ZERO,
            n => (FIRST * 2u32.pow((n - 2).min(8))).min(CAP),
        };
        self.ready_at = now + pause.max(self.pause);
    }

    /// The way to it is gone: its next answer is news.
    pub fn unreachable(&mut self) {
        self.answered = false;
    }

    /// It is to be left alone for a while.
    pub fn rest(&mut self, until: Mono) {
        self.ready_at = self.ready_at.max(until);
    }

    /// How long its reply may take before the bus goes on without waiting for
    /// it: a unit in doubt is not waited for.
    pub fn patience(&self) -> Duration {
        if self.failures > 0 {
            return Duration::ZERO;
        }
        let usual = self.usual.unwrap_or(Duration::from_millis(10));
        (usual * 4 + Duration::from_millis(5)).max(Duration::from_millis(10)).min(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        let ms = Duration::from_millis;
        Unit::new(&unit::Unit { id: 1, timeout: ms(500), pause: ms(20), reads: vec![] })
    }

    /// Asked again at once, then after pauses that double up to the cap; an
    /// answer ends them.
    #[test]
    fn pauses_double_up_to_the_cap() {
        let (mut unit, now) = (unit(), Mono(1_000_000_000));
        let mut pause = || {
            unit.fails(now);
            unit.ready_at().since(now).as_millis()
        };
        let pauses: Vec<_> = (0..9).map(|_| pause()).collect();
        assert_eq!(pauses, [20, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        assert!(unit.answers(now, Duration::from_millis(3)));
        assert!(!unit.answers(now, Duration::from_millis(3)));
        assert_eq!(unit.ready_at().since(now).as_millis(), 20);
    }
}
