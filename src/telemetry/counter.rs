//! Counts that go on through roll-over and reset, and their rate per minute.
//!
//! Comes in: what the device's counter showed, and when. Goes out: a count
//! that never falls, and counts per minute over a sliding window. Pure: time
//! is an argument. Bounded: at most [`POINTS`] + 2 points per counter.
//!
//! A count that falls has either rolled over or was reset; the register alone
//! does not say which. It rolled over if the step up to the modulus and on is
//! one that this counter could have made in the time, judged by its recent
//! speed; otherwise it was reset, and what it shows now was counted since, if
//! that in turn is a possible step.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::count::Count;
use crate::model::{Mono, Value};

/// The rate window is kept in this many steps.
pub const POINTS: u32 = 64;

/// A step this many times faster than the recent fastest is still possible.
const HASTE: f64 = 10.0;

/// One counter's memory.
#[derive(Debug, Clone)]
pub struct Counter {
    goes_on: bool,
    modulus: Option<u128>,
    window: Duration,
    last: Option<(Number, Mono)>,
    total: Number,
    /// Counted since the start, for the rate.
    gained: f64,
    /// Recent fastest, counts per second; halves in a window. `None` before the first step.
    fastest: Option<f64>,
    points: VecDeque<(Mono, f64)>,
}

/// What the counter says after an update.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The value for the counting tag.
    pub value: Value,
    /// Counts per minute, once a tenth of the window has been seen.
    pub per_minute: Option<f64>,
    /// What the count did.
    pub step: Step,
}

/// What a count did between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is the first reading, or one taken before the last.
    None,
    /// It rose or stayed.
    Up,
    /// It passed its greatest count.
    RollOver,
    /// It was set to zero, or to some lower count.
    Reset,
}

/// Exact for integers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Int(i128),
    Real(f64),
}

impl Number {
    fn real(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Real(x) => x,
        }
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.saturating_add(b)),
            _ => Self::Real(self.real() + other.real()),
        }
    }

    fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.saturating_sub(b)),
            _ => Self::Real(self.real() - other.real()),
        }
    }

    /// `self` modulo `m`, in 0..m.
    fn modulo(self, m: u128) -> Self {
        match self {
            Self::Int(a) => Self::Int(a.rem_euclid(i128::try_from(m).unwrap_or(i128::MAX))),
            Self::Real(x) => Self::Real(x.rem_euclid(m as f64)),
        }
    }
}

impl Counter {
    /// A counter that has seen nothing.
    pub fn new(count: &Count) -> Self {
        Self {
            goes_on: count.goes_on,
            modulus: count.modulus,
            window: count.window,
            last: None,
            total: Number::Int(0),
            gained: 0.0,
            fastest: None,
            points: VecDeque::new(),
        }
    }

    /// Takes a reading: what the device showed at `at`. `None` if it is no
    /// finite number. A reading from before the last changes nothing.
    pub fn update(&mut self, shown: &Value, at: Mono) -> Option<Reading> {
        let now = match shown {
            Value::Int(n) => Number::Int(*n),
            Value::Real(x) if x.is_finite() => Number::Real(*x),
            _ => return None,
        };
        let step = match self.last {
            None => {
                self.total = now;
                self.last = Some((now, at));
                self.points.push_back((at, 0.0));
                Step::None
            }
            Some((_, before)) if at <= before => Step::None,
            Some((last, before)) => {
                let (gain, step) = self.judge(last, now, at.since(before));
                self.last = Some((now, at));
                self.total = self.total.plus(gain);
                self.gained += gain.real();
                self.remember(at);
                step
            }
        };
        let value = match if self.goes_on { self.total } else { now } {
            Number::Int(n) => Value::Int(n),
            Number::Real(x) => Value::Real(x),
        };
        Some(Reading { value, per_minute: self.per_minute(), step })
    }

    /// How much was counted from `last` to `now`, and how it came about.
    fn judge(&mut self, last: Number, now: Number, passed: Duration) -> (Number, Step) {
        let seconds = passed.as_secs_f64();
        let possible = self.fastest.map(|speed| HASTE * speed * seconds);
        let plain = now.minus(last);
        let (gain, step) = if plain.real() >= 0.0 {
            (plain, Step::Up)
        } else if let Some((m, over)) = self.modulus.map(|m| (m, plain.modulo(m)))
            && over.real() <= rolls(m as f64, possible)
        {
            (over, Step::RollOver)
        } else if now.real() > 0.0 && now.real() <= possible.unwrap_or(0.0).max(1.0) {
            (now, Step::Reset)
        } else {
            (Number::Int(0), Step::Reset)
        };
        let faded = 0.5f64.powf(seconds / self.window.as_secs_f64().max(1e-3));
        let speed = gain.real() / seconds.max(1e-6);
        self.fastest = Some(speed.max(self.fastest.unwrap_or(0.0) * faded));
        (gain, step)
    }

    fn remember(&mut self, at: Mono) {
        let spacing = self.window / POINTS;
        if self.points.back().is_none_or(|(last, _)| at.since(*last) >= spacing) {
            self.points.push_back((at, self.gained));
        }
        // The first point is the newest one that covers the whole window.
        while self.points.get(1).is_some_and(|(second, _)| at.since(*second) >= self.window) {
            self.points.pop_front();
        }
    }

