//! Any history of requests, health, sessions, errors, power cuts and restarts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::audit;
use super::*;

#[derive(Clone, Debug)]
enum Event {
    Apply { user: u8, txid: u8, base: i8, document: u8, hash: bool, expires: i16 },
    Confirm { user: u8, txid: u8, off: i8 },
    Rollback { user: u8, txid: u8 },
    Stored { step: i8, document: u8 },
    StoredAgain,
    Session(bool),
    Health(bool),
    Applied(bool),
    Pass(u16),
    Replay(prop::sample::Index),
    StepClock(i16),
    Kill,
    PowerCut(usize),
    CutIn(u8, usize),
    FailIn(u8),
    Full(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let small = 0u8..3;
    prop_oneof![
        6 => (0u8..2, any::<u8>(), -1i8..1, 0u8..6, prop::bool::weighted(0.9), -60i16..1200)
            .prop_map(|(user, txid, base, document, hash, expires)| {
                let base = if txid % 4 == 0 { base } else { 0 };
                Event::Apply { user, txid, base, document, hash, expires }
            }),
        5 => (small, any::<u8>(), -1i8..2).prop_map(|(user, txid, off)| {
            Event::Confirm { user: user % 2, txid, off: if txid % 4 == 0 { off } else { 0 } }
        }),
        2 => (0u8..2, any::<u8>()).prop_map(|(user, txid)| Event::Rollback { user, txid }),
        2 => (-2i8..3, 0u8..6).prop_map(|(step, document)| Event::Stored { step, document }),
        2 => Just(Event::StoredAgain),
        3 => any::<bool>().prop_map(Event::Session),
        6 => prop::bool::weighted(0.8).prop_map(Event::Health),
        8 => prop::bool::weighted(0.9).prop_map(Event::Applied),
        3 => (0u16..100).prop_map(Event::Pass),
        2 => any::<prop::sample::Index>().prop_map(Event::Replay),
        1 => (-850i16..850).prop_map(Event::StepClock),
        1 => Just(Event::Kill),
        1 => any::<usize>().prop_map(Event::PowerCut),
        2 => (0u8..12, any::<usize>()).prop_map(|(n, kept)| Event::CutIn(n, kept)),
        1 => (0u8..12).prop_map(Event::FailIn),
        1 => prop::bool::weighted(0.3).prop_map(Event::Full),
    ]
}

/// What must hold, kept apart from the machine.
struct World {
    rig: Rig,
    step: i64,
    kept: usize,
    stored: Vec<u8>,
    /// The documents that a start may find good: one, but during a confirm two.
    good: BTreeSet<u64>,
    /// Every revision that was to run.
    documents: BTreeMap<u64, Arc<Value>>,
    trial: Option<u64>,
    pending: Option<u64>,
    /// Every request that was sent, and those of them that ran.
    sent: Vec<(u8, Op, Value)>,
    ran: BTreeSet<(u8, String)>,
}

const USERS: [&str; 2] = ["li", "wu"];

impl World {
    fn new() -> Self {
        let rig = Rig::new();
        let first = (1, rig.changes.good().document.clone());
        let (good, documents) = ([1].into(), [first].into());
        let (stored, sent, ran) = (b"{}".to_vec(), Vec::new(), BTreeSet::new());
        let (trial, pending) = (None, None);
        Self { rig, step: 0, kept: 0, stored, good, documents, trial, pending, sent, ran }
    }

    fn now(&self) -> Now {
        let mut now = at(self.rig.now);
        now.utc.0 += self.step * 1_000_000;
        now
    }

