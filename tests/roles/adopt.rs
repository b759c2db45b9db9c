//! From a fresh box to a live feed: the shipped brokers with their rights, keys of the
//! real `floorcast pki`, the real box, and nothing but mosquitto's tools.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use floorcast::control::change::document::sha256;
use serde_json::{Value, json};

use crate::client::{Ask, Notice, Viewer};
use crate::site::Site;
use crate::support::daemon::Daemon;
use crate::support::mosquitto::program;
use crate::support::peer::{Peer, free_port, python, script};

/// The commands of the README, without those that only look.
fn readme() -> [String; 3] {
    let text = include_str!("../../configs/README.md");
    let (_, tools) = text.split_once("\n## Everything with mosquitto's tools").expect("section");
    let blocks: Vec<&str> = (tools.split("```sh\n").skip(1))
        .map(|block| block.split("```").next().expect("a block"))
        .collect();
    let [first, .., knock, adopt] = &blocks[..] else { panic!("blocks: {}", blocks.len()) };
    [first, knock, adopt].map(|block| block.to_string())
}

/// Runs a part of the README at a site, as `eva`; what it printed.
fn as_printed(site: &Site, functions: &str, commands: &str) -> String {
    let shell = format!("{functions}{commands}")
        .replace("-h mqtt.example -p 8883", &format!("-h localhost -p {}", site.port))
        .replace("mqtt.example:8883", &format!("localhost:{}", site.port))
        .replace(
            "--cafile ca.pem --cert user-$ME.pem --key user-$ME.key",
            "--cafile site-keys/ca.pem --cert site-keys/user-$ME.pem --key site-keys/user-$ME.key",
        )
        .replace("-C 1 -t", "-C 1 -W 60 -t")
        .replace("ME=tom", "set -eu; ME=eva");
    let binary = Path::new(env!("CARGO_BIN_EXE_floorcast")).parent().expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let out = Command::new("bash")
        .args(["-c", &shell])
        .current_dir(site.dir.path())
        .env("PATH", format!("{}:{path}", binary.display()))
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    said
}

/// In place of systemd: where it is told what, and what was told.
fn systemd(dir: &Path) -> (String, Receiver<String>) {
    let at = dir.join("notify");
    let socket = UnixDatagram::bind(&at).expect("bind");
    let (tx, told) = channel();
    std::thread::spawn(move || {
        let mut word = [0; 4096];
        // Until the test has ended.
        while let Ok(length) = socket.recv(&mut word)
            && tx.send(String::from_utf8_lossy(&word[..length]).into_owned()).is_ok()
        {}
    });
    (at.to_str().expect("path").to_owned(), told)
}

/// One request of the technician `tom` with `mosquitto_rr`; its first answer.
fn ask(site: &Site, op: &str, request: &Value) -> Value {
    let at = "floorcast/v1/amber-works/line-3/cfg";
    let txid = request["txid"].as_str().expect("a txid");
    let mut command = program("mosquitto_rr");
    command.args(["-h", "localhost", "-p", &site.port.to_string(), "-q", "1", "-W", "20"]);
    command.arg("--cafile").arg(site.key("ca.pem")).arg("--cert").arg(site.key("user-tom.pem"));
    command.arg("--key").arg(site.key("user-tom.key")).stderr(Stdio::inherit());
    command.args(["-e", &format!("{at}/res/tom/{txid}"), "-t", &format!("{at}/req/tom/{op}")]);
    let out = command.args(["-m", &request.to_string()]).output().expect("mosquitto_rr");
    let text = String::from_utf8(out.stdout).expect("text");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{op}: {error}: {text:?}"))
}

