//! Changes: applied before viewers who stay, confirmed, or back by themselves.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{Ask, Notice, Viewer};
use crate::rig::{ROOT, SOON, Site, USER, apply};

pub async fn viewer(site: &Site, feed: &str) -> Viewer {
    let ask = Ask { telemetry: true, resend: true, gro: false };
    let page = &site.daemon.as_ref().expect("a box").page;
    Viewer::open(&format!("{page}whep/{feed}"), ask).await.expect("join")
}

/// The next whole frame's RTP time.
pub async fn frame(viewer: &mut Viewer) -> u32 {
    let next = async {
        loop {
            if let Notice::Packet(packet) = viewer.next().await.expect("viewer")
                && packet.header.marker
            {
                return packet.header.timestamp;
            }
        }
    };
    timeout(SOON, next).await.expect("no frame came")
}

/// What a viewer saw.
struct Seen {
    /// The longest step from frame to frame, in 90 kHz.
    longest: u32,
    /// Packets that the box sent and the viewer never had.
    missing: usize,
}

/// The last of them may be on their way for a second time.
const TAIL: u64 = 100;

/// Watches until told to stop.
fn watch(mut viewer: Viewer) -> (tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<Seen>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut before = frame(&mut viewer).await;
        let (mut longest, mut numbers) = (0, BTreeSet::new());
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                notice = timeout(SOON, viewer.next()) => {
                    let notice = notice.expect("nothing came").expect("viewer");
                    let Notice::Packet(packet) = notice else { continue };
                    numbers.insert(*packet.seq_no);
                    let step = packet.header.timestamp.wrapping_sub(before);
                    // One that comes for a second time may be of an older frame.
                    if packet.header.marker && step < u32::MAX / 2 {
                        longest = longest.max(step);
                        before = packet.header.timestamp;
                    }
                }
            }
        }
        let (first, last) = (numbers.first().expect("one"), numbers.last().expect("one"));
        let all = *first..last.saturating_sub(TAIL);
        Seen { longest, missing: all.filter(|number| !numbers.contains(number)).count() }
    });
    (stop, task)
}

/// Of 25 a second, in 90 kHz. A busy machine draws a picture or three less; what the box sent came whole, and
/// whether a camera was touched says its health: a touched one's step is 5286, as short as any.
const TEN_PICTURES: u32 = 36_000;

/// Waits until both cameras are live; what is heard from there on.
fn settled(site: &mut Site) -> usize {
    for feed in ["health/feed/line", "health/feed/check"] {
        site.ear.rewind(0);
        site.ear.wait(feed, |t, p| t.ends_with(feed) && p["state"] == "live");
    }
    site.ear.mark()
}

/// Whether a feed's health has said anything since.
fn touched(site: &mut Site, feed: &str, since: usize) -> bool {
    let topic = format!("{ROOT}/health/feed/{feed}");
    site.ear.so_far()[since..].iter().any(|(t, _)| *t == topic)
}

fn with_tag(document: &Value, name: &str, address: u16) -> Value {
    let mut document = document.clone();
    let tag = json!({ "name": name, "table": "holding", "address": address, "type": "f32", "public": true });
    document["modbus"][0]["unit"][0]["tag"].as_array_mut().expect("tags").push(tag);
    document
}

/// A change of one tag: on trial, confirmed, there after a restart; and neither
/// camera is touched: its viewers see nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_change_stays_and_viewers_miss_nothing() {
    let mut site = Site::new();
    let seed = site.document();
    let [line, check] = [viewer(&site, "line").await, viewer(&site, "check").await].map(watch);
    let since = settled(&mut site);
    let document = with_tag(&seed, "speed", 2);
    let txid = site.apply(1, &document, 60);
    let trial = site.ear.reply(&txid, "trial");
    assert_eq!(trial["revision"], 2);
    site.confirm(2);
    let done = site.ear.reply(&txid, "confirmed");
    assert_eq!(done["revision"], 2, "{done}");
    let reported = format!("{ROOT}/cfg/reported");
    let report = site.ear.wait("the report", |t, p| t == reported && p["revision"] == 2);
    assert_eq!(report["by"], USER);
    for (stop, watched) in [line, check] {
        let _ = stop.send(());
        let Seen { longest, missing } = watched.await.expect("watch");
        assert_eq!(missing, 0, "packets");
        assert!(longest < TEN_PICTURES, "a step of {longest} of 90 kHz");
    }
    for feed in ["line", "check"] {
        assert!(!touched(&mut site, feed, since), "{feed} was touched");
    }
    drop(site.daemon.take());
    site.start(&[]);
    let asked = site.txid("get");
    site.ask("get", &json!({ "txid": asked }));
    let got = site.ear.reply(&asked, "ok");
    assert_eq!((&got["revision"], &got["document"]), (&json!(2), &document));
}