    fn request(&mut self, user: u8, op: Op, fields: Value) -> Vec<Action> {
        let (name, text, now) = (USERS[user as usize], fields.to_string(), self.now());
        self.sent.push((user, op, fields));
        let good = self.rig.changes.good().number;
        assert!(self.rig.changes.due().is_none_or(|due| due > now.mono));
        let actions = self.rig.changes.request(name, op, text.as_bytes(), false, &Strict, now);
        // A new revision, a commit or a return: this request ran.
        let returns =
            |a: &&Action| matches!(a, Action::Apply { revision, .. } if *revision == good);
        let runs = actions.iter().filter(|a| match a {
            Action::Reply { user, reply } if user == name => match (op, reply.status) {
                (Op::Confirm, status) => status == Outcome::Confirmed && reply.op == "confirm",
                (_, status) => status == Outcome::Trial && reply.op == op.name(),
            },
            _ => false,
        });
        let ran = runs.count() > 0 || op == Op::Rollback && actions.iter().any(|a| returns(&a));
        // Without power, nobody hears of it.
        if self.rig.store.is_dead() {
            return actions;
        }
        assert!(ran || actions.iter().any(|a| matches!(a, Action::Reply { .. })));
        if ran {
            assert!(self.ran.insert((user, text.clone())), "{name} {text} ran twice");
        }
        actions
    }

    /// The stored message is read: the one on trial, read again, may confirm it.
    fn read(&mut self) -> Vec<Action> {
        let hash = Some(document::hex(&self.stored));
        if matches!(&self.rig.changes.stage, Stage::Trial(trial) if trial.stored == hash) {
            self.good.extend(self.trial);
        }
        let now = self.now();
        self.rig.changes.desired(&self.stored, &Strict, now)
    }

    fn event(&mut self, event: Event) {
        let (good, highest) = (self.rig.changes.good().number, self.rig.changes.highest);
        let now = self.now();
        let expires = |seconds: i64| rfc3339::text(UtcMicros(now.utc.0 + seconds * 1_000_000));
        let document = |n: u8| if n == 5 { json!({"bad": 1}) } else { json!({"n": n}) };
        let actions = match event {
            Event::Apply { user, txid, base, document: n, hash, expires: ahead } => {
                let sha256 = document::sha256(&if hash { document(n) } else { json!(0) });
                let fields = json!({"txid": format!("t{}", txid % 40), "sha256": sha256,
                    "base": good.saturating_add_signed(base.into()), "document": document(n),
                    "expires": expires(ahead.into()), "confirm_s": 90});
                self.request(user, Op::Apply, fields)
            }
            Event::Confirm { user, txid, off } => {
                let revision = self.trial.unwrap_or(good).saturating_add_signed(off.into());
                let fields = json!({"txid": format!("t{}", txid % 40), "expires": expires(300),
                    "revision": revision});
                self.good.extend(self.trial);
                self.request(user, Op::Confirm, fields)
            }
            Event::Rollback { user, txid } => {
                let fields = json!({"txid": format!("t{}", txid % 40), "expires": expires(300)});
                self.request(user, Op::Rollback, fields)
            }
            Event::Stored { step, document: n } => {
                let document = document(n);
                let fields = json!({"txid": "d", "sha256": document::sha256(&document),
                    "revision": highest.saturating_add_signed(step.into()), "document": document});
                self.stored = fields.to_string().into_bytes();
                self.read()
            }
            Event::StoredAgain => self.read(),
            Event::Session(true) => self.rig.changes.session_up(now),
            Event::Session(false) => {
                self.rig.changes.session_down();
                Vec::new()
            }
            Event::Health(well) => {
                // Health may be the last word that a stored document waits for.
                self.good.extend(self.trial);
                let state = if well { State::Live } else { State::NoSignal };
                self.rig.changes.parts(&health(&[("feed/a", state)]), &|_| true, now)
            }
            Event::Applied(ok) => match self.pending.take() {
                None => Vec::new(),
                Some(revision) => {
                    let result = if ok { Ok(()) } else { Err("no".into()) };
                    self.rig.changes.applied(revision, result, now)
                }
            },
            Event::Pass(seconds) => {
                self.rig.now += u64::from(seconds);
                self.rig.changes.tick(self.now())
            }
            Event::Replay(_) if self.sent.is_empty() => Vec::new(),
            Event::Replay(index) => {
                let (user, op, fields) = index.get(&self.sent).clone();
                self.good.extend(self.trial);
                self.request(user, op, fields)
            }
            Event::StepClock(seconds) => {
                self.step = i64::from(seconds);
                Vec::new()
            }
            Event::Kill => return self.start(usize::MAX),
            Event::PowerCut(kept) => return self.start(kept),
            Event::CutIn(calls, kept) => {
                self.kept = kept;
                self.rig.store.cut_in(calls.into());
                Vec::new()
            }
            Event::FailIn(calls) => {
                self.rig.store.fail_in(calls.into());
                Vec::new()
            }
            Event::Full(full) => {
                self.rig.store.set_full(full);
                Vec::new()
            }
        };
        // Without power, nothing that the machine says is heard.
        if self.rig.store.is_dead() {
            self.start(self.kept);
        } else {
            self.heard(actions);
        }
    }

