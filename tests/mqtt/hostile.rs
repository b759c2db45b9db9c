//! A broker that sends anything at all.

use std::time::Duration;

use floorcast::config;
use floorcast::mqtt::Session;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// What a broker says next.
#[derive(Debug, Clone)]
enum Says {
    /// A publication that is right, but for an alias nobody asked for, if any.
    Publish { topic: String, qos: u8, id: u16, dup: bool, alias: Option<u8> },
    /// The rest of a QoS 2 delivery.
    Release(u16),
    /// An answer nobody asked for, or a ping's.
    Answer(u8, u16),
    /// A packet of the right length with anything inside.
    Anything(u8, Vec<u8>),
}

impl Says {
    fn bytes(&self, version: &str) -> Vec<u8> {
        let five = version == "5";
        let (first, body) = match self {
            Self::Publish { topic, qos, id, dup, alias } => {
                let dup = *dup && *qos > 0;
                let mut body = vec![0, topic.len() as u8];
                body.extend(topic.bytes());
                if *qos > 0 {
                    body.extend(id.to_be_bytes());
                }
                match alias {
                    Some(alias) if five => body.extend([3, 0x23, 0, *alias]),
                    None if five => body.push(0),
                    _ => {}
                }
                body.extend(b"1");
                (0x30 | qos << 1 | u8::from(dup) << 3, body)
            }
            Self::Release(id) => (0x62, id.to_be_bytes().to_vec()),
            Self::Answer(first, id) => {
                let mut body = if *first == 0xd0 { vec![] } else { id.to_be_bytes().to_vec() };
                if *first == 0x90 {
                    body.extend(if five { vec![0, 0] } else { vec![0] });
                }
                (*first, body)
            }
            Self::Anything(first, body) => (*first, body.clone()),
        };
        [&[first, body.len() as u8], body.as_slice()].concat()
    }
}

fn says() -> impl Strategy<Value = Says> {
    let publish = ("[ab]{0,2}(/[ab])?", 0u8..3, 1u16..4, any::<bool>(), 0u8..24).prop_map(
        |(topic, qos, id, dup, alias)| {
            let alias = (alias < 2).then_some(alias);
            // An empty topic is legal only with an alias (MQTT 5, 3.3.2.1).
            let topic = if topic.is_empty() && alias.is_none() { "t".into() } else { topic };
            Says::Publish { topic, qos, id, dup, alias }
        },
    );
    let answers = prop::sample::select(vec![0xd0u8, 0xd0, 0x40, 0x50, 0x70, 0x90, 0xb0]);
    prop_oneof![
        30 => publish,
        8 => (1u16..4).prop_map(Says::Release),
        2 => (answers, 0u16..3).prop_map(|(first, id)| Says::Answer(first, id)),
        2 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..120))
            .prop_map(|(first, body)| Says::Anything(first, body)),
    ]
}

/// Connects to a broker that accepts and then sends `bytes`; says how it ended.
async fn meet(version: &str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted: &[u8] = if version == "5" { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut connect = [0; 512];
        let _ = stream.read(&mut connect).await;
        let _ = stream.write_all(accepted).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        // Until the other side has read it all and gives up.
        while stream.read(&mut connect).await.is_ok_and(|n| n > 0) {}
    });
    let text = format!(
        "[[mqtt]]\nid = \"b\"\nurl = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\n"
    );
    let connection = config::load(&text).unwrap().brokers.remove(0).connection;
    let live = async {
        let mut session = match Session::open(&connection, "fuzz", None, None).await {
            Ok(session) => session,
            Err(error) => return format!("{error:#}"),
        };
        let mut messages = Vec::new();
        while session.receive(&mut messages, 64).await {
            messages.clear();
        }
        session.ended().await
    };
    let ended = timeout(Duration::from_secs(10), live).await.expect("never ended");
    broker.abort();
    ended
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever a broker sends after accepting us, the session ends with a
    /// reason, and the client library does not panic.
    #[test]
    fn any_broker_is_survived(
        said in prop::collection::vec(says(), 0..24),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for version in ["5", "3.1.1"] {
            let mut bytes: Vec<u8> = said.iter().flat_map(|s| s.bytes(version)).collect();
            bytes.extend(&rest);
            let reason = runtime.block_on(meet(version, bytes));
            prop_assert!(!reason.is_empty() && !reason.contains("panic"), "{}: {}", version, reason);
        }
    }
}
