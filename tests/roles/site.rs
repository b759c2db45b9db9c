//! A site with people and boxes, and its brokers as they are shipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::mosquitto::{program, shell};
use crate::support::peer::{Peer, free_port, python, script, wait_port};

/// What becomes of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not let in.
    Refused,
    /// What it could write and read, sorted.
    In { wrote: Vec<String>, read: Vec<String> },
}

/// A site; dropping it ends its brokers.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub port: u16,
    broker: Option<Peer>,
}

/// `floorcast pki` with these arguments, in a directory.
pub fn pki(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
    command.arg("pki").args(args).current_dir(dir);
    command.output().expect("floorcast pki")
}

/// The same, which must succeed; its output.
pub fn made(dir: &Path, args: &[&str]) -> String {
    let out = pki(dir, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

impl Site {
    /// Keys for everybody, made; no broker runs yet.
    pub fn prepared() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = dir.path();
        made(at, &["init", "--site", "amber-works"]);
        made(at, &["broker", "--name", "mqtt.example"]);
        for id in ["line-1", "line-2"] {
            made(at, &["box", "--id", id]);
        }
        let users = [
            ("vic", "viewer"),
            ("tom", "technician"),
            ("eva", "engineer"),
            ("rex", "engineer"),
            // A person who is called like a box, and one with the rights to make the attack known.
            ("line-1", "technician"),
            ("other", "viewer"),
        ];
        for (name, role) in users {
            made(at, &["user", name, "--role", role]);
        }
        made(at, &["revoke", "rex"]);
        std::fs::create_dir(at.join("etc")).expect("etc");
        let mut site = Self { dir, port: free_port(), broker: None };
        site.install();
        site
    }

    /// The site's broker, running.
    pub fn start() -> Self {
        let mut site = Self::prepared();
        site.broker = Some(site.run("mosquitto.conf", 8883, site.port));
        site
    }

    /// Brings to the broker what `configs/README.md` says, and the rights of
    /// `other`, who writes and reads everything.
    pub fn install(&mut self) {
        let line = "cp site-keys/ca.pem site-keys/ca.crl site-keys/acl site-keys/door.* etc/
            cp site-keys/broker-mqtt.example.pem etc/broker.pem
            cp site-keys/broker-mqtt.example.key etc/broker.key
            printf '\\nuser other\\ntopic readwrite #\\n' >> etc/acl";
        shell(self.dir.path(), line);
    }

    /// A broker with a shipped file, its paths and its port replaced. Where it
    /// runs as root it stays root: the directory is ours alone.
    pub fn run(&self, name: &str, shipped: u16, port: u16) -> Peer {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/mosquitto");
        let text = std::fs::read_to_string(root.join(name)).expect("shipped configuration");
        let at = self.dir.path();
        let text = text
            .replace("/etc/mosquitto/floorcast", &at.join("etc").display().to_string())
            .replace("/var/lib/mosquitto", &at.display().to_string())
            .replace("localhost:8883", &format!("localhost:{}", self.port))
            .replace(&format!("listener {shipped}\n"), &format!("listener {port} 127.0.0.1\n"))
            // That nothing of $SYS is readable is no news where there is none.
            .replace("sys_interval 0", "sys_interval 1");
        assert!(text.contains(&format!("listener {port} ")) && text.contains("sys_interval 1"));
        let acl = std::fs::read_to_string(root.join("door.acl")).expect("door.acl");
        std::fs::write(at.join("etc/door.acl"), acl + "\nuser other\ntopic readwrite #\n")
            .expect("door.acl");
        let file = at.join(name);
        std::fs::write(&file, text + "user root\n").expect("write");
        let mut command = program("mosquitto");
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let peer = Peer::start(&mut command, "mosquitto");
        wait_port(port, Duration::from_secs(10));
        peer
    }

    /// The site's broker's process.
    pub fn pid(&self) -> String {
        self.broker.as_ref().expect("running").0.id().to_string()
    }

    /// The site's broker reads its files anew.
    pub fn reload(&self) {
        let pid = self.pid();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().expect("kill");
        assert!(sent.success(), "kill -HUP: {sent}");
    }

    /// A file of the site's keys.
    pub fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join("site-keys").join(name)
    }

    /// A client of the site's broker, by the stem of its files.
    pub fn client(&self, stem: &str) -> Value {
        let (cert, key) = (self.key(&format!("{stem}.pem")), self.key(&format!("{stem}.key")));
        json!({ "port": self.port, "cert": cert, "key": key })
    }

    /// The topics of the wills that a broker published, of those that clients
    /// left behind one after the other; that of the last one must be among them.
    pub fn wills(&self, of: &[Value]) -> Vec<String> {
        let other = self.client("user-other");
        let answer = self.ask(&json!({ "ca": self.key("ca.pem"), "wills": of, "other": other }));
        serde_json::from_value(answer).expect("topics")
    }

    fn ask(&self, question: &Value) -> Value {
        let file = self.dir.path().join("question.json");
        std::fs::write(&file, question.to_string()).expect("question");
        let out = Command::new(python())
            .arg(script("acl_probe.py"))
            .stdin(std::fs::File::open(&file).expect("question"))
            .output()
            .expect("python");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).expect("answer")
    }

    /// Lets everybody try every topic; what became of each, in order.
    pub fn attack(&self, asked: &[(&str, Value, &Value)], topics: &[String]) -> Vec<Outcome> {
        let each = |(who, own, other): &(&str, Value, &Value)| json!({ "who": who, "as": own, "other": other });
        let question = json!({
            "ca": self.key("ca.pem"),
            "topics": topics,
            "filters": ["#", "+/+/+/+/+/+/+", "$SYS/#", "floorcast/#"],
            "asked": asked.iter().map(each).collect::<Vec<_>>(),
        });
        let answer = self.ask(&question);
        let list = |value: &Value| {
            let list = value.as_array().expect("list").iter();
            let mut list: Vec<String> =
                list.map(|topic| topic.as_str().expect("topic").to_owned()).collect();
            list.sort();
            list
        };
        let outcome = |who: &str| {
            let of = &answer[who];
            if of["refused"].is_string() {
                return Outcome::Refused;
            }
            let mut published = topics.to_vec();
            published.retain(|topic| !topic.starts_with('$'));
            published.sort();
            assert_eq!(list(&of["sent"]), published, "{who}: not all was there to be read");
            Outcome::In { wrote: list(&of["wrote"]), read: list(&of["read"]) }
        };
        asked.iter().map(|(who, ..)| outcome(who)).collect()
    }
}
