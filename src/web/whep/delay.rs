//! How long exact viewers wait: just enough for the figures to be there first.
//!
//! Comes in: for every sample sent, how long after it was taken. Goes out: a
//! playout delay in the steps that the RTP extension has, 10 ms. Two fixed
//! histograms, nothing to fill up. Time is an argument.

use std::time::{Duration, Instant};

/// No viewer waits longer than this; samples later than it come late.
pub const MOST: Duration = Duration::from_secs(1);
/// Room for what differs between the ways of picture and figures.
const SLACK: Duration = Duration::from_millis(10);
/// Resolution, and the unit of the playout-delay extension.
const STEP: u128 = 10;
/// A histogram counts for one to two of these.
const WINDOW: Duration = Duration::from_secs(10);
const BUCKETS: usize = 1000 / STEP as usize + 1;

/// The measured lag of the figures.
pub struct Lag {
    now: [u32; BUCKETS],
    before: [u32; BUCKETS],
    turned: Instant,
    delay: Duration,
}

impl Lag {
    /// Nothing measured yet: no delay.
    pub fn new(now: Instant) -> Self {
        Self { now: [0; BUCKETS], before: [0; BUCKETS], turned: now, delay: Duration::ZERO }
    }

    /// A sample went out `lag` after it was taken. What is later than
    /// [`MOST`] is no reason to wait: it will not be waited for.
    pub fn add(&mut self, lag: Duration) {
        if lag <= MOST {
            let bucket = lag.as_millis().div_ceil(STEP) as usize;
            self.now[bucket] = self.now[bucket].saturating_add(1);
        }
    }

    /// The delay that lets 998 of 1000 samples be there before their frame: a
    /// frame shows many tags, and one late sample is enough to miss it.
    /// Rises at once; falls only when a window has passed.
    pub fn delay(&mut self, now: Instant) -> Duration {
        let turn = now.duration_since(self.turned) >= WINDOW;
        let needed = self.needed();
        if turn {
            self.before = std::mem::replace(&mut self.now, [0; BUCKETS]);
            self.turned = now;
        }
        if needed > self.delay || turn {
            self.delay = needed;
        }
        self.delay
    }

    fn needed(&self) -> Duration {
        let count = |bucket: usize| u64::from(self.now[bucket]) + u64::from(self.before[bucket]);
        let all: u64 = (0..BUCKETS).map(count).sum();
        if all == 0 {
            return Duration::ZERO;
        }
        let wanted = (all * 998).div_ceil(1000);
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            seen += count(bucket);
            if seen >= wanted {
                let lag = Duration::from_millis(bucket as u64 * STEP as u64);
                return (lag + SLACK).min(MOST);
            }
        }
        MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two stragglers in a thousand are not waited for; three are.
    #[test]
    fn the_delay_covers_998_of_1000() {
        let start = Instant::now();
        let mut lag = Lag::new(start);
        (0..998).for_each(|_| lag.add(ms(23)));
        (0..2).for_each(|_| lag.add(ms(700)));
        assert_eq!(lag.delay(start), ms(40));
        lag.add(ms(700));
        assert_eq!(lag.delay(start), ms(710));
    }

    /// A source that is minutes late does not hold up the picture.
    #[test]
    fn hopelessly_late_samples_are_not_waited_for() {
        let start = Instant::now();
        let mut lag = Lag::new(start);
        (0..100).for_each(|_| lag.add(Duration::from_secs(90)));
        lag.add(ms(5));
        assert_eq!(lag.delay(start), ms(20));
    }

    /// A slow spell is forgotten after two windows, not before one.
    #[test]
    fn the_delay_falls_slowly() {
        let start = Instant::now();
        let mut lag = Lag::new(start);
        (0..10).for_each(|_| lag.add(ms(300)));
        assert_eq!(lag.delay(start), ms(310));
        (0..10_000).for_each(|_| lag.add(ms(5)));
        assert_eq!(lag.delay(start + ms(5_000)), ms(310));
        lag.delay(start + ms(10_000));
        (0..100).for_each(|_| lag.add(ms(5)));
        assert_eq!(lag.delay(start + ms(20_000)), ms(20));
    }
}
