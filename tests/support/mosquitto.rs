//! mosquitto: a broker and a publisher that nobody here wrote.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::peer::{Peer, free_port, wait_port};

/// A broker of any make, for mosquitto's own tools.
pub trait Broker {
    /// Of 127.0.0.1.
    fn port(&self) -> u16;

    /// Options that mosquitto's tools need to get in.
    fn options(&self) -> &[String] {
        &[]
    }

    /// Publishes with `mosquitto_pub`: `more` are its own options, such as `-r`.
    fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, more: &[&str]) {
        let payload = payload.as_ref();
        let source = if payload.is_empty() { "-n" } else { "-s" };
        pipe(self, topic, payload, &[more, &[source]].concat());
    }
}

impl Broker for Mosquitto {
    fn port(&self) -> u16 {
        self.port
    }

    fn options(&self) -> &[String] {
        &self.publisher
    }
}

/// A broker with its own directory and port; dropping it kills it.
pub struct Mosquitto {
    pub port: u16,
    pub dir: tempfile::TempDir,
    /// Options that `mosquitto_pub` needs to get in.
    pub publisher: Vec<String>,
    process: Option<Peer>,
}

impl Mosquitto {
    /// Open to all.
    pub fn open() -> Self {
        Self::with(|_, _| String::from("allow_anonymous true\n"))
    }

    /// With more configuration, which may use the directory and prepare it.
    /// It stays root where it is run as root: the directory is ours alone.
    pub fn with(more: impl FnOnce(&Path, u16) -> String) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let port = free_port();
        let more = more(dir.path(), port);
        let text = format!("listener {port} 127.0.0.1\nuser root\n{more}");
        std::fs::write(dir.path().join("mosquitto.conf"), text).expect("write mosquitto.conf");
        let mut broker = Self { port, dir, publisher: Vec::new(), process: None };
        broker.start();
        broker
    }

    /// Starts it, on the same port if it ran before.
    pub fn start(&mut self) {
        let mut command = program("mosquitto");
        command.arg("-c").arg(self.dir.path().join("mosquitto.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Peer::start(&mut command, "mosquitto"));
        wait_port(self.port, Duration::from_secs(10));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits until it has stored what it keeps.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        let mut process = self.process.take().expect("running");
        process.0.wait().expect("wait");
    }

    /// Sends a signal by name: `STOP`, `CONT`, `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("running").0.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill");
        assert!(sent.success(), "{name} was not delivered");
    }

    /// A file in the broker's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As of every [`Broker`].
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, options: &[&str]) {
        Broker::publish(self, topic, payload, options);
    }

    /// Publishes every line as a message of its own.
    pub fn publish_lines(&self, topic: &str, lines: &str) {
        pipe(self, topic, lines.as_bytes(), &["-l"]);
    }
}

fn pipe(broker: &(impl Broker + ?Sized), topic: &str, input: &[u8], options: &[&str]) {
    let mut command = program("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-t", topic]);
    command.args(broker.options()).args(options).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("mosquitto_pub: {error}; the test needs mosquitto-clients: run scripts/setup")
    });
    // With -n it may be gone before it is given nothing.
    let _ = child.stdin.take().expect("stdin").write_all(input);
    assert!(child.wait().expect("wait").success(), "mosquitto_pub failed for {topic}");
}

/// A program that Debian may keep in `/usr/sbin`.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin");
    command
}

/// Runs a command line to its end; panics with its output if it fails.
pub fn shell(dir: &Path, line: &str) {
    let out = Command::new("sh")
        .args(["-ec", line])
        .current_dir(dir)
        .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin")
        .output()
        .expect("sh");
    assert!(out.status.success(), "{line}\n{}", String::from_utf8_lossy(&out.stderr));
}
