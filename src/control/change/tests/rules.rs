//! One rule each.

use super::*;

fn wanted(n: u64) -> Value {
    json!({"camera": [{"id": "a"}], "n": n})
}

/// A change is on trial until its sender confirms; then it is the base of the next one.
#[test]
fn a_confirmed_change_stays() {
    let mut rig = Rig::new();
    let reply = rig.apply("t1", &wanted(1));
    assert_eq!((reply.status, reply.revision), (Outcome::Trial, Some(2)));
    assert_eq!(reply.difference, ["n changed"]);
    assert_eq!(rig.to_run(), Some(2));
    assert_eq!(rig.report().status, Standing::Applying);
    rig.applied(2);
    assert_eq!(rig.report().status, Standing::Trial);
    assert_eq!(
        rig.confirm("li", "c1", 2).reason,
        "not yet: health was not looked at after the change"
    );
    rig.look(&[("feed/a", State::Live)]);
    let both: Vec<_> = rig.replies("li").into_iter().map(|r| (r.txid, r.status)).collect();
    let [asked, confirmed] = ["c1", "t1"].map(|txid| (txid.into(), Outcome::Confirmed));
    assert_eq!(both[1..], [asked, confirmed]);
    rig.restart();
    assert_eq!(rig.changes.good().document, Arc::new(wanted(1)));
    assert_eq!(rig.report().by.as_deref(), Some("li"));
}

/// Nobody confirms: back in time, and the sender hears why once that is done.
#[test]
fn an_unconfirmed_change_does_not_stay() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    assert_eq!(rig.changes.due(), Some(at(60).mono));
    rig.actions = rig.changes.tick(at(59));
    assert_eq!(rig.to_run(), None);
    rig.actions = rig.changes.tick(at(60));
    assert_eq!((rig.to_run(), rig.replies("li").len()), (Some(1), 0));
    rig.applied(1);
    let reply = &rig.replies("li")[0];
    assert_eq!((&*reply.txid, reply.status), ("t1", Outcome::RolledBack));
    assert!(reply.reason.starts_with("not confirmed in time"), "{}", reply.reason);
    assert_eq!(rig.report().failure.unwrap().revision, Some(2));
    // A number is used once.
    assert_eq!(rig.apply("t2", &wanted(2)).revision, Some(3));
}

/// What worked before must work again, unless the change gave it up; what is new may take its time.
#[test]
fn nothing_may_be_worse() {
    let mut rig = Rig::new();
    rig.look(&[("feed/a", State::Live), ("feed/b", State::Live), ("feed/c", State::NoSignal)]);
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    let parts = health(&[("feed/a", State::NoSignal), ("feed/d", State::Connecting)]);
    rig.now = 2;
    rig.actions = rig.changes.parts(&parts, &|part| part != "feed/b", at(2));
    let news = &rig.replies("li")[0];
    assert_eq!((news.worse.len(), &*news.worse[0].part), (1, "feed/a"));
    assert_eq!(news.reason, "new and not live yet: feed/d");
    let reply = rig.confirm("li", "c1", 2);
    assert_eq!(reply.status, Outcome::Trial);
    assert_eq!(reply.reason, "not yet: feed/a worked before: no_signal");
    assert_eq!(rig.confirm("li", "c2", 2).status, Outcome::Trial);
    // The first one counts as soon as it can.
    let parts = health(&[("feed/a", State::Resting)]);
    rig.actions = rig.changes.parts(&parts, &|part| part != "feed/b", at(2));
    let both: Vec<_> = rig.replies("li").into_iter().map(|r| (r.txid, r.status)).collect();
    assert_eq!(both, [("c1".into(), Outcome::Confirmed), ("t1".into(), Outcome::Confirmed)]);
}

/// A confirm that never counts ends with the change, and its sender hears of both.
#[test]
fn a_confirm_ends_with_what_stays_worse() {
    let mut rig = Rig::new();
    rig.look(&[("feed/a", State::Live)]);
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    rig.look(&[("feed/a", State::NoSignal)]);
    assert_eq!(rig.confirm("li", "c1", 2).status, Outcome::Trial);
    rig.actions = rig.changes.tick(at(60));
    rig.applied(1);
    let both: Vec<_> = rig.replies("li").into_iter().map(|r| (r.txid, r.status)).collect();
    assert_eq!(both, [("c1".into(), Outcome::RolledBack), ("t1".into(), Outcome::RolledBack)]);
    assert_eq!(rig.confirm("li", "c1", 2).earlier, Some(Outcome::RolledBack));
}

