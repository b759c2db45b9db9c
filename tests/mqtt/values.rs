//! What messages say.

use std::time::Duration;

use floorcast::clock;
use floorcast::model::{Mono, Quality, Value};
use floorcast::status::State;

use crate::rig::{Rig, text};
use crate::support::mosquitto::Mosquitto;

/// Numbers, text, booleans, JSON, wildcards and topic levels, several tags from
/// one topic and one tag from several topics, by either version.
async fn every_format(version: &str) {
    let broker = Mosquitto::open();
    let mut rig = Rig::live(&format!(
        r#"
        url = "mqtt://127.0.0.1:{}"
        version = "{version}"
        [[mqtt.tag]]
        name = "speed"
        topic = "line/speed"
        unit = "m/s"
        scale = 0.5
        offset = 1.0
        [[mqtt.tag]]
        name = "recipe"
        topic = "line/recipe"
        format = "text"
        [[mqtt.tag]]
        name = "run"
        topic = "line/run"
        format = "bool"
        qos = 1
        [[mqtt.tag]]
        name = "temp"
        topic = "oven/+/state"
        pointer = "/zones/1/temp"
        [[mqtt.tag]]
        name = "mode"
        topic = "oven/+/state"
        format = "json"
        pointer = "/mode"
        [[mqtt.tag]]
        name = "oven"
        topic = "oven/+/state"
        segment = 1
        [[mqtt.tag]]
        name = "lot"
        topic = "lots/#"
        format = "segment"
        segment = 2
        "#,
        broker.port
    ))
    .await;
    let before = clock::now();
    broker.publish("line/speed", " 12 m/s\n", &[]);
    let sample = rig.next("speed").await;
    assert_eq!((&sample.value, sample.quality), (&Value::Real(7.0), Quality::Good));
    assert!(before <= sample.taken && sample.taken <= clock::now(), "{sample:?}");
    assert_eq!((sample.requested, sample.received), (sample.taken, sample.taken));
    assert!(sample.error > Duration::ZERO && sample.error < Duration::from_secs(1), "{sample:?}");
    broker.publish("line/recipe", "柠檬 330 ml", &["-q", "1"]);
    assert_eq!(rig.value("recipe").await, text("柠檬 330 ml"));
    broker.publish("line/run", "ON", &["-q", "1"]);
    assert_eq!(rig.value("run").await, Value::Bool(true));
    let state = r#"{"mode":"bake","zones":[{"temp":1},{"temp":181.5}]}"#;
    broker.publish("oven/3/state", state, &[]);
    assert_eq!(rig.value("temp").await, Value::Real(181.5));
    assert_eq!(rig.value("mode").await, text("bake"));
    assert_eq!(rig.value("oven").await, Value::Int(3));
    broker.publish("oven/4/state", state, &[]);
    assert_eq!(rig.value("oven").await, Value::Int(4));
    broker.publish("lots/press/A-113", "", &[]);
    assert_eq!(rig.value("lot").await, text("A-113"));
    rig.stop().await;
}

#[tokio::test]
async fn every_format_by_version_5() {
    every_format("5").await;
}

#[tokio::test]
async fn every_format_by_version_3_1_1() {
    every_format("3.1.1").await;
}

