//! What becomes of a request: its reply, its refusal, or its silence.

use std::ops::Range;
use std::sync::Arc;

use tracing::{info, warn};

use super::{Flight, Poller, Purpose, QUIET, REMEMBERED};
use crate::model::{Mono, Quality, Sample};
use crate::status::State;
use crate::telemetry::modbus::fault::Fault;
use crate::telemetry::modbus::job::Trip;

impl Poller {
    /// A frame came over TCP. An error is one that breaks the connection:
    /// what the peer sends can no longer be trusted.
    pub fn take(&mut self, ticket: u16, unit: u8, pdu: &[u8], now: Mono) -> Result<(), Fault> {
        let Some(at) = self.flights.iter().position(|f| f.ticket == ticket) else {
            let late = self.given_up.iter().find(|(t, _)| *t == ticket);
            if let Some((_, unit)) = late {
                self.meters[*unit].late.increment(1);
                return Ok(());
            }
            let mine = |f: &Flight| self.units[f.unit].id == unit;
            let blamed = self.flights.iter().position(mine).unwrap_or(0);
            return match self.flights.is_empty() {
                true => Ok(()),
                false => self.broken(blamed, Fault::Garbled("wrong transaction"), now),
            };
        };
        if unit != self.flights[at].request.unit {
            return self.broken(at, Fault::Garbled("wrong unit"), now);
        }
        match self.flights[at].request.data(pdu) {
            Err(fault @ Fault::Garbled(_)) => self.broken(at, fault, now),
            result => {
                let flight = self.flights.swap_remove(at);
                self.settle(flight, result, now);
                Ok(())
            }
        }
    }

    /// The one request under way on a serial line is answered.
    pub fn answer(&mut self, result: Result<&[u8], Fault>, now: Mono) {
        if let Some(flight) = self.flights.pop() {
            self.settle(flight, result, now);
        }
    }

    fn broken(&mut self, at: usize, fault: Fault, now: Mono) -> Result<(), Fault> {
        let flight = self.flights.swap_remove(at);
        self.settle(flight, Err(fault.clone()), now);
        Err(fault)
    }

    /// Gives up the requests whose time has come; `fault` is what is known
    /// beyond the silence. Returns when the last of them was sent, if the
    /// silence may be the connection's: no other unit is known to be well
    /// while this one was known to be ill, and nothing else is under way.
    pub fn expire(&mut self, now: Mono, fault: &Fault) -> Option<Mono> {
        let mut suspect = None;
        while let Some(at) = self.flights.iter().position(|f| f.deadline <= now) {
            let flight = self.flights.swap_remove(at);
            let known =
                self.units[flight.unit].failures() > 0 && self.units.iter().any(|unit| unit.live());
            if !known {
                suspect = suspect.max(Some(flight.sent));
            }
            if self.given_up.len() == REMEMBERED {
                self.given_up.pop_front();
            }
            self.given_up.push_back((flight.ticket, flight.unit));
            self.settle(flight, Err(fault.clone()), now);
        }
        suspect.filter(|_| self.flights.is_empty())
    }

    /// Whatever is under way broke the connection, or none of it did: `fault`
    /// goes to the oldest.
    pub fn blame_oldest(&mut self, fault: Fault, now: Mono) {
        let oldest = self.flights.iter().enumerate().min_by_key(|(_, f)| f.sent);
        if let Some((at, _)) = oldest {
            let flight = self.flights.swap_remove(at);
            self.settle(flight, Err(fault), now);
        }
    }

    /// The connection is gone: what was under way is asked again on the next.
    pub fn lost(&mut self, now: Mono) {
        for flight in std::mem::take(&mut self.flights) {
            if let Purpose::Read(read, range) = flight.purpose {
                self.jobs[read].block.put_back(range);
                self.schedule.again(read);
            }
        }
        self.write_lost(now);
    }

    /// There is no connection, and none could be made: every tag is bad.
    pub fn unreachable(&mut self, why: &Arc<str>, now: Mono) {
        self.lost(now);
        let fault = Fault::Link(why.clone());
        for unit in 0..self.units.len() {
            self.meters[unit].fault(&fault);
            self.units[unit].unreachable();
            self.status.set(&self.parts[unit], State::Connecting, why);
            self.unit_bad(unit, why, Trip { requested: now, received: now });
        }
    }

    fn unit_bad(&mut self, unit: usize, why: &Arc<str>, trip: Trip) {
        let jobs = self.jobs.iter().filter(|job| job.unit == unit);
        let samples = jobs.flat_map(|job| job.bad(0..job.read.points.len(), why, trip)).collect();
        self.publish(unit, samples);
    }

