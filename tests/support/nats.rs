//! NATS with JetStream, as an MQTT broker.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mosquitto::{Broker, program};
use super::peer::{Peer, free_port, wait_port};

/// A server with its own directory and ports; dropping it kills it.
pub struct Nats {
    port: u16,
    /// Its files.
    pub dir: tempfile::TempDir,
    process: Option<Peer>,
}

impl Broker for Nats {
    fn port(&self) -> u16 {
        self.port
    }
}

impl Nats {
    /// Open to all, and what it keeps is on disk.
    pub fn open() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (port, own) = (free_port(), free_port());
        let text = format!(
            "server_name: floor\nlisten: 127.0.0.1:{own}\n\
             jetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: 127.0.0.1:{port} }}\n",
            dir.path().join("store").display()
        );
        Self::with(dir, port, &text)
    }

    /// With this configuration, which has `port` for MQTT.
    pub fn with(dir: tempfile::TempDir, port: u16, config: &str) -> Self {
        std::fs::write(dir.path().join("nats.conf"), config).expect("write nats.conf");
        let mut server = Self { port, dir, process: None };
        server.start();
        server
    }

    /// Starts it, on the same port if it ran before.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("log");
        let mut command = program("nats-server");
        command.arg("-c").arg(self.dir.path().join("nats.conf"));
        command.stdout(log.try_clone().expect("log")).stderr(log);
        self.process = Some(Peer::start(&mut command, "nats-server"));
        wait_port(self.port, Duration::from_secs(30));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What it says.
    pub fn log(&self) -> PathBuf {
        Path::new(self.dir.path()).join("log")
    }
}
