//! RabbitMQ with its MQTT plugin.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::mosquitto::{Broker, program};
use super::peer::{Peer, free_port, wait_port};

/// Debian's own: without the script in `/usr/sbin` that wants another user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A busy machine takes its time over it.
const START: Duration = Duration::from_secs(180);

/// One node at a time: each takes much of a small machine while it starts.
static ONE: Mutex<()> = Mutex::new(());

/// A node with its own directory and ports, and the port mapper that it needs; dropping
/// it kills both.
pub struct RabbitMq {
    port: u16,
    /// Its files.
    pub dir: tempfile::TempDir,
    /// Of the mapper, and of one node to the other.
    erlang: [u16; 2],
    _mapper: Peer,
    node: Option<Peer>,
    _alone: MutexGuard<'static, ()>,
}

impl Broker for RabbitMq {
    fn port(&self) -> u16 {
        self.port
    }
}

impl RabbitMq {
    /// Open to all, and what it keeps is on disk.
    pub fn open() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (port, own) = (free_port(), free_port());
        let config = format!(
            "listeners.tcp.default = 127.0.0.1:{own}\n\
             mqtt.listeners.tcp.default = 127.0.0.1:{port}\nmqtt.allow_anonymous = true\n"
        );
        Self::with(dir, port, &config, "[rabbitmq_mqtt].\n")
    }

    /// With this configuration, which has `port` for MQTT, and these plugins.
    pub fn with(dir: tempfile::TempDir, port: u16, config: &str, plugins: &str) -> Self {
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let config = format!("{config}\nlog.console = true\nlog.file = false\n");
        for (name, text) in [("rabbitmq.conf", config.as_str()), ("enabled_plugins", plugins)] {
            std::fs::write(dir.path().join(name), text).expect(name);
        }
        let erlang = [free_port(), free_port()];
        let mut mapper = program("epmd");
        mapper.args(["-address", "127.0.0.1", "-port", &erlang[0].to_string()]);
        mapper.stdout(Stdio::null()).stderr(Stdio::null());
        let mapper = Peer::start(&mut mapper, "rabbitmq-server");
        wait_port(erlang[0], Duration::from_secs(10));
        let mut broker = Self { port, dir, erlang, _mapper: mapper, node: None, _alone: alone };
        broker.start();
        broker
    }

    /// Starts it, on the same port if it ran before.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("log");
        let before = self.starts();
        let dir = self.dir.path();
        let [mapper, own] = self.erlang;
        let mut command = Command::new(SERVER);
        command
            .env("HOME", dir)
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("RABBITMQ_DIST_PORT", own.to_string())
            .env("RABBITMQ_NODENAME", format!("floor-{own}@localhost"))
            .env("RABBITMQ_MNESIA_BASE", dir.join("store"))
            .env("RABBITMQ_LOG_BASE", dir)
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            // Its schedulers do not spin while they wait: the box has work to do.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none")
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            // A script and the machine that it starts: ended together.
            .process_group(0);
        self.node = Some(Peer::start(&mut command, "rabbitmq-server"));
        let deadline = Instant::now() + START;
        // Its ports are open before it knows its users.
        while self.starts() == before {
            assert!(Instant::now() < deadline, "RabbitMQ did not start within {START:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        wait_port(self.port, Duration::from_secs(10));
    }

    /// How often it has started.
    fn starts(&self) -> usize {
        let log = std::fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("Server startup complete").count()
    }

    /// SIGKILL, to all of it.
    pub fn kill(&mut self) {
        if let Some(node) = self.node.take() {
            let group = format!("-{}", node.0.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        }
    }

    /// What it says.
    pub fn log(&self) -> PathBuf {
        Path::new(self.dir.path()).join("log")
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}