fn soon() -> String {
    let out = program("date").args(["-u", "-d", "+10 minutes", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(out.expect("date").stdout).expect("text").trim().to_owned()
}

/// What a box comes with: nothing but the door.
pub fn fresh(site: &Site, door: u16) -> String {
    format!(
        "[web]\nlisten = \"127.0.0.1:0\"\nmedia = \"127.0.0.1:0\"\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n\
         [control.door]\nurl = \"mqtts://localhost:{door}\"\nca_file = \"{}\"\n",
        site.key("ca.pem").display()
    )
}

/// `floorcast ctl adopt` of the engineer `eva`; its exit code and what it printed.
pub fn adopt(site: &Site, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
    let broker = format!("mqtts://localhost:{}", site.port);
    command.args(["ctl", "adopt", "--broker", &broker, "--json"]).args(args);
    command.arg("--ca").arg(site.key("ca.pem")).arg("--cert").arg(site.key("user-eva.pem"));
    command.arg("--key").arg(site.key("user-eva.key")).current_dir(site.dir.path());
    command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    let out = command.output().expect("floorcast ctl adopt");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// What a box that waits to be adopted prints under a name.
pub fn shown(line: &str, what: &str) -> Option<String> {
    let (_, rest) = line.split_once("waiting to be adopted")?.1.split_once(what)?;
    Some(rest.split(['"', ' ']).find(|word| !word.is_empty())?.to_owned())
}

/// One command makes a box that knocks one of the site, under its name and with its
/// rights; what stands in the way is said with the remedy.
#[test]
fn one_command_adopts_a_box() {
    let site = Site::start();
    let door = free_port();
    let _door = site.run("door.conf", 8884, door);
    let state = tempfile::tempdir().expect("temporary directory");
    let mut daemon = Daemon::with_state(&fresh(&site, door), state.path(), &[]);
    let within = Duration::from_secs(10);
    let serial = &*daemon.line(within, |line| shown(line, "serial="));
    let print = &*daemon.line(within, |line| shown(line, "fingerprint="));
    for (args, code, words) in [
        (&[serial, "birch-works/line-3"][..], 2, "the keys in site-keys are those of"),
        (&[serial, "amber-works/line/3"], 2, "use SITE/BOX"),
        (&[serial, "line-3", "--dir", "none"], 2, "floorcast pki init"),
        (&[serial, "line-3", "--dial", "mqtt://b"], 2, "--dial \"mqtt://b\": use mqtts://"),
        (&["sn-9", "line-3", "--yes", "--within", "1"], 4, "nobody of serial sn-9 knocked"),
        // Nobody is there to compare it.
        (&[serial, "line-3"], 3, print),
        // The name is another key's.
        (&[serial, "line-1", "--yes"], 3, "box-line-1.pem: is there already"),
        (
            &[serial, "line-3", "--yes", "--install", "exit 7"],
            1,
            "exit status: 7; the box is signed, but not invited",
        ),
    ] {
        let (ended, out, err) = adopt(&site, args);
        assert_eq!((ended, &*out), (Some(code), ""), "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    let install = format!("cp site-keys/acl etc/acl && kill -HUP {}", site.pid());
    let sure = ["--fingerprint", print, "--install", &install];
    let (ended, out, err) = adopt(&site, &[&[serial, "amber-works/line-3"], &sure[..]].concat());
    assert_eq!(ended, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).expect("one JSON value");
    assert_eq!((&told["box"], &told["state"]["online"]), (&json!("line-3"), &json!(true)), "{out}");
    assert_eq!(
        (told["serial"].as_str(), told["fingerprint"].as_str()),
        (Some(serial), Some(print))
    );
    let (ended, _, err) = adopt(&site, &[&[serial, "line-3"], &sure[..]].concat());
    assert_eq!(ended, Some(3), "{err}");
    assert!(err.contains("is there already, and online"), "{err}");
}

/// A box that comes with nothing but the site's authority finds the door by what the door
/// announces, and knocks neither at a plain broker nor at the door of another site.
#[test]
fn a_door_is_found_on_the_local_network() {
    let site = Site::start();
    let [door, foreign] = [free_port(), free_port()];
    let _door = site.run("door.conf", 8884, door);
    let other = Site::prepared();
    let _foreign = other.run("door.conf", 8884, foreign);
    let mut peer = Command::new(python());
    peer.arg(script("announce.py")).args([
        format!("a-plain-broker,{},", site.port),
        format!("another-site,{foreign},floorcast=door"),
        format!("our-door,{door},floorcast=door"),
    ]);
    let mut peer = Peer::start(peer.stdout(Stdio::piped()), "zeroconf");
    let mut said = BufReader::new(peer.0.stdout.take().expect("stdout")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "ready");
    let seed = fresh(&site, door).replace(
        &format!("mqtts://localhost:{door}\"\n"),
        "mqtts://_secure-mqtt._tcp.local\"\nserver_name = \"localhost\"\n",
    );
    let state = tempfile::tempdir().expect("temporary directory");
    let mut daemon = Daemon::with_state(&seed, state.path(), &[]);
    let within = Duration::from_secs(20);
    for name in ["another-site", "our-door"] {
        daemon.line(within, |line| {
            (line.contains("found a door") && line.contains(name)).then_some(())
        });
    }
    let mut hello = program("mosquitto_sub");
    hello.args(["-h", "localhost", "-p", &site.port.to_string(), "-C", "1", "-W", "40"]);
    hello.arg("--cafile").arg(site.key("ca.pem")).arg("--cert").arg(site.key("user-eva.pem"));
    hello.arg("--key").arg(site.key("user-eva.key")).args(["-t", "floorcast/v1/new/+/hello"]);
    let heard: Value = serde_json::from_slice(&hello.output().expect("mosquitto_sub").stdout)
        .expect("a greeting at the site's broker");
    assert!(heard["request"].is_string(), "{heard}");
}

/// A fresh box knocks, an engineer adopts it, a technician gives it a camera, and a viewer
/// sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_box_becomes_a_live_feed() {
    let mut site = Site::start();
    let door = free_port();
    let _door = site.run("door.conf", 8884, door);
    let state = tempfile::tempdir().expect("temporary directory");
    let (at, told) = systemd(state.path());
    let fresh = fresh(&site, door);
    let mut daemon = Daemon::with_state(&fresh, state.path(), &[("NOTIFY_SOCKET", &at)]);
    let [functions, knock, adopt] = readme();

    let said = as_printed(&site, &functions, &knock);
    let [serial, fingerprint, ..] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    daemon.line(Duration::from_secs(10), |line| {
        (line.contains(serial) && line.contains(fingerprint)).then_some(())
    });
    site.install();
    site.reload();
    let said = as_printed(&site, &functions, &adopt);
    let lines: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines[0]["status"], "adopted", "{said}");
    assert_eq!(lines[1]["online"], true, "{said}");

    let got = ask(&site, "get", &json!({ "txid": "t1" }));
    let mut document = got["document"].clone();
    assert_eq!(document["box"], json!({ "site": "amber-works", "id": "line-3" }));
    document["camera"] = json!([{ "id": "line", "port": "sim:line", "width": 320, "height": 240 }]);
    let base = &got["revision"];
    let request = json!({
        "txid": "t2", "base": base, "document": document, "sha256": sha256(&document),
        "expires": soon(), "confirm_s": 60,
    });
    let trial = ask(&site, "apply", &request);
    assert_eq!(trial["status"], "trial", "{trial}");
    let confirm = json!({ "txid": "t3", "revision": trial["revision"], "expires": soon() });
    let kept = ask(&site, "confirm", &confirm);
    assert!(kept["status"] == "confirmed" || kept["status"] == "trial", "{kept}");

    // Started again in place: it says a second time where it is.
    let page = daemon.line_after(Duration::from_secs(30), "starting again", |line| {
        line.strip_prefix("on air: ").map(str::to_owned)
    });
    let ask = || Ask { telemetry: false, resend: true, gro: false };
    let picture = async {
        let mut viewer = loop {
            match Viewer::open(&format!("{page}whep/line"), ask()).await {
                Ok(viewer) => break viewer,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        while !matches!(viewer.next().await.expect("viewer"), Notice::Packet(_)) {}
    };
    tokio::time::timeout(Duration::from_secs(30), picture).await.expect("no picture came");
    // After STOPPING systemd would give it eight seconds.
    let ready = |words: &[String]| words.iter().filter(|w| w.contains("READY=1")).count();
    let mut words = Vec::new();
    while ready(&words) < 2 {
        words.push(told.recv_timeout(Duration::from_secs(10)).expect("READY=1 from both starts"));
    }
    assert!(!words.iter().any(|word| word.contains("STOPPING=1")), "{words:?}");
}
