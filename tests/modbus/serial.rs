//! RTU over a pty pair that socat joins: the same device, on a line where
//! nothing tells one reply from another but what it is.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use floorcast::model::{Quality, Value};
use floorcast::status::State;

use crate::plc::{Fault, Plc, word};
use crate::rig::Rig;
use crate::support::peer::Peer;

/// Two ttys joined by a wire.
pub struct Wire {
    pub ours: PathBuf,
    pub theirs: PathBuf,
    socat: Peer,
    _dir: Option<tempfile::TempDir>,
}

impl Wire {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let socat = join(&ours, &theirs);
        Self { ours, theirs, socat, _dir: Some(dir) }
    }

    /// Cuts the wire: both ttys are gone.
    pub fn cut(&mut self) {
        self.socat.kill();
        for link in [&self.ours, &self.theirs] {
            // socat may have removed it.
            let _ = std::fs::remove_file(link);
        }
    }

    /// Two new ttys under the old names.
    pub fn mend(&mut self) {
        self.socat = join(&self.ours, &self.theirs);
    }
}

fn join(ours: &std::path::Path, theirs: &std::path::Path) -> Peer {
    let end = |path: &std::path::Path| format!("pty,raw,echo=0,link={}", path.display());
    let mut command = Command::new("socat");
    command.args([end(ours), end(theirs)]).stderr(Stdio::null());
    let socat = Peer::start(&mut command, "socat");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !(ours.exists() && theirs.exists()) {
        assert!(Instant::now() < deadline, "socat made no ttys");
        std::thread::sleep(Duration::from_millis(5));
    }
    socat
}

/// Units with single-register reads far apart, so that all have one length.
fn scattered(wire: &Wire, units: &[u8]) -> String {
    let units: String = (units.iter())
        .map(|unit| {
            let tag = |i: u16| {
                let address = i * 100;
                format!(
                    "{{ name = \"u{unit}-r{i}\", table = \"holding\", address = {address} }},\n"
                )
            };
            let tags: String = (0..4).map(tag).collect();
            format!("[[modbus.unit]]\nid = {unit}\nperiod_ms = 200\ntag = [\n{tags}]\n")
        })
        .collect();
    format!(
        "[[modbus]]\nid = \"line\"\nserial = {:?}\nbaud = 115200\ntimeout_ms = 100\n{units}",
        wire.ours
    )
}

fn check(name: &str, value: &Value) {
    let (unit, i) = name[1..].split_once("-r").expect("a name");
    let (unit, i): (u8, u16) = (unit.parse().expect("a unit"), i.parse().expect("a number"));
    assert_eq!(*value, Value::Int(word(unit, 3, i * 100).into()), "{name} shows another register");
}

async fn recovers_from(fault: Fault, reason: &str) {
    let wire = Wire::new();
    let plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    let mut rig = Rig::new(&scattered(&wire, &[1]));
    check("u1-r3", &rig.good("u1-r3").await.value);
    plc.fault(1, fault);
    let mut bad = 0;
    while bad < 12 {
        let sample = rig.next().await;
        match sample.quality {
            Quality::Good => check(rig.name(&sample), &sample.value),
            _ => {
                let why = sample.reason.expect("a reason");
                assert!(why.contains(reason), "{fault:?} is called {why:?}");
                bad += 1;
            }
        }
    }
    plc.fault(1, None);
    let mut seen = [0; 4];
    while seen.iter().any(|n| *n < 5) {
        let sample = rig.next().await;
        if sample.quality == Quality::Good {
            let name = rig.name(&sample);
            check(name, &sample.value);
            seen[usize::from(name.as_bytes()[4] - b'0')] += 1;
        }
    }
    rig.state("unit/line/1", State::Live).await;
    rig.stop().await;
}

#[tokio::test]
async fn recovers_from_silence() {
    recovers_from(Fault::Silent, "timeout").await;
}

