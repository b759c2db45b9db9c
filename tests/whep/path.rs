//! From a viewer's first check to its keys, datagram by datagram.

use std::net::SocketAddr;

use ring::hmac;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::client::http;
use crate::house::{House, SOON, offer};

/// A check of `ours:abcd` (RFC 8445, 7.2.2), signed, that does not choose its path.
fn check(ufrag: &str, password: &str) -> Vec<u8> {
    let user = format!("{ufrag}:abcd");
    let mut attributes = Vec::new();
    let mut add = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    add(0x0006, user.as_bytes());
    add(0x802a, &[7; 8]); // ICE-CONTROLLING
    add(0x0024, &[0x6e, 0, 1, 0xff]); // PRIORITY
    let mut message = vec![0, 1];
    message.extend((attributes.len() as u16 + 24).to_be_bytes());
    message.extend([0x21, 0x12, 0xa4, 0x42]);
    message.extend([9; 12]);
    message.extend(attributes);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(tag.as_ref());
    message
}

/// A ClientHello (RFC 6347, 4.2; RFC 5246, 7.4.1.2) as browsers send it, with the least in it.
fn greeting() -> Vec<u8> {
    let extensions: [&[u8]; 5] = [
        &[0, 10, 0, 4, 0, 2, 0, 0x17], // supported_groups: P-256
        &[0, 11, 0, 2, 1, 0],          // ec_point_formats
        &[0, 13, 0, 4, 0, 2, 4, 3],    // signature_algorithms: ECDSA with SHA-256
        &[0, 0x17, 0, 0],              // extended_master_secret
        &[0, 14, 0, 5, 0, 2, 0, 7, 0], // use_srtp: AEAD_AES_128_GCM
    ];
    let extensions = extensions.concat();
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([5; 32]); // random
    hello.extend([0, 0]); // no session, no cookie
    hello.extend([0, 2, 0xc0, 0x2b]); // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    hello.extend([1, 0]); // no compression
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let len = (hello.len() as u32).to_be_bytes();
    let mut handshake = vec![1];
    handshake.extend(&len[1..]);
    handshake.extend([0; 5]); // first message, whole
    handshake.extend(&len[1..]);
    handshake.extend(hello);
    let mut record = vec![22, 0xfe, 0xfd];
    record.extend([0; 8]); // epoch and number
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut data = vec![0; 2048];
    let received = timeout(SOON, socket.recv(&mut data)).await;
    let len = received.expect("an answer in time").expect("an answer");
    data.truncate(len);
    data
}

async fn session(house: &House) -> (String, String) {
    let sdp = [("Content-Type", "application/sdp")];
    let made = http("POST", &house.whep, &sdp, offer().as_bytes()).await.expect("an answer");
    assert_eq!(made.status, 201);
    let answer = String::from_utf8(made.body).expect("text");
    let line = |name: &str| {
        let found = answer.lines().find_map(|line| line.strip_prefix(name));
        found.expect("in the answer").to_owned()
    };
    (line("a=ice-ufrag:"), line("a=ice-pwd:"))
}

async fn caller(media: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(media).await.expect("loopback");
    socket
}

/// A check with the password proves a path. What the viewer says over it is answered at once,
/// though it has not said yet that it will use it: Chromium does so 50 ms later.
#[tokio::test]
async fn a_greeting_is_answered_before_its_path_is_chosen() {
    let house = House::open().await;
    let (ufrag, password) = session(&house).await;
    let socket = caller(house.media).await;
    socket.send(&check(&ufrag, &password)).await.expect("sent");
    assert_eq!(receive(&socket).await[..2], [1, 1], "the check succeeds");
    socket.send(&greeting()).await.expect("sent");
    let hello = receive(&socket).await;
    assert_eq!((hello[0], hello[13]), (22, 2), "a ServerHello: {hello:?}");
}

/// Who does not know the password chooses nothing, and is not answered.
#[tokio::test]
async fn a_stranger_chooses_no_path() {
    let house = House::open().await;
    let (ufrag, password) = session(&house).await;
    let stranger = caller(house.media).await;
    stranger.send(&check(&ufrag, "0123456789012345678901")).await.expect("sent");
    stranger.send(&greeting()).await.expect("sent");
    let viewer = caller(house.media).await;
    viewer.send(&check(&ufrag, &password)).await.expect("sent");
    assert_eq!(receive(&viewer).await[..2], [1, 1]);
    viewer.send(&greeting()).await.expect("sent");
    assert_eq!(receive(&viewer).await[0], 22);
    let mut data = [0; 64];
    let answered = stranger.try_recv(&mut data);
    assert!(answered.is_err(), "a stranger was answered: {:?}", &data[..answered.unwrap_or(0)]);
}
