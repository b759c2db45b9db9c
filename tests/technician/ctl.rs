//! `floorcast ctl` in a technician's hands: every command at a real broker, most of
//! them with a real box.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::rig::{Listener, ROOT, Site, USER};
use crate::support::mosquitto::Mosquitto;

/// The tool at a broker, as the technician of these tests.
fn tool(port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
    let broker = format!("mqtt://127.0.0.1:{port}");
    command.args(["ctl", "--broker", &broker, "--user", USER, "--box", "works/line-2"]).args(args);
    // Whoever runs the tests may have a profile.
    command.env("XDG_CONFIG_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// What it printed and how it ended.
pub struct Ran {
    code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("an exit code");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    pub fn ended(self, code: i32) -> Self {
        let (out, err) = (&self.out, &self.err);
        assert_eq!(self.code, code, "standard output:\n{out}\nstandard error:\n{err}");
        self
    }

    /// Standard output as one JSON value a line.
    fn values(&self) -> Vec<Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        self.out.lines().map(value).collect()
    }
}

pub fn ctl(site: &Site, args: &[&str]) -> Ran {
    tool(site.broker.port, args).output().expect("floorcast ctl").into()
}

/// A file of the test's, with a document as TOML.
fn file(site: &Site, document: &Value) -> String {
    let path = site.broker.file("line-2.toml");
    std::fs::write(&path, toml::to_string(document).expect("TOML")).expect("write");
    path.to_str().expect("path").to_owned()
}

/// The box's document with another name on its page: applied without a new camera.
fn renamed(site: &Site) -> Value {
    let mut document = site.document();
    document["studio"] = json!({ "name": { "en": "Line two", "zh": "二号线" } });
    document
}

/// Waits until both cameras are live.
fn live(site: &mut Site) {
    let seen = RefCell::new(BTreeSet::new());
    site.ear.wait("both live", |topic, health| {
        if topic.contains("/health/feed/") && health["state"] == "live" {
            seen.borrow_mut().insert(topic.to_owned());
        }
        seen.borrow().len() == 2
    });
}

/// Boxes are found by what they left at the broker, online or not, and so are fresh ones.
#[test]
fn boxes_are_discovered() {
    let site = Site::new();
    let away = r#"{"online":false,"version":"0\u001b[2J"}"#;
    site.broker.publish("floorcast/v1/works/线/state", away, &["-r", "-q", "1"]);
    let hello = r#"{"version":"0.1.0"}"#;
    site.broker.publish("floorcast/v1/new/sn-7/hello", hello, &["-r", "-q", "1"]);
    let ran = ctl(&site, &["discover", "--within", "1"]).ended(0);
    let line = |what: &str| ran.out.lines().find(|l| l.starts_with(what)).unwrap_or_default();
    assert!(line("works/line-2").contains("online"), "{}", ran.out);
    assert!(line("works/线").contains("offline"), "{}", ran.out);
    assert!(line("serial sn-7").contains("new"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "{:?}", ran.out);
    let ran = ctl(&site, &["discover", "--within", "1", "--json"]).ended(0);
    let values = ran.values();
    assert_eq!(values.len(), 3);
    let ours = values.iter().find(|v| v["box"] == "line-2").expect("the box");
    assert_eq!((&ours["site"], &ours["state"]["revision"]), (&json!("works"), &json!(1)));
    let found = values.iter().any(|v| v["serial"] == "sn-7");
    assert!(found, "{}", ran.out);
}

/// A box's state is one table of its parts, the worst first, in 100 columns.
#[test]
fn the_state_shows_the_worst_first() {
    let mut site = Site::new();
    live(&mut site);
    let long = "相机没有信号".repeat(20);
    let broken = json!({ "state": "no_signal", "since": "2026-01-02T00:00:00Z", "reason": long });
    let topic = format!("{ROOT}/health/unit/plc/9");
    site.broker.publish(&topic, broken.to_string(), &["-r", "-q", "1"]);
    let ran = ctl(&site, &["state"]).ended(0);
    assert!(ran.out.starts_with("works/line-2: online, version "), "{}", ran.out);
    assert!(ran.out.contains("configuration: revision 1 since "), "{}", ran.out);
    let at = |what: &str| ran.out.find(what).unwrap_or_else(|| panic!("{what} in {}", ran.out));
    assert!(at("unit/plc/9") < at("bus/plc"), "{}", ran.out);
    let columns = |line: &str| line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<u32>();
    // `…` takes one.
    assert!(ran.out.lines().all(|line| columns(line) <= 101), "{}", ran.out);
    assert!(ran.out.contains("相机没有信号相机") && ran.out.contains('…'), "{}", ran.out);
    let ran = ctl(&site, &["state", "--json"]).ended(0);
    let [state] = &ran.values()[..] else { panic!("{}", ran.out) };
    assert_eq!(state["health"]["feed/line"]["state"], "live");
    assert_eq!(state["reported"]["status"], "confirmed");
    let ran = ctl(&site, &["state", "--box", "works/line-9", "--within", "1"]).ended(4);
    assert!(ran.err.contains("floorcast ctl discover"), "{}", ran.err);
}

/// Every mistake of a file comes back with its place in the file; a file without any is fine.
#[test]
fn mistakes_are_named_with_their_place() {
    let site = Site::new();
    let ran = ctl(&site, &["validate", &file(&site, &renamed(&site))]).ended(0);
    assert!(ran.out.contains("fine on top of revision 1"), "{}", ran.out);
    let mut document = site.document();
    document["camera"][0]["widht"] = json!(640);
    document["modbus"][0]["unit"][0]["tag"][0]["type"] = json!("u17");
    let path = file(&site, &document);
    let ran = ctl(&site, &["validate", &path]).ended(3);
    assert!(ran.out.contains(" mistakes\n"), "{}", ran.out);
    assert!(ran.out.contains("/camera/0/widht (camera[0].widht): "), "{}", ran.out);
    assert!(ran.out.contains("did you mean \"width\"?"), "{}", ran.out);
    assert!(
        ran.out.contains("/modbus/0/unit/0/tag/0/type (modbus[0].unit[0].tag[0].type): "),
        "{}",
        ran.out
    );
    let ran = ctl(&site, &["validate", &path, "--json"]).ended(3);
    let [answer] = &ran.values()[..] else { panic!("{}", ran.out) };
    assert_eq!(answer["status"], "invalid");
    std::fs::write(&path, "[camera\n").expect("write");
    let ran = ctl(&site, &["validate", &path]).ended(2);
    assert!(ran.err.contains("line 1, column"), "{}", ran.err);
}

/// A difference is told in the box's words and by its places.
#[test]
fn a_difference_is_told_before_it_is_made() {
    let site = Site::new();
    let ran = ctl(&site, &["diff", &file(&site, &renamed(&site))]).ended(0);
    assert!(ran.out.contains("studio: what the page shows"), "{}", ran.out);
    assert!(ran.out.contains("/studio"), "{}", ran.out);
    let ran = ctl(&site, &["diff", "--json", &file(&site, &renamed(&site))]).ended(0);
    assert_eq!(ran.values()[0]["pointers"], json!(["/studio"]));
    let ran = ctl(&site, &["diff", &file(&site, &site.document())]).ended(0);
    assert!(ran.out.contains("nothing differs from revision 1"), "{}", ran.out);
}

/// `--yes` keeps a change that harms nothing; what runs is printed as JSON and TOML,
/// and the change before can be brought back.
#[test]
fn a_change_is_applied_and_taken_back() {
    let mut site = Site::new();
    live(&mut site);
    let document = renamed(&site);
    let path = file(&site, &document);
    let ran = ctl(&site, &["apply", &path, "--yes", "--confirm-s", "30"]).ended(0);
    assert!(ran.out.contains("studio: what the page shows"), "{}", ran.out);
    assert!(ran.out.contains("revision 2 is confirmed"), "{}", ran.out);
    let got = ctl(&site, &["get"]).ended(0);
    assert_eq!(serde_json::from_str::<Value>(&got.out).expect("JSON"), document);
    assert!(got.err.contains("revision 2, sha256 "), "{}", got.err);
    let got = ctl(&site, &["get", "--json"]).ended(0);
    assert_eq!(got.values()[0], document);
    let got = ctl(&site, &["get", "--toml"]).ended(0);
    assert_eq!(toml::from_str::<Value>(&got.out).expect("TOML"), document);
    let again = ctl(&site, &["apply", &path, "--yes"]).ended(0);
    assert!(again.out.contains("nothing differs from revision 2"), "{}", again.out);
    let back = ctl(&site, &["rollback", "--yes", "--json", "--confirm-s", "30"]).ended(0);
    let last = back.values().pop().expect("answers");
    assert_eq!((&last["status"], &last["revision"]), (&json!("confirmed"), &json!(3)));
    assert_eq!(ctl(&site, &["get", "--json"]).ended(0).values(), [site.document()]);
}

/// The box's own schema is printed, as text and as one line of JSON.
#[test]
fn the_schema_is_the_boxes_own() {
    let site = Site::new();
    let schema = floorcast::config::schema::schema();
    let ran = ctl(&site, &["schema"]).ended(0);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).expect("JSON"), schema);
    assert_eq!(ctl(&site, &["schema", "--json"]).ended(0).values(), [schema]);
}

