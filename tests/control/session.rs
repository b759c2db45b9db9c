//! Sessions: the last will, several brokers.

use floorcast::status::State;

use crate::rig::{Consumer, ROOT, Rig, broker};
use crate::support::mosquitto::Mosquitto;

/// A box that is gone without a word leaves its will with the broker, and so
/// does one that says goodbye.
async fn will(version: &str, killed: bool) {
    let mosquitto = Mosquitto::open();
    let mut consumer = Consumer::start(&mosquitto, "state").await;
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), &broker(mosquitto.port, &format!("version = \"{version}\"")));
    rig.live().await;
    let session = rig.sessions.borrow().clone().expect("a session");
    let topic = format!("{ROOT}/state");
    session.publish(topic.clone(), "here".into(), 1, true).await.expect("acknowledged");
    assert_eq!(consumer.line().await, format!("{topic} here"));
    if killed {
        rig.kill().await
    } else {
        rig.stop().await
    }
    assert_eq!(consumer.line().await, format!("{topic} gone"));
}

#[tokio::test]
async fn a_killed_box_leaves_its_will_by_version_5() {
    will("5", true).await;
}

#[tokio::test]
async fn a_killed_box_leaves_its_will_by_version_3_1_1() {
    will("3.1.1", true).await;
}

#[tokio::test]
async fn a_stopped_box_says_goodbye() {
    will("5", false).await;
    will("3.1.1", false).await;
}

/// Brokers are tried in order; the second stays when the first is back, and the
/// first is asked again when the second is lost.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_tried_in_order() {
    let (mut first, mut second) = (Mosquitto::open(), Mosquitto::open());
    first.kill();
    let mut at_second = Consumer::start(&second, "tele/#").await;
    let dir = tempfile::tempdir().unwrap();
    let brokers = broker(first.port, "") + &broker(second.port, "");
    let mut rig = Rig::start(dir.path(), &brokers);
    rig.live().await;
    first.start();
    let last = rig.samples(100).await;
    at_second.all(last).await;
    rig.delivered().await;
    second.kill();
    let reason = rig.state("control", |state, _| state == State::Connecting).await;
    assert!(reason.starts_with(&format!("127.0.0.1:{}: ", second.port)), "{reason}");
    rig.live().await;
    let mut at_first = Consumer::start(&first, "tele/#").await;
    let until = rig.samples(100).await;
    let mut values = std::collections::BTreeSet::new();
    while values.len() < (until - last) as usize {
        values.extend(at_first.record().await.values.into_iter().filter(|v| *v > last as i64));
    }
    rig.stop().await;
}

/// A session that has ended says so to who still publishes over it.
#[tokio::test]
async fn publishing_over_a_lost_session_is_an_error() {
    let mut mosquitto = Mosquitto::open();
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
    rig.live().await;
    let session = rig.sessions.borrow().clone().expect("a session");
    assert_eq!(session.publish("t".into(), "x".into(), 0, false).await, Ok(()));
    mosquitto.kill();
    rig.state("control", |state, _| state == State::Connecting).await;
    let lost = session.publish("t".into(), "x".into(), 1, false).await;
    assert_eq!(lost, Err(floorcast::mqtt::Unsent::Lost));
    assert!(rig.sessions.borrow().is_none(), "the session is still offered");
    rig.stop().await;
}

/// A stop ends the sessions and their deliverer in any order.
#[tokio::test]
async fn a_stop_without_a_session_is_no_failure() {
    let mut mosquitto = Mosquitto::open();
    mosquitto.kill();
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..32 {
        let rig = Rig::start(dir.path(), &broker(mosquitto.port, ""));
        rig.state("tele", |state, _| state == State::Connecting).await;
        rig.stop().await;
    }
}
