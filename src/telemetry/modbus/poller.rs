//! The owner of a bus, free of any I/O: what to send when, and what a reply means.
//!
//! Comes in: replies, silence, and the time. Goes out: requests for the wire,
//! samples for the board, units' health. A unit has one request under way at
//! most; so many units at once as the bus allows, and one more for each whose
//! answer is overdue, up to [`FLIGHTS`]. Nothing queues up: a slot that cannot
//! be served is skipped and counted.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::fault::Fault;
use super::job::{Job, Trip};
use super::meters::Meters;
use super::pdu::Request;
use super::schedule::Schedule;
use super::unit::Unit;
use crate::config::modbus::line::Line;
use crate::config::modbus::plan::bytes;
use crate::config::modbus::{Bus, Link};
use crate::feed::board::Board;
use crate::model::{Mono, Quality, Sample};
use crate::status::{State, Status};

/// Requests under way at once, the overdue ones included: the most a server
/// is told to expect (Messaging on TCP/IP V1.0b, 4.2.2).
pub const FLIGHTS: usize = 16;

/// Tickets that are remembered after their time, to know late replies by.
const REMEMBERED: usize = 64;

/// A read's changes for the worse and the better are logged this far apart.
const QUIET: Duration = Duration::from_secs(1);

/// What a bus knows and has under way.
pub struct Poller {
    board: Arc<Board>,
    status: Status,
    parts: Vec<String>,
    units: Vec<Unit>,
    meters: Vec<Meters>,
    jobs: Vec<Job>,
    troubles: Vec<Trouble>,
    schedule: Schedule,
    flights: Vec<Flight>,
    given_up: VecDeque<(u16, usize)>,
    ticket: u16,
    replies: u64,
    line: Option<Line>,
    in_flight: usize,
    pause: Duration,
    ready_at: Mono,
}

/// A request under way.
struct Flight {
    ticket: u16,
    unit: usize,
    /// `None`: only to see whether the unit answers.
    part: Option<(usize, Range<usize>)>,
    request: Request,
    sent: Mono,
    overdue: Mono,
    deadline: Mono,
}

/// What the log was told about a read.
#[derive(Default)]
struct Trouble {
    bad: bool,
    said: Mono,
}

/// A request for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Its number: the transaction id on TCP.
    pub ticket: u16,
    /// What to ask.
    pub request: Request,
}

impl Poller {
    /// The owner of `bus`, whose reads begin at `now`.
    pub fn new(bus: &Bus, board: Arc<Board>, status: Status, now: Mono) -> Self {
        let mut jobs = Vec::new();
        for (i, unit) in bus.units.iter().enumerate() {
            jobs.extend(unit.reads.iter().map(|read| Job::new(i, read.clone())));
        }
        let periods: Vec<_> = jobs.iter().map(|job| job.read.period).collect();
        let part = |unit: &Unit| format!("unit/{}/{}", bus.id, unit.id);
        let units: Vec<_> = bus.units.iter().map(Unit::new).collect();
        let parts: Vec<String> = units.iter().map(part).collect();
        for part in &parts {
            status.set(part, State::Connecting, "");
        }
        Self {
            board,
            status,
            parts,
            meters: units.iter().map(|unit| Meters::new(&bus.id, unit.id)).collect(),
            units,
            troubles: jobs.iter().map(|_| Trouble::default()).collect(),
            jobs,
            schedule: Schedule::new(&periods, now),
            flights: Vec::new(),
            given_up: VecDeque::new(),
            ticket: 0,
            replies: 0,
            line: match &bus.link {
                Link::Serial(line) => Some(line.clone()),
                Link::Tcp { .. } => None,
            },
            in_flight: bus.in_flight,
            pause: bus.pause,
            ready_at: now,
        }
    }

    /// Replies so far, exceptions included.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// The request under way, on a line that carries one at a time.
    pub fn expected(&self) -> Option<Order> {
        self.flights.first().map(|f| Order { ticket: f.ticket, request: f.request })
    }

    /// Nothing is sent before this.
    pub fn rest(&mut self, until: Mono) {
        self.ready_at = self.ready_at.max(until);
    }

