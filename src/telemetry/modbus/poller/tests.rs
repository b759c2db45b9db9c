//! The owner against a simulated device, in simulated time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::*;
use crate::config;
use crate::model::Sample;
use crate::telemetry::modbus::fault::Fault;

const START: Mono = Mono(1_000_000_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A device whose units each take a time to answer; `None`: for ever.
struct World {
    poller: Poller,
    board: Arc<Board>,
    now: Mono,
    trips: HashMap<u8, Option<Duration>>,
    coming: BTreeMap<(Mono, u16), Request>,
    requests: Vec<(Mono, Request)>,
    samples: Vec<Sample>,
}

impl World {
    fn new(text: &str) -> Self {
        let config = config::load(text).unwrap_or_else(|problems| panic!("{problems}"));
        let board = Board::new(config.tags.clone());
        let poller = Poller::new(&config.buses[0], board.clone(), Status::new(), START);
        Self {
            poller,
            board,
            now: START,
            trips: HashMap::new(),
            coming: BTreeMap::new(),
            requests: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Runs until `START + until`.
    fn run(&mut self, until: Duration) {
        let mut published = self.board.subscribe();
        while self.now < START + until {
            self.poller.expire(self.now, &Fault::Timeout);
            while let Some(order) = self.poller.next(self.now) {
                let unit = order.request.unit;
                self.requests.push((self.now, order.request));
                if let Some(trip) = self.trips.get(&unit).copied().unwrap_or(Some(ms(1))) {
                    self.coming.insert((self.now + trip, order.ticket), order.request);
                }
            }
            let reply = self.coming.first_key_value().map(|((at, _), _)| *at);
            let wake = self.poller.wake(self.now);
            let next = [reply, wake].into_iter().flatten().min().expect("something is due");
            assert!(next > self.now || reply == Some(next), "awake for nothing at {:?}", self.now);
            self.now = next;
            while let Some(((at, ticket), request)) = self.coming.pop_first() {
                if at > self.now {
                    self.coming.insert((at, ticket), request);
                    break;
                }
                let n = request.bytes();
                let pdu = [&[request.table.function(), n as u8], &vec![0; n][..]].concat();
                self.poller.take(ticket, request.unit, &pdu, self.now).expect("trusted");
            }
            while let Ok(batch) = published.try_recv() {
                self.samples.extend(batch.iter().cloned());
            }
        }
    }

    fn of(&self, tag: &str) -> impl Iterator<Item = &Sample> {
        let id = self.board.tags().iter().find(|t| &*t.name == tag).expect("a tag").id;
        self.samples.iter().filter(move |s| s.tag == id)
    }
}

fn units(n: u8, period_ms: u64, keys: &str) -> String {
    let unit = |id| {
        format!(
            "[[modbus.unit]]\nid = {id}\nperiod_ms = {period_ms}\n\
             tag = [{{ name = \"u{id}\", table = \"input\", address = 0 }}]\n"
        )
    };
    format!("[[modbus]]\nid = \"b\"\ntcp = \"plc\"\n{keys}\n")
        + &(1..=n).map(unit).collect::<String>()
}

/// Every slot of every unit is served on its grid while the device keeps up.
#[test]
fn every_slot_is_served() {
    let mut world = World::new(&units(20, 100, ""));
    world.run(ms(10_000));
    for unit in 1..=20 {
        let times: Vec<Mono> = world.of(&format!("u{unit}")).map(|s| s.requested).collect();
        assert_eq!(times.len(), 100);
        assert!(times.windows(2).all(|w| w[1].since(w[0]) == ms(100)), "{times:?}");
    }
}

/// While a sibling is dead, and however many are, the living lose no slot, and
/// are late by no more than the patience for the first lost reply.
#[test]
fn dead_units_cost_nothing() {
    let mut world = World::new(&units(6, 100, "timeout_ms = 1000"));
    world.run(ms(1_000));
    for dead in [2, 3, 5] {
        world.trips.insert(dead, None);
    }
    world.run(ms(20_000));
    for unit in [1, 4, 6] {
        let times: Vec<Mono> = world.of(&format!("u{unit}")).map(|s| s.requested).collect();
        assert!((199..=201).contains(&times.len()), "{}", times.len());
        let worst = times.windows(2).map(|w| w[1].since(w[0])).max();
        assert!(worst <= Some(ms(140)), "{worst:?}");
    }
    // 1 s of timeout and pauses up to 5 s: six requests each at most.
    let asked = world.requests.iter().filter(|(at, r)| r.unit == 2 && *at > START + ms(2_000));
    assert!((3..=8).contains(&asked.count()));
    world.trips.clear();
    world.run(ms(27_000));
    assert!(world.of("u5").last().is_some_and(|s| s.reason.is_none()));
}

/// A device that is slower than it is asked serves everyone in turn; slots
/// are skipped, and nothing piles up.
#[test]
fn overload_skips_slots_fairly() {
    let mut world = World::new(&units(10, 100, ""));
    for unit in 1..=10 {
        world.trips.insert(unit, Some(ms(40)));
    }
    world.run(ms(40_000));
    for unit in 1..=10 {
        let times: Vec<Mono> = world.of(&format!("u{unit}")).map(|s| s.requested).collect();
        assert!((95..=105).contains(&times.len()), "unit {unit}: {}", times.len());
        assert!(times.windows(2).all(|w| w[1].since(w[0]) <= ms(600)), "unit {unit}");
    }
}

/// A unit never has two requests under way, nor the bus more than it may.
#[test]
fn requests_under_way_are_limited() {
    let mut world = World::new(&units(10, 100, "in_flight = 3"));
    for unit in 1..=10 {
        world.trips.insert(unit, Some(ms(20)));
    }
    world.run(ms(5_000));
    for (i, (at, request)) in world.requests.iter().enumerate() {
        let open = world.requests[..i].iter().filter(|(sent, _)| *sent + ms(20) > *at);
        assert!(open.clone().all(|(_, r)| r.unit != request.unit));
        assert!(open.count() < 3);
    }
    // 1 s holds 50 trips of 20 ms, three at a time.
    assert!(world.requests.len() > 400);
}

/// A unit that answers just after its time backs off like a dead one, and its
/// late replies count for nothing.
#[test]
fn late_replies_are_not_taken() {
    let mut world = World::new(&units(2, 100, "timeout_ms = 200"));
    world.trips.insert(2, Some(ms(201)));
    world.run(ms(10_000));
    assert!(world.of("u2").all(|s| s.reason.as_deref() == Some("timeout")));
    assert_eq!(world.of("u1").filter(|s| s.reason.is_none()).count(), 100);
}

/// What was under way when the connection broke is asked again, once.
#[test]
fn a_lost_connection_repeats_what_was_under_way() {
    let mut world = World::new(&units(1, 100, ""));
    world.trips.insert(1, None);
    world.run(ms(250));
    assert_eq!(world.requests.len(), 1);
    world.poller.lost(world.now);
    world.trips.clear();
    world.run(ms(1_000));
    assert_eq!(world.requests[0].1, world.requests[1].1);
    assert!(world.of("u1").all(|s| s.reason.is_none()));
}

/// Each tag's bad samples name the reason while there is no connection.
#[test]
fn without_a_connection_every_tag_is_bad() {
    let mut world = World::new(&units(3, 100, ""));
    let mut published = world.board.subscribe();
    world.poller.unreachable(&"connect to plc:502: refused".into(), START);
    let mut bad = 0;
    while let Ok(batch) = published.try_recv() {
        for sample in batch.iter() {
            assert_eq!(sample.reason.as_deref(), Some("connect to plc:502: refused"));
            bad += 1;
        }
    }
    assert_eq!(bad, 3);
}
