//! The examples of `configs/`, with real keys: a box in session, and rights that hold.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::{Listener, SOON};
use crate::support::daemon::Daemon;
use crate::support::mosquitto::{Broker, program};
use crate::support::nats::Nats;
use crate::support::peer::free_port;
use crate::support::rabbitmq::RabbitMq;

const BOX: &str = "floorcast/v1/amber-works/line-2";

/// A technician is answered and an engineer reads the audit; what a role may not write does
/// not arrive, and what it may not read is not delivered.
fn holds(broker: &impl Broker, keys: &Path) {
    let may = |name: &'static str| As { broker, options: options(keys, name) };
    let [ana, tom, li] = ["ana", "tom", "li"].map(may);
    let states = "floorcast/v1/amber-works/+/state";
    let replies = |name: &str| format!("{BOX}/cfg/res/{name}/+");
    let hears = |who, topics: &[&str]| {
        let options: Vec<_> = topics.iter().flat_map(|topic| ["-t", topic]).collect();
        Listener::with(who, &options).subscribed()
    };
    let mut looks = hears(&ana, &[states, "floorcast/v1/amber-works/+/tele/#"]);
    let mut asks = hears(&tom, &[&replies("tom"), states]);
    let mut audits = hears(&li, &[&replies("li"), states, &format!("{BOX}/audit")]);
    // Refused by NATS, disconnected by RabbitMQ.
    let mut peeps = Listener::with(&ana, &["-t", &replies("tom")]);
    let state = tempfile::tempdir().expect("temporary directory");
    let _daemon = Daemon::with_state(&seed(broker.port(), keys), state.path(), &[]);
    for listener in [&mut looks, &mut asks, &mut audits] {
        listener.wait("online", |t, p| t.ends_with("/state") && p["online"] == true);
    }
    let get = |txid: &str| json!({ "txid": txid }).to_string();
    for (who, topic) in [
        (&ana, "cfg/req/ana/get"),
        (&ana, "cfg/req/tom/get"),
        (&tom, "cfg/req/li/get"),
        (&li, "cfg/req/tom/get"),
        (&tom, "cmd/tom/write"),
        (&tom, "cfg/desired"),
    ] {
        who.tries(&format!("{BOX}/{topic}"), &get("stolen"));
    }
    for (who, name, ear) in [(&tom, "tom", &mut asks), (&li, "li", &mut audits)] {
        who.publish(&format!("{BOX}/cfg/req/{name}/get"), get("own"), &["-q", "1"]);
        let own = format!("{BOX}/cfg/res/{name}/own");
        ear.wait("an answer", |t, p| t == own && p["status"] == "ok");
        let stolen = ear.heard.iter().find(|(topic, _)| topic.ends_with("/stolen"));
        assert_eq!(stolen, None, "{name}");
    }
    looks.wait("telemetry", |t, _| t.contains("/tele/"));
    assert_eq!(peeps.so_far(), [], "answers for somebody else");
}

/// A person with a key, and mosquitto's tools.
struct As<'a, B> {
    broker: &'a B,
    options: Vec<String>,
}

impl<B: Broker> Broker for As<'_, B> {
    fn port(&self) -> u16 {
        self.broker.port()
    }

    fn options(&self) -> &[String] {
        &self.options
    }
}

impl<B: Broker> As<'_, B> {
    /// Publishes; whether that is an error is up to the broker.
    fn tries(&self, topic: &str, payload: &str) {
        let mut command = program("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-q", "1"]);
        command.args(&self.options).args(["-t", topic, "-m", payload]);
        command.output().expect("mosquitto_pub");
    }
}

fn options(keys: &Path, name: &str) -> Vec<String> {
    let file = |name: &str| keys.join(name).display().to_string();
    let [cert, key] = ["pem", "key"].map(|end| file(&format!("user-{name}.{end}")));
    ["--cafile".into(), file("ca.pem"), "--cert".into(), cert, "--key".into(), key].into()
}

fn seed(port: u16, keys: &Path) -> String {
    let seed = json!({
        "box": { "site": "amber-works", "id": "line-2" },
        "web": { "listen": "127.0.0.1:0", "media": "127.0.0.1:0" },
        "metrics": { "listen": "127.0.0.1:0" },
        "control": { "broker": [{
            "url": format!("mqtts://127.0.0.1:{port}"),
            "ca_file": keys.join("ca.pem"),
            "cert_file": keys.join("box-line-2.pem"),
            "key_file": keys.join("box-line-2.key"),
        }] },
        "camera": [{ "id": "line", "port": "sim:line", "width": 320, "height": 240 }],
        "modbus": [{
            "id": "plc",
            "tcp": format!("127.0.0.1:{}", free_port()),
            "unit": [{ "id": 1, "tag": [
                { "name": "tick", "table": "holding", "address": 0, "type": "u16" },
            ] }],
        }],
    });
    toml::to_string(&seed).expect("TOML")
}

