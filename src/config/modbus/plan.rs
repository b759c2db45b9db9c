//! The fewest requests that read a unit's tags within its limits.
//!
//! Tags of one period and one table share requests. A request starts at the
//! first tag that is not yet read and reaches as far as the limits let it:
//! over at most so many registers, and over no gap (registers that no tag of
//! the same period wants) wider than allowed. Whatever plan there is, some
//! request of it covers that first tag and reaches no further than ours; so
//! ours leaves no more to do, and the whole has as few requests as any.

use std::collections::BTreeMap;
use std::time::Duration;

use super::point::{Point, Table};

/// What a unit gives in one reply, and what may be read in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Registers in a reply; at most 125 fit (Modbus V1.1b3, 6.3).
    pub max_registers: u16,
    /// Bits in a reply; at most 2000 fit (Modbus V1.1b3, 6.1).
    pub max_bits: u16,
    /// Unused registers in a row.
    pub gap_registers: u16,
    /// Unused bits in a row.
    pub gap_bits: u16,
}

impl Limits {
    /// The most that one request for `table` asks for.
    pub fn most(&self, table: Table) -> u16 {
        if table.bits() { self.max_bits } else { self.max_registers }
    }

    fn gap(&self, table: Table) -> u16 {
        if table.bits() { self.gap_bits } else { self.gap_registers }
    }
}

/// One request, sent once a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Which table.
    pub table: Table,
    /// The first address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// How often.
    pub period: Duration,
    /// What the reply holds; by address.
    pub points: Vec<Point>,
}

impl Read {
    /// The request for some points, sorted by address; `None` for none.
    pub fn of(points: Vec<Point>) -> Option<Self> {
        let (first, end) = (points.first()?, points.iter().map(Point::end).max()?);
        let count = u16::try_from(end - u32::from(first.address)).unwrap_or(u16::MAX);
        let (table, address, period) = (first.table, first.address, first.period);
        Some(Self { table, address, count, period, points })
    }

    /// Data bytes of the reply.
    pub fn bytes(&self) -> usize {
        bytes(self.table, self.count)
    }
}

/// Data bytes of a reply with so many registers or bits.
pub fn bytes(table: Table, count: u16) -> usize {
    let count = usize::from(count);
    if table.bits() { count.div_ceil(8) } else { count * 2 }
}

