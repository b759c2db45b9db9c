//! A broker, a box that is set up over it, and somebody who listens to all of it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::mosquitto::{Broker, Mosquitto, program};
use crate::support::peer::{Peer, free_port};

/// Longer than anything here takes.
pub const SOON: Duration = Duration::from_secs(30);

/// How often to look whether it is over.
const GLANCE: Duration = Duration::from_millis(20);

/// Under which the box of these tests is set up.
pub const ROOT: &str = "floorcast/v1/works/line-2";

/// Who asks in these tests.
pub const USER: &str = "li";

/// Somebody who listens to everything at a broker.
pub struct Listener {
    _process: Peer,
    lines: Receiver<(String, Value)>,
    granted: Receiver<()>,
    /// What came, in order.
    pub heard: Vec<(String, Value)>,
    /// Where the next wait begins.
    from: usize,
}

impl Listener {
    pub fn new(broker: &impl Broker) -> Self {
        Self::with(broker, &["-t", "floorcast/#"]).subscribed()
    }

    /// With other options of `mosquitto_sub`. A broker may refuse what it asks for.
    pub fn with(broker: &impl Broker, options: &[&str]) -> Self {
        // It says what it does (-d) as it does it (stdbuf).
        let mut command = program("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d"]);
        command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1"]);
        // A JPEG is no line of text.
        command.args(["-T", "+/+/+/+/cmd/res/+/+/jpeg"]);
        command.args(["-F", "%t %p"]).args(broker.options()).args(options);
        command.stdout(Stdio::piped());
        let mut process = Peer::start(&mut command, "mosquitto-clients");
        let out = process.0.stdout.take().expect("stdout");
        let ((tx, lines), (grant, granted)) = (channel(), channel());
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.starts_with("Subscribed (mid") {
                    let _ = grant.send(());
                }
                if !line.starts_with("floorcast/") {
                    continue;
                }
                let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
                let payload = serde_json::from_str(payload).unwrap_or(Value::Null);
                // The test may have ended: then nobody reads.
                let _ = tx.send((topic.to_owned(), payload));
            }
        });
        Self { _process: process, lines, granted, heard: Vec::new(), from: 0 }
    }

    /// Waits until the broker has granted what it asks for: what the next line of a test sends is
    /// heard, and RabbitMQ does not send by a wildcard later what it has stored.
    pub fn subscribed(self) -> Self {
        self.granted.recv_timeout(SOON).expect("subscribed");
        self
    }

    /// Waits for a message that `pick` accepts, among those after the last one found.
    pub fn wait(&mut self, what: &str, pick: impl Fn(&str, &Value) -> bool) -> Value {
        self.wait_unless(what, pick, || false).expect("it came")
    }

    /// The same; `None` if `over` before it came.
    pub fn wait_unless(
        &mut self,
        what: &str,
        pick: impl Fn(&str, &Value) -> bool,
        mut over: impl FnMut() -> bool,
    ) -> Option<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            while let Some((topic, payload)) = self.heard.get(self.from) {
                self.from += 1;
                if pick(topic, payload) {
                    return Some(payload.clone());
                }
            }
            assert!(Instant::now() < deadline, "{what}: did not come; {}", self.all());
            match self.lines.recv_timeout(GLANCE) {
                Ok(heard) => self.heard.push(heard),
                Err(_) if over() => return None,
                Err(_) => {}
            }
        }
    }

    /// Where the next wait begins: behind what was found last.
    pub fn here(&self) -> usize {
        self.from
    }

    /// Where the next message will stand.
    pub fn mark(&mut self) -> usize {
        self.so_far().len()
    }

    /// The next wait begins here: what is told on several topics comes in any order.
    pub fn rewind(&mut self, mark: usize) {
        self.from = mark;
    }

    /// What has come by now.
    pub fn so_far(&mut self) -> &[(String, Value)] {
        self.heard.extend(self.lines.try_iter());
        &self.heard
    }

    /// What was heard, telemetry left out.
    fn all(&self) -> String {
        let tele = format!("{ROOT}/tele");
        let all = self.heard.iter().filter(|(t, _)| !t.starts_with(&tele));
        let all: Vec<_> = all.map(|(t, p)| format!("{t} {p}")).collect();
        format!("heard:\n{}", all.join("\n"))
    }

    /// The next answer to a request, of this status.
    pub fn reply(&mut self, txid: &str, status: &str) -> Value {
        let topic = format!("{ROOT}/cfg/res/{USER}/{txid}");
        self.wait(&format!("{txid}: {status}"), |t, p| t == topic && p["status"] == status)
    }
}

impl Listener {
    /// The next answer to a command.
    pub fn answer(&mut self, txid: &str) -> Value {
        let topic = format!("{ROOT}/cmd/res/{USER}/{txid}");
        self.wait(&format!("{txid}: an answer"), |t, _| t == topic)
    }
}

/// A broker, a box and a listener.
pub struct Site<B = Mosquitto> {
    pub broker: B,
    pub state: tempfile::TempDir,
    pub seed: String,
    pub daemon: Option<Daemon>,
    pub ear: Listener,
    first: Value,
    next: u32,
}

impl Site {
    /// A box with two cameras and a bus of the demo line, on air and in session.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with another first document.
    pub fn with(edit: impl FnOnce(&mut Value)) -> Self {
        Self::at(Mosquitto::open(), edit)
    }
}

