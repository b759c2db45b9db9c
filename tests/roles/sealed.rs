//! A box with a TPM: swtpm, by the libraries and the tool that a box has.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::adopt::{adopt, fresh, shown};
use crate::site::Site;
use crate::support::daemon::Daemon;
use crate::support::mosquitto::program;
use crate::support::peer::{Peer, free_port};

const WITHIN: Duration = Duration::from_secs(20);

/// A TPM of its own, and how a box finds it. Dropping it ends it.
fn tpm(dir: &Path) -> (Peer, String) {
    let (data, control) = (dir.join("tpm"), dir.join("tpm.ctrl"));
    let at = |kind: &str, path: &Path| format!("{kind},path={}", path.display());
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
    command.args(["--tpmstate", &format!("dir={}", dir.display())]);
    command.args(["--server", &at("type=unixio", &data), "--ctrl", &at("type=unixio", &control)]);
    let peer = Peer::start(command.stdout(Stdio::null()).stderr(Stdio::null()), "swtpm");
    let deadline = Instant::now() + WITHIN;
    while !(data.exists() && control.exists()) {
        assert!(Instant::now() < deadline, "swtpm does not listen");
        std::thread::yield_now();
    }
    (peer, format!("swtpm:path={}", data.display()))
}

/// Waits until the box `line-3` is online, or is not.
fn wait(site: &Site, online: bool) {
    let mut command = program("mosquitto_sub");
    command.args(["-h", "localhost", "-p", &site.port.to_string(), "-W", "20"]);
    command.arg("--cafile").arg(site.key("ca.pem")).arg("--cert").arg(site.key("user-eva.pem"));
    command.arg("--key").arg(site.key("user-eva.key")).stdout(Stdio::piped());
    command.args(["-t", "floorcast/v1/amber-works/line-3/state"]);
    let mut peer = Peer::start(&mut command, "mosquitto-clients");
    let said = std::io::BufReader::new(peer.0.stdout.take().expect("stdout"));
    let states = serde_json::Deserializer::from_reader(said).into_iter::<Value>();
    let came = states.map_while(Result::ok).any(|state| state["online"] == online);
    assert!(came, "the box's state did not become online: {online}");
}

/// Whether any file below a directory holds a private key that can be read.
fn holds_key(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("entry").path();
        let text = || std::fs::read(&path).expect("a file");
        match path.is_dir() {
            true => holds_key(&path),
            false => String::from_utf8_lossy(&text()).contains("PRIVATE KEY"),
        }
    })
}

/// The key is on no disk: the box that is adopted dials with what its TPM opens, again after a
/// restart; with another TPM it is not the box any more, and says so.
#[test]
fn a_tpm_keeps_the_key() {
    let site = Site::start();
    let door = free_port();
    let _door = site.run("door.conf", 8884, door);
    let [state, one, other] = [(); 3].map(|()| tempfile::tempdir().expect("temporary directory"));
    let (_tpm, device) = tpm(one.path());
    let start = |device: &str| {
        let tpm = [("FLOORCAST_TPM", device)];
        Daemon::with_state(&fresh(&site, door), state.path(), &tpm)
    };
    let mut daemon = start(&device);
    let serial = daemon.line(WITHIN, |line| shown(line, "serial="));
    assert_eq!(daemon.line(WITHIN, |line| shown(line, "key=")), "tpm");
    let install = format!("cp site-keys/acl etc/acl && kill -HUP {}", site.pid());
    let (ended, out, err) = adopt(&site, &[&serial, "line-3", "--yes", "--install", &install]);
    assert_eq!(ended, Some(0), "{out}{err}");
    assert!(err.contains("key sealed by its TPM"), "{err}");
    assert!(!holds_key(state.path()), "the key is on disk");
    drop(daemon);
    wait(&site, false);

    let again = start(&device);
    wait(&site, true);
    drop(again);

    let (_other, stranger) = tpm(other.path());
    let mut daemon = start(&stranger);
    let said = daemon.line(WITHIN, |line| {
        line.contains("this box's TPM does not open it").then(|| line.to_owned())
    });
    assert!(said.contains("key_file") && said.contains("box.key.sealed"), "{said}");
}

/// Any secret: a person's key is sealed by the tool and opened where a key is read, by the same TPM
/// and under its own name only.
#[test]
fn a_secret_is_sealed_by_hand() {
    let site = Site::start();
    let chip = tempfile::tempdir().expect("temporary directory");
    let (_tpm, device) = tpm(chip.path());
    let floorcast = |args: &[&str], input: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
        command.args(args).env("FLOORCAST_TPM", &device).stdin(input);
        let out = command.current_dir(site.dir.path()).output().expect("floorcast");
        (out.status.code(), String::from_utf8(out.stderr).expect("text"))
    };
    let key = || Stdio::from(std::fs::File::open(site.key("user-vic.key")).expect("the key"));
    for (name, input, words) in [
        ("vic.key", key(), "use a name that ends in .sealed"),
        ("vic.sealed", Stdio::null(), "nothing came on standard input"),
        ("none/vic.sealed", key(), "write ./none/vic.sealed"),
    ] {
        let (ended, said) = floorcast(&["seal", name], input);
        assert!(ended == Some(1) && said.contains(words), "{name}: {ended:?}: {said}");
    }
    assert_eq!(floorcast(&["seal", "vic.sealed"], key()), (Some(0), String::new()));
    let stored = std::fs::read_to_string(site.dir.path().join("vic.sealed")).expect("text");
    assert!(!stored.contains("PRIVATE KEY"), "{stored}");
    let broker = format!("mqtts://localhost:{}", site.port);
    let look = |key: &str| {
        let near = ["ctl", "--broker", &broker, "--box", "amber-works/line-2", "--within", "1"];
        let own = ["--ca", "site-keys/ca.pem", "--cert", "site-keys/user-vic.pem", "--key", key];
        floorcast(&[&near[..], &own, &["state"]].concat(), Stdio::null())
    };
    let (ended, said) = look("vic.sealed");
    assert!(ended == Some(4) && said.contains("no state within"), "{said}");
    std::fs::copy(site.dir.path().join("vic.sealed"), site.dir.path().join("x.sealed"))
        .expect("copy");
    let bogus = r#"{"public":[1],"private":[2],"secret":[3]}"#;
    std::fs::write(site.dir.path().join("bogus.sealed"), bogus).expect("write");
    let (_, said) = look("bogus.sealed");
    assert!(said.contains("does not open it: tpm2_load: ERROR"), "{said}");
    let (_, said) = look("x.sealed");
    assert!(said.contains("changed, or of another name"), "{said}");
}