    fn publish(&self, unit: usize, samples: Vec<Sample>) {
        let bad = samples.iter().filter(|s| s.quality == Quality::Bad).count();
        self.meters[unit].samples.increment(samples.len() as u64);
        self.meters[unit].bad.increment(bad as u64);
        self.board.publish(samples);
    }

    /// A request came to its end.
    fn settle(&mut self, flight: Flight, result: Result<&[u8], Fault>, now: Mono) {
        let trip = Trip { requested: flight.sent, received: now };
        let (unit, length) = (flight.unit, now.since(flight.sent));
        self.rest(now + self.pause);
        let fault = result.as_ref().err().cloned();
        if let Some(fault) = &fault {
            self.meters[unit].fault(fault);
        }
        let Some(fault) = fault.filter(Fault::silent) else {
            self.replies += 1;
            self.meters[unit].trip_us.increment(length.as_micros() as u64);
            if self.units[unit].answers(now, length) {
                self.status.set(&self.parts[unit], State::Live, "");
            }
            match flight.purpose {
                Purpose::Read(read, range) => self.answered(read, range, result, trip),
                // An exception may be a late one: wait until none can come.
                Purpose::Probe if result.is_err() => {
                    let timeout = self.units[unit].timeout;
                    self.units[unit].rest(now + timeout);
                }
                Purpose::Probe => {}
                Purpose::Write => self.write_sent(result.err().as_ref(), now),
                Purpose::ReadBack => self.read_back(result, flight.sent, now),
            }
            return;
        };
        if let Purpose::Write = flight.purpose {
            self.write_sent(Some(&fault), now);
        }
        self.fails(unit, &fault, now);
        let why = fault.reason();
        if self.units[unit].failures() > 1 {
            self.unit_bad(unit, &why, trip);
        }
        if let Purpose::Read(read, range) = flight.purpose {
            let job = &mut self.jobs[read];
            let rest: Vec<_> = job.block.give_up().collect();
            if self.units[unit].failures() == 1 {
                let ranges = [range].into_iter().chain(rest);
                let samples = ranges.flat_map(|range| job.bad(range, &why, trip)).collect();
                self.publish(unit, samples);
            }
            self.end(read);
        }
    }

    fn fails(&mut self, unit: usize, fault: &Fault, now: Mono) {
        let was_live = self.units[unit].live();
        self.units[unit].fails(now);
        // One lost reply is a bad sample, not yet a dead unit.
        if !was_live {
            self.status.set(&self.parts[unit], State::NoSignal, &fault.reason());
        }
    }

    /// The unit answered, perhaps to refuse.
    fn answered(
        &mut self,
        read: usize,
        range: Range<usize>,
        result: Result<&[u8], Fault>,
        trip: Trip,
    ) {
        let tags = self.board.tags().clone();
        let job = &mut self.jobs[read];
        let unit = job.unit;
        match result {
            Ok(data) => {
                job.block.answered(&range);
                let samples = job.samples(range, data, trip, &tags);
                self.publish(unit, samples);
                self.note(read, None, trip.received);
            }
            Err(fault) => {
                let points = &job.read.points;
                if !(fault.divisible() && job.block.divide(&range, points, trip.received)) {
                    let samples = job.bad(range, &fault.reason(), trip);
                    self.publish(unit, samples);
                    self.note(read, Some(&fault), trip.received);
                }
            }
        }
        if self.jobs[read].block.done() {
            self.end(read);
        } else {
            self.schedule.again(read);
        }
    }

    pub(super) fn end(&mut self, read: usize) {
        self.jobs[read].begun = false;
        self.schedule.finish(read);
    }

    /// The first failure of a read and its recovery get a line each. Silence
    /// is the unit's matter, and told by its status.
    fn note(&mut self, read: usize, fault: Option<&Fault>, now: Mono) {
        let trouble = &mut self.troubles[read];
        if trouble.bad == fault.is_some() || now.since(trouble.said) < QUIET {
            return;
        }
        (trouble.bad, trouble.said) = (fault.is_some(), now);
        let job = &self.jobs[read];
        let (unit, address, table) = (self.units[job.unit].id, job.read.address, job.read.table);
        match fault {
            Some(fault) => {
                let reason = &*fault.reason();
                warn!(unit, ?table, address, count = job.read.count, reason, "a read fails");
            }
            None => info!(unit, ?table, address, count = job.read.count, "a read works again"),
        }
    }
}