    fn heard(&mut self, actions: Vec<Action>) {
        let good = self.rig.changes.good().clone();
        if !self.unsure(&actions) {
            self.good = [good.number].into();
        }
        if self.trial == Some(good.number) {
            self.trial = None;
        }
        for action in &actions {
            match action {
                Action::Apply { revision, document } if *revision == good.number => {
                    assert_eq!(*document, good.document);
                    (self.trial, self.pending) = (None, Some(*revision));
                }
                Action::Apply { revision, document } => {
                    let last = *self.documents.last_key_value().unwrap().0;
                    assert!(*revision > last, "revision {revision} after {last}");
                    assert!(document.get("bad").is_none());
                    self.documents.insert(*revision, document.clone());
                    (self.trial, self.pending) = (Some(*revision), Some(*revision));
                }
                Action::Restart { .. } => return self.start(usize::MAX),
                _ => {}
            }
        }
        match &self.rig.changes.stage {
            Stage::Trial(trial) => assert_eq!(Some(trial.revision.number), self.trial),
            _ => assert_eq!(self.trial, None),
        }
        assert_eq!(self.documents[&good.number], good.document);
    }

    /// The disk could not say that the commit is durable, and the reply did.
    fn unsure(&self, actions: &[Action]) -> bool {
        actions.iter().any(|a| match a {
            Action::Audit(line) => line.contains("may run again"),
            _ => false,
        })
    }

    fn start(&mut self, kept: usize) {
        self.rig.store.power_up(kept);
        let store = self.rig.store.clone();
        let (changes, runs, actions) = Changes::with(Box::new(store), seed(), self.now());
        assert!(self.good.contains(&runs.number), "{} of {:?}", runs.number, self.good);
        assert_eq!(self.documents[&runs.number], runs.document);
        assert!(!actions.iter().any(|a| matches!(a, Action::Apply { .. })));
        self.rig.changes = changes;
        self.good = [runs.number].into();
        (self.trial, self.pending) = (None, None);
        self.chain();
    }

    fn chain(&self) {
        let found = audit::verify(&self.rig.store).unwrap();
        assert_eq!(found.broken, [""; 0]);
    }

    /// Left alone with a caller that does what it is told, every change ends.
    fn come_to_rest(&mut self) {
        self.rig.store.set_full(false);
        self.rig.store.power_up(usize::MAX);
        for _ in 0..4 {
            self.event(Event::Applied(true));
            self.event(Event::Pass(100));
        }
        assert!(matches!(self.rig.changes.stage, Stage::Idle));
        assert_eq!((self.trial, self.pending), (None, None));
        self.chain();
    }
}

fn run(history: Vec<Event>) -> World {
    let mut world = World::new();
    for event in history {
        world.event(event);
    }
    world.come_to_rest();
    world
}

/// The stored message on trial confirms it also where its sender wrote it once
/// more, and the power may go at any point of that.
#[test]
fn a_stored_message_written_again_confirms() {
    let stored = |step, document| Event::Stored { step, document };
    let with = |between: Event| {
        let on_trial = [stored(1, 3), stored(0, 0), Event::Applied(true), Event::Health(true)];
        on_trial.into_iter().chain([Event::Session(true), between, stored(0, 3)]).collect()
    };
    assert_eq!(run(with(Event::Pass(0))).rig.changes.good().number, 2);
    for (calls, kept) in (0..12).flat_map(|calls| (0..12).map(move |kept| (calls, kept))) {
        run(with(Event::CutIn(calls, kept)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What runs is the last good revision or the one on trial; after any start
    /// it is the last good one; numbers rise; a txid runs once; the chain holds;
    /// every change ends.
    #[test]
    fn every_history_keeps_the_rules(history in prop::collection::vec(event(), 1..60)) {
        run(history);
    }
}
