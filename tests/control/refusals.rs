//! Brokers that do not take what they are given.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use floorcast::mqtt::Unsent;
use floorcast::status::State;

use crate::rig::{Consumer, DEADLINE, ROOT, Rig, broker};
use crate::support::mosquitto::Mosquitto;
use crate::support::peer::{free_port, relay};

/// Kills a broker and starts it with another configuration, and a consumer before the box is back,
/// which would be sooner: the broker has another port, to which the box's leads afterwards.
async fn again(mosquitto: &mut Mosquitto, edit: impl Fn(String) -> String) -> Consumer {
    let (of_box, port) = (mosquitto.port, free_port());
    mosquitto.kill();
    let conf = mosquitto.file("mosquitto.conf");
    let text = edit(std::fs::read_to_string(&conf).unwrap());
    let text = text.replace(&format!("listener {of_box} "), &format!("listener {port} "));
    std::fs::write(&conf, text).unwrap();
    mosquitto.port = port;
    mosquitto.start();
    let consumer = Consumer::start(mosquitto, "tele/#").await;
    relay(of_box, port);
    consumer
}

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
    std::fs::write(mosquitto.file("acl"), acl(&format!("topic write {ROOT}/#"))).unwrap();
    let mut consumer = again(&mut mosquitto, |conf| conf).await;
    consumer.all(last).await;
    rig.delivered().await;
    rig.stop().await;
}

/// The ACL forbids one topic: the others go on, and with the right ACL its records follow in
/// the same session, nothing lost.
#[tokio::test]
async fn a_forbidden_topic_holds_up_no_other() {
    let acl = |allowed: &str| format!("topic read #\ntopic write ready\ntopic write {allowed}\n");
    let mosquitto = Mosquitto::with(|dir, _| {
        let one = acl(&format!("{ROOT}/tele/plc/unit-2"));
        std::fs::write(dir.join("acl"), one).unwrap();
        format!("allow_anonymous true\nacl_file {}\n", dir.join("acl").display())
    });
    let dir = tempfile::tempdir().unwrap();
    let mut consumer = Consumer::start(&mosquitto, "tele/#").await;
    let mut rig = Rig::start(dir.path(), &broker(mosquitto.port, "version = \"5\""));
    rig.live().await;
    let mut came = 0;
    for _ in 0..3 {
        let last = rig.samples(300).await as i64;
        rig.state("tele", |state, why| state == State::NoSignal && why.contains("unit-1")).await;
        while came < last - 1 {
            let got = consumer.record().await;
            assert_eq!(got.topic, "/tele/plc/unit-2");
            came = got.values.last().copied().expect("values");
        }
    }
    let session = rig.status.get("control").unwrap().since;
    std::fs::write(mosquitto.file("acl"), acl(&format!("{ROOT}/#"))).unwrap();
    mosquitto.signal("HUP");
    // It asks again by itself. In true time: a clock that leaps would leap over the broker's
    // answers too, and a session without them is given up.
    rig.state("tele", |state, _| state == State::Live).await;
    let mut next = 2;
    while next <= 900 {
        let got = consumer.record().await;
        if got.topic == "/tele/plc/unit-1" && got.values[0] == next {
            next = got.values.last().expect("values") + 2;
        }
    }
    assert_eq!(rig.status.get("control").unwrap().since, session, "the session was lost");
    rig.delivered().await;
    rig.stop().await;
}

/// A broker that hangs up at a topic, as RabbitMQ does where a right is lacking: after five
/// sessions that topic waits, told with the remedy, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_ends_sessions_is_kept_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, mut taken) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for (session, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let tx = tx.clone();
            std::thread::spawn(move || {
                hang_up_at("unit-1", stream, |record| _ = tx.send((session, record)))
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(dir.path(), &broker(port, "version = \"3.1.1\""));
    rig.state("tele", |_, _| true).await;
    rig.samples(40).await;
    let reason = rig.state("tele", |state, _| state == State::NoSignal).await;
    assert!(reason.contains("unit-1") && reason.contains("give the box the right"), "{reason}");
    rig.samples(40).await;
    // What was made before and since, of the other unit.
    let (mut values, mut last) = (BTreeSet::new(), 0);
    while values.len() < 40 {
        let next = tokio::time::timeout(DEADLINE, taken.recv()).await.expect("in time");
        let (session, record) = next.expect("the broker");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        for sample in record["samples"].as_array().expect("samples") {
            assert_eq!(sample["tag"], "n2");
            values.insert(sample["v"].as_i64());
        }
        last = session;
    }
    assert_eq!(last, 5, "sessions that ended");
    assert!(rig.outbox.waiting() > 0, "unit-1 was lost");
    rig.stop().await;
}

/// A broker by MQTT 3.1.1 that takes everything but one topic, at which it hangs up.
fn hang_up_at(
    forbidden: &str,
    mut stream: TcpStream,
    taken: impl Fn(Vec<u8>),
) -> std::io::Result<()> {
    loop {
        let mut head = [0; 1];
        stream.read_exact(&mut head)?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        match head[0] >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0])?,
            3 => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                if body[2..2 + topic].ends_with(forbidden.as_bytes()) {
                    return Ok(());
                }
                stream.write_all(&[0x40, 2, body[2 + topic], body[3 + topic]])?;
                taken(body.split_off(4 + topic));
            }
            12 => stream.write_all(&[0xd0, 0])?,
            _ => {}
        }
    }
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
    let larger = |conf: String| conf.replace("_size 1000", "_size 100000");
    let mut consumer = again(&mut mosquitto, larger).await;
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
