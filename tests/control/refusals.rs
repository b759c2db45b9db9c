//! Brokers that do not take what they are given.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use floorcast::mqtt::Unsent;
use floorcast::status::State;

use crate::rig::{Consumer, ROOT, Rig, broker};
use crate::support::mosquitto::Mosquitto;

/// The ACL forbids telemetry: the reason is told, nothing is lost, and with
/// the right ACL everything arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_topic_is_kept_until_it_is_allowed() {
    let acl = |allowed: &str| format!("topic read #\ntopic write ready\n{allowed}\n");
    let mut mosquitto = Mosquitto::with(|dir, _| {
        std::fs::write(dir.join("acl"), acl("")).unwrap();
        format!("allow_anonymous true\nacl_file {}\n", dir.join("acl").display())
    });
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, "version = \"5\""));
    rig.live().await;
    let last = rig.samples(300).await;
    let reason = rig.state("tele", |state, _| state == State::NoSignal).await;
    assert!(reason.contains("tele/plc/unit-") && reason.contains("not authorized"), "{reason}");
    mosquitto.kill();
    std::fs::write(mosquitto.file("acl"), acl(&format!("topic write {ROOT}/#"))).unwrap();
    mosquitto.start();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    consumer.all(last).await;
    rig.delivered().await;
    rig.stop().await;
}

/// The broker takes only small packets: the reason says what to do, nothing is
/// lost, and the session stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_packet_too_large_is_not_sent() {
    let conf = |most: u32| format!("allow_anonymous true\nmax_packet_size {most}\n");
    let mut mosquitto = Mosquitto::with(|_, _| conf(1000));
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, "version = \"5\""));
    rig.live().await;
    let losses = rig.status.get("control").unwrap().since;
    let last = rig.samples(300).await;
    let reason = rig.state("tele", |state, _| state == State::NoSignal).await;
    assert!(reason.contains("the broker takes 1000: raise its limit"), "{reason}");
    assert_eq!(rig.status.get("control").unwrap().since, losses, "the session was lost");
    let session = rig.sessions.borrow().clone().expect("a session");
    let large = session.publish("t".into(), vec![0; 2000].into(), 1, false).await;
    assert_eq!(large, Err(Unsent::TooLarge { size: 2011, most: 1000 }));
    mosquitto.kill();
    let text = std::fs::read_to_string(mosquitto.file("mosquitto.conf")).unwrap();
    std::fs::write(mosquitto.file("mosquitto.conf"), text.replace("_size 1000", "_size 100000"))
        .unwrap();
    mosquitto.start();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    consumer.all(last).await;
    rig.stop().await;
}

/// A broker that never acknowledges is given up after 30 s; meanwhile little
/// is under way, and the rest waits on disk.
#[tokio::test]
async fn a_broker_that_never_acknowledges_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, mut taken) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut some = [0; 65536];
            // The CONNECT, and a CONNACK without properties.
            let _ = stream.read(&mut some);
            let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
            while let Ok(n @ 1..) = stream.read(&mut some) {
                if tx.send(n).is_err() {
                    return;
                }
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let keys = "version = \"5\"\nkeep_alive_s = 60";
    let mut rig = Rig::start(dir.path(), &broker(port, keys));
    rig.live().await;
    rig.samples(20_000).await;
    let mut bytes = taken.recv().await.expect("a message");
    tokio::time::pause();
    let reason = rig.state("control", |state, _| state == State::Connecting).await;
    tokio::time::resume();
    assert!(reason.contains("unacknowledged for 30s"), "{reason}");
    while let Ok(more) = taken.try_recv() {
        bytes += more;
    }
    assert!(bytes < 400_000, "{bytes} bytes under way");
    assert!(rig.outbox.waiting() > 30);
    rig.stop().await;
}

/// A broker that hangs while messages are under way ends nothing but the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_broker_keeps_nothing_from_us() {
    let mosquitto = Mosquitto::open();
    let dir = tempfile::tempdir().unwrap();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, "keep_alive_s = 5"));
    rig.live().await;
    mosquitto.signal("STOP");
    let last = rig.samples(20_000).await;
    rig.state("control", |state, _| state == State::Connecting).await;
    mosquitto.signal("CONT");
    consumer.all(last).await;
    tokio::time::timeout(Duration::from_secs(30), rig.delivered()).await.expect("delivered");
    rig.stop().await;
}
