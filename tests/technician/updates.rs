//! Updates: fetched from nginx, installed by RAUC, asked for over MQTT.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::ctl::ctl;
use crate::rig::{ROOT, Site};
use crate::support::mosquitto::program;
use crate::support::peer::{Peer, free_port, wait_port};
use crate::support::rauc::Rauc;

/// nginx over the files of a directory.
struct Shop {
    _process: Peer,
    port: u16,
}

fn nginx(dir: &Path) -> Shop {
    let (port, home) = (free_port(), dir.display());
    let config = format!(
        "daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log {home}/nginx.log;\n\
         events {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path {home}/t1;\n\
         proxy_temp_path {home}/t2;\nfastcgi_temp_path {home}/t3;\nuwsgi_temp_path {home}/t4;\n\
         scgi_temp_path {home}/t5;\nserver {{ listen 127.0.0.1:{port}; root {home}; }}\n}}\n"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).expect("nginx.conf");
    let mut command = program("nginx");
    command.arg("-c").arg(file).arg("-e").arg(dir.join("nginx.log"));
    let process = Peer::start(&mut command, "nginx-light");
    wait_port(port, Duration::from_secs(10));
    Shop { _process: process, port }
}

/// A line to `port` whose first connection breaks after so many bytes; what was asked for.
fn breaks_once(port: u16, after: usize) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let own = listener.local_addr().expect("address").port();
    let (asked, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (heard, count) = (heard.clone(), count.clone());
            std::thread::spawn(move || {
                let most =
                    if count.fetch_add(1, Ordering::SeqCst) == 0 { after } else { usize::MAX };
                pass(client, port, most, &heard);
            });
        }
    });
    (own, asked)
}

