//! The configuration transaction on a real disk, killed at every step.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use floorcast::clock::{Lock, rfc3339};
use floorcast::control::change::{
    self, Action, Changes, Judge, Now, Op, Outcome, Problem, Reply, document,
};
use floorcast::model::{Mono, UtcMicros};
use floorcast::status::{Health, Parts, State};
use rand::Rng;
use serde_json::{Value, json};

#[path = "support/places.rs"]
mod places;
use places::{CHANGE, Place, REPLACE};

/// Where the child finds its directories, and how many rounds it goes.
const DIR: &str = "FLOORCAST_LEDGER_DIR";
const ROUNDS: &str = "FLOORCAST_LEDGER_ROUNDS";

/// Where else the power may be cut than in a change that is confirmed.
#[rustfmt::skip]
const OTHERS: [Place; 14] = [
    ("start.good", REPLACE),
    ("cancel.seen", REPLACE),
    ("cancel.audit", &["before", "synced"]),
    ("cancelled.seen", REPLACE),
    ("back", &["before", "aside", "renamed", "synced"]),
    ("back.failed", REPLACE),
    ("back.audit", &["before", "synced"]),
    ("back.seen", REPLACE),
    ("back", &["return", "applied", "reply"]),
    ("refuse.seen", REPLACE),
    ("refuse.audit", &["before", "synced"]),
    ("command.audit", &["before", "synced"]),
    // With a trial, or the memory of one, from the start before.
    ("start", &["aside", "renamed", "synced"]),
    ("start.seen", REPLACE),
];

struct Anything;

impl Judge for Anything {
    fn judge(&self, document: &Value) -> Result<Vec<String>, Vec<Problem>> {
        match document.get("bad") {
            None => Ok(Vec::new()),
            Some(_) => Err(vec![Problem { pointer: "/bad".into(), message: "no".into() }]),
        }
    }

    fn schema(&self) -> Value {
        json!({})
    }
}

/// A box and what a technician knows of it, written down at once: what the
/// process knew when it was killed.
struct Floor {
    changes: Changes,
    journal: PathBuf,
    second: u64,
    serial: usize,
    actions: Vec<Action>,
}

impl Floor {
    fn open(dir: &Path) -> Self {
        let journal = dir.join("journal");
        let serial = std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
        let (changes, good, actions) =
            Changes::open(&dir.join("changes"), json!({"n": 0}), now(0)).unwrap();
        let mut floor = Self { changes, journal, second: 0, serial, actions };
        floor.write("good", &good.number.to_string());
        floor
    }

    fn write(&mut self, what: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.journal).unwrap();
        file.write_all(format!("{what} {text}\n").as_bytes()).unwrap();
    }

    fn txid(&mut self) -> String {
        self.serial += 1;
        format!("t{}", self.serial)
    }

    fn said(&mut self, actions: Vec<Action>) {
        for action in &actions {
            match action {
                Action::Apply { revision, .. } => self.write("runs", &revision.to_string()),
                Action::Reply { reply, .. } if reply.status == Outcome::Confirmed => {
                    self.write("good", &reply.revision.unwrap().to_string());
                }
                _ => {}
            }
        }
        self.actions = actions;
    }

    fn send(&mut self, op: Op, mut fields: Value) -> Option<Reply> {
        fields["expires"] = json!(rfc3339::text(now(3000).utc));
        fields["txid"] = json!(self.txid());
        let request = json!({"op": op.name(), "fields": fields}).to_string();
        self.write("sends", &request);
        let payload = fields.to_string();
        let now = now(self.second);
        let said = self.changes.request("li", op, payload.as_bytes(), false, &Anything, now);
        self.said(said);
        self.write("sent", &request);
        self.actions.iter().find_map(|action| match action {
            Action::Reply { reply, .. } => Some((**reply).clone()),
            _ => None,
        })
    }

    fn apply(&mut self, document: &Value) -> Option<u64> {
        let fields = json!({"base": self.changes.good().number, "document": document,
            "sha256": document::sha256(document), "confirm_s": 10});
        self.send(Op::Apply, fields).and_then(|reply| reply.revision)
    }

    fn applied(&mut self, revision: u64) {
        let said = self.changes.applied(revision, Ok(()), now(self.second));
        self.said(said);
        let health = Health { state: State::Live, since: Mono(0), code: "", reason: "".into() };
        let parts: Parts = [("feed/a".into(), health)].into();
        let said = self.changes.parts(&parts, &|_| true, now(self.second));
        self.said(said);
    }

    fn returned(&mut self) {
        self.applied(self.changes.good().number);
    }

    fn confirm(&mut self, revision: u64) {
        self.write("confirms", &revision.to_string());
        let reply = self.send(Op::Confirm, json!({"revision": revision})).unwrap();
        assert_eq!(reply.status, Outcome::Confirmed, "{}", reply.reason);
    }

    /// A change of every kind.
    fn round(&mut self) {
        let n = self.serial;
        let kept = self.apply(&json!({"n": n, "kept": true})).unwrap();
        self.applied(kept);
        self.confirm(kept);

        let cancelled = self.apply(&json!({"n": n, "cancelled": true})).unwrap();
        self.applied(cancelled);
        self.send(Op::Rollback, json!({}));
        self.returned();

        let late = self.apply(&json!({"n": n, "late": true})).unwrap();
        self.applied(late);
        self.second += 10;
        let said = self.changes.tick(now(self.second));
        self.said(said);
        self.returned();

        let broken = self.apply(&json!({"n": n, "broken": true})).unwrap();
        let said = self.changes.applied(broken, Err("no".into()), now(self.second));
        self.said(said);
        self.returned();

        self.apply(&json!({"bad": n}));
        let said = self.changes.command("li", "identify", "x", ("accepted", ""), now(self.second));
        self.said(said);

        let stored = self.changes.good().number + 50;
        let document = json!({"n": n, "stored": true});
        let message = json!({"txid": self.txid(), "revision": stored, "document": document,
            "sha256": document::sha256(&document)});
        let message = message.to_string();
        let said = self.changes.desired(message.as_bytes(), &Anything, now(self.second));
        self.said(said);
        self.applied(stored);
        self.write("confirms", &stored.to_string());
        self.changes.session_up(now(self.second));
        let said = self.changes.desired(message.as_bytes(), &Anything, now(self.second));
        self.said(said);
        assert_eq!(self.changes.good().number, stored);
        self.write("good", &stored.to_string());

        let back = self.send(Op::Rollback, json!({})).unwrap().revision.unwrap();
        self.applied(back);
        self.confirm(back);
    }
}