/// A payload that is not what was configured costs that tag a bad sample, its
/// neighbours on the same topic nothing, and the next good one heals it.
#[tokio::test]
async fn wrong_payload_is_bad_and_the_rest_goes_on() {
    let broker = Mosquitto::open();
    let mut rig = Rig::live(&format!(
        r#"
        url = "mqtt://127.0.0.1:{}"
        [[mqtt.tag]]
        name = "a"
        topic = "t"
        pointer = "/a"
        range = [0, 100]
        [[mqtt.tag]]
        name = "b"
        topic = "t"
        pointer = "/b"
        "#,
        broker.port
    ))
    .await;
    for (payload, why) in [
        (r#"{"a":"fast","b":1}"#, "not a number"),
        (r#"{"a":101,"b":1}"#, "out of range"),
        (r#"{"b":1}"#, "nothing at the pointer"),
        (r#"{"a":null,"b":1}"#, "null"),
    ] {
        broker.publish("t", payload, &[]);
        assert_eq!(rig.bad("a").await, why);
        assert_eq!(rig.value("b").await, Value::Int(1));
    }
    broker.publish("t", b"\xff\x00", &[]);
    assert_eq!(rig.bad("a").await, "not JSON");
    assert_eq!(rig.bad("b").await, "not JSON");
    broker.publish("t", r#"{"a":7,"b":8}"#, &[]);
    assert_eq!(rig.value("a").await, Value::Int(7));
    assert_eq!(rig.value("b").await, Value::Int(8));
}

/// A trusted payload time is when the sample was taken; an absurd one is bad.
#[tokio::test]
async fn payload_time_is_taken_if_trusted() {
    let broker = Mosquitto::open();
    let mut rig = Rig::live(&format!(
        r#"
        url = "mqtt://127.0.0.1:{}"
        [[mqtt.tag]]
        name = "v"
        topic = "t"
        pointer = "/v"
        time_pointer = "/ts"
        time_unit = "ms"
        "#,
        broker.port
    ))
    .await;
    let utc = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ms = utc.as_millis() as u64 - 700;
    let before = clock::now();
    broker.publish("t", format!(r#"{{"v":1,"ts":{ms}}}"#), &[]);
    let sample = rig.next("v").await;
    let slack = Duration::from_millis(20);
    let about = before - Duration::from_millis(700);
    assert!(about - slack < sample.taken && sample.taken < about + slack, "{sample:?}");
    assert_eq!(sample.error, Duration::from_millis(1));
    assert!(sample.received >= before);
    broker.publish("t", format!(r#"{{"v":1,"ts":{}}}"#, ms + 60_000), &[]);
    assert_eq!(rig.bad("v").await, "time in the future");
    broker.publish("t", format!(r#"{{"v":1,"ts":{}}}"#, ms / 1000), &[]);
    assert_eq!(rig.bad("v").await, "time too long ago");
}

/// A stored message is shown as stale, as current or not at all, as
/// configured; and it never replaces what has been seen since.
async fn stored_messages(version: &str) {
    let mut broker = Mosquitto::with(|dir, _| {
        let at = dir.display();
        format!("allow_anonymous true\npersistence true\npersistence_location {at}/\n")
    });
    broker.publish("lot", "A-1", &["-r"]);
    let tag = |name: &str, how: &str| {
        format!("[[mqtt.tag]]\nname = \"{name}\"\ntopic = \"lot\"\nformat = \"text\"\n{how}\n")
    };
    let url = format!("url = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"\n", broker.port);
    let stale = tag("stale", "stale_after_ms = 3600000000");
    let current = tag("current", "retained = \"current\"");
    let ignore = tag("ignore", "retained = \"ignore\"");
    let mut rig = Rig::live(&format!("{url}{ignore}{stale}{current}")).await;
    let sample = rig.any().await;
    assert_eq!(rig.name(&sample), "stale");
    assert_eq!((sample.value.clone(), sample.quality), (text("A-1"), Quality::Stale));
    assert_eq!(sample.reason.as_deref(), Some("age unknown"));
    // Somewhere between the start of this machine's clock and now.
    assert_eq!(sample.taken, Mono(sample.received.0 / 1_000_000), "{sample:?}");
    assert_eq!(rig.value("current").await, text("A-1"));

    broker.publish("lot", "A-2", &["-r"]);
    for name in ["ignore", "stale", "current"] {
        assert_eq!(rig.value(name).await, text("A-2"), "{name}");
    }
    broker.publish("lot", "A-3", &[]);
    assert_eq!(rig.value("stale").await, text("A-3"));
    // It stores what it retains, A-2, and comes back with it.
    broker.terminate();
    rig.state(|state, _| state == State::Connecting).await;
    broker.start();
    let sample = rig.next("stale").await;
    assert_eq!((sample.value, sample.quality), (text("A-2"), Quality::Stale));
    assert_eq!(rig.board.newest(sample.tag).unwrap().value, text("A-3"));
    // So it is with a stored message that is of no use.
    broker.publish("lot", " ", &["-r"]);
    broker.publish("lot", "A-4", &[]);
    while rig.next("stale").await.value != text("A-4") {}
    broker.terminate();
    rig.state(|state, _| state == State::Connecting).await;
    broker.start();
    let sample = rig.next("stale").await;
    assert_eq!((sample.quality, sample.reason.as_deref()), (Quality::Bad, Some("empty")));
    assert_eq!(rig.board.newest(sample.tag).unwrap().value, text("A-4"));
    rig.stop().await;
}

#[tokio::test]
async fn stored_messages_by_version_5() {
    stored_messages("5").await;
}

#[tokio::test]
async fn stored_messages_by_version_3_1_1() {
    stored_messages("3.1.1").await;
}

/// Counts go on through roll-over, and the derived rate is a tag of its own.
#[tokio::test]
async fn counters_count_on() {
    let broker = Mosquitto::open();
    let mut rig = Rig::live(&format!(
        r#"
        url = "mqtt://127.0.0.1:{}"
        [[mqtt.tag]]
        name = "parts"
        topic = "parts"
        pointer = "/n"
        time_pointer = "/t"
        time_unit = "ms"
        counter = true
        counter_max = 999
        rate = {{ name = "parts.rate", window_s = 60 }}
        "#,
        broker.port
    ))
    .await;
    let utc = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = utc.as_millis() as u64 - 30_000;
    let mut last = Value::None;
    for (i, n) in [990, 993, 996, 999, 2, 5].into_iter().enumerate() {
        let t = start + 5_000 * i as u64;
        broker.publish("parts", format!(r#"{{"n":{n},"t":{t}}}"#), &[]);
        last = rig.value("parts").await;
    }
    assert_eq!(last, Value::Int(1005));
    let Value::Real(rate) = rig.value("parts.rate").await else { panic!("no rate") };
    assert!((rate - 36.0).abs() < 1e-6, "{rate}");
}
