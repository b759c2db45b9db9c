//! Brokers that go, hang or never answer.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use floorcast::model::Value;
use floorcast::mqtt::{Session, Unsent};
use floorcast::status::State;
use tokio::time::timeout;

use crate::rig::Rig;
use crate::support::mosquitto::Mosquitto;

fn one_tag(port: u16, more: &str) -> String {
    format!(
        "url = \"mqtt://127.0.0.1:{port}\"\n{more}\n[[mqtt.tag]]\nname = \"n\"\ntopic = \"t/n\"\n"
    )
}

/// The broker is killed and started again: samples come again, with no restart
/// of ours, and the status tells the story.
async fn restart(version: &str) {
    let mut broker = Mosquitto::open();
    let mut rig = Rig::live(&one_tag(broker.port, &format!("version = \"{version}\""))).await;
    for n in 0..3 {
        broker.publish("t/n", n.to_string(), &[]);
        assert_eq!(rig.value("n").await, Value::Int(n));
        broker.kill();
        rig.state(|state, _| state == State::Connecting).await;
        broker.start();
        rig.state(|state, _| state == State::Live).await;
    }
    broker.publish("t/n", "99", &[]);
    assert_eq!(rig.value("n").await, Value::Int(99));
    rig.stop().await;
}

#[tokio::test]
async fn broker_restart_by_version_5() {
    restart("5").await;
}

#[tokio::test]
async fn broker_restart_by_version_3_1_1() {
    restart("3.1.1").await;
}

/// The broker comes up after us.
#[tokio::test]
async fn late_broker_is_found() {
    let mut broker = Mosquitto::open();
    broker.kill();
    let mut rig = Rig::start(&one_tag(broker.port, ""));
    let reason = rig.state(|state, why| state == State::Connecting && !why.is_empty()).await;
    assert!(reason.contains("refused"), "{reason}");
    broker.start();
    rig.state(|state, _| state == State::Live).await;
    broker.publish("t/n", "1", &[]);
    assert_eq!(rig.value("n").await, Value::Int(1));
}

/// A broker that hangs with its sockets open is noticed within two
/// keep-alives, and found again when it goes on.
async fn hung(version: &str) {
    let broker = Mosquitto::open();
    let keys = format!("version = \"{version}\"\nkeep_alive_s = 5");
    let mut rig = Rig::live(&one_tag(broker.port, &keys)).await;
    broker.signal("STOP");
    let began = Instant::now();
    let reason = rig.state(|state, _| state == State::Connecting).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(reason, "no sign of life from the broker");
    broker.signal("CONT");
    rig.state(|state, _| state == State::Live).await;
    broker.publish("t/n", "5", &[]);
    assert_eq!(rig.value("n").await, Value::Int(5));
}

#[tokio::test]
async fn hung_broker_by_version_5() {
    hung("5").await;
}

#[tokio::test]
async fn hung_broker_by_version_3_1_1() {
    hung("3.1.1").await;
}

/// Something accepts the connection and says nothing: the attempt ends by its
/// deadline and says so.
#[tokio::test(start_paused = true)]
async fn silent_listener_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for version in ["5", "3.1.1"] {
        let rig = Rig::start(&one_tag(port, &format!("version = \"{version}\"")));
        let reason = rig.state(|_, why| !why.is_empty()).await;
        assert!(reason.contains("no answer"), "{reason}");
        rig.stop().await;
    }
}

/// Something that is no broker answers: a reason, no panic, and we ask again.
#[tokio::test]
async fn garbage_is_no_broker() {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, mut asked) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let answers: [&[u8]; 4] = [
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                b"\x20\x02\x00\x09",
                b"\x20\xff\xff\xff\xff\x7f",
                b"\x30\x05\x00\x01tab",
            ];
            let _ = stream.expect("accept").write_all(answers[i % 4]);
            if tx.send(()).is_err() {
                break;
            }
        }
    });
    for version in ["5", "3.1.1"] {
        let rig = Rig::start(&one_tag(port, &format!("version = \"{version}\"")));
        rig.state(|_, why| !why.is_empty()).await;
        for _ in 0..4 {
            asked.recv().await.expect("asked again");
        }
        assert_eq!(rig.status.get("broker/b").unwrap().state, State::Connecting);
        rig.stop().await;
    }
}

/// What is handed over while a session ends is known to be lost at once, although the
/// client library has not taken it: RabbitMQ, which acknowledges slowly, left a box
/// without a word for 30 s after a change of its brokers.
#[tokio::test]
async fn what_no_session_takes_is_lost_at_once() {
    let broker = Mosquitto::open();
    for version in ["5", "3.1.1"] {
        let text = one_tag(broker.port, &format!("version = \"{version}\""));
        let config = floorcast::config::load(&format!("[[mqtt]]\nid = \"b\"\n{text}"));
        let connection = config.expect("a configuration").brokers.remove(0).connection;
        let session = Session::open(&connection, "box", None, None).await.expect("a session");
        let publisher = session.publisher().clone();
        let receipt = publisher.send("t/n", "1".into(), 1, false).await.expect("handed over");
        session.close(None).await;
        let answer = timeout(Duration::from_secs(5), receipt.acknowledged()).await;
        assert_eq!(answer, Ok(Err(Unsent::Lost)), "by {version}");
    }
}

/// Stopping is quick also while there is nobody to say goodbye to.
#[tokio::test]
async fn stop_does_not_wait_for_the_broker() {
    let mut broker = Mosquitto::open();
    let rig = Rig::live(&one_tag(broker.port, "")).await;
    broker.signal("STOP");
    rig.stop().await;
    broker.kill();
    let rig = Rig::start(&one_tag(broker.port, ""));
    rig.state(|_, why| !why.is_empty()).await;
    rig.stop().await;
}
