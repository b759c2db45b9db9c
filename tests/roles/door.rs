//! Boxes without a certificate at the door.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::site::{Outcome, Site};
use crate::support::mosquitto::program;
use crate::support::peer::free_port;
use crate::table;

/// A fresh box says hello and hears of its adoption under its own serial
/// number; nothing else, whatever it calls itself.
#[test]
fn a_fresh_box_has_its_own_three_topics() {
    let site = Site::prepared();
    let port = free_port();
    let _door = site.run("door.conf", 8884, port);
    let other = json!({ "port": port, "username": "other" });
    let fresh = |id: &str| json!({ "port": port, "id": id });
    let own = Outcome::In {
        wrote: vec!["floorcast/v1/new/sn-1/hello".into(), "floorcast/v1/new/sn-1/result".into()],
        read: vec!["floorcast/v1/new/sn-1/adopt".into()],
    };
    let none = Outcome::In { wrote: vec![], read: vec![] };
    let mut posing = fresh("sn-1");
    posing["username"] = json!("box:line-1");
    let asked = [
        ("fresh", fresh("sn-1"), &other),
        ("fresh, with a name", posing, &other),
        ("unnamed", json!({ "port": port }), &other),
        ("+", fresh("+"), &other),
        ("#", fresh("#"), &other),
    ];
    let seen = site.attack(&asked, &table::topics());
    assert_eq!((&seen[0], &seen[1]), (&own, &own));
    for (seen, (who, ..)) in seen[2..].iter().zip(&asked[2..]) {
        assert!(*seen == none || *seen == Outcome::Refused, "{who}: {seen:?}");
    }
}

/// Waits for a program's end, until the deadline.
fn ended(child: &mut Child, deadline: Instant) -> bool {
    assert!(Instant::now() < deadline, "nothing came in time");
    child.try_wait().expect("wait").is_some()
}

/// A greeting goes through the door to an engineer, and an adoption back to
/// that box, by mosquitto's own tools.
#[test]
fn a_greeting_comes_in_and_an_adoption_goes_out() {
    let site = Site::start();
    let port = free_port();
    let _door = site.run("door.conf", 8884, port);
    let ca = site.key("ca.pem");
    let at_door = |name: &str, rest: &[&str]| {
        let mut command = program(name);
        command.args(["-h", "localhost", "-p", &port.to_string(), "-i", "sn-7", "-q", "1"]);
        command.arg("--cafile").arg(&ca).args(rest).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let engineer = |name: &str, rest: &[&str]| {
        let mut command = program(name);
        command.args(["-h", "localhost", "-p", &site.port.to_string(), "-q", "1"]);
        command.arg("--cafile").arg(&ca).arg("--cert").arg(site.key("user-eva.pem"));
        command.arg("--key").arg(site.key("user-eva.key")).args(rest);
        command.stdout(Stdio::piped());
        command
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let hear = ["-C", "1", "-F", "%t %p", "-t"];
    let hello = [&hear[..], &["floorcast/v1/new/+/hello"]].concat();
    let mut heard = engineer("mosquitto_sub", &hello).spawn().expect("mosquitto_sub");
    // Nobody says when a subscription or the bridge is there: knock until it is heard.
    while !ended(&mut heard, deadline) {
        let args = ["-t", "floorcast/v1/new/sn-7/hello", "-m", "here"];
        at_door("mosquitto_pub", &args).status().expect("mosquitto_pub");
    }
    let text = heard.wait_with_output().expect("output").stdout;
    assert_eq!(String::from_utf8_lossy(&text), "floorcast/v1/new/sn-7/hello here\n");
    let adopt = [&hear[..], &["floorcast/v1/new/sn-7/adopt"]].concat();
    let mut heard = at_door("mosquitto_sub", &adopt).spawn().expect("mosquitto_sub");
    while !ended(&mut heard, deadline) {
        let args = ["-t", "floorcast/v1/new/sn-7/adopt", "-m", "welcome"];
        engineer("mosquitto_pub", &args).status().expect("mosquitto_pub");
    }
    let text = heard.wait_with_output().expect("output").stdout;
    assert_eq!(String::from_utf8_lossy(&text), "floorcast/v1/new/sn-7/adopt welcome\n");
}
