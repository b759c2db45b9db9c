//! Programs nobody here wrote, as peers.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A child process that is killed when dropped.
pub struct Peer(pub Child);

impl Peer {
    /// Starts `command`; `what` says what to install where it is missing.
    pub fn start(command: &mut Command, what: &str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{name}: {error}; the test needs {what}: run scripts/setup"),
        }
    }

    /// SIGKILL, and wait.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP port of 127.0.0.1 that was free a moment ago: below those that the kernel gives to who
/// asks for any (`ip_local_port_range`), and each only once in a process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 20_000..32_768;
    let free = |_| {
        let n = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = (PORTS.start + n % PORTS.len() as u32) as u16;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    };
    (0..PORTS.len()).find_map(free).expect("a free port")
}

/// Leads from one port of 127.0.0.1 to another from now on.
pub fn relay(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).expect("bind");
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (back, there) = (near.try_clone().expect("near"), far.try_clone().expect("far"));
            for (mut from, mut to) in [(near, there), (far, back)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    // Who hangs up here hangs up there.
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
}

/// Waits until something accepts on this port of 127.0.0.1.
pub fn wait_port(port: u16, within: Duration) {
    let deadline = Instant::now() + within;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port} after {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The Python that has the peers of `tests/peers/requirements.txt`.
pub fn python() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/python");
    assert!(path.exists(), "{} is missing: run scripts/setup", path.display());
    path
}

/// A file of `tests/peers/`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Starts mosquitto on `port` of 127.0.0.1, open to all, and waits for it.
pub fn mosquitto(port: u16) -> Peer {
    let dir = tempfile::tempdir().expect("temporary directory").keep();
    let conf = dir.join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    std::fs::write(&conf, text).expect("write mosquitto.conf");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut command = Command::new("mosquitto");
    command.env("PATH", path).arg("-c").arg(conf).stderr(Stdio::null()).stdout(Stdio::null());
    let peer = Peer::start(&mut command, "mosquitto");
    wait_port(port, Duration::from_secs(10));
    peer
}
