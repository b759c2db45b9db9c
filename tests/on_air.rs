//! The daemon as a process: it goes on air, outlives its neighbours, and ends in order.

#[path = "../benches/whep_load/client.rs"]
#[allow(dead_code)]
mod client;
mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use client::{Ask, Notice, Viewer};
use support::daemon::{Daemon, NO_PAGE};
use support::peer::{Peer, free_port, mosquitto, python, script, wait_port};
use tokio::time::timeout;

/// The first endpoint is the demo line's own PLC, which its camera needs.
fn line(rest: &str) -> String {
    let plc = free_port();
    format!(
        r#"
[web]
listen = "127.0.0.1:0"
media = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[[camera]]
id = "line"
port = "sim:line"
width = 640
height = 360
fps = 25
bitrate_kbps = 800
[[modbus]]
id = "plc"
tcp = "127.0.0.1:{plc}"
[[modbus.unit]]
id = 1
period_ms = 100
[[modbus.unit.tag]]
name = "tick"
table = "holding"
address = 0
type = "u16"
public = true
{rest}"#
    )
}

/// A PLC that nobody here wrote, with one holding register.
fn pymodbus(port: u16) -> Peer {
    let mut command = Command::new(python());
    command.arg(script("pymodbus_server.py")).arg(port.to_string()).stdin(Stdio::piped());
    let mut peer = Peer(command.spawn().expect("pymodbus: run scripts/setup"));
    let mut cells = peer.0.stdin.take().expect("stdin");
    cells.write_all(b"holding\t0\tu16\tab\t7\n").expect("write the cells");
    drop(cells);
    wait_port(port, Duration::from_secs(20));
    peer
}

async fn viewer(daemon: &Daemon) -> Viewer {
    let ask = Ask { telemetry: true, resend: true, gro: false };
    Viewer::open(&format!("{}whep/line", daemon.page), ask).await.expect("join")
}

/// The next whole frame's RTP time.
async fn frame(viewer: &mut Viewer) -> u32 {
    timeout(Duration::from_secs(20), async {
        loop {
            if let Notice::Packet(packet) = viewer.next().await.expect("viewer")
                && packet.header.marker
            {
                return packet.header.timestamp;
            }
        }
    })
    .await
    .expect("no frame came")
}

/// Waits for a figure that `wanted` accepts: `(name of the state, value)` of tag `id`.
async fn figure(viewer: &mut Viewer, id: u64, wanted: impl Fn(&serde_json::Value) -> bool) {
    timeout(Duration::from_secs(30), async {
        loop {
            let Notice::Message(text) = viewer.next().await.expect("viewer") else { continue };
            let message: serde_json::Value = serde_json::from_slice(text.as_ref()).expect("JSON");
            let tags = message["tags"].as_array().expect("tags").clone();
            if tags.iter().any(|t| t[0] == id && wanted(t)) {
                return;
            }
        }
    })
    .await
    .expect("the figure did not come");
}

