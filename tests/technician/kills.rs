//! The daemon killed at every step of a change, and at any time: it comes back with the
//! last good revision or with the one that its technician saw confirmed.

use std::time::Duration;

use floorcast::control::change;
use rand::Rng;
use serde_json::{Value, json};

use crate::rig::{ROOT, Site, USER, apply, soon};
use crate::support::places::CHANGE;

/// A box that is soon on air, and what its technician knows.
struct Box {
    site: Site,
    good: (u64, Value),
    turn: u64,
}

impl Box {
    fn new() -> Self {
        let site = Site::with(|document| document["camera"] = json!([]));
        let good = (1, site.document());
        Self { site, good, turn: 0 }
    }

    /// Another document, with one tag moved.
    fn next(&mut self) -> Value {
        self.turn += 1;
        let mut document = self.good.1.clone();
        document["modbus"][0]["unit"][0]["tag"][0]["address"] = json!(self.turn % 20);
        document
    }

    /// Applies a document and confirms it as soon as it is on probation; what the
    /// technician saw before the box was gone. `true`: confirmed.
    fn change(&mut self, document: &Value) -> bool {
        let txid = self.site.txid("apply");
        self.site.ask("apply", &apply(&txid, self.good.0, document, 60));
        let topic = format!("{ROOT}/cfg/res/{USER}/{txid}");
        let mut confirmed = false;
        let mut asked = false;
        loop {
            let Site { ear, daemon, .. } = &mut self.site;
            let daemon = daemon.as_mut().expect("a box");
            let probation =
                |p: &Value| p["status"] == "trial" && p["reason"] != "it is being applied";
            let ended = |p: &Value| p["status"] == "confirmed";
            let pick = |t: &str, p: &Value| t == topic && (ended(p) || !asked && probation(p));
            match ear.wait_unless("the change", pick, || daemon.has_ended()) {
                None => return confirmed,
                Some(reply) if ended(&reply) => confirmed = true,
                Some(reply) => {
                    let (txid, revision) = (self.site.txid("confirm"), &reply["revision"]);
                    let confirm = json!({ "txid": txid, "revision": revision, "expires": soon() });
                    self.site.ask("confirm", &confirm);
                    asked = true;
                }
            }
        }
    }

    /// Starts the box again and looks at what it has become.
    fn comes_back(&mut self, at: &str, tried: &Value, confirmed: bool) {
        drop(self.site.daemon.take());
        self.site.start(&[]);
        let txid = self.site.txid("get");
        self.site.ask("get", &json!({ "txid": txid }));
        let got = self.site.ear.reply(&txid, "ok");
        let (revision, document) = (got["revision"].as_u64().expect("a number"), &got["document"]);
        let (number, good) = &self.good;
        if revision == *number {
            assert!(!confirmed, "{at}: seen confirmed, and gone");
            assert_eq!(document, good, "{at}");
        } else {
            assert!(revision > *number && document == tried, "{at}: {got}");
            self.good = (revision, tried.clone());
        }
        let left: Vec<_> =
            std::fs::read_dir(self.site.state.path()).expect("state").flatten().collect();
        assert!(left.iter().all(|file| file.file_name() != "trial"), "{at}: a trial is left");
        let audit =
            change::verify(self.site.state.path()).unwrap_or_else(|e| panic!("{at}: {e:#}"));
        assert!(audit.broken.is_empty(), "{at}: {:?}", audit.broken);
    }
}

/// At each place in turn.
#[test]
fn killed_at_any_step_the_box_has_a_good_revision() {
    let mut one = Box::new();
    for (at, steps) in CHANGE {
        for step in steps {
            let place = format!("{at}.{step}");
            drop(one.site.daemon.take());
            one.site.start(&[("FLOORCAST_KILL_AT", &place)]);
            let document = one.next();
            let confirmed = one.change(&document);
            let daemon = one.site.daemon.as_mut().expect("a box");
            assert!(daemon.has_ended(), "{place}: never reached");
            one.comes_back(&place, &document, confirmed);
        }
    }
    let n: usize = CHANGE.iter().map(|(_, steps)| steps.len()).sum();
    assert!(n >= 30);
}

/// At any time, fifty times.
#[test]
fn killed_at_any_time_the_box_has_a_good_revision() {
    let mut one = Box::new();
    let mut rng = rand::rng();
    for round in 0..50 {
        let after = Duration::from_millis(rng.random_range(0..150));
        let document = one.next();
        let pid = one.site.daemon.as_ref().expect("a box").pid().to_string();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(after);
            let sent = std::process::Command::new("kill").args(["-KILL", &pid]).status();
            assert!(sent.expect("kill").success());
        });
        let confirmed = one.change(&document);
        killer.join().expect("the killer");
        one.comes_back(&format!("round {round}, after {after:?}"), &document, confirmed);
    }
}