#[tokio::test]
async fn recovers_from_late_replies() {
    recovers_from(Fault::Late(Duration::from_millis(170)), "").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_unit() {
    recovers_from(Fault::WrongUnit, "garbled reply: wrong unit").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_function() {
    recovers_from(Fault::WrongFunction, "garbled reply: wrong function").await;
}

#[tokio::test]
async fn recovers_from_the_wrong_length() {
    recovers_from(Fault::Long, "garbled reply: wrong length").await;
}

#[tokio::test]
async fn recovers_from_replies_cut_short() {
    recovers_from(Fault::Cut, "garbled reply: cut short").await;
}

#[tokio::test]
async fn recovers_from_noise() {
    recovers_from(Fault::Noise, "garbled reply").await;
}

/// One flipped bit.
#[tokio::test]
async fn recovers_from_a_wrong_checksum() {
    recovers_from(Fault::WrongTransaction, "garbled reply: wrong checksum").await;
}

#[tokio::test]
async fn recovers_from_exceptions() {
    recovers_from(Fault::Exception(1), "exception 1: illegal function").await;
}

/// Noise before a reply, as converters make it when they turn around, costs nothing.
#[tokio::test]
async fn a_spark_before_the_reply_costs_nothing() {
    let wire = Wire::new();
    let plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    plc.fault(1, Fault::Spark);
    let mut rig = Rig::new(&scattered(&wire, &[1]));
    for _ in 0..40 {
        let sample = rig.next().await;
        assert_eq!(sample.reason, None);
        check(rig.name(&sample), &sample.value);
    }
}

/// The trap of RTU: a reply that comes after its time looks like the reply to
/// the next request. It is never taken for one.
#[tokio::test]
async fn erratic_lateness_never_swaps_values() {
    let wire = Wire::new();
    let plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    let mut rig = Rig::new(&scattered(&wire, &[1, 2]));
    let (mut good, mut bad) = (0, 0);
    while good < 150 || bad < 20 {
        let sample = rig.next().await;
        match sample.quality {
            Quality::Good => {
                check(rig.name(&sample), &sample.value);
                good += 1;
            }
            _ => bad += 1,
        }
        let unit = rand::random_range(1..=2);
        let late = Fault::Late(Duration::from_millis(rand::random_range(50..300)));
        plc.fault(unit, (rand::random_range(0..10) == 0).then_some(late));
    }
}

/// A dead unit costs its sibling its own timeout, once per pause.
#[tokio::test]
async fn a_dead_unit_costs_its_sibling_one_timeout() {
    let wire = Wire::new();
    let plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    let mut rig = Rig::new(&scattered(&wire, &[1, 2]));
    rig.good("u2-r0").await;
    rig.good("u1-r0").await;
    plc.fault(2, Fault::Silent);
    let before = plc.asked(2);
    let (mut last, mut wide) = (None, 0);
    for _ in 0..25 {
        let sample = rig.wait("u1-r0", |_| true).await.0;
        assert_eq!(sample.reason, None);
        // The period is 200 ms and the timeout 100: a gap of two periods is a lost slot.
        wide += last
            .replace(sample.requested)
            .map_or(0, |last| usize::from(sample.requested.since(last).as_millis() > 350));
    }
    let probes = plc.asked(2) - before;
    assert!(wide <= probes, "{wide} slots lost to {probes} probes");
    assert!((3..=8).contains(&probes), "{probes} probes in five seconds");
}

/// The adapter is pulled and plugged in again.
#[tokio::test]
async fn recovers_from_a_lost_tty() {
    let mut wire = Wire::new();
    let plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    let mut rig = Rig::new(&scattered(&wire, &[1]));
    rig.good("u1-r0").await;
    drop(plc);
    wire.cut();
    rig.state("bus/line", State::Connecting).await;
    let why = rig.wait("u1-r0", |s| s.quality == Quality::Bad).await.0.reason.expect("a reason");
    assert!(why.starts_with("open "), "{why}");
    wire.mend();
    let _plc = Plc::default().serial(wire.theirs.to_str().expect("path"));
    check("u1-r0", &rig.good("u1-r0").await.value);
}