/// So many seconds after 2026-06-01T00:00:00Z.
fn now(seconds: u64) -> Now {
    Now {
        mono: Mono(0) + Duration::from_secs(100 + seconds),
        utc: UtcMicros(1_780_272_000_000_000 + seconds as i64 * 1_000_000),
        lock: Lock::Locked,
    }
}

/// Not a test: what the others start, and kill.
#[test]
#[ignore = "the other tests run it as a process"]
fn a_child_makes_changes() {
    let dir = PathBuf::from(std::env::var(DIR).expect("started by another test"));
    let rounds: usize = std::env::var(ROUNDS).unwrap().parse().unwrap();
    let mut floor = Floor::open(&dir);
    for _ in 0..rounds {
        floor.round();
    }
}

fn child(dir: &Path, rounds: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_child_makes_changes", "--ignored", "--nocapture"]);
    command.env(DIR, dir).env(ROUNDS, rounds.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a child that kills itself at a place; false if it never passed there.
fn killed_at(dir: &Path, place: &str) -> bool {
    let status = child(dir, 1).env("FLOORCAST_KILL_AT", place).status().unwrap();
    assert!(status.success() || status.signal() == Some(libc::SIGKILL), "{place}: {status}");
    status.signal() == Some(libc::SIGKILL)
}

/// The box after a power cut: the last good or the confirmed revision runs,
/// nothing that ran runs again, and the next change is one like any other.
fn check(dir: &Path, place: &str) {
    let journal = std::fs::read_to_string(dir.join("journal")).unwrap_or_default();
    let mut good = BTreeSet::from([1]);
    let mut highest = 1;
    for (what, number) in journal.lines().filter_map(|line| line.split_once(' ')) {
        let number: u64 = number.parse().unwrap_or(0);
        match what {
            "good" => good = BTreeSet::from([number]),
            "confirms" => good.extend([number]),
            _ => {}
        }
        highest = highest.max(number);
    }
    let mut floor = Floor::open(dir);
    let runs = floor.changes.good().number;
    assert!(good.contains(&runs), "{place}: {runs} runs, not one of {good:?}");
    assert!(!dir.join("changes/trial").exists(), "{place}: a trial is left");
    for line in journal.lines().filter_map(|line| line.strip_prefix("sent ")) {
        let sent: Value = serde_json::from_str(line).unwrap();
        let op = Op::parse(sent["op"].as_str().unwrap()).unwrap();
        let payload = sent["fields"].to_string();
        let said = floor.changes.request("li", op, payload.as_bytes(), false, &Anything, now(0));
        let [Action::Reply { reply, .. }] = &said[..] else { panic!("{place}: {said:?}") };
        assert_eq!(reply.status, Outcome::Seen, "{place}: {line}");
        assert_ne!(reply.earlier, Some(Outcome::Trial), "{place}: {line}");
    }
    let next = floor.apply(&json!({"next": true})).unwrap();
    assert!(next > highest, "{place}: revision {next} after {highest}");
    floor.applied(next);
    floor.confirm(next);
    let audit = change::verify(&dir.join("changes")).unwrap();
    assert_eq!((&audit.broken[..], audit.torn), (&[][..], 0), "{place}");
}

/// A kill at each step of the transaction leaves the last good or the confirmed
/// revision, and an intact audit chain.
#[test]
fn a_kill_at_every_step_leaves_a_good_revision() {
    let mut places = 0;
    for (at, steps) in CHANGE.into_iter().chain(OTHERS) {
        for step in steps {
            let dir = tempfile::tempdir().unwrap();
            // What a start finds is left by a kill before it.
            let before = match at {
                "start" => Some("propose.reply"),
                "start.seen" => Some("propose.trial.before"),
                _ => None,
            };
            assert!(before.is_none_or(|place| killed_at(dir.path(), place)));
            let place = format!("{at}.{step}");
            assert!(killed_at(dir.path(), &place), "{place} was never passed");
            check(dir.path(), &place);
            places += 1;
        }
    }
    assert!(places >= 30, "{places}");
}

/// So does one at any time, again and again on the same box.
#[test]
fn kills_at_random_leave_a_good_revision() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..50 {
        let mut child = child(dir.path(), 1000).spawn().unwrap();
        // Nothing is waited for: the time is what is random.
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(5_000..150_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{i}: {status}");
        check(dir.path(), &format!("kill {i}"));
    }
}