/// The keys of the site that the examples are for.
fn keys(dir: &Path) -> std::path::PathBuf {
    let pki = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
        let out = command.arg("pki").args(args).current_dir(dir).output().expect("floorcast pki");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    pki(&["init", "--site", "amber-works"]);
    pki(&["broker", "--name", "mqtt.example", "--address", "127.0.0.1"]);
    pki(&["box", "--id", "line-2"]);
    for (name, role) in [("ana", "viewer"), ("tom", "technician"), ("li", "engineer")] {
        pki(&["user", name, "--role", role]);
    }
    let keys = dir.join("site-keys");
    for end in ["pem", "key"] {
        let from = keys.join(format!("broker-mqtt.example.{end}"));
        std::fs::copy(from, keys.join(format!("broker.{end}"))).expect("the broker's own");
    }
    keys
}

/// A file of `configs/` with its places and ports replaced; each of them is there.
fn example(name: &str, replaced: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let mut text = std::fs::read_to_string(path).expect(name);
    for (here, there) in replaced {
        assert!(text.contains(here), "{name}: {here} is not there");
        text = text.replace(here, there);
    }
    text
}

/// `configs/nats/`: its rights hold.
#[test]
fn nats_keeps_to_the_roles() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let keys = keys(dir.path());
    let (port, own) = (free_port(), free_port());
    let config = example(
        "nats/nats.conf",
        &[
            ("/etc/nats/floorcast", keys.display().to_string()),
            ("/var/lib/nats", dir.path().join("store").display().to_string()),
            ("0.0.0.0:8883", format!("127.0.0.1:{port}")),
            ("127.0.0.1:4222", format!("127.0.0.1:{own}")),
        ],
    );
    holds(&Nats::with(dir, port, &config), &keys);
}

/// RabbitMQ after `configs/rabbitmq/`, with these rights.
fn rabbitmq(dir: tempfile::TempDir, keys: &Path, rights: &str) -> RabbitMq {
    let (port, own) = (free_port(), free_port());
    let definitions = dir.path().join("definitions.json");
    assert!(rights.contains("8883"), "the port's virtual host");
    std::fs::write(&definitions, rights.replace("8883", &port.to_string())).expect("definitions");
    let config = example(
        "rabbitmq/rabbitmq.conf",
        &[
            ("/etc/rabbitmq/floorcast", keys.display().to_string()),
            ("/etc/rabbitmq/definitions.json", definitions.display().to_string()),
            ("ssl.default = 8883", format!("ssl.default = 127.0.0.1:{port}")),
            ("127.0.0.1:5672", format!("127.0.0.1:{own}")),
        ],
    );
    RabbitMq::with(dir, port, &config, &example("rabbitmq/enabled_plugins", &[]))
}

/// `configs/rabbitmq/`: its rights hold.
#[test]
fn rabbitmq_keeps_to_the_roles() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let keys = keys(dir.path());
    holds(&rabbitmq(dir, &keys, &example("rabbitmq/definitions.json", &[])), &keys);
}

/// RabbitMQ ends a session where a right is lacking. A box that may not report its
/// configuration stops trying after a few, and a technician is answered.
#[test]
fn a_right_that_is_lacking_costs_that_topic_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let keys = keys(dir.path());
    let less = [(r"cfg\\.reported|cfg\\.res\\..+|cmd\\.res", r"cfg\\.res\\..+|cmd\\.res".into())];
    let broker = rabbitmq(dir, &keys, &example("rabbitmq/definitions.json", &less));
    let tom = As { broker: &broker, options: options(&keys, "tom") };
    let own = format!("{BOX}/cfg/res/tom/own");
    let mut asks = Listener::with(&tom, &["-t", &own]).subscribed();
    let state = tempfile::tempdir().expect("temporary directory");
    let mut daemon = Daemon::with_state(&seed(broker.port(), &keys), state.path(), &[]);
    // By MQTT 5, newer ones may say no instead.
    daemon.line(SOON, |line| {
        let told = line.contains("put aside for") || line.contains("not published: refused");
        told.then(|| assert!(line.contains("cfg/reported"), "{line}"))
    });
    let began = Instant::now();
    let answered = |asks: &mut Listener| {
        tom.publish(&format!("{BOX}/cfg/req/tom/get"), r#"{"txid":"own"}"#, &["-q", "1"]);
        let till = Instant::now() + Duration::from_secs(2);
        let is = |t: &str, p: &serde_json::Value| t == own && p["status"] == "ok";
        asks.wait_unless("an answer", is, || Instant::now() > till).is_some()
    };
    // The next session comes by itself; who asks before it does is not heard.
    while !answered(&mut asks) {
        assert!(began.elapsed() < SOON, "no answer");
    }
}
