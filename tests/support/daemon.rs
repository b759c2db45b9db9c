//! The daemon as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Whoever starts it knows that it will open no page.
pub const NO_PAGE: &str = "FLOORCAST_TEST_NO_PAGE";

/// A running daemon; dropping it kills it.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// `http://127.0.0.1:8080/`
    pub page: String,
    /// `http://127.0.0.1:9184/metrics`
    pub metrics: String,
    config: Option<tempfile::NamedTempFile>,
}

impl Daemon {
    /// `floorcast run` with this configuration, on air within 30 s.
    pub fn run(config: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(config.as_bytes()).expect("write the configuration");
        let path = file.path().to_owned();
        let mut daemon = Self::start(&["run", "--config", path.to_str().expect("path")]);
        daemon.config = Some(file);
        daemon
    }

    /// `floorcast run` with a first revision and a directory for those to come.
    #[allow(dead_code)]
    pub fn with_state(config: &str, state: &Path, env: &[(&str, &str)]) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(config.as_bytes()).expect("write the configuration");
        let path = file.path().to_owned();
        let [path, state] = [&path, state].map(|p| p.to_str().expect("path"));
        let mut daemon = Self::start_in(&["run", "--config", path, "--state", state], env);
        daemon.config = Some(file);
        daemon
    }

    /// As [`Self::with_state`], not waiting for a page.
    #[allow(dead_code)]
    pub fn without_page(config: &str, state: &Path) -> Self {
        Self::with_state(config, state, &[(NO_PAGE, "")])
    }

    /// The binary with these arguments, on air within 30 s.
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(args, &[])
    }

    /// The same with more in its environment.
    pub fn start_in(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floorcast"))
            .args(args)
            // Of whoever runs the tests.
            .env_remove("RUNTIME_DIRECTORY")
            .envs(env.iter().copied())
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the daemon");
        let (tx, lines) = channel();
        let out = child.stdout.take().expect("stdout");
        let err = child.stderr.take().expect("stderr");
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let tx = tx.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // The test may have ended: then nobody reads.
                    let _ = tx.send(line);
                }
            });
        }
        let mut daemon = Self {
            child,
            lines,
            seen: Vec::new(),
            page: String::new(),
            metrics: String::new(),
            config: None,
        };
        if env.iter().any(|(name, _)| *name == NO_PAGE) {
            return daemon;
        }
        let after = |line: &str, what: &str| line.strip_prefix(what).map(str::to_owned);
        daemon.metrics = daemon.line(Duration::from_secs(30), |l| after(l, "metrics: "));
        daemon.page = daemon.line(Duration::from_secs(30), |l| after(l, "on air: "));
        daemon
    }

    /// Writes another configuration in place of its own, and tells it with SIGHUP.
    #[allow(dead_code)]
    pub fn reload(&self, config: &str) {
        let file = self.config.as_ref().expect("a daemon with a file");
        std::fs::write(file.path(), config).expect("write the configuration");
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().expect("kill");
        assert!(sent.success(), "kill -HUP: {sent}");
    }

    /// Waits for an output line that `pick` accepts; fails with the whole log
    /// at the deadline or when the daemon ends. Earlier lines count too.
    pub fn line<T>(&mut self, within: Duration, pick: impl Fn(&str) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(|l| pick(l)) {
            return found;
        }
        let deadline = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = pick(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(why) => {
                    let what = match why {
                        RecvTimeoutError::Timeout => "the line did not come in time",
                        RecvTimeoutError::Disconnected => "the daemon ended",
                    };
                    panic!("{what}; its output:\n{}", self.seen.join("\n"));
                }
            }
        }
    }

    /// As [`Self::line`], but only lines after one that contains `mark` count.
    #[allow(dead_code)]
    pub fn line_after<T>(
        &mut self,
        within: Duration,
        mark: &str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.line(within, |line| line.contains(mark).then_some(()));
        let at = self.seen.iter().position(|line| line.contains(mark)).unwrap_or_default();
        let before = self.seen.drain(..=at).collect::<Vec<_>>();
        let found = self.line(within, pick);
        self.seen.splice(0..0, before);
        found
    }

    /// True once the process has ended.
    #[allow(dead_code)]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Waits until it has ended by itself.
    #[allow(dead_code)]
    pub fn ended(mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            let seen = self.seen.join("\n");
            assert!(Instant::now() < deadline, "still running; its output:\n{seen}");
            // The output closes when the process ends: that is the event.
            let _ = self.lines.recv_timeout(Duration::from_millis(20)).map(|l| self.seen.push(l));
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, then its exit status and how long it took; at most `within`.
    pub fn terminate(mut self, within: Duration) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(sent.success(), "SIGTERM was not delivered");
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return (status, began.elapsed());
            }
            assert!(
                began.elapsed() < within,
                "still running {within:?} after SIGTERM; its output:\n{}",
                self.seen.join("\n")
            );
            // The output closes when the process ends: that is the event.
            let _ = self.lines.recv_timeout(Duration::from_millis(20)).map(|l| self.seen.push(l));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
