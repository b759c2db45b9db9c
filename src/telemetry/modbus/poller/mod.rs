//! The owner of a bus, free of any I/O: what to send when, and what a reply means.
//!
//! Comes in: replies, silence, and the time. Goes out: requests for the wire,
//! samples for the board, units' health. A unit has one request under way at
//! most; so many units at once as the bus allows, and one more for each whose
//! answer is overdue, up to [`FLIGHTS`]. Nothing queues up: a slot that cannot
//! be served is skipped and counted.

mod settle;
mod write;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::job::Job;
use super::meters::Meters;
use super::pdu::Request;
use super::schedule::Schedule;
use super::unit::Unit;
use crate::config::modbus::line::Line;
use crate::config::modbus::plan::bytes;
use crate::config::modbus::{Bus, Link};
use crate::feed::board::Board;
use crate::model::{Mono, TagId};
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
    id: Arc<str>,
    began: Mono,
    writing: Option<write::Writing>,
    /// Of the tags that may be written.
    tried: HashMap<TagId, write::Tried>,
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
    purpose: Purpose,
    request: Request,
    sent: Mono,
    overdue: Mono,
    deadline: Mono,
}

/// Why something is asked.
enum Purpose {
    /// For the samples of these points of a read.
    Read(usize, Range<usize>),
    /// Only to see whether the unit answers.
    Probe,
    /// Somebody wants it so.
    Write,
    /// To see what is there after a write.
    ReadBack,
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
            id: bus.id.clone(),
            began: now,
            writing: None,
            tried: HashMap::new(),
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
        if self.room(now)
            && let Some(order) = self.write_next(now)
        {
            return Some(order);
        }
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
                return Some(self.launch(unit, Purpose::Probe, request, now));
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
                return Some(self.launch(unit, Purpose::Read(read, range), request, now));
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

    fn launch(&mut self, unit: usize, purpose: Purpose, request: Request, now: Mono) -> Order {
        self.ticket = self.ticket.wrapping_add(1);
        let ticket = self.ticket;
        let on_wire = self.line.as_ref().map_or(Duration::ZERO, |line| {
            line.chars(3 + request.pdu().len() as u32) + line.chars(3 + request.reply() as u32)
        });
        self.flights.push(Flight {
            ticket,
            unit,
            purpose,
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
        Request {
            unit: self.units[unit].id,
            table,
            address: mine.address.min(last),
            count,
            words: None,
        }
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
        if let Some(end) = self.write_ends() {
            sooner(end);
        }
        if self.room(now) {
            if let Some(due) = self.write_due() {
                sooner(due);
            }
            for read in self.schedule.ready() {
                let unit = self.jobs[read].unit;
                if !self.flights.iter().any(|f| f.unit == unit) {
                    sooner(self.units[unit].ready_at().max(self.ready_at));
                }
            }
        }
        wake
    }
}

#[cfg(test)]
mod tests;
