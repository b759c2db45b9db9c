use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Lock;
use crate::control::change::is_txid;
use crate::model::{Mono, UtcMicros};

/// 2026-06-01T00:00:00Z and so many milliseconds.
fn at(ms: u64) -> Now {
    let utc = UtcMicros(1_780_272_000_000_000 + ms as i64 * 1000);
    Now { mono: Mono(ms * 1_000_000), utc, lock: Lock::Locked }
}

/// With a txid and ten minutes to go, unless it says otherwise.
fn payload(mut fields: Value) -> Vec<u8> {
    for (key, value) in [("txid", json!("t1")), ("expires", json!("2026-06-01T00:10:00Z"))] {
        let fields = fields.as_object_mut().unwrap();
        fields.entry(key).or_insert(value);
    }
    fields.retain_given();
    serde_json::to_vec(&fields).unwrap()
}

trait RetainGiven {
    fn retain_given(&mut self);
}

impl RetainGiven for Value {
    /// A field of null is none.
    fn retain_given(&mut self) {
        self.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
}

fn judge(name: &str, fields: Value) -> Result<(String, Command), Box<Answer>> {
    let judged = Commands::default().judge("li", name, &payload(fields), false, at(0));
    judged.map(|asked| (asked.txid, asked.command)).map_err(|no| no.answer)
}

/// Each command with the least it needs, and with all it takes.
#[test]
fn commands_are_read() {
    let feed = || String::from("fill");
    for (name, fields, expected) in [
        ("feed", json!({"feed": "fill", "on": false}), Command::Feed { feed: feed(), on: false }),
        (
            "privacy",
            json!({"feed": "fill", "on": true}),
            Command::Privacy { feed: feed(), on: true },
        ),
        ("snapshot", json!({"feed": "fill"}), Command::Snapshot { feed: feed(), width: None }),
        (
            "snapshot",
            json!({"feed": "fill", "width": 640}),
            Command::Snapshot { feed: feed(), width: Some(640) },
        ),
        ("restart", json!({"part": "modbus plc"}), Command::Restart { part: "modbus plc".into() }),
        ("logs", json!({"lines": 5}), Command::Logs { lines: 5, level: None }),
        ("bundle", json!({}), Command::Bundle),
        ("identify", json!({"seconds": 5}), Command::Identify { feed: None, seconds: 5 }),
    ] {
        assert_eq!(judge(name, fields), Ok(("t1".into(), expected)));
    }
    let controls = json!({"camera": "fill", "controls": {"gain": 3, "auto": false, "mode": "Day"}});
    let Ok((_, Command::Control { controls, .. })) = judge("control", controls) else { panic!() };
    assert_eq!(controls.len(), 3);
}

/// What is wrong is named with its field, and what would be right.
#[test]
fn mistakes_name_the_field() {
    for (name, fields, word) in [
        ("feed", json!({"feed": "fill"}), "on"),
        ("feed", json!({"feed": 7, "on": true}), "feed"),
        ("feed", json!({"feed": "fill", "on": "yes"}), "on"),
        ("feed", json!({"feed": "fill", "on": true, "force": 1}), "force"),
        ("snapshot", json!({"feed": "fill", "width": 10}), "width"),
        ("logs", json!({"lines": 501}), "lines"),
        ("logs", json!({"lines": 5, "level": "loud"}), "level"),
        ("identify", json!({"seconds": 61}), "seconds"),
        ("control", json!({"camera": "fill", "controls": {"Gain": 1}}), "controls"),
        ("control", json!({"camera": "fill", "controls": {"gain": 1.5}}), "controls"),
        ("bundle", json!({"expires": null}), "expires"),
        ("bundle", json!({"expires": 5}), "expires"),
        ("bundle", json!({"expires": "2026-05-31T23:00:00Z"}), "expired"),
        ("bundle", json!({"expires": "2026-06-01T02:00:00Z"}), "expires"),
        ("bundle", json!({"txid": "a/b"}), "txid"),
        ("write", json!({"tag": "speed"}), "value"),
        ("write", json!({"tag": "speed", "value": "61"}), "value"),
        ("write", json!({"tag": "speed", "value": null}), "value"),
        ("write", json!({"tag": "speed", "value": [1]}), "value"),
        ("update", json!({"url": "ftp://x", "sha256": "0", "version": "2"}), "url"),
        ("update", json!({"url": "http://x/b", "sha256": "0", "version": "2"}), "sha256"),
        ("update", json!({"url": "http://x/b", "sha256": "0".repeat(64)}), "version"),
        (
            "update",
            json!({"url": "http://x/b", "sha256": "0".repeat(64), "version": "2",
                "window": {"from": "2026-06-02T00:00:00Z", "to": "2026-06-01T00:00:00Z"}}),
            "window",
        ),
        ("erase", json!({}), "erase"),
    ] {
        let no = judge(name, fields.clone()).unwrap_err();
        assert_eq!(no.status, Status::Refused, "{name} {fields}");
        assert!(no.reason.contains(word), "{name} {fields}: {}", no.reason);
    }
}

/// A txid runs once for each user, and stored messages never.
#[test]
fn a_command_runs_once() {
    let mut commands = Commands::default();
    let bundle = payload(json!({}));
    assert!(commands.judge("li", "bundle", &bundle, true, at(0)).is_err());
    assert!(commands.judge("li", "bundle", &bundle, false, at(0)).is_ok());
    let no = commands.judge("li", "bundle", &bundle, false, at(500)).unwrap_err();
    assert_eq!((no.answer.status, no.noted), (Status::Seen, false));
    assert!(commands.judge("wu", "bundle", &bundle, false, at(500)).is_ok());
}

/// More than ten in a second are refused, with one line in the audit file; others and
/// the next second are not touched.
#[test]
fn a_flood_is_refused() {
    let mut commands = Commands::default();
    let mut judge = |user: &str, n: u32, ms| {
        let bundle = payload(json!({"txid": format!("t{n}")}));
        commands.judge(user, "bundle", &bundle, false, at(ms)).map_err(|no| no.noted)
    };
    assert!((0..RATE).all(|n| judge("li", n, 0).is_ok()));
    let noted: Vec<_> = (100..105).map(|n| judge("li", n, 900).unwrap_err()).collect();
    assert_eq!(noted, [true, false, false, false, false]);
    assert!(judge("wu", 0, 900).is_ok());
    assert!(judge("li", 200, 1000).is_ok());
}

/// Nobody can fill the memory of txids for others; what has expired is forgotten.
#[test]
fn the_memory_is_bounded() {
    let mut commands = Commands::default();
    let mut judge = |user: &str, n: usize, ms| {
        let bundle = payload(json!({"txid": format!("t{n}")}));
        commands.judge(user, "bundle", &bundle, false, at(ms)).map_err(|no| no.answer.reason)
    };
    for n in 0..MOST / 4 {
        judge("li", n, n as u64 * 200).unwrap();
    }
    let then = MOST as u64 / 4 * 200;
    assert!(judge("li", MOST, then).unwrap_err().contains("remembered"));
    assert!(judge("wu", 0, then).is_ok());
    let later = json!({"txid": "t1", "expires": "2026-06-01T00:20:00Z"});
    let later = commands.judge("li", "bundle", &payload(later), false, at(601_000));
    assert!(later.is_ok());
}

const NAMES: [&str; 12] = [
    "feed", "privacy", "snapshot", "restart", "logs", "bundle", "identify", "control", "probe",
    "write", "update", "x",
];

fn judge_bytes(bytes: &[u8]) {
    for name in NAMES {
        if let Err(no) = Commands::default().judge("li", name, bytes, false, at(0)) {
            assert!(is_txid(&no.answer.txid));
            assert!(no.answer.reason.len() < 1000 && no.answer.remedy.len() < 1000);
        }
    }
}

/// Commands with some fields right, some wrong, some missing.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1i64..700).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9/é ]{0,8}".prop_map(Value::from),
        Just(json!("2026-06-01T00:10:00Z")),
        Just(json!({"gain": 1, "mode": null})),
    ];
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "txid", "expires", "feed", "on", "width", "part", "lines", "level", "seconds",
            "camera", "controls",
        ]).prop_map(str::to_owned),
        1 => "[a-z~/]{0,6}",
    ];
    prop::collection::btree_map(key, value, 0..6)
        .prop_map(|fields| serde_json::to_vec(&fields).unwrap())
}

proptest! {
    /// Any bytes are judged, and whoever sent them can be told.
    #[test]
    fn any_bytes_are_judged(bytes: Vec<u8>) {
        judge_bytes(&bytes);
    }

    /// Neither do bytes that look like a command do harm.
    #[test]
    fn nearly_commands_are_judged(bytes in nearly(), cut in 0usize..200) {
        judge_bytes(&bytes);
        judge_bytes(&bytes[..cut.min(bytes.len())]);
    }

    /// However fast they come, no more than ten of a user run in a second of its own.
    #[test]
    fn the_rate_holds(gaps in prop::collection::vec(0u64..300, 1..60)) {
        let mut once = Once::default();
        let (mut now, mut ran) = (Mono(0), Vec::new());
        for gap in gaps {
            now = now + Duration::from_millis(gap);
            if once.pace("li", now).is_ok() {
                ran.push(now);
            }
        }
        for window in ran.windows(2 * RATE as usize + 1) {
            prop_assert!(window[2 * RATE as usize].since(window[0]) >= Duration::from_secs(1));
        }
    }
}
