//! Large messages, many messages.

use floorcast::model::Value;
use floorcast::status::State;

use crate::rig::{Rig, text};
use crate::support::mosquitto::Mosquitto;

fn tags(port: u16, more: &str) -> String {
    format!(
        r#"
        url = "mqtt://127.0.0.1:{port}"
        {more}
        [[mqtt.tag]]
        name = "n"
        topic = "t/n"
        pointer = "/n"
        [[mqtt.tag]]
        name = "last"
        topic = "t/+"
        format = "segment"
        segment = 1
        rate_max_hz = 1000
        "#
    )
}

/// A payload far beyond the library's own 10 KiB is read like any other.
#[tokio::test]
async fn large_payload_is_read() {
    let broker = Mosquitto::open();
    let padding = "x".repeat(600_000);
    for version in ["5", "3.1.1"] {
        let mut rig = Rig::live(&tags(broker.port, &format!("version = \"{version}\""))).await;
        broker.publish("t/n", format!(r#"{{"pad":"{padding}","n":5}}"#), &[]);
        assert_eq!(rig.value("n").await, Value::Int(5));
        rig.stop().await;
    }
}

/// MQTT 5: what exceeds `message_max_kib` the broker keeps back; the
/// connection stays.
#[tokio::test]
async fn broker_keeps_back_what_is_too_large() {
    let broker = Mosquitto::open();
    let mut rig = Rig::live(&tags(broker.port, "message_max_kib = 16")).await;
    let changes = rig.status.changes();
    broker.publish("t/large", "x".repeat(20_000), &[]);
    broker.publish("t/small", "x", &[]);
    assert_eq!(rig.value("last").await, text("small"));
    assert!(!changes.has_changed().unwrap(), "the connection was lost");
}

/// MQTT 3.1.1: it costs the connection, the reason names the key, and after it
/// everything goes on.
#[tokio::test]
async fn too_large_for_3_1_1_is_named() {
    let broker = Mosquitto::open();
    let keys = "version = \"3.1.1\"\nmessage_max_kib = 16";
    let mut rig = Rig::live(&tags(broker.port, keys)).await;
    broker.publish("t/large", "x".repeat(20_000), &[]);
    let reason = rig.state(|state, _| state == State::Connecting).await;
    assert!(reason.contains("message_max_kib"), "{reason}");
    rig.state(|state, _| state == State::Live).await;
    broker.publish("t/small", "x", &[]);
    assert_eq!(rig.value("last").await, text("small"));
}

/// A flood on one topic is thinned to its rate, its newest value wins, and
/// other tags lose nothing.
#[tokio::test]
async fn flood_is_thinned_and_the_newest_wins() {
    let broker = Mosquitto::with(|_, _| "allow_anonymous true\nmax_queued_messages 0\n".into());
    let mut rig = Rig::live(&format!(
        r#"
        url = "mqtt://127.0.0.1:{}"
        [[mqtt.tag]]
        name = "flood"
        topic = "flood"
        rate_max_hz = 20
        [[mqtt.tag]]
        name = "calm"
        topic = "calm"
        "#,
        broker.port
    ))
    .await;
    const SENT: i128 = 20_000;
    let lines: String = (1..=SENT).map(|n| format!("{n}\n")).collect();
    let began = std::time::Instant::now();
    broker.publish_lines("flood", &lines);
    broker.publish("calm", "7", &[]);
    let (mut taken, mut calm) = (0u32, false);
    loop {
        let sample = rig.any().await;
        match (rig.name(&sample).as_str(), &sample.value) {
            ("flood", Value::Int(n)) => {
                taken += 1;
                if *n == SENT {
                    break;
                }
            }
            ("calm", Value::Int(7)) => calm = true,
            _ => panic!("{sample:?}"),
        }
    }
    let most = 11 + began.elapsed().as_millis() as u32 / 50;
    assert!(taken <= most, "{taken} samples, at most {most} allowed");
    if !calm {
        assert_eq!(rig.value("calm").await, Value::Int(7));
    }
}

/// A flood of large messages that nobody can use costs bounded memory.
#[tokio::test]
async fn large_flood_costs_bounded_memory() {
    let broker = Mosquitto::with(|_, _| "allow_anonymous true\nmax_queued_messages 0\n".into());
    let mut rig = Rig::live(&tags(broker.port, "")).await;
    let before = resident();
    let line = format!("{}\n", "x".repeat(500_000));
    for _ in 0..3 {
        broker.publish_lines("t/flood", &line.repeat(100));
    }
    broker.publish("t/after", "1", &[]);
    while rig.next("last").await.value != text("after") {}
    let grown = resident().saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB more than before", grown >> 20);
}

/// This process's memory in use, bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Thousands of stored messages arrive before the broker's answer to the
/// subscription, more than the inbox holds.
#[tokio::test]
async fn more_stored_messages_than_the_inbox_holds() {
    let broker = Mosquitto::with(|_, _| "allow_anonymous true\nmax_queued_messages 0\n".into());
    retain(broker.port, 3 * floorcast::mqtt::INBOX);
    let mut rig = Rig::live(&tags(broker.port, "")).await;
    broker.publish("t/after", "1", &[]);
    while rig.next("last").await.value != text("after") {}
}

/// Stores `many` messages on topics `t/0`, `t/1`, …: one connection, written
/// by hand (MQTT 3.1.1, sections 3.1, 3.3 and 3.12).
fn retain(port: u16, many: usize) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p".to_vec();
    for n in 0..many {
        let topic = format!("t/{n}");
        bytes.extend([0x31, (2 + topic.len() + 1) as u8, 0, topic.len() as u8]);
        bytes.extend(topic.as_bytes());
        bytes.push(b'1');
    }
    bytes.extend([0xc0, 0x00]);
    stream.write_all(&bytes).unwrap();
    // The CONNACK, and the answer to the ping: by then everything is stored.
    let mut answers = [0; 6];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(answers, [0x20, 2, 0, 0, 0xd0, 0]);
}