    fn per_minute(&self) -> Option<f64> {
        let (_, at) = self.last?;
        let (from, gained) = *self.points.front()?;
        let seen = at.since(from);
        (seen >= self.window / 10 && !seen.is_zero())
            .then(|| (self.gained - gained) / seen.as_secs_f64() * 60.0)
    }
}

/// The greatest step that counts as a roll-over.
fn rolls(modulus: f64, possible: Option<f64>) -> f64 {
    match possible {
        None => modulus / 8.0,
        Some(step) => step.max(modulus / 1024.0).min(modulus / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(modulus: Option<u128>) -> Counter {
        let window = Duration::from_secs(60);
        Counter::new(&Count { goes_on: true, modulus, rate: None, window })
    }

    fn s(seconds: f64) -> Mono {
        Mono(1_000_000_000) + Duration::from_secs_f64(seconds)
    }

    /// 65535 and then 2 is three counts, not a fall.
    #[test]
    fn roll_over_counts_on() {
        let mut c = count(Some(65_536));
        c.update(&Value::Int(65_530), s(0.0));
        c.update(&Value::Int(65_535), s(1.0));
        let r = c.update(&Value::Int(2), s(2.0)).unwrap();
        assert_eq!((r.value, r.step), (Value::Int(65_538), Step::RollOver));
    }

    /// A counter set to zero at shift change adds what it counted since, no more.
    #[test]
    fn reset_counts_on_from_zero() {
        let mut c = count(Some(65_536));
        for (i, n) in [60_000, 60_002, 60_004].into_iter().enumerate() {
            c.update(&Value::Int(n), s(i as f64));
        }
        let r = c.update(&Value::Int(1), s(3.0)).unwrap();
        assert_eq!((r.value, r.step), (Value::Int(60_005), Step::Reset));
        let r = c.update(&Value::Int(3), s(4.0)).unwrap();
        assert_eq!((r.value, r.step), (Value::Int(60_007), Step::Up));
    }

    /// Without `counter = true` the tag shows the device's own count; the rate still goes on.
    #[test]
    fn raw_tag_shows_the_device() {
        let count = Count {
            goes_on: false,
            modulus: Some(100),
            rate: None,
            window: Duration::from_secs(10),
        };
        let mut c = Counter::new(&count);
        let mut last = None;
        for i in 0..200u32 {
            last = c.update(&Value::Int((i % 100).into()), s(f64::from(i)));
        }
        let last = last.unwrap();
        assert_eq!(last.value, Value::Int(99));
        assert!((last.per_minute.unwrap() - 60.0).abs() < 1e-9);
    }

    /// Text and bad numbers are no count.
    #[test]
    fn only_numbers_count() {
        let mut c = count(None);
        assert_eq!(c.update(&Value::Text("7".into()), s(0.0)), None);
        assert_eq!(c.update(&Value::Real(f64::NAN), s(0.0)), None);
    }

    /// A reading that arrives late (MQTT) does not count twice.
    #[test]
    fn older_reading_changes_nothing() {
        let mut c = count(None);
        c.update(&Value::Int(10), s(0.0));
        c.update(&Value::Int(20), s(2.0));
        let r = c.update(&Value::Int(15), s(1.0)).unwrap();
        assert_eq!(r.value, Value::Int(20));
        assert_eq!(c.update(&Value::Int(21), s(3.0)).unwrap().value, Value::Int(21));
    }

    proptest! {
        /// However often a 16-bit register rolls over, no count is lost.
        #[test]
        fn no_count_is_lost_in_roll_over(
            start in 0i128..65_536,
            steps in prop::collection::vec(0i128..2_000, 1..300),
        ) {
            let mut c = count(Some(65_536));
            let (mut truth, mut at) = (start, 0.0);
            c.update(&Value::Int(start), s(at));
            // A counter is judged by the speed it has shown.
            truth += 2_000;
            at += 1.0;
            c.update(&Value::Int(truth % 65_536), s(at));
            for step in steps {
                truth += step;
                at += 1.0;
                let r = c.update(&Value::Int(truth % 65_536), s(at)).unwrap();
                prop_assert_eq!(r.value, Value::Int(truth));
            }
        }

        /// Whatever the device shows, the count never falls and the rate is never negative.
        #[test]
        fn count_never_falls(shown in prop::collection::vec(0i128..4_294_967_296, 2..200)) {
            let mut c = count(Some(1 << 32));
            let mut last = i128::MIN;
            for (i, n) in shown.into_iter().enumerate() {
                let r = c.update(&Value::Int(n), s(i as f64)).unwrap();
                let Value::Int(total) = r.value else { panic!("not an integer") };
                prop_assert!(total >= last);
                prop_assert!(r.per_minute.is_none_or(|x| x >= 0.0));
                prop_assert!(c.points.len() <= POINTS as usize + 2);
                last = total;
            }
        }

        /// A steady line shows its speed, whatever the polling period.
        #[test]
        fn steady_count_has_a_steady_rate(period_ms in 20u64..5_000, per_poll in 0i128..50) {
            let mut c = count(Some(65_536));
            let mut rate = None;
            for i in 0..6_000i128 {
                let at = s(i as f64 * period_ms as f64 / 1e3);
                rate = c.update(&Value::Int(i * per_poll % 65_536), at).unwrap().per_minute;
            }
            let truth = per_poll as f64 * 60_000.0 / period_ms as f64;
            prop_assert!((rate.unwrap() - truth).abs() <= truth * 1e-6);
        }
    }
}