/// Where an answer finds mistakes.
fn pointers(answer: &Value) -> Vec<&str> {
    let problems = answer["problems"].as_array().expect("problems");
    problems.iter().map(|p| p["pointer"].as_str().unwrap_or("")).collect()
}

/// All mistakes at once, with pointers and remedies, and nothing has changed.
#[test]
fn every_mistake_is_named_and_nothing_changes() {
    let mut site = Site::new();
    let mut document = site.document();
    document["camera"][0]["widht"] = json!(640);
    document["camera"][1]["fps"] = json!(0);
    document["modbus"][0]["unit"][0]["tag"][0]["type"] = json!("u17");
    document["box"]["id"] = json!("other");
    let txid = site.apply(1, &document, 60);
    let answer = site.ear.reply(&txid, "invalid");
    let found = pointers(&answer);
    for pointer in ["/camera/0/widht", "/camera/1/fps", "/modbus/0/unit/0/tag/0/type"] {
        assert!(found.contains(&pointer), "{pointer} in {answer}");
    }
    let mut document = site.document();
    document["box"]["id"] = json!("other");
    document["control"] = json!({});
    // A chip that no machine which runs this has.
    document["camera"][1]["encoder"] = json!("mpph264enc");
    let txid = site.apply(1, &document, 60);
    let answer = site.ear.reply(&txid, "invalid");
    assert_eq!(pointers(&answer), ["/box/id", "/control/broker", "/camera/1/encoder"]);
    let txid = site.txid("get");
    site.ask("get", &json!({ "txid": txid }));
    assert_eq!(site.ear.reply(&txid, "ok")["revision"], 1);
}

/// A change that nobody confirms is back by itself, and viewers of the other camera
/// see nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_change_is_back_by_itself() {
    let mut site = Site::new();
    let seed = site.document();
    let (stop, watched) = watch(viewer(&site, "check").await);
    let since = settled(&mut site);
    let mut document = seed.clone();
    document["camera"][0]["fps"] = json!(20);
    let txid = site.apply(1, &document, 10);
    site.ear.reply(&txid, "trial");
    let back = site.ear.reply(&txid, "rolled_back");
    assert!(back["reason"].as_str().is_some_and(|r| r.contains("confirm")), "{back}");
    let _ = stop.send(());
    let Seen { longest, missing } = watched.await.expect("watch");
    assert_eq!(missing, 0, "packets");
    assert!(longest < TEN_PICTURES, "a step of {longest} of 90 kHz");
    assert!(touched(&mut site, "line", since) && !touched(&mut site, "check", since));
    let state = format!("{ROOT}/cfg/reported");
    let report = site.ear.wait("the report", |t, p| t == state && p["status"] == "confirmed");
    assert_eq!(report["revision"], 1);
}

/// A change that breaks the camera cannot be confirmed, and is back in its deadline.
#[test]
fn a_broken_camera_is_not_confirmed() {
    let mut site = Site::new();
    let mut document = site.document();
    site.ear.wait("live", |t, p| t.ends_with("health/feed/line") && p["state"] == "live");
    document["camera"][0]["port"] = json!("usb-0000:00:14.0-9");
    let txid = site.apply(1, &document, 10);
    site.ear.reply(&txid, "trial");
    let confirm = site.confirm(2);
    let no = site.ear.reply(&confirm, "trial");
    assert!(no["reason"].as_str().is_some_and(|r| r.contains("/line")), "{no}");
    let here = site.ear.here();
    let back = site.ear.reply(&confirm, "rolled_back");
    assert!(back["reason"].as_str().is_some_and(|r| r.contains("feed/line")), "{back}");
    site.ear.reply(&txid, "rolled_back");
    site.ear.rewind(here);
    site.ear.wait("live again", |t, p| t.ends_with("health/feed/line") && p["state"] == "live");
}