/// A change of the control section is confirmed over a session that came up after it.
#[test]
fn a_new_control_section_proves_itself() {
    let mut rig = Rig::new();
    rig.changes.session_up(at(0));
    let mut document = wanted(1);
    document["control"] = json!({"broker": [{"host": "x"}]});
    rig.apply("t1", &document);
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    assert_eq!(
        rig.confirm("li", "c1", 2).reason,
        "not yet: no control session came up after the change"
    );
    rig.changes.session_up(at(1));
    rig.changes.session_down();
    assert_eq!(rig.confirm("li", "c2", 2).status, Outcome::Trial);
    rig.changes.session_up(at(2));
    assert_eq!(rig.confirm("li", "c3", 2).status, Outcome::Confirmed);
}

/// Only the sender confirms, and only what is on trial; anybody rolls back, at once.
#[test]
fn a_change_is_its_senders_to_confirm() {
    let mut rig = Rig::new();
    assert_eq!(rig.confirm("li", "c0", 2).reason, "nothing is on trial");
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    assert_eq!(rig.confirm("wu", "c1", 2).status, Outcome::Refused);
    assert_eq!(rig.confirm("li", "c1", 3).status, Outcome::Refused);
    let expires = rig.expires();
    let request = json!({"txid": "r1", "expires": expires}).to_string();
    rig.actions =
        rig.changes.request("wu", Op::Rollback, request.as_bytes(), false, &Strict, at(0));
    assert_eq!(rig.to_run(), Some(1));
    rig.applied(1);
    assert_eq!(rig.replies("li")[0].reason, "rolled back by wu");
    assert_eq!(rig.replies("wu")[0].status, Outcome::RolledBack);
}

/// While nothing is on trial, a rollback puts the document before on trial, as a new revision.
#[test]
fn a_rollback_is_a_change_too() {
    let mut rig = Rig::new();
    assert_eq!(rig.rollback("r0").reason, "there is no earlier revision");
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    rig.confirm("li", "c1", 2);
    let reply = rig.rollback("r1");
    assert_eq!((reply.status, reply.revision), (Outcome::Trial, Some(3)));
    rig.applied(3);
    rig.look(&[("feed/a", State::Live)]);
    assert_eq!(rig.confirm("li", "c2", 3).status, Outcome::Confirmed);
    assert_eq!(*rig.changes.good().document, seed());
}

/// A txid runs once: later it is answered with what became of it, also after a restart.
#[test]
fn a_txid_runs_once() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    let again = rig.apply("t1", &wanted(2));
    assert_eq!((again.status, again.earlier), (Outcome::Seen, Some(Outcome::Trial)));
    rig.restart();
    let told = &rig.replies("li")[0];
    assert_eq!((&*told.txid, told.status), ("t1", Outcome::RolledBack));
    let again = rig.apply("t1", &wanted(1));
    assert_eq!((again.status, again.earlier), (Outcome::Seen, Some(Outcome::RolledBack)));
    assert_eq!(again.reason, "the box restarted while it was on trial");
    // Another user's is another request.
    assert_eq!(rig.confirm("wu", "t1", 2).status, Outcome::Refused);
}

/// A wrong base is a conflict that says what has changed since.
#[test]
fn a_wrong_base_is_a_conflict() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    rig.confirm("li", "c1", 2);
    let expires = rig.expires();
    let request = json!({"txid": "t2", "base": 1, "patch": {"n": 5}, "expires": expires,
        "sha256": document::sha256(&wanted(5))});
    let reply = rig.send("li", Op::Apply, request);
    assert_eq!((reply.status, reply.revision), (Outcome::Conflict, Some(2)));
    assert_eq!(reply.difference, ["/n"]);
}