impl<B: Broker> Site<B> {
    /// A box with two cameras and a bus of the demo line, unless `edit` makes it another,
    /// on air and in session at this broker.
    pub fn at(broker: B, edit: impl FnOnce(&mut Value)) -> Self {
        let mut first = document(broker.port(), free_port());
        edit(&mut first);
        let seed = toml::to_string(&first).expect("TOML");
        let state = tempfile::tempdir().expect("temporary directory");
        let ear = Listener::new(&broker);
        let mut site = Self { broker, state, seed, first, daemon: None, ear, next: 0 };
        site.start(&[]);
        site
    }

    /// Starts the box and waits until it is in session.
    pub fn start(&mut self, env: &[(&str, &str)]) {
        self.forget();
        self.daemon = Some(Daemon::with_state(&self.seed, self.state.path(), env));
        self.ear.wait("online", |t, p| t.ends_with("/state") && p["online"] == true);
    }

    /// What the box before it said is over: waits until the broker has seen it go, and begins
    /// to listen from there, so that its `online` is not taken for that of the next one.
    fn forget(&mut self) {
        let online = |t: &str, p: &Value, is| t.ends_with("/state") && p["online"] == is;
        // Looked at once: what comes a moment later is to be waited for.
        let heard = self.ear.so_far();
        let said = heard.iter().rev().find(|(t, _)| t.ends_with("/state"));
        let (there, mark) = (said.is_some_and(|(t, p)| online(t, p, true)), heard.len());
        self.ear.rewind(mark);
        if there {
            self.ear.wait("offline", |t, p| online(t, p, false));
        }
    }

    /// Starts a box afresh from a document under which it opens no page.
    pub fn restart_from(&mut self, document: &Value) {
        self.state = tempfile::tempdir().expect("temporary directory");
        let seed = toml::to_string(document).expect("TOML");
        self.forget();
        self.daemon = Some(Daemon::without_page(&seed, self.state.path()));
        self.ear.wait("online", |t, p| t.ends_with("/state") && p["online"] == true);
    }

    /// The document that the box started from.
    pub fn document(&self) -> Value {
        self.first.clone()
    }

    /// A txid that was not used.
    pub fn txid(&mut self, what: &str) -> String {
        self.next += 1;
        format!("{what}-{}", self.next)
    }

    /// Publishes a request as the technician.
    pub fn ask(&self, op: &str, request: &Value) {
        self.broker.publish(
            &format!("{ROOT}/cfg/req/{USER}/{op}"),
            request.to_string(),
            &["-q", "1"],
        );
    }

    /// Sends a command with a txid that was not used and ten minutes to go; its answer. The
    /// next wait begins where it was sent: what it changed may be told before its answer.
    pub fn command(&mut self, name: &str, mut fields: Value) -> Value {
        let txid = self.txid(name);
        fields["txid"] = json!(txid);
        fields["expires"] = json!(soon());
        let mark = self.ear.mark();
        self.send(name, &fields);
        let answer = self.ear.answer(&txid);
        self.ear.rewind(mark);
        answer
    }

    /// Publishes a command as the technician.
    pub fn send(&self, name: &str, command: &Value) {
        let topic = format!("{ROOT}/cmd/{USER}/{name}");
        self.broker.publish(&topic, command.to_string(), &["-q", "1"]);
    }

    /// Asks for a document; the txid.
    pub fn apply(&mut self, base: u64, document: &Value, confirm_s: u64) -> String {
        let txid = self.txid("apply");
        self.ask("apply", &apply(&txid, base, document, confirm_s));
        txid
    }

    /// Confirms a revision; the txid.
    pub fn confirm(&mut self, revision: u64) -> String {
        let txid = self.txid("confirm");
        self.ask("confirm", &json!({ "txid": txid, "revision": revision, "expires": soon() }));
        txid
    }
}

/// A request to apply a document.
pub fn apply(txid: &str, base: u64, document: &Value, confirm_s: u64) -> Value {
    json!({
        "txid": txid,
        "base": base,
        "document": document,
        "sha256": floorcast::control::change::document::sha256(document),
        "expires": soon(),
        "confirm_s": confirm_s,
    })
}

/// Ten minutes from now, RFC 3339.
pub fn soon() -> String {
    let out = program("date").args(["-u", "-d", "+10 minutes", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(out.expect("date").stdout).expect("text").trim().to_owned()
}

fn document(broker: u16, plc: u16) -> Value {
    let camera = |id: &str, port: &str| json!({ "id": id, "port": port, "width": 320, "height": 240, "fps": 25, "bitrate_kbps": 500 });
    json!({
        "box": { "site": "works", "id": "line-2" },
        "web": { "listen": "127.0.0.1:0", "media": "127.0.0.1:0" },
        "metrics": { "listen": "127.0.0.1:0" },
        "control": { "broker": [{ "url": format!("mqtt://127.0.0.1:{broker}"), "keep_alive_s": 5 }] },
        "camera": [camera("line", "sim:line"), camera("check", "sim:check")],
        "modbus": [{
            "id": "plc",
            "tcp": format!("127.0.0.1:{plc}"),
            "unit": [{ "id": 1, "period_ms": 100, "tag": [
                { "name": "tick", "table": "holding", "address": 0, "type": "u16", "public": true },
            ] }],
        }],
    })
}
