//! Brokers that do not speak MQTT 5.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use floorcast::model::Value;
use floorcast::status::State;

use crate::rig::Rig;
use crate::support::mosquitto::Mosquitto;

/// A port that answers an MQTT 5 CONNECT with `answer` and hangs up; everything
/// else goes to mosquitto.
fn only_3_1_1(to: u16, answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            // Type, length, "MQTT" with its length, and the version.
            let mut head = [0; 9];
            if near.read_exact(&mut head).is_err() {
                continue;
            }
            if head[8] == 5 {
                let _ = near.write_all(answer);
                continue;
            }
            // It may be gone just now.
            let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            far.write_all(&head).unwrap();
            let (mut back, mut answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            // Whoever hangs up, the other is told at once.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut near, &mut far);
                let _ = far.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}

fn one_tag(port: u16, more: &str) -> String {
    format!(
        "url = \"mqtt://127.0.0.1:{port}\"\n{more}\n[[mqtt.tag]]\nname = \"n\"\ntopic = \"t/n\"\n"
    )
}

/// However it says so, or just hangs up: it is spoken to by 3.1.1, also when it
/// comes back.
#[tokio::test]
async fn a_broker_without_version_5_is_spoken_to_by_3_1_1() {
    tokio::join!(
        spoken_to_by_3_1_1(b"\x20\x02\x00\x01"),
        spoken_to_by_3_1_1(b"\x20\x03\x00\x01\x00"),
        spoken_to_by_3_1_1(b"\x20\x03\x00\x84\x00"),
        spoken_to_by_3_1_1(b""),
    );
}

async fn spoken_to_by_3_1_1(answer: &'static [u8]) {
    let mut broker = Mosquitto::open();
    let mut rig = Rig::live(&one_tag(only_3_1_1(broker.port, answer), "")).await;
    broker.publish("t/n", "1", &[]);
    assert_eq!(rig.value("n").await, Value::Int(1), "{answer:?}");
    broker.kill();
    rig.state(|state, _| state == State::Connecting).await;
    broker.start();
    rig.state(|state, _| state == State::Live).await;
    broker.publish("t/n", "2", &[]);
    assert_eq!(rig.value("n").await, Value::Int(2), "{answer:?}");
    rig.stop().await;
}

/// A version that is set is the only one that is tried.
#[tokio::test]
async fn a_version_that_is_set_is_kept() {
    let broker = Mosquitto::open();
    let port = only_3_1_1(broker.port, b"\x20\x03\x00\x84\x00");
    let rig = Rig::start(&one_tag(port, "version = \"5\""));
    let reason = rig.state(|_, why| !why.is_empty()).await;
    assert!(reason.contains("leave version out"), "{reason}");
    rig.stop().await;
}
