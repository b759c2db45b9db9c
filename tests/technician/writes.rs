//! A register of a server that nobody here wrote, set over MQTT.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{ROOT, Site, USER};
use crate::support::peer::{Peer, free_port, python, script, wait_port};

/// A pymodbus server with a speed in holding register 7 and an alarm in coil 3.
fn plc() -> (Peer, u16) {
    let port = free_port();
    let mut command = Command::new(python());
    command.arg(script("pymodbus_server.py")).arg(port.to_string());
    let mut child = command.stdin(Stdio::piped()).spawn().expect("python: run scripts/setup");
    let cells = b"holding\t7\tu16\tabcd\t200\ncoil\t3\tbit\t-\t0\n";
    child.stdin.take().expect("stdin").write_all(cells).expect("send the cells");
    wait_port(port, Duration::from_secs(30));
    (Peer(child), port)
}

/// The site with that PLC, both tags read.
fn site(port: u16) -> Site {
    let mut site = Site::with(|document| {
        let bus = json!({
            "id": "drive",
            "tcp": format!("127.0.0.1:{port}"),
            "unit": [{ "id": 1, "period_ms": 100, "tag": [
                { "name": "speed", "table": "holding", "address": 7, "scale": 0.1,
                  "write": { "range": [0, 60], "every_ms": 1000 } },
                { "name": "alarm", "table": "coil", "address": 3, "write": { "every_ms": 100 } },
                { "name": "watched", "table": "holding", "address": 7 },
            ] }],
        });
        document["modbus"].as_array_mut().expect("buses").push(bus);
    });
    shows(&mut site, "speed", &json!(20.0));
    site
}

/// Waits until telemetry shows this value.
fn shows(site: &mut Site, tag: &str, value: &Value) {
    let topic = format!("{ROOT}/tele/drive/unit-1");
    site.ear.wait(tag, |t, payload| {
        let samples = payload["samples"].as_array().into_iter().flatten();
        t == topic && samples.into_iter().any(|s| s["tag"] == tag && s["v"] == *value)
    });
}

/// A tag on the list is written and read back; the audit file has who, what and the end of
/// it; figures follow.
#[test]
fn a_tag_on_the_list_is_written() {
    let (_plc, port) = plc();
    let mut site = site(port);
    let done = site.command("write", json!({ "tag": "speed", "value": 45.5 }));
    assert_eq!((&done["status"], &done["outcome"]), (&json!("ok"), &json!("written")), "{done}");
    assert_eq!((&done["before"], &done["value"]), (&json!(20.0), &json!(45.5)), "{done}");
    let audit = format!("{ROOT}/audit");
    for (outcome, what) in [("accepted", "speed = 45.5"), ("written", "speed = 45.5")] {
        site.ear.wait(outcome, |t, p| {
            t == audit
                && p["what"] == "write"
                && p["user"] == USER
                && p["outcome"] == outcome
                && p["reason"] == what
        });
    }
    shows(&mut site, "speed", &json!(45.5));
    let done = site.command("write", json!({ "tag": "alarm", "value": true }));
    assert_eq!((&done["status"], &done["value"]), (&json!("ok"), &json!(true)), "{done}");
}

/// What is not on the list, out of range, of the wrong kind, too often or unknown is refused
/// with the remedy, and nothing is written.
#[test]
fn the_guard_holds() {
    let (_plc, port) = plc();
    let mut site = site(port);
    for (tag, value, word) in [
        ("watched", json!(1), "list"),
        ("speed", json!(60.1), "range"),
        ("speed", json!(-0.1), "range"),
        ("speed", json!(0.05), "steps"),
        ("speed", json!(true), "may be"),
        ("alarm", json!(1), "may be"),
        ("sped", json!(1), "not on air"),
    ] {
        let no = site.command("write", json!({ "tag": tag, "value": value }));
        let reason = no["reason"].as_str().unwrap_or_default();
        assert_eq!(no["status"], "refused", "{tag} = {value}: {no}");
        assert!(reason.contains(word) && no["remedy"] != "", "{tag} = {value}: {no}");
    }
    let done = site.command("write", json!({ "tag": "speed", "value": 30 }));
    assert_eq!(done["status"], "ok", "{done}");
    let no = site.command("write", json!({ "tag": "speed", "value": 31 }));
    assert!(no["reason"].as_str().is_some_and(|why| why.contains("too soon")), "{no}");
    let after = site.ear.mark();
    site.ear.rewind(after);
    shows(&mut site, "speed", &json!(30.0));
}
