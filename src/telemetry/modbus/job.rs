//! One planned read at work: its parts, its counters, and its samples.
//!
//! Comes in: the data of a reply, or why there is none. Goes out: a sample for
//! every tag of the request, good or bad, and for the rates derived from them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::block::Block;
use super::decode::{raw, scaled, span};
use super::pdu::Request;
use crate::config::modbus::plan::Read;
use crate::config::modbus::point::Point;
use crate::model::{Mono, Quality, Sample, Tag, TagId, Value};
use crate::telemetry::counter::Counter;
use crate::telemetry::plausible;

/// A read and what it remembers.
pub struct Job {
    /// Index of its unit.
    pub unit: usize,
    /// What is read.
    pub read: Read,
    /// Whole or in parts.
    pub block: Block,
    /// Its slot has begun and not ended.
    pub begun: bool,
    /// One per point; `None` where the point does not count.
    counters: Vec<Option<Box<Counter>>>,
}

/// When a request went and its reply came.
#[derive(Debug, Clone, Copy)]
pub struct Trip {
    /// Sent.
    pub requested: Mono,
    /// Came, or was given up.
    pub received: Mono,
}

impl Job {
    /// A read that was never asked for.
    pub fn new(unit: usize, read: Read) -> Self {
        let counters = read
            .points
            .iter()
            .map(|p| p.count.as_ref().map(|c| Box::new(Counter::new(c))))
            .collect();
        Self { unit, block: Block::new(&read), read, begun: false, counters }
    }

    /// The request that brings a range of the points.
    pub fn request(&self, unit: u8, range: Range<usize>) -> Request {
        let (address, count) = span(&self.read, range);
        Request { unit, table: self.read.table, address, count, words: None }
    }

    /// The samples in a reply for `range` of the points. `tags` is the
    /// revision's list, which the points index.
    pub fn samples(
        &mut self,
        range: Range<usize>,
        data: &[u8],
        trip: Trip,
        tags: &[Tag],
    ) -> Vec<Sample> {
        let (first, _) = span(&self.read, range.clone());
        let mut samples = Vec::with_capacity(range.len());
        let Some(points) = self.read.points.get(range.clone()) else { return samples };
        for (point, counter) in points.iter().zip(&mut self.counters[range]) {
            let value = raw(point, first, data);
            let value = value.and_then(|raw| {
                let shown = plausible(&tags[point.tag.0 as usize], scaled(point, raw.clone())?)?;
                Ok((raw, shown))
            });
            let rate = point.count.as_ref().and_then(|c| c.rate);
            match value {
                Err(why) => {
                    let why: Arc<str> = why.into();
                    samples.push(bad(point.tag, &why, trip));
                    samples.extend(rate.map(|rate| bad(rate, &why, trip)));
                }
                Ok((raw, shown)) => {
                    let reading = counter.as_mut().and_then(|c| c.update(&raw, middle(trip)));
                    let Some(reading) = reading else {
                        samples.push(good(point.tag, shown, trip));
                        continue;
                    };
                    let counted = point.count.as_ref().is_some_and(|c| c.goes_on);
                    let shown = match counted {
                        true => scaled(point, reading.value).unwrap_or(shown),
                        false => shown,
                    };
                    samples.push(good(point.tag, shown, trip));
                    if let (Some(rate), Some(speed)) = (rate, reading.per_minute) {
                        let scale = point.linear.map_or(1.0, |(scale, _)| scale);
                        samples.push(judged(rate, Value::Real(speed * scale), trip, tags));
                    }
                }
            }
        }
        samples
    }

    /// Bad samples for a range of the points.
    pub fn bad(&self, range: Range<usize>, why: &Arc<str>, trip: Trip) -> Vec<Sample> {
        let points = self.read.points.get(range).unwrap_or_default();
        points.iter().flat_map(tags_of).map(|tag| bad(tag, why, trip)).collect()
    }
}

/// A point's tag, and that of its rate.
fn tags_of(point: &Point) -> impl Iterator<Item = TagId> {
    [Some(point.tag), point.count.as_ref().and_then(|c| c.rate)].into_iter().flatten()
}

/// The middle of a round trip: the value held there, ± half of it.
fn middle(trip: Trip) -> Mono {
    trip.requested + trip.received.since(trip.requested) / 2
}

fn good(tag: TagId, value: Value, trip: Trip) -> Sample {
    Sample {
        tag,
        value,
        quality: Quality::Good,
        reason: None,
        taken: middle(trip),
        // Rounded up: the bound must hold.
        error: (trip.received.since(trip.requested) + Duration::from_nanos(1)) / 2,
        requested: trip.requested,
        received: trip.received,
    }
}

fn judged(tag: TagId, value: Value, trip: Trip, tags: &[Tag]) -> Sample {
    match plausible(&tags[tag.0 as usize], value) {
        Ok(value) => good(tag, value, trip),
        Err(why) => bad(tag, &why.into(), trip),
    }
}

fn bad(tag: TagId, why: &Arc<str>, trip: Trip) -> Sample {
    let quality = Quality::Bad;
    Sample { quality, reason: Some(why.clone()), ..good(tag, Value::None, trip) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn at(seconds: u64) -> Trip {
        let requested = Mono(1_000_000_000_000) + Duration::from_secs(seconds);
        Trip { requested, received: requested + Duration::from_millis(8) }
    }

    /// A counter with a rate: the count goes on through a roll-over, both are
    /// scaled, and both are bad when the register is.
    #[test]
    fn a_counter_brings_its_rate() {
        let config = config::load(
            r#"
            [[modbus]]
            id = "b"
            tcp = "plc"
            [[modbus.unit]]
            id = 1
            [[modbus.unit.tag]]
            name = "litres"
            table = "input"
            address = 5
            scale = 0.5
            counter = true
            range = [0, 40000]
            rate = { name = "litres-per-min", range = [0, 500] }
            "#,
        )
        .unwrap_or_else(|problems| panic!("{problems}"));
        let mut job = Job::new(0, config.buses[0].units[0].reads[0].clone());
        let mut read = |n: u32, seconds| {
            let data = (n as u16).to_be_bytes();
            job.samples(0..1, &data, at(seconds), &config.tags)
        };
        // Two counts a second, over the end of the register.
        let samples: Vec<_> = (0..=60u64).map(|i| read(65_500 + 2 * i as u32, i)).collect();
        let last = samples.last().unwrap();
        assert_eq!(last[0].value, Value::Real(32_810.0));
        assert_eq!(last[1].value, Value::Real(60.0));
        assert_eq!(last[1].taken, at(60).requested + Duration::from_millis(4));
        // A tenth of the window must have been seen before there is a rate.
        assert_eq!(samples.iter().filter(|s| s.len() == 1).count(), 6);
        let bad = job.bad(0..1, &"timeout".into(), at(61));
        assert_eq!(bad.iter().map(|s| s.tag).collect::<Vec<_>>(), [TagId(0), TagId(1)]);
        assert!(bad.iter().all(|s| s.quality == Quality::Bad && s.value == Value::None));
    }
}
