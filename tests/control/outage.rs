//! No broker for a while, a broker that comes and goes, a box that is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::rig::{Consumer, Rig, broker, in_order};
use crate::support::mosquitto::Mosquitto;
use crate::support::peer::Peer;

/// Keeps the consumer's messages while it restarts.
fn durable() -> Mosquitto {
    Mosquitto::with(|dir, _| {
        let dir = dir.display();
        format!(
            "allow_anonymous true\npersistence true\npersistence_location {dir}/\n\
             max_queued_messages 0\nmax_inflight_messages 1000\n"
        )
    })
}

/// An hour without a broker that comes back three times: every sample arrives,
/// none twice under two numbers, late and live ones each in order.
#[tokio::test(flavor = "multi_thread")]
async fn an_hour_without_a_broker_loses_nothing() {
    let mut mosquitto = durable();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
    rig.live().await;
    rig.samples(200).await;
    mosquitto.terminate();
    rig.state("tele", |state, _| state == floorcast::status::State::Connecting).await;
    rig.samples(36_000).await;
    for _ in 0..3 {
        mosquitto.start();
        rig.live().await;
        rig.samples(200).await;
        mosquitto.terminate();
        rig.samples(200).await;
    }
    mosquitto.start();
    rig.live().await;
    let last = rig.samples(200).await;
    let all = consumer.all(last).await;
    in_order(&all);
    assert!(all.iter().any(|g| g.late) && all.iter().any(|g| !g.late));
    let mut seqs: Vec<_> = all.iter().map(|g| g.seq).collect();
    seqs.sort_unstable();
    let (first, many) = (seqs[0], seqs.len() as u64);
    assert!(seqs.into_iter().eq(first..first + many), "a number is missing");
    rig.delivered().await;
    rig.stop().await;
}

/// A live record does not wait for a backlog.
#[tokio::test(flavor = "multi_thread")]
async fn live_records_pass_the_backlog() {
    let mut mosquitto = durable();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    mosquitto.terminate();
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), &broker(slow_line(mosquitto.port), ""));
    rig.samples(60_000).await;
    rig.samples(60_000).await;
    mosquitto.start();
    rig.live().await;
    let last = rig.samples(2).await as i64;
    while !consumer.record().await.values.contains(&last) {}
    assert!(rig.outbox.waiting() > 50, "only {} late ones wait", rig.outbox.waiting());
    rig.stop().await;
}

/// A port that leads to `to` at 1 MB a second.
fn slow_line(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (mut answers, mut back) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || slowly(near, far));
        }
    });
    port
}

fn slowly(mut near: TcpStream, mut far: TcpStream) -> std::io::Result<()> {
    let mut some = [0; 10_000];
    loop {
        let n = near.read(&mut some)?;
        if n == 0 {
            return far.shutdown(std::net::Shutdown::Both);
        }
        far.write_all(&some[..n])?;
        std::thread::sleep(Duration::from_micros(n as u64));
    }
}

/// A process killed (SIGKILL) while it stores and sends: what it said to be
/// stored arrives, and no number is used twice.
#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_nothing_stored() {
    let mosquitto = durable();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = BTreeSet::new();
    for round in 0..5 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "outage::a_box_to_be_killed", "--ignored", "--nocapture"]);
        command.env("OUTBOX_DIR", dir.path()).env("BROKER_PORT", mosquitto.port.to_string());
        command.env("FIRST_VALUE", (round * 1_000_000).to_string()).stdout(Stdio::piped());
        let mut child = Peer::start(&mut command, "this test");
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(last) = line.strip_prefix("stored up to ") {
                wanted.extend(round * 1_000_000 + 1..=last.parse::<i64>().unwrap());
                break;
            }
        }
        // Somewhere in the next second's storing and sending.
        std::thread::sleep(Duration::from_millis(rand::random_range(0..1200)));
        child.kill();
        for line in lines.map_while(Result::ok) {
            if let Some(last) = line.strip_prefix("stored up to ") {
                wanted.extend(round * 1_000_000 + 1..=last.parse::<i64>().unwrap());
            }
        }
    }
    assert!(wanted.len() >= 5000);
    let rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
    rig.live().await;
    rig.delivered().await;
    let (mut records, mut values) = (BTreeMap::new(), BTreeMap::new());
    while !wanted.is_empty() {
        let got = consumer.record().await;
        for value in &got.values {
            wanted.remove(value);
            assert_eq!(*values.entry(*value).or_insert(got.seq), got.seq, "{value} came twice");
        }
        let same = records.entry(got.seq).or_insert_with(|| got.values.clone());
        assert_eq!(*same, got.values, "one number, two records");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of sigkill_loses_nothing_stored"]
async fn a_box_to_be_killed() {
    let var = |name| std::env::var(name).unwrap();
    let port = var("BROKER_PORT").parse().unwrap();
    let mut rig = Rig::start(Path::new(&var("OUTBOX_DIR")), &broker(port, ""));
    rig.state("tele", |_, _| true).await;
    rig.count_from(var("FIRST_VALUE").parse().unwrap());
    loop {
        let last = rig.samples(1000).await;
        println!("\nstored up to {last}");
    }
}

/// A box that is killed, and one that is stopped: what was on disk arrives, and
/// what arrived before keeps its number.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_box_loses_nothing_stored() {
    let mosquitto = durable();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..4 {
        let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
        if round % 2 == 0 {
            rig.live().await;
        }
        rig.state("tele", |_, _| true).await;
        rig.count_from(last);
        last = rig.samples(3000).await;
        match round {
            3 => rig.stop().await,
            _ => rig.kill().await,
        }
    }
    let rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
    let all = consumer.all(last).await;
    assert!(all.iter().any(|g| g.late));
    rig.delivered().await;
    rig.stop().await;
}
