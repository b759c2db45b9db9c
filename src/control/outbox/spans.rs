//! Which records no broker has acknowledged yet.
//!
//! Ranges of sequence numbers; the last has no end. There is one more for each
//! outage that begins while an older one is still being replayed. Past
//! [`MOST`] two of them become one: what was acknowledged between them is sent
//! again, under the same number.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Ranges at most.
const MOST: usize = 64;

/// Unacknowledged ranges, in order, apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Everything from `first` on.
    pub fn from(first: u64) -> Self {
        Self(vec![(first, u64::MAX)])
    }

    /// Takes acknowledged records out.
    pub fn acknowledge(&mut self, done: Range<u64>) {
        if done.is_empty() {
            return;
        }
        let left =
            |&(from, to): &(u64, u64)| [(from, to.min(done.start)), (from.max(done.end), to)];
        self.0 = self.0.iter().flat_map(left).filter(|(from, to)| from < to).collect();
        while self.0.len() > MOST {
            let gap = |i: &usize| self.0[*i].0 - self.0[i - 1].1;
            let nearest = (1..self.0.len()).min_by_key(gap).unwrap_or(1);
            let (_, to) = self.0.remove(nearest);
            self.0[nearest - 1].1 = to;
        }
    }

    /// The first unacknowledged record at or after `seq`.
    pub fn at_or_after(&self, seq: u64) -> Option<u64> {
        self.0.iter().find(|(_, to)| *to > seq).map(|(from, _)| seq.max(*from))
    }

    /// True if some record of `range` is unacknowledged.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        self.at_or_after(range.start).is_some_and(|seq| seq < range.end)
    }

    /// Where the range without an end begins: nothing from here on is acknowledged.
    pub fn open(&self) -> u64 {
        self.0.last().map_or(0, |(from, _)| *from)
    }

    /// How many records before `next` are unacknowledged.
    pub fn waiting(&self, next: u64) -> u64 {
        self.0.iter().map(|(from, to)| (*to).min(next).saturating_sub(*from)).sum()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Spans {
    type Error = &'static str;

    fn try_from(spans: Vec<(u64, u64)>) -> Result<Self, Self::Error> {
        let ordered = spans.iter().all(|(from, to)| from < to)
            && spans.windows(2).all(|pair| pair[0].1 < pair[1].0)
            && spans.last().is_some_and(|(_, to)| *to == u64::MAX);
        if ordered { Ok(Self(spans)) } else { Err("not ranges in order") }
    }
}

impl From<Spans> for Vec<(u64, u64)> {
    fn from(spans: Spans) -> Self {
        spans.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two lanes acknowledge each from its own start; what is between stays.
    #[test]
    fn two_lanes_leave_what_is_between() {
        let mut spans = Spans::from(10);
        spans.acknowledge(20..25);
        spans.acknowledge(10..12);
        assert_eq!(spans.0, [(12, 20), (25, u64::MAX)]);
        assert_eq!(spans.at_or_after(0), Some(12));
        assert_eq!(spans.at_or_after(20), Some(25));
        assert_eq!(spans.waiting(30), 8 + 5);
        assert!(!spans.touches(&(20..25)) && spans.touches(&(19..25)));
    }

    proptest! {
        /// Whatever is acknowledged: nothing else is ever taken for it, few
        /// ranges are kept, and they survive being stored.
        #[test]
        fn nothing_is_acknowledged_by_mistake(
            done in prop::collection::vec((0u64..2000, 1u64..6), 0..200),
            seq in 0u64..2100,
        ) {
            let mut spans = Spans::from(0);
            // Then two became one, and later ones may have made room again.
            let mut full = false;
            for (from, many) in &done {
                spans.acknowledge(*from..from + many);
                full |= spans.0.len() == MOST;
            }
            let acknowledged = done.iter().any(|(from, many)| (*from..from + many).contains(&seq));
            let waits = spans.touches(&(seq..seq + 1));
            prop_assert!(acknowledged || waits);
            if !full {
                prop_assert_eq!(acknowledged, !waits);
            }
            prop_assert!(spans.0.len() <= MOST);
            let stored = serde_json::to_string(&spans).unwrap();
            prop_assert_eq!(serde_json::from_str::<Spans>(&stored).unwrap(), spans);
        }

        /// Whatever lies on the disk is taken for ranges only if it is some.
        #[test]
        fn stored_ranges_are_judged(text in "[\\[\\]0-9,]{0,40}") {
            if let Ok(spans) = serde_json::from_str::<Spans>(&text) {
                prop_assert!(spans.touches(&(u64::MAX - 1..u64::MAX)));
            }
        }
    }
}