    /// The next request to send now, if there is one.
    pub fn next(&mut self, now: Mono) -> Option<Order> {
        self.schedule.release(now);
        while now >= self.ready_at && self.room(now) {
            let (jobs, units, flights) = (&self.jobs, &self.units, &self.flights);
            let read = self.schedule.pick(|read| {
                let unit = jobs[read].unit;
                units[unit].ready_at() <= now && !flights.iter().any(|f| f.unit == unit)
            })?;
            let job = &mut self.jobs[read];
            let unit = job.unit;
            if self.line.is_some() && self.units[unit].failures() > 0 {
                self.schedule.again(read);
                let request = self.probe(unit, read);
                return Some(self.launch(unit, None, request, now));
            }
            if !job.begun {
                let start = self.schedule.start(read, now);
                self.meters[unit].skipped.increment(start.skipped);
                self.meters[unit].lateness_us.increment(now.since(start.due).as_micros() as u64);
                job.block.begin(now);
                job.begun = true;
            }
            if let Some(range) = job.block.next() {
                let request = job.request(self.units[unit].id, range.clone());
                return Some(self.launch(unit, Some((read, range)), request, now));
            }
            self.end(read);
        }
        None
    }

    fn room(&self, now: Mono) -> bool {
        if self.line.is_some() {
            return self.flights.is_empty();
        }
        let awaited = self.flights.iter().filter(|f| now < f.overdue).count();
        awaited < self.in_flight && self.flights.len() < FLIGHTS
    }

    fn launch(
        &mut self,
        unit: usize,
        part: Option<(usize, Range<usize>)>,
        request: Request,
        now: Mono,
    ) -> Order {
        self.ticket = self.ticket.wrapping_add(1);
        let ticket = self.ticket;
        let on_wire = self
            .line
            .as_ref()
            .map_or(Duration::ZERO, |line| line.chars(8) + line.chars(5 + request.bytes() as u32));
        self.flights.push(Flight {
            ticket,
            unit,
            part,
            request,
            sent: now,
            overdue: now + self.units[unit].patience(),
            deadline: now + self.units[unit].timeout + on_wire,
        });
        self.meters[unit].requests.increment(1);
        Order { ticket, request }
    }

    /// On a serial line nothing tells a late reply from the one asked for, if
    /// both have one length. So a unit that failed is first asked for a length
    /// that none of its reads has: that reply cannot be a late one, and as a
    /// device answers in order, none can come after it.
    fn probe(&self, unit: usize, read: usize) -> Request {
        let (mine, table) = (&self.jobs[read].read, self.jobs[read].read.table);
        let used: BTreeSet<usize> = (self.jobs.iter())
            .filter(|job| job.unit == unit && job.read.table == table)
            .flat_map(|job| job.block.parts().iter().map(|p| job.request(0, p.clone()).bytes()))
            .collect();
        let most = if table.bits() { 2000 } else { 125 };
        let count = (1..=most).find(|n| !used.contains(&bytes(table, *n))).unwrap_or(1);
        let last = u16::MAX - (count - 1);
        Request { unit: self.units[unit].id, table, address: mine.address.min(last), count }
    }

    /// A read and its unit are ready, and nothing is under way.
    pub fn wants(&self, now: Mono) -> bool {
        let ready = |read: usize| self.units[self.jobs[read].unit].ready_at() <= now;
        self.flights.is_empty() && self.schedule.ready().any(ready)
    }

    /// When something is to be done next, if no reply comes before.
    pub fn wake(&self, now: Mono) -> Option<Mono> {
        let mut wake = self.schedule.next_due();
        let mut sooner = |at: Mono| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for flight in &self.flights {
            sooner(flight.deadline);
            if flight.overdue > now {
                sooner(flight.overdue);
            }
        }
        if self.room(now) {
            for read in self.schedule.ready() {
                let unit = self.jobs[read].unit;
                if !self.flights.iter().any(|f| f.unit == unit) {
                    sooner(self.units[unit].ready_at().max(self.ready_at));
                }
            }
        }
        wake
    }

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
    pub fn lost(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            if let Some((read, range)) = flight.part {
                self.jobs[read].block.put_back(range);
                self.schedule.again(read);
            }
        }
    }

    /// There is no connection, and none could be made: every tag is bad.
    pub fn unreachable(&mut self, why: &Arc<str>, now: Mono) {
        self.lost();
        let fault = Fault::Link(why.clone());
        for unit in 0..self.units.len() {
            self.meters[unit].fault(&fault);
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
            match flight.part {
                Some((read, range)) => self.answered(read, range, result, trip),
                // An exception may be a late one: wait until none can come.
                None if result.is_err() => {
                    let timeout = self.units[unit].timeout;
                    self.units[unit].rest(now + timeout);
                }
                None => {}
            }
            return;
        };
        self.fails(unit, &fault, now);
        let why = fault.reason();
        if self.units[unit].failures() > 1 {
            self.unit_bad(unit, &why, trip);
        }
        if let Some((read, range)) = flight.part {
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

    fn end(&mut self, read: usize) {
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
