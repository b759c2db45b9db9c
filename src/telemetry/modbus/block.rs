//! One read, whole or in parts.
//!
//! A device refuses a whole request for one register it does not have: one
//! mistyped address, or one hole that gap filling reads over, would cost its
//! neighbours their values. So a refused request is divided, first at its
//! gaps, then in halves, until only the tags that are refused alone are bad.
//! The parts are kept, and the whole is tried again now and then. Bounded: a
//! search spends at most [`SEARCH`] divisions; what it could not settle stays
//! together and is bad together.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::config::modbus::plan::Read;
use crate::config::modbus::point::Point;
use crate::model::Mono;

/// Divisions of one search.
const SEARCH: u32 = 24;

/// The whole is first tried again after this; the pause doubles up to [`LAST`].
const AGAIN: Duration = Duration::from_secs(60);
const LAST: Duration = Duration::from_secs(3600);

/// How a read's points are asked for: as ranges of them.
#[derive(Debug)]
pub struct Block {
    whole: Range<usize>,
    parts: Vec<Range<usize>>,
    pending: VecDeque<Range<usize>>,
    budget: u32,
    again: Option<(Mono, Duration)>,
}

impl Block {
    /// All points in one request.
    pub fn new(read: &Read) -> Self {
        let whole = 0..read.points.len();
        let parts = vec![whole.clone()];
        Self { whole, parts, pending: VecDeque::new(), budget: SEARCH, again: None }
    }

    /// Begins a slot.
    pub fn begin(&mut self, now: Mono) {
        if let Some((at, _)) = self.again
            && at <= now
        {
            self.parts = vec![self.whole.clone()];
            self.budget = SEARCH;
        }
        self.pending = self.parts.iter().cloned().collect();
    }

    /// The next request of the slot.
    pub fn next(&mut self) -> Option<Range<usize>> {
        self.pending.pop_front()
    }

    /// A request that was taken and not sent, or whose connection was lost.
    pub fn put_back(&mut self, range: Range<usize>) {
        self.pending.push_front(range);
    }

    /// No more requests in this slot.
    pub fn done(&self) -> bool {
        self.pending.is_empty()
    }

    /// The rest of the slot, given up.
    pub fn give_up(&mut self) -> impl Iterator<Item = Range<usize>> {
        self.pending.drain(..)
    }

    /// The ranges it is asked for in.
    pub fn parts(&self) -> &[Range<usize>] {
        &self.parts
    }

    /// The whole came in one reply.
    pub fn answered(&mut self, range: &Range<usize>) {
        if *range == self.whole {
            self.again = None;
            self.budget = SEARCH;
        }
    }

    /// A range was refused: divides it, to be asked for in parts in this same
    /// slot. False if it cannot be divided; then its tags are bad.
    pub fn divide(&mut self, range: &Range<usize>, points: &[Point], now: Mono) -> bool {
        if *range == self.whole {
            let pause = self.again.map_or(AGAIN, |(_, pause)| (pause * 2).min(LAST));
            self.again = Some((now + pause, pause));
        }
        let divided = divided(range, points);
        let Some(at) = self.parts.iter().position(|p| p == range) else { return false };
        if divided.len() < 2 || self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        for part in divided.iter().rev() {
            self.pending.push_front(part.clone());
        }
        self.parts.splice(at..=at, divided);
        true
    }
}