/// A patch is of the base, its hash of what results; a wrong one names ours.
#[test]
fn a_patch_results_in_a_document() {
    let mut rig = Rig::new();
    let request = json!({"txid": "v1", "patch": {"n": 5}, "sha256": document::sha256(&wanted(6))});
    let reply = rig.send("li", Op::Validate, request);
    assert_eq!(reply.status, Outcome::Refused);
    assert!(reply.remedy.ends_with(&document::sha256(&wanted(5))), "{}", reply.remedy);
    let request = json!({"txid": "v1", "base": 1, "patch": {"n": 5}});
    assert_eq!(rig.send("li", Op::Validate, request).status, Outcome::Valid);
    let reply = rig.send("li", Op::Validate, json!({"txid": "v1", "patch": {"bad": 1}}));
    assert_eq!((reply.status, &*reply.problems[0].pointer), (Outcome::Invalid, "/bad"));
    assert_eq!(rig.send("li", Op::Get, json!({"txid": "g"})).document, Some(Arc::new(seed())));
    assert!(rig.send("li", Op::Schema, json!({"txid": "s"})).schema.is_some());
}

/// Stored, expired, over-long-lived and malformed requests are refused with the field's name.
#[test]
fn bad_requests_are_refused_by_field() {
    let mut rig = Rig::new();
    let good = json!({"txid": "t", "base": 1, "document": wanted(1), "expires": rig.expires(),
        "sha256": document::sha256(&wanted(1))});
    let far = rfc3339::text(at(3602).utc);
    for (field, value, words) in [
        ("expires", json!("2026-05-31T23:59:59Z"), "expired"),
        ("expires", json!(far), "more than an hour"),
        ("expires", json!("tomorrow"), "no time"),
        ("base", json!("1"), "base has the wrong type"),
        ("base", Value::Null, "base has the wrong type"),
        ("sha256", json!("abc"), "sha256 is malformed"),
        ("confirm_s", json!(9), "confirm_s is 9"),
        ("patch", json!({}), "document and patch"),
        ("revision", json!(2), "\"revision\" is no field of apply"),
        ("basis", json!(2), "\"basis\" is no field of apply"),
        ("txid", json!("a/b"), "txid is missing or malformed"),
    ] {
        let mut request = good.clone();
        request[field] = value;
        let reply = rig.send("li", Op::Apply, request);
        assert_eq!(reply.status, Outcome::Refused);
        assert!(reply.reason.contains(words), "{field}: {}", reply.reason);
    }
    let stored = good.to_string();
    rig.actions = rig.changes.request("li", Op::Apply, stored.as_bytes(), true, &Strict, at(0));
    assert_eq!(rig.replies("li")[0].reason, "a stored message is not run");
    rig.actions = rig.changes.request("Li/#", Op::Apply, stored.as_bytes(), false, &Strict, at(0));
    assert_eq!(rig.actions, []);
    assert_eq!(rig.send("li", Op::Apply, good).status, Outcome::Trial);
}

/// With a clock that was evidently never set, expiry cannot be judged, and is not.
#[test]
fn an_unset_clock_judges_no_expiry() {
    let mut rig = Rig::new();
    let now = Now { mono: at(0).mono, utc: UtcMicros(5), lock: Lock::Free };
    let request = json!({"txid": "t", "expires": rig.expires()}).to_string();
    rig.actions = rig.changes.request("li", Op::Rollback, request.as_bytes(), false, &Strict, now);
    assert_eq!(rig.replies("li")[0].reason, "there is no earlier revision");
}

/// A full disk refuses the change by name; what runs goes on, and later changes are taken again.
#[test]
fn a_full_disk_refuses_the_change() {
    let mut rig = Rig::new();
    rig.store.set_full(true);
    let reply = rig.apply("t1", &wanted(1));
    assert_eq!(reply.status, Outcome::Refused);
    assert!(reply.reason.starts_with("disk: "), "{}", reply.reason);
    assert_eq!(rig.to_run(), None);
    rig.store.set_full(false);
    assert_eq!(rig.apply("t2", &wanted(1)).status, Outcome::Trial);
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    rig.store.set_full(true);
    let reply = rig.confirm("li", "c1", 2);
    assert!(reply.reason.starts_with("disk: "), "{}", reply.reason);
    rig.actions = rig.changes.tick(at(60));
    assert_eq!(rig.to_run(), Some(1));
    rig.applied(1);
    rig.restart();
    assert_eq!(rig.changes.good().number, 1);
}