/// Plans the reads of one unit. A point wider than the limit gets a request
/// of its own (the check has reported it).
pub fn plan(points: Vec<Point>, limits: &Limits) -> Vec<Read> {
    let mut groups: BTreeMap<_, Vec<Point>> = BTreeMap::new();
    for point in points {
        groups.entry((point.period, point.table)).or_default().push(point);
    }
    let mut reads = Vec::new();
    for ((_, table), mut left) in groups {
        left.sort_by_key(|p| (p.address, p.end()));
        while let Some(first) = left.first() {
            let limit = u32::from(first.address) + u32::from(limits.most(table));
            let limit = limit.max(first.end());
            let mut covered = first.end();
            // Nothing after `stop` can be reached; before it, a point that is
            // too long waits for a later request.
            let stop = (left.iter())
                .position(|p| {
                    let apart = u32::from(p.address) > covered + u32::from(limits.gap(table));
                    covered = covered.max(p.end());
                    apart || u32::from(p.address) >= limit
                })
                .unwrap_or(left.len());
            let rest = left.split_off(stop);
            let (fit, too_long) = left.into_iter().partition(|p| p.end() <= limit);
            left = too_long;
            left.extend(rest);
            reads.extend(Read::of(fit));
        }
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::modbus::form::{Form, Layout};
    use crate::model::TagId;
    use proptest::prelude::*;

    fn point(id: usize, table: Table, address: u16, width: u16, period_ms: u64) -> Point {
        let form = match table.bits() {
            true => Form::Bit,
            false => Form::Text { layout: Layout::High, length: width },
        };
        Point {
            tag: TagId(id as u32),
            table,
            address,
            form,
            linear: None,
            period: Duration::from_millis(period_ms),
            count: None,
            write: None,
        }
    }

    fn limits(max: u16, gap: u16) -> Limits {
        Limits { max_registers: max, gap_registers: gap, max_bits: max, gap_bits: gap }
    }

    /// The fewest requests by trying every choice of windows.
    fn fewest(points: &[Point], limits: &Limits) -> usize {
        let used = |a: u32| points.iter().any(|p| (u32::from(p.address)..p.end()).contains(&a));
        let mut windows = Vec::new();
        for from in points {
            for to in points {
                let (a, b) = (u32::from(from.address), to.end());
                if b <= a || b - a > u32::from(limits.most(from.table)) {
                    continue;
                }
                let mut run = 0;
                let holes_fit = (a..b).all(|at| {
                    run = if used(at) { 0 } else { run + 1 };
                    run <= u32::from(limits.gap(from.table))
                });
                if holes_fit {
                    let inside = |p: &Point| u32::from(p.address) >= a && p.end() <= b;
                    let set = points.iter().enumerate().filter(|(_, p)| inside(p));
                    windows.push(set.fold(0u32, |set, (i, _)| set | 1 << i));
                }
            }
        }
        let all = (1u32 << points.len()) - 1;
        let mut best = vec![usize::MAX; 1 << points.len()];
        best[0] = 0;
        for set in 0..all {
            if best[set as usize] != usize::MAX {
                for w in &windows {
                    let next = (set | w) as usize;
                    best[next] = best[next].min(best[set as usize] + 1);
                }
            }
        }
        best[all as usize]
    }

    proptest! {
        /// No plan has fewer requests, for overlapping points of any width too.
        #[test]
        fn no_plan_has_fewer_requests(
            spans in prop::collection::vec((0u16..60, 1u16..7), 1..9),
            max in 7u16..20,
            gap in 0u16..6,
        ) {
            let points: Vec<_> = (spans.iter().enumerate())
                .map(|(i, (address, width))| point(i, Table::Holding, *address, *width, 100))
                .collect();
            let limits = limits(max, gap);
            let fewest = fewest(&points, &limits);
            prop_assert_eq!(plan(points, &limits).len(), fewest);
        }

        /// Every tag is read exactly once per its own period, inside a request
        /// that keeps the limits.
        #[test]
        fn every_tag_is_read_within_the_limits(
            spans in prop::collection::vec((any::<u16>(), 1u16..5, 0usize..4, 1u64..4), 1..300),
            max in 4u16..126,
            gap in 0u16..40,
        ) {
            let tables = [Table::Coil, Table::Discrete, Table::Holding, Table::Input];
            let points: Vec<_> = (spans.iter().enumerate())
                .map(|(i, (a, w, t, p))| point(i, tables[*t], (*a).min(65_530), *w, p * 100))
                .collect();
            let limits = limits(max, gap);
            let reads = plan(points.clone(), &limits);
            let mut seen = vec![0; points.len()];
            for read in &reads {
                prop_assert!(read.count <= max);
                let end = u32::from(read.address) + u32::from(read.count);
                prop_assert!(end <= 65_536);
                for p in &read.points {
                    prop_assert_eq!((p.table, p.period), (read.table, read.period));
                    prop_assert!(p.address >= read.address && p.end() <= end);
                    prop_assert_eq!(p, &points[p.tag.0 as usize]);
                    seen[p.tag.0 as usize] += 1;
                }
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }
    }

    /// 200 floats in a row are four requests; the bench and the README rely on it.
    #[test]
    fn two_hundred_floats_take_four_requests() {
        let points = (0..200).map(|i| point(i, Table::Input, i as u16 * 2, 2, 1000)).collect();
        let reads = plan(points, &limits(125, 8));
        assert_eq!(reads.iter().map(|r| r.count).collect::<Vec<_>>(), [124, 124, 124, 28]);
    }
}
