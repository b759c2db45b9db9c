//! Writes against a simulated unit, in simulated time.

use tokio::sync::oneshot;

use super::*;
use crate::config;
use crate::feed::board::Board;
use crate::status::Status;
use crate::telemetry::modbus::write;

const START: Mono = Mono(1_000_000_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What happens to a write's request.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// Done and answered.
    Done,
    /// Done, and the answer is lost.
    Unheard,
    /// Lost on its way.
    Lost,
    /// Answered, but the register changes only after so many milliseconds.
    Slow(u64),
    /// Refused with this code.
    Refused(u8),
}

/// A unit with one register, read ten times a second.
struct World {
    poller: Poller,
    now: Mono,
    register: u16,
    /// What it becomes, and when.
    coming: Option<(Mono, u16)>,
    fate: Fate,
    /// It does not answer reads either until then.
    deaf_until: Mono,
    /// When writes were sent, and how many reads.
    writes: Vec<Mono>,
    reads: usize,
}

impl World {
    fn new(link: &str) -> Self {
        let text = format!(
            "[[modbus]]\nid = \"b\"\n{link}\ntimeout_ms = 200\n[[modbus.unit]]\nid = 1\n\
             period_ms = 100\n[[modbus.unit.tag]]\nname = \"speed\"\ntable = \"holding\"\n\
             address = 7\nscale = 0.1\nwrite = {{ range = [0, 60], every_ms = 2000 }}\n\
             [[modbus.unit.tag]]\nname = \"other\"\ntable = \"input\"\naddress = 1\n"
        );
        let config = config::load(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let board = Board::new(config.tags.clone());
        let poller = Poller::new(&config.buses[0], board, Status::new(), START);
        Self {
            poller,
            now: START,
            register: 200,
            coming: None,
            fate: Fate::Done,
            deaf_until: START,
            writes: Vec::new(),
            reads: 0,
        }
    }

    /// Asks for a write that may be sent within a second.
    fn wish(&mut self, value: Value) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        let tag = self.poller.jobs.iter().flat_map(|j| &j.read.points);
        let tag = tag.map(|p| p.tag).min().expect("a tag");
        let until = self.now + ms(1000);
        self.poller.write(write::Wish { tag, value, until, reply }, self.now);
        outcome
    }

    /// Runs for so long.
    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            self.poller.expire(self.now, &Fault::Timeout);
            while let Some(order) = self.poller.next(self.now) {
                self.serve(&order);
            }
            let wake = self.poller.wake(self.now).expect("something is due");
            assert!(wake > self.now, "awake for nothing at {:?}", self.now);
            self.now = wake.min(end);
        }
    }

    /// The unit answers after a millisecond, or not.
    fn serve(&mut self, order: &Order) {
        self.now = self.now + ms(1);
        if let Some((at, value)) = self.coming
            && at <= self.now
        {
            (self.register, self.coming) = (value, None);
        }
        let request = order.request;
        let pdu = request.pdu();
        let reply = if request.words.is_some() {
            self.writes.push(self.now);
            let value = u16::from_be_bytes([pdu[3], pdu[4]]);
            match self.fate {
                Fate::Done => self.register = value,
                Fate::Unheard => {
                    self.register = value;
                    return;
                }
                Fate::Lost => return,
                Fate::Slow(after) => self.coming = Some((self.now + ms(after), value)),
                Fate::Refused(code) => {
                    let refusal = [pdu[0] | 0x80, code];
                    return self.answer(order, &refusal);
                }
            }
            pdu
        } else {
            self.reads += 1;
            if self.now < self.deaf_until {
                return;
            }
            let register = self.register.to_be_bytes();
            let data: Vec<u8> = register.into_iter().cycle().take(request.bytes()).collect();
            [&[pdu[0], data.len() as u8], &data[..]].concat()
        };
        self.answer(order, &reply);
    }

    fn answer(&mut self, order: &Order, pdu: &[u8]) {
        if self.poller.line.is_some() {
            self.poller.answer(order.request.data(pdu), self.now);
        } else {
            self.poller.take(order.ticket, 1, pdu, self.now).expect("trusted");
        }
    }

    /// Warm, and with a first reading.
    fn ready(link: &str) -> Self {
        let mut world = Self::new(link);
        world.run(ms(1000));
        world
    }
}

const TCP: &str = "tcp = \"plc\"";
const SERIAL: &str = "serial = \"/dev/ttyS9\"";

fn written(outcome: Outcome) -> (Value, Value, bool) {
    match outcome {
        Outcome::Written { before, holds, replied, .. } => (before, holds, replied),
        other => panic!("{other:?}"),
    }
}

