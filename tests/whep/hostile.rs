//! People who do not want a picture.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::client::{Viewer, http, split_url};
use crate::house::{House, PLAIN, SOON, offer};
use crate::joining::frame;

const SDP: (&str, &str) = ("Content-Type", "application/sdp");

async fn status(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    http(method, url, headers, body).await.map_or(0, |answer| answer.status)
}

fn rss_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kB")
}

/// Each wrong request has its own answer, and none makes a session.
#[tokio::test]
async fn wrong_requests_get_their_4xx() {
    let house = House::open().await;
    let none = format!("{}/whep/none", house.url);
    assert_eq!(status("POST", &none, &[SDP], offer().as_bytes()).await, 404);
    let json = [("Content-Type", "application/json")];
    assert_eq!(status("POST", &house.whep, &json, b"{}").await, 415);
    assert_eq!(status("POST", &house.whep, &[SDP], b"v=0").await, 400);
    assert_eq!(status("POST", &house.whep, &[SDP], &[0xff; 100]).await, 400);
    let audio = offer().replace("m=video", "m=audio");
    assert_eq!(status("POST", &house.whep, &[SDP], audio.as_bytes()).await, 422);
    let mode = format!("{}?mode=best", house.whep);
    assert_eq!(status("POST", &mode, &[SDP], offer().as_bytes()).await, 400);
    let nobody = format!("{}/nobody", house.whep);
    assert_eq!(status("DELETE", &nobody, &[], b"").await, 404);
    assert_eq!(status("GET", &house.whep, &[], b"").await, 405);
}

/// A page of any origin may ask first, and read where its session is.
#[tokio::test]
async fn other_origins_may_watch() {
    let house = House::open().await;
    let asks = [
        ("Origin", "https://shop.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let answer = http("OPTIONS", &house.whep, &asks, b"").await.expect("an answer");
    assert!((200..300).contains(&answer.status));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let origin = [SDP, ("Origin", "https://shop.example")];
    let made = http("POST", &house.whep, &origin, offer().as_bytes()).await.expect("an answer");
    assert_eq!(made.status, 201);
    let exposed = made.header("access-control-expose-headers").unwrap_or("").to_lowercase();
    assert!(exposed.contains("location"), "{exposed}");
}

/// 10 MB bodies are refused before they are read, announced or not.
#[tokio::test]
async fn huge_bodies_are_refused() {
    let house = House::open().await;
    let body = vec![b'a'; 10 << 20];
    let before = rss_kb();
    for _ in 0..5 {
        let status = status("POST", &house.whep, &[SDP], &body).await;
        // 0: the server closed while we were still writing.
        assert!(status == 413 || status == 0, "{status}");
    }
    let (host, _) = split_url(&house.url).expect("a URL");
    let mut stream = TcpStream::connect(&host).await.expect("connect");
    let head = format!(
        "POST /whep/cam HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("write");
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 65536], b"\r\n"].concat();
    for _ in 0..160 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _ = timeout(SOON, stream.read_to_string(&mut answer)).await.expect("an end");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(rss_kb() < before + 16_000, "{before} kB before, {} kB after", rss_kb());
}

/// A thousand opens at once: each is answered, few make sessions, memory stays
/// flat, and a viewer who is already in notices nothing.
#[tokio::test]
async fn a_thousand_opens_are_answered_and_leave_nothing() {
    let mut house = House::open().await;
    house.frame(true);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut viewer).await;
    let before = rss_kb();
    let offer = offer();
    let mut counts = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..10 {
        let opens: Vec<_> = (0..100)
            .map(|_| {
                let (url, offer) = (house.whep.clone(), offer.clone());
                tokio::spawn(async move { status("POST", &url, &[SDP], offer.as_bytes()).await })
            })
            .collect();
        for open in opens {
            *counts.entry(open.await.expect("no panic")).or_default() += 1;
        }
        let at = house.frame(false);
        assert_eq!(frame(&mut viewer).await.0, at.rtp());
    }
    let ok = counts.get(&201).copied().unwrap_or(0);
    assert!(ok <= 9, "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), 1000);
    assert!(counts.keys().all(|status| [201, 429, 503].contains(status)), "{counts:?}");
    assert!(rss_kb() < before + 20_000, "{before} kB before, {} kB after", rss_kb());
}

/// Noise on the media port, and packets that look like ours, harm nobody.
#[tokio::test]
async fn noise_on_the_media_port_is_ignored() {
    let mut house = House::open().await;
    house.frame(true);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut viewer).await;
    let noise = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let mut x = 1u32;
    for i in 0..5000u32 {
        let mut data: Vec<u8> = (0..i % 300)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect();
        if let Some(first) = data.first_mut() {
            *first = [0, 1, 22, 128, 200][i as usize % 5];
        }
        let _ = noise.send_to(&data, house.media).await;
    }
    let at = house.frame(false);
    assert_eq!(frame(&mut viewer).await.0, at.rtp());
}

/// A client that sends its head a byte at a time is let go, and others are served.
#[tokio::test]
async fn a_client_that_dawdles_is_cut_off() {
    let house = House::open().await;
    let (host, _) = split_url(&house.url).expect("a URL");
    let mut slow = TcpStream::connect(&host).await.expect("connect");
    slow.write_all(b"GET /api/stu").await.expect("write");
    let began = Instant::now();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    ended.expect("cut off within 20 s").expect("an orderly end");
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(status("GET", &format!("{}/api/studio", house.url), &[], b"").await, 200);
}
