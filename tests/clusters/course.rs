//! What a technician relies on, one after the other at the same site. Each leaves the box
//! in session, with a revision that is confirmed.

use serde_json::{Value, json};

use crate::Cluster;
use crate::rig::{Listener, ROOT, Site, USER, apply};

/// The revision that runs, and its document.
fn runs<B: Cluster>(site: &mut Site<B>) -> (u64, Value) {
    let txid = site.txid("get");
    site.ask("get", &json!({ "txid": txid }));
    let got = site.ear.reply(&txid, "ok");
    (got["revision"].as_u64().expect("revision"), got["document"].clone())
}

fn with_tag(document: &Value, name: &str) -> Value {
    let mut document = document.clone();
    let tags = document["modbus"][0]["unit"][0]["tag"].as_array_mut().expect("tags");
    let address = 10 * tags.len();
    tags.push(json!({ "name": name, "table": "holding", "address": address, "type": "f32" }));
    document
}

/// State and health are retained, for whoever asks for just that topic: RabbitMQ stores by
/// exact topic alone.
pub fn who_comes_later_finds_state_and_health<B: Cluster>(site: &mut Site<B>) {
    site.ear.wait("live", |t, p| t.ends_with("health/feed/line") && p["state"] == "live");
    for (name, key, value) in
        [("state", "online", json!(true)), ("health/control", "state", json!("live"))]
    {
        let topic = format!("{ROOT}/{name}");
        let mut late = Listener::with(&site.broker, &["-t", &topic]);
        late.wait(name, |_, p| p[key] == value);
    }
}

/// All mistakes at once, with pointers, and nothing has changed.
pub fn every_mistake_is_named_and_nothing_changes<B: Cluster>(site: &mut Site<B>) {
    let (base, mut document) = runs(site);
    document["camera"][0]["widht"] = json!(640);
    document["camera"][1]["fps"] = json!(0);
    let txid = site.txid("validate");
    site.ask("validate", &apply(&txid, base, &document, 60));
    let answer = site.ear.reply(&txid, "invalid");
    for pointer in ["/camera/0/widht", "/camera/1/fps"] {
        let problems = answer["problems"].as_array().expect("problems");
        assert!(problems.iter().any(|p| p["pointer"] == pointer), "{pointer} in {answer}");
    }
    assert_eq!(runs(site).0, base);
}

/// On trial, confirmed, reported to who comes later.
pub fn a_confirmed_change_stays<B: Cluster>(site: &mut Site<B>) {
    let (base, document) = runs(site);
    let changed = with_tag(&document, "speed");
    let txid = site.apply(base, &changed, 60);
    let trial = site.ear.reply(&txid, "trial")["revision"].as_u64().expect("revision");
    site.confirm(trial);
    site.ear.reply(&txid, "confirmed");
    assert_eq!(runs(site), (trial, changed));
    let mut late = Listener::with(&site.broker, &["-t", &format!("{ROOT}/cfg/reported")]);
    let report = late.wait("the report", |_, p| p["revision"] == trial);
    assert_eq!(report["by"], USER);
}

/// Nobody confirms: the revision before runs again.
pub fn an_unconfirmed_change_is_back_by_itself<B: Cluster>(site: &mut Site<B>) {
    let (base, document) = runs(site);
    let txid = site.apply(base, &with_tag(&document, "unwanted"), 10);
    site.ear.reply(&txid, "trial");
    let back = site.ear.reply(&txid, "rolled_back");
    assert!(back["reason"].as_str().is_some_and(|r| r.contains("confirm")), "{back}");
    assert_eq!(runs(site), (base, document));
}

/// A broker that is not there: the box is back at this one, and says why.
pub fn a_wrong_broker_is_back_by_itself<B: Cluster>(site: &mut Site<B>) {
    let (base, mut document) = runs(site);
    document["control"]["broker"][0]["url"] = json!("mqtt://127.0.0.1:9");
    let txid = site.apply(base, &document, 10);
    site.ear.wait("offline", |t, p| t.ends_with("/state") && p["online"] == false);
    let back = site.ear.reply(&txid, "rolled_back");
    assert!(back["reason"].as_str().is_some_and(|r| r.contains("session")), "{back}");
    assert_eq!(runs(site).0, base);
}

/// A txid with a dot would be two topic levels to RabbitMQ, and to NATS 2.9 a reason to
/// end the session of the box that answers. It is none, and the session stays.
pub fn what_the_broker_may_not_carry_is_no_transaction<B: Cluster>(site: &mut Site<B>) {
    site.ask("get", &json!({ "txid": "with.dot" }));
    let from = site.ear.heard.len();
    runs(site);
    for (topic, said) in &site.ear.heard[from..] {
        assert!(!topic.contains("with"), "{topic} {said}");
        assert!(!(topic.ends_with("/state") && said["online"] == false), "the session ended");
    }
}

/// SIGKILL: the will is published, and retained.
pub fn a_killed_box_is_said_to_be_gone<B: Cluster>(site: &mut Site<B>) {
    drop(site.daemon.take());
    site.ear.wait("gone", |t, p| t.ends_with("/state") && p["online"] == false);
    let mut late = Listener::with(&site.broker, &["-t", &format!("{ROOT}/state")]);
    late.wait("gone, for who comes later", |_, p| p["online"] == false);
    site.start(&[]);
}

/// What is stored for a box that was away runs once, and its own second reading confirms it.
pub fn a_stored_document_reaches_a_box_that_was_away<B: Cluster>(site: &mut Site<B>) {
    let (base, document) = runs(site);
    drop(site.daemon.take());
    let changed = with_tag(&document, "stored");
    let mut desired = apply("stored-1", 0, &changed, 60);
    let fields = desired.as_object_mut().expect("an object");
    fields.remove("base");
    fields.remove("expires");
    fields.insert("revision".into(), json!(base + 100));
    site.broker.publish(&format!("{ROOT}/cfg/desired"), desired.to_string(), &["-r", "-q", "1"]);
    site.start(&[]);
    let reported = format!("{ROOT}/cfg/reported");
    site.ear.wait("the revision", |t, p| {
        t == reported && p["revision"] == base + 100 && p["status"] == "confirmed"
    });
    assert_eq!(runs(site), (base + 100, changed));
}