/// A write is sent once, read back, and told with what was there before; the reads go on.
#[test]
fn a_write_is_read_back() {
    for link in [TCP, SERIAL] {
        let mut world = World::ready(link);
        let mut outcome = world.wish(Value::Real(45.5));
        world.run(ms(300));
        let outcome = outcome.try_recv().expect("an outcome");
        assert_eq!(written(outcome), (Value::Real(20.0), Value::Real(45.5), true), "{link}");
        assert_eq!((world.register, world.writes.len()), (455, 1));
        let reads = world.reads;
        world.run(ms(1000));
        assert!(world.reads > reads + 15, "{link}: {} reads", world.reads - reads);
    }
}

/// Where the reply is lost, only reading tells; the write is never sent again.
#[test]
fn a_lost_reply_is_no_second_write() {
    for link in [TCP, SERIAL] {
        for (fate, holds) in [(Fate::Unheard, true), (Fate::Lost, false)] {
            let mut world = World::ready(link);
            world.fate = fate;
            let mut outcome = world.wish(Value::Int(30));
            world.run(ms(6000));
            let outcome = outcome.try_recv().expect("an outcome");
            if holds {
                assert_eq!(written(outcome), (Value::Real(20.0), Value::Real(30.0), false));
            } else {
                let Outcome::NotTaken { reason, holds } = outcome else { panic!("{outcome:?}") };
                assert_eq!((reason.contains("timeout"), holds), (true, Some(Value::Real(20.0))));
            }
            assert_eq!(world.writes.len(), 1, "{link} {fate:?}");
        }
    }
}

/// A unit that takes a while to take it over is waited for.
#[test]
fn a_slow_unit_is_waited_for() {
    let mut world = World::ready(TCP);
    world.fate = Fate::Slow(700);
    let mut outcome = world.wish(Value::Int(30));
    world.run(ms(600));
    assert!(outcome.try_recv().is_err(), "not yet");
    world.run(ms(600));
    assert_eq!(written(outcome.try_recv().expect("an outcome")).1, Value::Real(30.0));
}

/// What a unit refuses is told with its reason, and not sent again.
#[test]
fn a_refusal_is_told() {
    let mut world = World::ready(TCP);
    world.fate = Fate::Refused(3);
    let mut outcome = world.wish(Value::Int(30));
    world.run(ms(300));
    let Ok(Outcome::NotTaken { reason, .. }) = outcome.try_recv() else { panic!("told") };
    assert!(reason.contains("illegal data value"), "{reason}");
    assert_eq!((world.writes.len(), world.register), (1, 200));
}

/// While nobody knows what the unit holds, no other write is sent: only a later reading
/// ends that.
#[test]
fn doubt_ends_by_reading_only() {
    let mut world = World::ready(TCP);
    (world.fate, world.deaf_until) = (Fate::Unheard, world.now + ms(9000));
    let mut outcome = world.wish(Value::Int(30));
    world.run(ms(7000));
    let Ok(Outcome::Unknown { .. }) = outcome.try_recv() else { panic!("told") };
    world.fate = Fate::Done;
    let mut refused = world.wish(Value::Int(31));
    let Ok(Outcome::Refused { .. }) = refused.try_recv() else { panic!("refused") };
    world.run(ms(12_000));
    let mut outcome = world.wish(Value::Int(31));
    world.run(ms(300));
    assert_eq!(written(outcome.try_recv().expect("an outcome")).0, Value::Real(30.0));
    assert_eq!(world.writes.len(), 2);
}

/// A lost connection is no second write either: the next one reads.
#[test]
fn a_broken_connection_is_doubt() {
    let mut world = World::ready(TCP);
    world.fate = Fate::Unheard;
    let mut outcome = world.wish(Value::Int(30));
    while world.writes.is_empty() {
        world.run(ms(1));
    }
    world.poller.lost(world.now);
    world.run(ms(300));
    assert_eq!(written(outcome.try_recv().expect("an outcome")), {
        (Value::Real(20.0), Value::Real(30.0), false)
    });
    assert_eq!(world.writes.len(), 1);
}

/// Too often, out of range, late, or without a reading to start from: nothing is sent.
#[test]
fn what_may_not_be_is_refused() {
    let refused = |mut outcome: oneshot::Receiver<Outcome>, word: &str| {
        let Ok(Outcome::Refused { reason, .. }) = outcome.try_recv() else { panic!("{word}") };
        assert!(reason.contains(word), "{word}: {reason}");
    };
    let mut fresh = World::new(TCP);
    refused(fresh.wish(Value::Int(30)), "not known");
    let mut world = World::ready(TCP);
    refused(world.wish(Value::Int(61)), "range");
    refused(world.wish(Value::Bool(true)), "may be");
    refused(world.wish(Value::Real(3.33)), "steps");
    let mut first = world.wish(Value::Int(30));
    world.run(ms(1000));
    assert!(first.try_recv().is_ok());
    refused(world.wish(Value::Int(31)), "too soon");
    world.run(ms(2000));
    let late = world.wish(Value::Int(31));
    // Something keeps the bus from its turn.
    world.poller.rest(world.now + ms(1500));
    world.now = world.now + ms(1100);
    world.run(ms(10));
    refused(late, "turn");
    assert_eq!(world.writes.len(), 1);
}