fn pass(mut client: TcpStream, port: u16, most: usize, heard: &Mutex<Vec<String>>) {
    let mut request = [0; 4096];
    let Ok(n) = client.read(&mut request) else { return };
    heard.lock().unwrap().push(String::from_utf8_lossy(&request[..n]).into());
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("nginx");
    server.write_all(&request[..n]).expect("ask");
    let (mut passed, mut part) = (0, [0; 8192]);
    while passed < most {
        let Ok(n @ 1..) = server.read(&mut part) else { break };
        if client.write_all(&part[..n]).is_err() {
            break;
        }
        passed += n;
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn sha256(file: &Path) -> String {
    let out = Command::new("sha256sum").arg(file).output().expect("sha256sum");
    String::from_utf8(out.stdout).expect("text")[..64].into()
}

/// A box in session whose bus has RAUC on it.
fn site(rauc: &Rauc) -> Site {
    let mut site = Site::new();
    fs::write(good_file(rauc), "").expect("good");
    start(&mut site, rauc, PATIENT);
    site
}

/// Longer than anything takes that a gate is waited for.
const PATIENT: &str = "60";
/// What is to run out does, once the box has said what it waits for.
const SHORT: &str = "15";

/// A slot that has not passed within so many seconds is given up.
fn start(site: &mut Site, rauc: &Rauc, gate_s: &str) {
    drop(site.daemon.take());
    let (bus, stick) = (rauc.address(), stick(rauc).display().to_string());
    let verdict = verdict_file(rauc).display().to_string();
    let good = good_file(rauc).display().to_string();
    // Without authorities, as on an image that has none: what is not https needs none.
    let authorities = rauc.dir.path().join("boot").display().to_string();
    site.start(&[
        ("DBUS_SYSTEM_BUS_ADDRESS", &bus),
        ("FLOORCAST_STICK", &stick),
        ("FLOORCAST_GOOD", &good),
        ("FLOORCAST_VERDICT", &verdict),
        ("FLOORCAST_GATE_S", gate_s),
        ("SSL_CERT_DIR", &authorities),
        ("SSL_CERT_FILE", "/nonexistent"),
    ]);
}

/// What the health gate makes when the slot that runs has passed.
fn good_file(rauc: &Rauc) -> PathBuf {
    rauc.dir.path().join("good")
}

/// What it writes about one that has not.
fn verdict_file(rauc: &Rauc) -> PathBuf {
    rauc.dir.path().join("verdict.json")
}

/// Where a stick is mounted, if there is one.
fn stick(rauc: &Rauc) -> PathBuf {
    rauc.dir.path().join("stick")
}

/// Puts a bundle on it.
fn plug(rauc: &Rauc, bundle: &Path) {
    let stick = stick(rauc);
    fs::create_dir_all(&stick).expect("stick");
    fs::copy(bundle, stick.join("copying")).expect("copy");
    fs::rename(stick.join("copying"), stick.join(bundle.file_name().unwrap())).expect("rename");
}

/// Waits until the stick's health says this.
fn stick_health(site: &mut Site, state: &str, word: &str) {
    let topic = format!("{ROOT}/health/stick");
    site.ear.wait(&format!("stick {state}: {word}"), |t, p| {
        let reason = p["reason"].as_str().unwrap_or_default();
        t == topic && p["state"] == state && reason.contains(word)
    });
}

/// Waits until the update's health says this.
fn health(site: &mut Site, code: &str, word: &str) {
    let topic = format!("{ROOT}/health/update");
    site.ear.wait(&format!("{code}: {word}"), |t, p| {
        let reason = p["reason"].as_str().unwrap_or_default();
        t == topic && p["code"] == code && reason.contains(word)
    });
}

/// What the daemon keeps of its update.
fn record(site: &Site) -> Value {
    let file = fs::read(site.state.path().join("update/update.json")).expect("record");
    serde_json::from_slice(&file).expect("JSON")
}

/// Ends the daemon, and leaves it another record.
fn left(site: &mut Site, edit: impl FnOnce(&mut Value)) {
    drop(site.daemon.take());
    let mut record = record(site);
    edit(&mut record);
    let file = site.state.path().join("update/update.json");
    fs::write(&file, record.to_string()).expect("record");
}

/// The box as it is after a restart, with slot `booted` running, which has passed or not; and
/// what the health gate has written of a slot.
fn restarted(site: &mut Site, rauc: &mut Rauc, booted: &str, passed: bool, verdict: Value) {
    left(site, |record| record["boot"] = json!("another boot"));
    if !verdict.is_null() {
        fs::write(verdict_file(rauc), verdict.to_string()).expect("verdict");
    }
    if !passed {
        fs::remove_file(good_file(rauc)).expect("not good yet");
    }
    rauc.boot(booted);
    // Only a verdict is there for a slot that is to be given up.
    let gives_up = !passed && !verdict.is_null();
    start(site, rauc, if gives_up { SHORT } else { PATIENT });
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id").trim().into()
}

/// Far away.
fn window() -> Value {
    json!({ "from": "2100-01-01T00:00:00Z", "to": "2100-01-02T00:00:00Z" })
}

/// A bundle from a file on the box.
fn wish(bundle: &Path, version: &str, window: Value) -> Value {
    json!({ "url": format!("file://{}", bundle.display()), "sha256": sha256(bundle),
        "version": version, "window": window })
}

/// A connection that breaks is taken up where it ended; the bundle is installed beside what
/// runs; the box waits for its window, and for its viewers unless it is told not to; and after
/// the restart the health gate's word counts.
#[test]
fn an_update_comes_to_the_other_slot() {
    let mut rauc = Rauc::open();
    let bundle = rauc.bundle("new.raucb", 7, "floorcast-test", "2.0", "");
    let shop = nginx(rauc.dir.path());
    let (port, asked) = breaks_once(shop.port, 300_000);
    let mut site = site(&rauc);
    let ask = json!({ "url": format!("http://127.0.0.1:{port}/new.raucb"),
        "sha256": sha256(&bundle), "version": "2.0", "window": window() });
    let answer = site.command("update", ask.clone());
    assert_eq!((&answer["status"], &answer["follow"]), (&json!("ok"), &json!("health/update")));
    health(&mut site, "waiting", "window opens at 2100");
    let requests = asked.lock().unwrap().clone();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(!requests[1].to_lowercase().contains("range: bytes=0-"), "{}", requests[1]);
    let written = fs::read(rauc.dir.path().join("slot-b")).expect("slot");
    let image = fs::read(rauc.dir.path().join("new.raucb.img")).expect("image");
    assert!(written.starts_with(&image), "the slot has the image");
    assert_eq!(rauc.primary(), "A", "a power cut does not open the window");

    let mut now = ask.clone();
    now.as_object_mut().unwrap().remove("window");
    now["force"] = json!(true);
    assert_eq!(site.command("update", now)["status"], "ok");
    // No systemd is on that bus to restart this machine.
    health(&mut site, "restarting", "login1");
    assert_eq!(asked.lock().unwrap().len(), 2, "what is on the slot is not fetched again");
    assert_eq!(rauc.primary(), "B");
    restarted(&mut site, &mut rauc, "B", false, Value::Null);
    health(&mut site, "proving", "2.0");
    fs::write(good_file(&rauc), "").expect("good");
    health(&mut site, "", "2.0 stays");
    assert_eq!(site.command("update", ask)["status"], "ok");
    assert_eq!(record(&site)["stage"], "done", "what stays is not installed again");
}

/// A box on whose other slot the bundle is, waiting for its window.
fn waiting(rauc: &Rauc) -> (Site, PathBuf) {
    let bundle = rauc.bundle("new.raucb", 6, "floorcast-test", "2.0", "");
    let mut site = site(rauc);
    assert_eq!(site.command("update", wish(&bundle, "2.0", window()))["status"], "ok");
    health(&mut site, "waiting", "window opens");
    (site, bundle)
}

/// A slot is written only while the one that runs has passed: it may be the only good one.
#[test]
fn nothing_is_installed_from_a_slot_on_trial() {
    let rauc = Rauc::open();
    let bundle = rauc.bundle("new.raucb", 4, "floorcast-test", "2.0", "");
    let mut site = site(&rauc);
    fs::remove_file(good_file(&rauc)).expect("on trial");
    assert_eq!(site.command("update", wish(&bundle, "2.0", window()))["status"], "ok");
    health(&mut site, "fetching", "still on trial itself");
    assert_eq!(rauc.primary(), "A");
    fs::write(good_file(&rauc), "").expect("good");
    health(&mut site, "waiting", "window opens");
    // One that never passes takes no update.
    start(&mut site, &rauc, SHORT);
    health(&mut site, "waiting", "window opens");
    fs::remove_file(good_file(&rauc)).expect("on trial");
    let other = rauc.bundle("other.raucb", 5, "floorcast-test", "2.1", "");
    rauc.starts_next("B");
    assert_eq!(site.command("update", wish(&other, "2.1", window()))["status"], "ok");
    assert_eq!(rauc.primary(), "A", "what waited is not started any more");
    health(&mut site, "failed", "was never found good itself");
}

/// Power that goes while an update waits for its window does not start it; whoever starts the
/// other slot by hand has begun its trial.
#[test]
fn a_power_cut_opens_no_window() {
    let mut rauc = Rauc::open();
    let (mut site, _) = waiting(&rauc);
    assert!(!site.state.path().join("update/bundle.raucb").exists(), "the slot has it");
    assert_eq!(rauc.primary(), "A");
    restarted(&mut site, &mut rauc, "A", true, Value::Null);
    health(&mut site, "waiting", "window opens");
    restarted(&mut site, &mut rauc, "B", true, Value::Null);
    health(&mut site, "", "2.0 stays");
}

/// An installation that takes the box down each time is begun three times.
#[test]
fn an_installation_that_takes_the_box_down_is_not_begun_for_ever() {
    let rauc = Rauc::open();
    let (mut site, _) = waiting(&rauc);
    left(&mut site, |record| {
        record["stage"] = json!("installing");
        record["begun"] = json!(3);
    });
    rauc.starts_next("B");
    start(&mut site, &rauc, PATIENT);
    health(&mut site, "failed", "went down 3 times");
    assert_eq!(rauc.primary(), "A");
}

/// An update whose window has closed is not started by whatever restarts the box later.
#[test]
fn a_closed_window_leaves_the_slot_that_runs() {
    let rauc = Rauc::open();
    let (mut site, bundle) = waiting(&rauc);
    let past = json!({ "from": "2000-01-01T00:00:00Z", "to": "2000-01-02T00:00:00Z" });
    assert_eq!(site.command("update", wish(&bundle, "2.0", past))["status"], "ok");
    health(&mut site, "failed", "window closed at 2000");
    assert_eq!(rauc.primary(), "A");
    // Power that went when the restart had begun, and a box that comes back too late.
    left(&mut site, |record| {
        record["stage"] = json!("waiting");
        record["from"] = json!("A");
    });
    rauc.starts_next("B");
    start(&mut site, &rauc, PATIENT);
    health(&mut site, "failed", "window closed at 2000");
    assert_eq!(rauc.primary(), "A");
}

/// An image whose health gate never says a word is given up by the daemon.
#[test]
fn a_slot_without_a_gate_is_given_up() {
    let mut rauc = Rauc::open();
    let (mut site, bundle) = waiting(&rauc);
    let mut now = wish(&bundle, "2.0", Value::Null);
    now.as_object_mut().unwrap().remove("window");
    now["force"] = json!(true);
    assert_eq!(site.command("update", now)["status"], "ok");
    health(&mut site, "restarting", "login1");
    assert_eq!(rauc.primary(), "B");
    let said = json!({ "boot": boot_id(), "given_up": false, "reason": "RAUC does not mark it" });
    restarted(&mut site, &mut rauc, "B", false, said);
    health(&mut site, "proving", "RAUC does not mark it");
    health(&mut site, "restarting", "login1");
    assert_eq!(rauc.primary(), "A", "the bootloader does not start it again");
    fs::write(good_file(&rauc), "").expect("good");
    restarted(&mut site, &mut rauc, "A", true, Value::Null);
    health(&mut site, "failed", "back on slot A: it did not come up");
}

/// A slot that was given up is told with the health gate's reason; the tool asked for it.
#[test]
fn a_slot_that_was_given_up_is_told() {
    let mut rauc = Rauc::open();
    let bundle = rauc.bundle("new.raucb", 9, "floorcast-test", "2.1", "");
    let mut site = site(&rauc);
    let url = format!("file://{}", bundle.display());
    let sha = sha256(&bundle);
    let ask = ["update", &url, "--version", "2.1", "--sha256", &sha];
    let ran = ctl(&site, &ask).ended(0);
    assert!(ran.out.contains("health/update"), "{}", ran.out);
    health(&mut site, "restarting", "login1");
    let why = "camera line: no frames";
    let verdict = json!({ "boot": "that one", "given_up": true, "reason": why });
    restarted(&mut site, &mut rauc, "A", true, verdict);
    health(&mut site, "failed", "back on slot A: camera line: no frames");
}

/// What is not signed by the right key, for this board, of this version or whole is not
/// installed, and the reason is told; a good one afterwards is.
#[test]
fn a_bad_bundle_is_refused_with_the_reason() {
    let rauc = Rauc::open();
    let mut site = site(&rauc);
    let good = rauc.bundle("good.raucb", 1, "floorcast-test", "3.0", "");
    let cut = rauc.dir.path().join("cut.raucb");
    fs::write(&cut, &fs::read(&good).expect("bundle")[..500_000]).expect("write");
    let flipped = rauc.dir.path().join("flipped.raucb");
    let mut bytes = fs::read(&good).expect("bundle");
    bytes[400_000] ^= 1;
    fs::write(&flipped, bytes).expect("write");
    let stranger = rauc.bundle("stranger.raucb", 2, "floorcast-test", "3.0", "other-");
    let board = rauc.bundle("board.raucb", 3, "another-board", "3.0", "");
    let ask = |site: &mut Site, file: &Path, sha: &str, version: &str| {
        let url = format!("file://{}", file.display());
        let ask = json!({ "url": url, "sha256": sha, "version": version, "window": window() });
        assert_eq!(site.command("update", ask)["status"], "ok");
    };
    let failed = [
        (good.clone(), "0".repeat(64), "3.0", "not the one"),
        (cut.clone(), sha256(&cut), "3.0", "RAUC"),
        (flipped.clone(), sha256(&flipped), "3.0", "RAUC"),
        (stranger.clone(), sha256(&stranger), "3.0", "RAUC"),
        (board.clone(), sha256(&board), "3.0", "another-board"),
        (good.clone(), sha256(&good), "3.1", "3.0"),
        ("/nonexistent".into(), "0".repeat(64), "3.0", "/nonexistent"),
    ];
    for (file, sha, version, word) in &failed {
        ask(&mut site, file, sha, version);
        health(&mut site, "failed", word);
    }
    let url = "https://127.0.0.1/good.raucb";
    let secure = json!({ "url": url, "sha256": "0".repeat(64), "version": "3.0" });
    assert_eq!(site.command("update", secure)["status"], "ok");
    health(&mut site, "failed", "the image needs ca-certificates");
    ask(&mut site, &good, &sha256(&good), "3.0");
    health(&mut site, "waiting", "window");
    let slot = fs::read(rauc.dir.path().join("slot-b")).expect("slot");
    let image = fs::read(rauc.dir.path().join("good.raucb.img")).expect("image");
    assert!(slot.starts_with(&image), "the slot has the image");
}

/// What is signed comes from a stick as it comes over the network, once; what is not is told.
#[test]
fn a_bundle_on_a_stick_is_taken_once() {
    let mut rauc = Rauc::open();
    let mut site = site(&rauc);
    let stranger = rauc.bundle("stranger.raucb", 2, "floorcast-test", "4.0", "other-");
    plug(&rauc, &stranger);
    stick_health(&mut site, "suspect", "RAUC refuses it");
    fs::remove_dir_all(stick(&rauc)).expect("unplug");
    let good = rauc.bundle("good.raucb", 3, "floorcast-test", "4.0", "");
    plug(&rauc, &good);
    stick_health(&mut site, "live", "good.raucb: taken");
    health(&mut site, "restarting", "login1");
    let mark = site.ear.mark();
    restarted(&mut site, &mut rauc, "B", true, Value::Null);
    health(&mut site, "", "4.0 stays");
    site.ear.rewind(mark);
    stick_health(&mut site, "live", "was taken before");
}

/// One that failed is not taken again from a stick that is left in, but from one that is plugged
/// in again.
#[test]
fn a_stick_is_tried_again_by_hand() {
    let mut rauc = Rauc::open();
    let mut site = site(&rauc);
    let bundle = rauc.bundle("new.raucb", 4, "floorcast-test", "4.0", "");
    plug(&rauc, &bundle);
    stick_health(&mut site, "live", "new.raucb: taken");
    health(&mut site, "restarting", "login1");
    // Not there before it is known how the update ended; what is mounted soon after a start of
    // the daemon was left in.
    fs::remove_dir_all(stick(&rauc)).expect("not mounted yet");
    restarted(&mut site, &mut rauc, "A", true, Value::Null);
    health(&mut site, "failed", "back on slot A");
    plug(&rauc, &bundle);
    stick_health(&mut site, "suspect", "plug it in again");
    fs::remove_dir_all(stick(&rauc)).expect("unplug");
    let topic = format!("{ROOT}/health/stick");
    site.ear.wait("unplugged", |t, p| t == topic && p.is_null());
    plug(&rauc, &bundle);
    stick_health(&mut site, "live", "new.raucb: taken");
    health(&mut site, "restarting", "login1");
}

/// A box without RAUC says so.
#[test]
fn a_box_without_slots_says_so() {
    let mut site = Site::new();
    drop(site.daemon.take());
    site.start(&[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")]);
    let ask = json!({ "url": "http://127.0.0.1/x", "sha256": "0".repeat(64), "version": "1" });
    let answer = site.command("update", ask);
    assert_eq!(answer["status"], "refused", "{answer}");
    assert!(answer["reason"].as_str().is_some_and(|why| why.contains("D-Bus")), "{answer}");
}