/// The stretches of a range without a gap; of one that has none, its halves;
/// of one that reads a single address, itself.
fn divided(range: &Range<usize>, points: &[Point]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut from, mut end) = (range.start, 0);
    for i in range.clone() {
        if i > from && u32::from(points[i].address) > end {
            runs.push(from..i);
            from = i;
        }
        end = end.max(points[i].end());
    }
    runs.push(from..range.end);
    if runs.len() > 1 {
        return runs;
    }
    let starts_anew = |i: &usize| {
        let (a, b) = (&points[i - 1], &points[*i]);
        (a.address, a.end()) != (b.address, b.end())
    };
    let middle = range.start + range.len() / 2;
    let cut = (range.start + 1..range.end).filter(starts_anew).min_by_key(|i| i.abs_diff(middle));
    match cut {
        Some(cut) => vec![range.start..cut, cut..range.end],
        None => runs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::form::{Form, Order, Swap};
    use crate::config::modbus::point::Table;
    use crate::model::TagId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const NOW: Mono = Mono(1_000_000_000);

    fn read(addresses: &BTreeSet<u16>) -> Read {
        let order = Order::of(Swap::Abcd, 2);
        let points = (addresses.iter().enumerate())
            .map(|(i, address)| Point {
                tag: TagId(i as u32),
                table: Table::Holding,
                address: *address,
                form: Form::Int { order, signed: false, field: None },
                linear: None,
                period: Duration::from_secs(1),
                count: None,
                write: None,
            })
            .collect();
        Read::of(points).unwrap()
    }

    /// Runs a slot against a device that lacks some addresses: which points
    /// came, which were refused, and how many requests it took.
    fn slot(
        block: &mut Block,
        read: &Read,
        lacks: impl Fn(u32) -> bool,
    ) -> (Vec<usize>, Vec<usize>, u32) {
        let (mut good, mut bad, mut requests) = (vec![], vec![], 0);
        block.begin(NOW);
        while let Some(range) = block.next() {
            requests += 1;
            let points = &read.points[range.clone()];
            let end = points.iter().map(Point::end).max().unwrap();
            if !(points[0].address.into()..end).any(&lacks) {
                block.answered(&range);
                good.extend(range);
            } else if !block.divide(&range, &read.points, NOW) {
                bad.extend(range);
            }
        }
        (good, bad, requests)
    }

    /// A hole that gap filling read over costs no tag its value, in the same
    /// slot, and later slots do not read it again.
    #[test]
    fn a_hole_in_a_gap_costs_nobody() {
        let read = read(&BTreeSet::from([0, 1, 2, 5, 6]));
        let mut block = Block::new(&read);
        let lacks = |a| a == 3;
        assert_eq!(slot(&mut block, &read, lacks), (vec![0, 1, 2, 3, 4], vec![], 3));
        assert_eq!(slot(&mut block, &read, lacks), (vec![0, 1, 2, 3, 4], vec![], 2));
    }

    /// When the device has the address at last, the whole is one request again.
    #[test]
    fn the_whole_is_tried_again() {
        let read = read(&BTreeSet::from([0, 1, 5]));
        let mut block = Block::new(&read);
        slot(&mut block, &read, |a| a == 3);
        block.begin(NOW + Duration::from_secs(59));
        assert_eq!(block.next(), Some(0..2));
        block.begin(NOW + Duration::from_secs(60));
        assert_eq!(block.next(), Some(0..3));
        block.answered(&(0..3));
        block.begin(NOW + Duration::from_secs(61));
        assert_eq!(block.next(), Some(0..3));
    }

    /// Tags of one register cannot be told apart by dividing.
    #[test]
    fn one_register_is_not_divided() {
        let mut read = read(&BTreeSet::from([7, 8]));
        read.points[1].address = 7;
        let mut block = Block::new(&read);
        assert_eq!(slot(&mut block, &read, |a| a == 7), (vec![], vec![0, 1], 1));
    }

    proptest! {
        /// Only the tags whose own address is refused are bad, if there are a
        /// few; each tag is answered or bad exactly once; a device that
        /// refuses everything is not asked without end.
        #[test]
        fn only_refused_tags_are_bad(
            addresses in prop::collection::btree_set(0u16..125, 1..60),
            lacking in prop::collection::btree_set(0u32..125, 0..125),
        ) {
            let read = read(&addresses);
            let mut block = Block::new(&read);
            let (good, bad, requests) = slot(&mut block, &read, |a| lacking.contains(&a));
            let mut all = [good, bad.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..read.points.len()).collect::<Vec<_>>());
            prop_assert!(requests <= 125 + 2 * SEARCH);
            let own = |i: &usize| lacking.contains(&u32::from(read.points[*i].address));
            prop_assert!((0..read.points.len()).filter(own).all(|i| bad.contains(&i)));
            if lacking.len() <= 3 {
                prop_assert!(bad.iter().all(own));
            }
        }
    }
}