/// A change that cannot be applied goes back at once; if that fails too, the box restarts.
#[test]
fn a_failed_return_is_a_restart() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    rig.actions = rig.changes.applied(2, Err("no such port".into()), at(1));
    assert_eq!(rig.to_run(), Some(1));
    rig.actions = rig.changes.applied(2, Ok(()), at(1));
    assert_eq!(rig.actions, []);
    rig.actions = rig.changes.applied(1, Err("stuck".into()), at(2));
    assert!(matches!(rig.actions[..], [Action::Restart { .. }]));
    rig.restart();
    assert_eq!(rig.changes.good().number, 1);
    assert_eq!(rig.report().failure.unwrap().why, "could not be applied: no such port");
}

fn stored(revision: u64, document: &Value) -> Vec<u8> {
    json!({"txid": format!("d{revision}"), "revision": revision, "document": document,
        "sha256": document::sha256(document), "by": "wu"})
    .to_string()
    .into_bytes()
}

/// A stored document runs once, keeps its number, and is confirmed by being
/// read again over a session that came up after it.
#[test]
fn a_stored_document_confirms_itself() {
    let mut rig = Rig::new();
    let message = stored(7, &wanted(7));
    rig.actions = rig.changes.desired(&message, &Strict, at(0));
    assert_eq!(rig.to_run(), Some(7));
    rig.applied(7);
    assert!(rig.actions.contains(&Action::Reconnect));
    rig.look(&[("feed/a", State::Live)]);
    // Twice over the old session is no proof.
    rig.actions = rig.changes.desired(&message, &Strict, at(1));
    assert_eq!(rig.changes.good().number, 1);
    rig.changes.session_down();
    rig.changes.session_up(at(2));
    // Neither is the session alone.
    rig.look(&[("feed/a", State::Live)]);
    assert_eq!(rig.changes.good().number, 1);
    rig.actions = rig.changes.desired(&message, &Strict, at(2));
    assert_eq!((rig.changes.good().number, rig.report().by.as_deref()), (7, Some("wu")));
    for old in [message, stored(6, &wanted(6))] {
        assert_eq!(rig.changes.desired(&old, &Strict, at(3)), []);
    }
}

/// A stored document that did not stay, or has problems, does not run again.
#[test]
fn a_stored_document_runs_once() {
    let mut rig = Rig::new();
    let message = stored(7, &wanted(7));
    rig.changes.desired(&message, &Strict, at(0));
    rig.applied(7);
    rig.changes.tick(at(200));
    rig.applied(1);
    assert_eq!(rig.changes.desired(&message, &Strict, at(201)), []);
    rig.restart();
    assert_eq!(rig.changes.desired(&message, &Strict, at(202)), []);
    let invalid = stored(8, &json!({"bad": 1}));
    rig.actions = rig.changes.desired(&invalid, &Strict, at(203));
    assert!(rig.report().failure.unwrap().why.contains("/bad: remove it"));
    assert_eq!(rig.changes.desired(&invalid, &Strict, at(204)), []);
    rig.store.set_full(true);
    let later = stored(9, &wanted(9));
    rig.actions = rig.changes.desired(&later, &Strict, at(204));
    assert!(rig.report().failure.unwrap().why.starts_with("disk: "));
    rig.store.set_full(false);
    let slip = stored(70_000_000, &wanted(1));
    rig.actions = rig.changes.desired(&slip, &Strict, at(205));
    assert!(rig.report().failure.unwrap().why.contains("revision"));
    rig.actions = rig.changes.desired(&later, &Strict, at(206));
    assert_eq!(rig.to_run(), Some(9));
}

/// A stored document that comes while another change is on trial is read again after that.
#[test]
fn a_stored_document_waits_its_turn() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    assert_eq!(rig.changes.desired(&stored(9, &wanted(9)), &Strict, at(0)), []);
    rig.changes.tick(at(60));
    rig.applied(1);
    assert_eq!(rig.actions.last(), Some(&Action::Reconnect));
}

/// A last good revision that cannot be read is not the end: the one before runs.
#[test]
fn a_damaged_revision_falls_back() {
    let mut rig = Rig::new();
    rig.apply("t1", &wanted(1));
    rig.applied(2);
    rig.look(&[("feed/a", State::Live)]);
    rig.confirm("li", "c1", 2);
    let mut damaged = rig.store.file("good").unwrap();
    damaged[80] ^= 1;
    rig.store.put("good", damaged);
    rig.restart();
    assert_eq!((rig.changes.good().number, &*rig.changes.good().document), (1, &seed()));
    assert_eq!(rig.apply("t2", &wanted(1)).revision, Some(3));
    assert!(rig.store.file("good.damaged").is_some());
}
