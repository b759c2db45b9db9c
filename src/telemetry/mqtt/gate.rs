//! A tag's rate limit: of messages that come too fast, the newest waits.
//!
//! Comes in: messages and the time. Goes out: those that are due. When full:
//! one message waits per tag, and a newer one takes its place.

use std::time::Duration;

use crate::model::Mono;

/// This many may come at once after a rest.
const BURST: u32 = 10;

/// One tag's limit.
#[derive(Debug)]
pub struct Gate<T> {
    spacing: Duration,
    /// When the next one is due if none came early (a leaky bucket as one instant).
    next: Mono,
    waiting: Option<T>,
}

impl<T> Gate<T> {
    /// At most one per `spacing` in the long run.
    pub fn new(spacing: Duration) -> Self {
        Self { spacing, next: Mono(0), waiting: None }
    }

    /// True if one may pass at `now`; then it counts as passed. Whatever
    /// waits is older then: see [`Self::overtaken`].
    pub fn admits(&mut self, now: Mono) -> bool {
        if self.due() > now {
            return false;
        }
        self.next = self.next.max(now) + self.spacing;
        true
    }

    /// Lets `item` wait; gives back what had to give way.
    pub fn hold(&mut self, item: T) -> Option<T> {
        self.waiting.replace(item)
    }

    /// Gives back what waited: a newer one has passed.
    pub fn overtaken(&mut self) -> Option<T> {
        self.waiting.take()
    }

    /// What waits, once it may pass.
    pub fn release(&mut self, now: Mono) -> Option<T> {
        if self.waiting.is_none() || !self.admits(now) {
            return None;
        }
        self.waiting.take()
    }

    /// When the next one may pass.
    pub fn due(&self) -> Mono {
        self.next - self.spacing * (BURST - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Mono = Mono(1_000_000_000_000);

    /// After a burst one passes per period, and the newest of the rest is never lost.
    #[test]
    fn newest_of_a_flood_passes_last() {
        let mut gate = Gate::new(MS * 10);
        let mut passed = Vec::new();
        for i in 0..1000 {
            if gate.admits(START) {
                passed.push(i);
            } else {
                gate.hold(i);
            }
        }
        assert_eq!(passed, (0..10).collect::<Vec<_>>());
        assert_eq!(gate.release(START + MS * 9), None);
        assert_eq!(gate.due(), START + MS * 10);
        assert_eq!(gate.release(START + MS * 10), Some(999));
        assert_eq!(gate.overtaken(), None);
    }

    /// Messages at or below the limit are never held up.
    #[test]
    fn steady_messages_pass_at_once() {
        let mut gate = Gate::<u32>::new(MS * 10);
        assert!((0..1000).all(|i| gate.admits(START + MS * 10 * i)));
    }

    proptest! {
        /// In any time no more pass than the rate and one burst allow.
        #[test]
        fn rate_is_kept(gaps_us in prop::collection::vec(0u64..20_000, 1..400)) {
            let mut gate = Gate::new(MS * 10);
            let (mut now, mut passed) = (START, 0u128);
            for gap in gaps_us {
                now = now + Duration::from_micros(gap);
                let allowed = now.since(START).as_nanos() / (MS * 10).as_nanos() + 10;
                passed += u128::from(gate.release(now).is_some());
                if gate.admits(now) {
                    passed += 1;
                } else {
                    gate.hold(());
                }
                prop_assert!(passed <= allowed);
            }
        }
    }
}
