//! The commands of `configs/README.md`, run as they are printed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::site::Site;
use crate::support::peer::{Peer, python, script};

/// With nothing but mosquitto's tools and jq, every request of a technician and
/// of an engineer reaches the box complete and well signed, and its answer comes.
#[test]
fn everything_works_with_mosquittos_tools() {
    let site = Site::start();
    let mut fake = Command::new(python());
    fake.arg(script("fake_box.py")).arg(site.port.to_string()).arg(site.key("ca.pem"));
    fake.args([site.key("box-line-2.pem"), site.key("box-line-2.key")]).arg("amber-works/line-2");
    let mut fake = Peer::start(fake.stdout(Stdio::piped()), "paho-mqtt");
    let mut lines = BufReader::new(fake.0.stdout.take().expect("stdout")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");

    let text = include_str!("../../configs/README.md");
    let (_, tools) = text.split_once("\n## Everything with mosquitto's tools").expect("section");
    let blocks: Vec<&str> = (tools.split("```sh\n").skip(1))
        .map(|block| block.split("```").next().expect("a block"))
        .collect();
    let [first, rest @ .., knock, adopt] = &blocks[..] else { panic!("blocks: {}", blocks.len()) };
    assert!(knock.contains("pki sign") && adopt.contains("/adopt"), "tried in adopt.rs: {adopt}");
    let shell = format!("{first}{}", rest.concat())
        .replace("-h mqtt.example -p 8883", &format!("-h localhost -p {}", site.port))
        // One answer each is what this box gives.
        .replace("-W 180", "-C 1 -W 20")
        .replace("mosquitto_sub $TLS -v", "mosquitto_sub $TLS -C 1 -W 20 -v")
        .replace("ME=tom", "set -eu; ME=eva");
    let dir = site.key("");
    std::fs::write(dir.join("line-2.json"), r#"{"b":[1.5,{"z":1,"y":"é"}],"a":"李"}"#).unwrap();
    std::fs::write(dir.join("now.json"), "{}").unwrap();
    std::fs::write(dir.join("patch.json"), "{}").unwrap();
    std::fs::write(dir.join("floorcast-1.4.raucb"), "a bundle").unwrap();
    let out = Command::new("bash").args(["-c", &shell]).current_dir(&dir).output().expect("bash");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    let at = "floorcast/v1/amber-works/line-2";
    let came: Vec<&str> = said.lines().collect();
    assert_eq!(
        came,
        [
            &format!("{at}/state state"),
            &format!("{at}/health/feed/line health/feed/line"),
            &format!("{at}/tele/plc/press tele/plc/press"),
            "cfg/reported",
            "answer to get",
            "answer to validate",
            "answer to apply",
            "answer to confirm",
            "answer to rollback",
            "answer to privacy",
            "answer to update",
            "answer to write",
        ]
    );

    assert_eq!(std::fs::read(dir.join("fill.jpg")).unwrap(), b"jpeg");
    fake.kill();
    let heard: Vec<String> = lines.map(|line| line.expect("text")).collect();
    let whole = "['base', 'confirm_s', 'document', 'expires', 'sha256', 'txid']\thonest";
    assert_eq!(
        heard,
        [
            "cfg/req/eva/get\t['txid']\thonest",
            &format!("cfg/req/eva/validate\t{whole}"),
            &format!("cfg/req/eva/apply\t{whole}"),
            "cfg/req/eva/confirm\t['expires', 'revision', 'txid']\thonest",
            "cfg/req/eva/rollback\t['expires', 'txid']\thonest",
            "cfg/desired\t['document', 'revision', 'sha256', 'txid']\thonest",
            "cfg/desired\t[]\thonest",
            "cmd/eva/privacy\t['expires', 'feed', 'on', 'txid']\thonest",
            "cmd/eva/update\t['expires', 'sha256', 'txid', 'url', 'version']\thonest",
            "cmd/eva/write\t['expires', 'tag', 'txid', 'value']\thonest",
            "cmd/eva/snapshot\t['expires', 'feed', 'txid', 'width']\thonest",
        ]
    );
}
