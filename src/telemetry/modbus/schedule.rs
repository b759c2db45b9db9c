//! When each read is due: fixed rates without drift, spread over their periods.
//!
//! Comes in: periods, and the time. Goes out: which read to start now, the one
//! with the earliest deadline first. When the bus cannot keep up, or a unit
//! does not answer, the slots that have passed are skipped and counted; a read
//! never makes up for lost ones. Pure: time is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::model::Mono;

/// Long periods are spread over at least this much of it, so that their first
/// samples come soon after the start.
const FIRST: Duration = Duration::from_secs(1);

/// Room for one request where a long period is spread.
const ROOM: Duration = Duration::from_millis(20);

/// The golden ratio's fraction: keeps the grids of different periods apart.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// All reads of a bus; a read is known by its index.
pub struct Schedule {
    slots: Vec<Slot>,
    waiting: BinaryHeap<Reverse<(Mono, usize)>>,
    ready: Vec<usize>,
}

struct Slot {
    period: Duration,
    due: Mono,
}

/// A read that is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// When it was due; on the read's grid.
    pub due: Mono,
    /// Slots that passed before it.
    pub skipped: u64,
}

impl Schedule {
    /// Spreads the reads over their periods from `start` on.
    pub fn new(periods: &[Duration], start: Mono) -> Self {
        let mut same: BTreeMap<Duration, Vec<usize>> = BTreeMap::new();
        for (read, period) in periods.iter().enumerate() {
            same.entry(*period).or_default().push(read);
        }
        let mut slots: Vec<Slot> =
            periods.iter().map(|p| Slot { period: *p, due: start }).collect();
        for (class, (period, reads)) in same.into_iter().enumerate() {
            let n = reads.len();
            let spread = period.min(FIRST.max(ROOM * u32::try_from(n).unwrap_or(u32::MAX)));
            let shift = (class as f64 * GOLDEN).fract();
            for (k, read) in reads.into_iter().enumerate() {
                slots[read].due = start + spread.mul_f64((k as f64 + shift) / n as f64);
            }
        }
        let waiting = slots.iter().enumerate().map(|(i, slot)| Reverse((slot.due, i))).collect();
        Self { slots, waiting, ready: Vec::new() }
    }

    /// Moves what is due to the ready list.
    pub fn release(&mut self, now: Mono) {
        while let Some(Reverse((due, _))) = self.waiting.peek()
            && *due <= now
            && let Some(Reverse((_, read))) = self.waiting.pop()
        {
            self.ready.push(read);
        }
    }

    /// When the next read becomes ready.
    pub fn next_due(&self) -> Option<Mono> {
        self.waiting.peek().map(|Reverse((due, _))| *due)
    }

    /// The reads that are ready and not started.
    pub fn ready(&self) -> impl Iterator<Item = usize> {
        self.ready.iter().copied()
    }

    /// The ready read with the earliest deadline of those that `may` start; it
    /// leaves the ready list.
    pub fn pick(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let at = (self.ready.iter().enumerate())
            .filter(|(_, read)| may(**read))
            .min_by_key(|(_, read)| self.slots[**read].due + self.slots[**read].period)
            .map(|(at, _)| at)?;
        Some(self.ready.swap_remove(at))
    }

    /// Starts a read: its slot is the newest that has come.
    pub fn start(&mut self, read: usize, now: Mono) -> Start {
        let slot = &mut self.slots[read];
        let period = slot.period.as_nanos().max(1) as u64;
        let skipped = now.since(slot.due).as_nanos() as u64 / period;
        slot.due = Mono(slot.due.0 + skipped * period);
        Start { due: slot.due, skipped }
    }

    /// The read is done: it waits for its next slot.
    pub fn finish(&mut self, read: usize) {
        let slot = &mut self.slots[read];
        slot.due = slot.due + slot.period;
        self.waiting.push(Reverse((slot.due, read)));
    }

    /// The read is ready again within its slot.
    pub fn again(&mut self, read: usize) {
        if !self.ready.contains(&read) {
            self.ready.push(read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Mono = Mono(1_000_000_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Reads of one period are spread evenly over it.
    #[test]
    fn phases_are_spread() {
        let mut schedule = Schedule::new(&[ms(100); 16], START);
        let mut last = None;
        while let Some(due) = schedule.next_due() {
            if let Some(last) = last {
                assert_eq!(due.since(last), Duration::from_micros(6250));
            }
            last = Some(due);
            schedule.release(due);
        }
        assert_eq!(last, Some(START + Duration::from_micros(15 * 6250)));
    }

    /// A read once an hour is first read within a second.
    #[test]
    fn long_periods_begin_soon() {
        let schedule = Schedule::new(&[ms(3_600_000); 10], START);
        assert!(schedule.slots.iter().all(|s| s.due.since(START) < ms(1000)));
    }

    /// However late each start, the grid does not drift, and every slot is
    /// either started or counted as skipped.
    #[test]
    fn grid_does_not_drift() {
        proptest!(|(lates in prop::collection::vec(0u64..350, 1..100))| {
            let mut schedule = Schedule::new(&[ms(100)], START);
            let mut slots = 0;
            for late in lates {
                let now = schedule.next_due().unwrap() + ms(late);
                schedule.release(now);
                let read = schedule.pick(|_| true).unwrap();
                let start = schedule.start(read, now);
                slots += start.skipped;
                prop_assert_eq!(start.due, START + ms(100) * slots as u32);
                prop_assert!(now.since(start.due) < ms(100));
                slots += 1;
                schedule.finish(read);
            }
        });
    }

    /// The earliest deadline goes first; one that may not start does not hold others up.
    #[test]
    fn earliest_deadline_first() {
        let mut schedule = Schedule::new(&[ms(1000), ms(100), ms(500)], START);
        schedule.release(START + ms(5000));
        assert_eq!(schedule.pick(|read| read != 1), Some(2));
        assert_eq!(schedule.pick(|_| true), Some(1));
        assert_eq!(schedule.pick(|_| true), Some(0));
        assert_eq!(schedule.pick(|_| true), None);
    }
}