/// SIGTERM with ten viewers: each is told, and the process ends well within 5 s.
#[tokio::test(flavor = "multi_thread")]
async fn ends_in_order_with_ten_viewers() {
    let daemon = Daemon::run(&line(""));
    let mut viewers = Vec::new();
    for _ in 0..10 {
        let mut viewer = viewer(&daemon).await;
        frame(&mut viewer).await;
        viewers.push(viewer);
    }
    let told: Vec<_> = (viewers.into_iter())
        .map(|mut viewer| {
            tokio::spawn(async move {
                loop {
                    match viewer.next().await {
                        Ok(Notice::Gone) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            })
        })
        .collect();
    let ended = tokio::task::spawn_blocking(|| daemon.terminate(Duration::from_secs(5)));
    let (status, _) = ended.await.expect("terminate");
    assert!(status.success(), "{status}");
    for viewer in told {
        timeout(Duration::from_secs(5), viewer).await.expect("not told").expect("viewer");
    }
}

/// An address that the site has yet to give the box keeps nothing else off air, and who is on the
/// box can read its figures; an address that something else has is told at once.
#[test]
fn an_address_that_is_not_there_yet_is_waited_for() {
    let place = || tempfile::tempdir().expect("temporary directory");
    let (state, runtime) = (place(), place());
    let at = |address: &str| {
        let metrics = |address: &str| format!("[metrics]\nlisten = \"{address}\"");
        line("").replace(&metrics("127.0.0.1:0"), &metrics(address))
    };
    let env = [(NO_PAGE, ""), ("RUNTIME_DIRECTORY", runtime.path().to_str().expect("path"))];
    // Nobody's: RFC 5737.
    let mut daemon = Daemon::with_state(&at("192.0.2.1:9184"), state.path(), &env);
    daemon.line(Duration::from_secs(30), |l| l.starts_with("on air: ").then_some(()));
    daemon.line(Duration::from_secs(10), |l| {
        (l.contains("192.0.2.1:9184") && l.contains("not this box's address")).then_some(())
    });
    for told in [["metrics for who is on the box", ""], ["\"web\"", "Live"]] {
        daemon.line(Duration::from_secs(10), |l| {
            told.iter().all(|word| l.contains(word)).then_some(())
        });
    }
    let asked = Command::new(env!("CARGO_BIN_EXE_floorcast"))
        .arg("metrics")
        .arg("--socket")
        .arg(runtime.path().join("metrics.sock"))
        .output()
        .expect("floorcast metrics");
    let figures = String::from_utf8_lossy(&asked.stdout);
    for words in [["\"metrics\"", "\"no_address\""], ["\"web\"", "\"live\""]] {
        let part = |l: &str| l.starts_with("floorcast_part_state{") && l.ends_with(" 1");
        let said = figures.lines().any(|l| part(l) && words.iter().all(|word| l.contains(word)));
        assert!(said, "{words:?}: {asked:?}");
    }

    drop(daemon);
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = other.local_addr().expect("address").to_string();
    let mut daemon = Daemon::with_state(&at(&taken), state.path(), &env);
    daemon.line(Duration::from_secs(30), |l| {
        l.contains(&format!("metrics.listen: listen on {taken}")).then_some(())
    });
    assert_eq!(daemon.ended(Duration::from_secs(5)).code(), Some(1));
}

/// The broker and a PLC are killed: their figures turn bad or stale, and not
/// one frame is missing; both come back by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn picture_goes_on_without_broker_and_plc() {
    let (plc_port, broker_port) = (free_port(), free_port());
    let (mut plc, mut broker) = (pymodbus(plc_port), mosquitto(broker_port));
    let daemon = Daemon::run(&line(&format!(
        r#"
[[modbus]]
id = "other"
tcp = "127.0.0.1:{plc_port}"
timeout_ms = 200
[[modbus.unit]]
id = 1
period_ms = 100
[[modbus.unit.tag]]
name = "seven"
table = "holding"
address = 0
type = "u16"
public = true
[[mqtt]]
id = "broker"
url = "mqtt://127.0.0.1:{broker_port}"
"#
    )));
    let mut watcher = viewer(&daemon).await;
    figure(&mut watcher, 1, |t| t[1] == 7 && t[4] == "good").await;
    plc.kill();
    broker.kill();
    figure(&mut watcher, 1, |t| t[4] == "bad").await;
    let mut before = frame(&mut watcher).await;
    for _ in 0..100 {
        let at = frame(&mut watcher).await;
        let step = at.wrapping_sub(before);
        // 25 fps is 3600 steps of 90 kHz; twice that would be a missing frame.
        assert!((1..7000).contains(&step), "the picture jumped by {step} of 90 kHz");
        before = at;
    }
    let _plc = pymodbus(plc_port);
    let _broker = mosquitto(broker_port);
    figure(&mut watcher, 1, |t| t[1] == 7 && t[4] == "good").await;
}

/// Waits until the feed's state is `wanted`, as the data channel tells it.
async fn state(viewer: &mut Viewer, wanted: &str) {
    timeout(Duration::from_secs(20), async {
        loop {
            let Notice::Message(text) = viewer.next().await.expect("viewer") else { continue };
            let message: serde_json::Value = serde_json::from_slice(text.as_ref()).expect("JSON");
            if message["state"]["state"] == wanted {
                return;
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never {wanted}"));
}

/// SIGHUP: settings change before the eyes of a viewer who stays, also where its camera
/// is opened anew; a file with mistakes changes nothing and all are said.
#[tokio::test(flavor = "multi_thread")]
async fn settings_change_before_a_viewer_who_stays() {
    let before = line("");
    let set = |more: &str| before.replace("fps = 25", &format!("fps = 25\n{more}"));
    let mut daemon = Daemon::run(&before);
    let mut viewer = viewer(&daemon).await;
    state(&mut viewer, "live").await;
    daemon.reload(&set("privacy = true\nframe_deadline_ms = 900"));
    state(&mut viewer, "paused").await;
    daemon.line(Duration::from_secs(10), |l| {
        l.contains("camera line: frame_deadline_ms").then_some(())
    });
    let at = frame(&mut viewer).await;
    assert_ne!(at, frame(&mut viewer).await, "the slate goes on");
    daemon.reload(&set("privacy = false\nbitrate = 300\nwidht = 640"));
    for mistake in ["camera[0].bitrate", "camera[0].widht"] {
        daemon.line(Duration::from_secs(10), |l| l.contains(mistake).then_some(()));
    }
    // Still private: the next reload is what opens it.
    daemon.reload(
        &set("frame_deadline_ms = 900\nbitrate_kbps = 300").replace("bitrate_kbps = 800\n", ""),
    );
    daemon.line(Duration::from_secs(10), |l| {
        l.contains("the encoder has another bit rate").then_some(())
    });
    state(&mut viewer, "live").await;
    frame(&mut viewer).await;
}

/// A feed on demand rests when its viewer has gone, says so to who asks for the
/// list of feeds, and is there for the next viewer.
#[tokio::test(flavor = "multi_thread")]
async fn a_resting_feed_is_there_for_the_next_viewer() {
    let mut daemon = Daemon::run(&line("").replace("fps = 25", "fps = 25\non_demand = true"));
    let mut first = viewer(&daemon).await;
    frame(&mut first).await;
    first.delete().await.expect("DELETE");
    drop(first);
    daemon.line(Duration::from_secs(30), |l| {
        (l.contains("feed/line") && l.contains("Resting")).then_some(())
    });
    let url = format!("{}api/studio", daemon.page);
    let answer = client::http("GET", &url, &[], b"").await.expect("GET /api/studio");
    let studio: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(studio["feeds"][0]["state"]["state"], "resting");
    assert_eq!(studio["feeds"][0]["state"]["code"], "resting");
    let mut next = viewer(&daemon).await;
    frame(&mut next).await;
    state(&mut next, "live").await;
}

/// The studio's description.
async fn studio(daemon: &Daemon) -> serde_json::Value {
    let url = format!("{}api/studio", daemon.page);
    let answer = client::http("GET", &url, &[], b"").await.expect("GET /api/studio");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The next frames follow each other without a gap.
async fn no_gap(viewer: &mut Viewer, frames: usize, most: u32) {
    let mut before = frame(viewer).await;
    for _ in 0..frames {
        let at = frame(viewer).await;
        let step = at.wrapping_sub(before);
        assert!((1..most).contains(&step), "the picture jumped by {step} of 90 kHz");
        before = at;
    }
}

/// SIGHUP with another line: cameras, tags and brokers come and go, the page is told,
/// and who watches a camera that stays misses not one frame.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_changes_before_a_viewer_who_misses_nothing() {
    let before = line("");
    let daemon = Daemon::run(&before);
    let mut watcher = viewer(&daemon).await;
    frame(&mut watcher).await;
    let first = studio(&daemon).await;
    let more = "[[modbus.unit.tag]]\nname = \"speed\"\ntable = \"holding\"\naddress = 2\n\
                type = \"f32\"\npublic = true\n[[camera]]\nid = \"check\"\n\
                port = \"sim:check\"\nwidth = 320\nheight = 240\nfps = 25\n";
    let after = format!("{}{more}", before.replace("\"tick\"", "\"beat\""));
    daemon.reload(&after);
    let renamed = first["tags"][0]["id"].as_u64().expect("an id");
    let told = async {
        no_gap(&mut watcher, 50, 7000).await;
        // An id that meant something else is not given to another tag.
        figure(&mut watcher, renamed + 2, |t| t[4] == "good").await;
    };
    timeout(Duration::from_secs(30), told).await.expect("nothing new came");
    let second = studio(&daemon).await;
    assert_ne!(first["studio"], second["studio"]);
    let names = |studio: &serde_json::Value| {
        let tags = studio["tags"].as_array().expect("tags").iter();
        tags.map(|t| t["name"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&second), ["beat", "speed"]);
    let ask = || Ask { telemetry: true, resend: true, gro: false };
    let url = format!("{}whep/check", daemon.page);
    let mut other = Viewer::open(&url, ask()).await.expect("the new camera");
    frame(&mut other).await;
    // And back: the new camera's viewer is told good-bye, the other's goes on.
    daemon.reload(&before);
    let gone = async { while !matches!(other.next().await, Ok(Notice::Gone) | Err(_)) {} };
    timeout(Duration::from_secs(20), gone).await.expect("not told");
    no_gap(&mut watcher, 25, 7000).await;
    assert_eq!(names(&studio(&daemon).await), ["tick"]);
    let refused = Viewer::open(&url, ask()).await.err().expect("a camera that is no more");
    let refused = refused.downcast::<client::Refused>().expect("an HTTP refusal");
    assert_eq!(refused.status, 404);
}