/// A change to a broker that is not there is back in its deadline, with the box in
/// session at the old one, which hears why.
#[test]
fn a_wrong_broker_is_back_by_itself() {
    let mut site = Site::new();
    let mut document = site.document();
    document["control"]["broker"][0]["url"] = json!("mqtt://127.0.0.1:9");
    let txid = site.apply(1, &document, 10);
    site.ear.wait("offline", |t, p| t.ends_with("/state") && p["online"] == false);
    let here = site.ear.here();
    let back = site.ear.reply(&txid, "rolled_back");
    site.ear.rewind(here);
    site.ear.wait("online", |t, p| t.ends_with("/state") && p["online"] == true);
    assert!(back["reason"].as_str().is_some_and(|r| r.contains("session")), "{back}");
}

/// An address that is no longer the box's costs the page, and not the way to mend it.
#[test]
fn a_page_that_cannot_open_is_mended_over_mqtt() {
    let mut site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    drop(site.daemon.take());
    // As if it had been free when it was confirmed.
    let mut document = site.document();
    document["web"]["listen"] = json!(address);
    site.restart_from(&document);
    site.ear.wait("no page", |t, p| t.ends_with("health/web") && p["state"] == "no_signal");
    let here = site.ear.here();
    let txid = site.apply(1, &site.document(), 60);
    site.ear.reply(&txid, "trial");
    site.ear.rewind(here);
    site.ear.wait("a page", |t, p| t.ends_with("health/web") && p["state"] == "live");
    site.confirm(2);
    site.ear.reply(&txid, "confirmed");
}

/// Retained, expired and repeated requests, and those of an older base, change nothing.
#[test]
fn stale_requests_change_nothing() {
    let mut site = Site::new();
    let document = with_tag(&site.document(), "speed", 2);
    let topic = format!("{ROOT}/cfg/req/{USER}/apply");
    let mut late = apply("late", 1, &document, 60);
    late["expires"] = json!("2026-01-02T00:00:00Z");
    site.ask("apply", &late);
    site.ear.reply("late", "refused");
    site.ask("apply", &apply("older", 7, &document, 60));
    site.ear.reply("older", "conflict");
    let txid = site.apply(1, &document, 60);
    site.ear.reply(&txid, "trial");
    site.confirm(2);
    site.ear.reply(&txid, "confirmed");
    site.ask("apply", &apply(&txid, 2, &site.document(), 60));
    site.ear.reply(&txid, "seen");
    // A stored request is refused with every new session.
    let stored = apply("stored", 2, &site.document(), 60);
    site.broker.publish(&topic, stored.to_string(), &["-r", "-q", "1"]);
    site.ear.reply("stored", "trial");
    drop(site.daemon.take());
    site.start(&[]);
    site.ear.reply("stored", "refused");
}

/// What is stored for a box that was away runs once, and its own second reading
/// confirms it.
#[test]
fn a_stored_document_reaches_a_box_that_was_away() {
    let mut site = Site::new();
    let document = with_tag(&site.document(), "speed", 2);
    drop(site.daemon.take());
    let mut desired = apply("stored-1", 0, &document, 60);
    let fields = desired.as_object_mut().expect("an object");
    fields.remove("base");
    fields.remove("expires");
    fields.insert("revision".into(), json!(5));
    site.broker.publish(&format!("{ROOT}/cfg/desired"), desired.to_string(), &["-r", "-q", "1"]);
    site.start(&[]);
    let reported = format!("{ROOT}/cfg/reported");
    let report = site.ear.wait("revision 5", |t, p| {
        t == reported && p["revision"] == 5 && p["status"] == "confirmed"
    });
    assert_eq!(report["failure"], Value::Null, "{report}");
}