/// What the box has to work with is the table that it prints itself, and one JSON value.
#[test]
fn a_box_tells_what_it_has_to_work_with() {
    let site = Site::new();
    let text = ctl(&site, &["probe"]).ended(0).out;
    for words in ["Cameras\n", "Encoders, each tried", "+ x264enc", "Serial lines\n"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let ran = ctl(&site, &["probe", "--json"]).ended(0);
    let [answer] = &ran.values()[..] else { panic!("{}", ran.out) };
    let passed =
        |trial: &Value| trial["encoder"] == "x264enc" && trial["outcome"]["Ok"].is_object();
    assert!(answer["encoders"].as_array().expect("encoders").iter().any(passed), "{answer}");
    assert!(answer["cameras"].is_array() && answer["serial"].is_array());
}

/// A change that nobody keeps is back by itself, and the tool says so.
#[test]
fn a_change_that_nobody_keeps_is_back() {
    let mut site = Site::new();
    live(&mut site);
    let path = file(&site, &renamed(&site));
    let ran = ctl(&site, &["apply", &path, "--watch", "--confirm-s", "10"]).ended(3);
    assert!(ran.out.contains("revision 2 is off: "), "{}", ran.out);
    assert!(ran.out.contains("nobody confirmed it"), "{}", ran.out);
    // Without a terminal and without --watch it does not wait, and says what may be done.
    let ran = ctl(&site, &["apply", &path, "--confirm-s", "60"]).ended(3);
    assert!(ran.err.contains("`floorcast ctl confirm 3` keeps it"), "{}", ran.err);
    let other = ctl(&site, &["apply", &path]).ended(3);
    assert!(other.err.contains("revision 3 of li is on trial"), "{}", other.err);
    let reported = format!("{ROOT}/cfg/reported");
    site.ear.wait("the trial", |t, p| {
        t == reported && p["status"] == "trial" && p["trial"]["revision"] == 3
    });
    ctl(&site, &["confirm", "7"]).ended(3);
    let ran = ctl(&site, &["rollback"]).ended(0);
    assert!(ran.out.contains("revision 3 is off"), "{}", ran.out);
}

/// What is worse keeps `--yes` from keeping it, and is named.
#[test]
fn a_change_that_breaks_a_camera_is_not_kept() {
    let mut site = Site::new();
    live(&mut site);
    let mut document = site.document();
    document["camera"][0]["port"] = json!("usb-0000:00:14.0-9");
    let path = file(&site, &document);
    let ran = ctl(&site, &["apply", &path, "--yes", "--confirm-s", "10"]).ended(3);
    assert!(ran.err.contains("worse: feed/line: "), "{}", ran.err);
    assert!(ran.out.contains("feed/line worked before"), "{}", ran.out);
}

/// Waits until a change is on trial.
fn on_trial(site: &mut Site) {
    let reported = format!("{ROOT}/cfg/reported");
    site.ear.wait("the trial", |t, p| t == reported && p["status"] == "trial");
}

/// Applies a file on a terminal and answers the question; the exit code.
fn answered_on_a_terminal(site: &mut Site, path: &str, word: &[u8]) -> Option<i32> {
    let inner = tool(site.broker.port, &["apply", path, "--confirm-s", "60"]);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line = words.map(|w| w.to_str().expect("text")).collect::<Vec<_>>().join(" ");
    // `script` of util-linux gives it a terminal, and its exit code.
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("XDG_CONFIG_HOME", "/nonexistent");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
    let mut keys = child.stdin.take().expect("stdin");
    let mut screen = BufReader::new(child.stdout.take().expect("stdout"));
    on_trial(site);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("keep it? [y/N]") {
        assert!(screen.read_until(b']', &mut seen).expect("screen") > 0, "ended: {seen:?}");
    }
    keys.write_all(word).expect("keys");
    // Somebody has to read what is shown until it ends.
    std::io::copy(&mut screen, &mut std::io::sink()).expect("screen");
    child.wait().expect("wait").code()
}

/// On a terminal the tool asks: a no takes the change back at once, a yes keeps it.
#[test]
fn a_terminal_is_asked() {
    let mut site = Site::new();
    live(&mut site);
    let path = file(&site, &renamed(&site));
    assert_eq!(answered_on_a_terminal(&mut site, &path, b"n\n"), Some(3));
    assert_eq!(ctl(&site, &["get", "--json"]).ended(0).values(), [site.document()]);
    assert_eq!(answered_on_a_terminal(&mut site, &path, b"y\n"), Some(0));
    assert_eq!(ctl(&site, &["get", "--json"]).ended(0).values(), [renamed(&site)]);
}

/// Ctrl-C leaves a trial to its deadline, and says how to keep it.
#[test]
fn ctrl_c_leaves_the_trial() {
    let mut site = Site::new();
    live(&mut site);
    let path = file(&site, &renamed(&site));
    let mut command = tool(site.broker.port, &["apply", &path, "--watch", "--confirm-s", "60"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl");
    let mut said = BufReader::new(child.stderr.take().expect("stderr"));
    let mut line = String::new();
    while !line.contains("is on trial until") {
        line.clear();
        assert!(said.read_line(&mut line).expect("stderr") > 0, "it ended");
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("stderr");
    assert!(rest.contains("left on trial; `floorcast ctl confirm 2`"), "{rest}");
    assert_eq!(child.wait().expect("wait").code(), Some(3));
    on_trial(&mut site);
    ctl(&site, &["confirm", "2"]).ended(0);
}

/// What the box says is followed as it says it: stored things first.
#[test]
fn a_box_is_followed() {
    let mut site = Site::new();
    live(&mut site);
    let follow = tool(site.broker.port, &["tail", "--tele", "--within", "6"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("floorcast ctl");
    let path = file(&site, &renamed(&site));
    ctl(&site, &["apply", &path, "--confirm-s", "60"]).ended(3);
    ctl(&site, &["rollback"]).ended(0);
    let ran = Ran::from(follow.wait_with_output().expect("wait")).ended(0);
    let all = ran.out.replace(" (stored)", "");
    for said in ["Z state: online", "Z feed/line: live since ", "Z configuration: revision 1 "] {
        assert!(all.contains(said), "{said} in {all}");
    }
    assert!(all.contains(": li: rollback: accepted, revision 2"), "{all}");
    let ran = ctl(&site, &["tail", "health/feed/+", "--within", "1", "--json"]).ended(0);
    let topics: Vec<_> = ran.values().iter().map(|v| v["topic"].to_string()).collect();
    assert!(topics.iter().all(|t| t.contains("/health/feed/")) && topics.len() == 2, "{topics:?}");
}

/// Starts a command at a broker, and waits for it as the box would.
fn commanded(broker: &Mosquitto, ear: &mut Listener, args: &[&str]) -> (Child, Value) {
    let mut command = tool(broker.port, args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl");
    let topic = format!("{ROOT}/cmd/{USER}/{}", args[0]);
    (child, ear.wait(args[0], |t, _| t == topic))
}

fn answered(broker: &Mosquitto, child: Child, asked: &Value, more: &Value) -> Ran {
    let txid = asked["txid"].as_str().expect("txid");
    let mut answer = json!({ "txid": txid, "status": "ok" });
    let fields = more.as_object().expect("an object").clone();
    answer.as_object_mut().expect("an object").extend(fields);
    let topic = format!("{ROOT}/cmd/res/{USER}/{txid}");
    broker.publish(&topic, answer.to_string(), &["-q", "1"]);
    child.wait_with_output().expect("wait").into()
}

/// A command says what is to be done, and prints what came of it.
#[test]
fn commands_are_sent_and_answered() {
    let broker = Mosquitto::open();
    let mut ear = Listener::new(&broker);
    let (child, asked) = commanded(&broker, &mut ear, &["privacy", "line", "on"]);
    assert_eq!((&asked["feed"], &asked["on"]), (&json!("line"), &json!(true)));
    assert!(asked["expires"].is_string(), "{asked}");
    let ran = answered(&broker, child, &asked, &json!({ "state": "paused" })).ended(0);
    assert_eq!(ran.out, "privacy: done\nstate: paused\n");
    let (child, asked) = commanded(&broker, &mut ear, &["write", "speed", "-5"]);
    assert_eq!((&asked["tag"], &asked["value"]), (&json!("speed"), &json!(-5)));
    let no = json!({ "status": "refused", "reason": "out of range", "remedy": "0 to 100" });
    let ran = answered(&broker, child, &asked, &no).ended(3);
    assert_eq!(ran.err, "write: refused: out of range; 0 to 100\n");
    let (child, asked) = commanded(&broker, &mut ear, &["logs", "--lines", "2"]);
    let lines = json!({ "lines": ["one", "two"] });
    assert_eq!(answered(&broker, child, &asked, &lines).ended(0).out, "one\ntwo\n");
}

/// A snapshot's picture is in the file that was named.
#[test]
fn a_snapshot_is_saved() {
    let broker = Mosquitto::open();
    let mut ear = Listener::new(&broker);
    let path = broker.file("line.jpg");
    let args = ["snapshot", "line", "-o", path.to_str().expect("path")];
    let (child, asked) = commanded(&broker, &mut ear, &args);
    let topic = format!("{ROOT}/cmd/res/{USER}/{}/jpeg", asked["txid"].as_str().expect("txid"));
    broker.publish(&topic, b"\xff\xd8\xff", &["-q", "1"]);
    let size = json!({ "width": 640, "height": 360 });
    let ran = answered(&broker, child, &asked, &size).ended(0);
    assert!(ran.out.ends_with("line.jpg: 3 bytes, 640 x 360\n"), "{}", ran.out);
    assert_eq!(std::fs::read(path).expect("picture"), b"\xff\xd8\xff");
}

/// Nobody there is told apart from a no, and says what to look at.
#[test]
fn silence_has_a_code_of_its_own() {
    let broker = Mosquitto::open();
    for args in [&["identify"][..], &["get"], &["state"], &["discover"]] {
        let within = ["--within", "1"];
        let ran = Ran::from(tool(broker.port, &[args, &within].concat()).output().expect("ctl"));
        let err = &ran.ended(4).err;
        assert!(err.contains("within 1s") && !err.contains('\u{1b}'), "{args:?}: {err}");
    }
    let nobody = Ran::from(tool(9, &["state"]).output().expect("ctl")).ended(4);
    assert!(nobody.err.contains("broker 127.0.0.1:9: "), "{}", nobody.err);
    assert!(nobody.err.contains("--broker"), "{}", nobody.err);
}

/// What is wrong with the arguments is said without a broker.
#[test]
fn bad_arguments_are_named() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
        command.arg("ctl").args(args).env("XDG_CONFIG_HOME", "/nonexistent");
        Ran::from(command.output().expect("floorcast ctl"))
    };
    assert!(run(&["state"]).ended(2).err.contains("FLOORCAST_BROKER"));
    assert!(run(&["--broker", "mqtt://a", "state"]).ended(2).err.contains("--box SITE/BOX"));
    let get = run(&["--broker", "mqtt://a", "--box", "a/b", "get"]).ended(2);
    assert!(get.err.contains("--user"), "{}", get.err);
    let apply = run(&["--broker", "mqtt://a", "apply", "/no/such.toml"]).ended(2);
    assert!(apply.err.contains("'/no/such.toml' for '<FILE>': No such file"), "{}", apply.err);
    assert!(run(&["--help"]).ended(0).out.contains("4  no broker, or no answer"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).ended(0).out.contains("snapshot"));
    }
}
