//! Telemetry while the broker is killed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Cluster;
use crate::rig::{Listener, ROOT, SOON, Site};

/// Every record arrives at a consumer with a session of its own, none under two numbers,
/// those of the outage marked late.
pub fn a_killed_broker_loses_and_doubles_nothing<B: Cluster>(site: &mut Site<B>) {
    let filter = format!("{ROOT}/tele/#");
    let mut consumer = Listener::with(&site.broker, &["-t", &filter, "-i", "consumer", "-c"]);
    let first = consumer.wait("a record", |_, p| p["late"] == false)["seq"].as_u64().expect("seq");
    site.broker.kill();
    let metrics = site.daemon.as_ref().expect("a box").metrics.clone();
    wait_until(|| figure(&metrics, "floorcast_outbox_waiting_records") >= 3.0);
    site.broker.start();
    consumer.wait("a record of the outage", |_, p| p["late"] == true);
    let last = consumer.wait("a new one", |_, p| p["late"] == false)["seq"].as_u64().expect("seq");
    let mut records = BTreeMap::new();
    let mut taken = 0;
    let deadline = Instant::now() + SOON;
    loop {
        for (topic, record) in &consumer.heard[taken..] {
            let seq = record["seq"].as_u64().expect("seq");
            let said = (topic.clone(), record["samples"].clone());
            let before = records.entry(seq).or_insert_with(|| said.clone());
            assert_eq!(*before, said, "one number, two records");
        }
        taken = consumer.heard.len();
        let missing: Vec<u64> = (first..=last).filter(|seq| !records.contains_key(seq)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{missing:?} did not come");
        consumer.wait("more", |_, _| true);
    }
    let times = |(_, samples): &(String, Value)| {
        let of = |s: &Value| (s["tag"].to_string(), s["t_us"].as_u64());
        samples.as_array().expect("samples").iter().map(of).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = records.values().flat_map(times).collect();
    let many = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), many, "a sample came under two numbers");
}

/// Looks again and again, at most for [`SOON`].
fn wait_until(is: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A figure of the box's metrics; 0 while it is not there.
fn figure(url: &str, name: &str) -> f64 {
    let at = url.trim_start_matches("http://").trim_end_matches("/metrics").trim_end_matches('/');
    let mut stream = TcpStream::connect(at).expect("metrics");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")
        .expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("metrics");
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.trim().parse().expect("a figure"))
}
