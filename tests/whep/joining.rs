//! From the click to the first picture.

use std::time::Duration;

use floorcast::feed::rtp::Depacketiser;
use str0m::rtp::RtpPacket;
use tokio::time::timeout;

use crate::client::{Ask, Notice, Viewer};
use crate::house::{House, PLAIN, SOON, access_unit};

/// The next packet, whatever else happens before it.
pub async fn packet(viewer: &mut Viewer) -> Box<RtpPacket> {
    let found = async {
        loop {
            match viewer.next().await.expect("a living session") {
                Notice::Packet(packet) => return packet,
                Notice::Gone => panic!("the session ended"),
                _ => {}
            }
        }
    };
    timeout(SOON, found).await.expect("a packet in time")
}

/// The next whole frame: its packets' one RTP time, and its bytes.
pub async fn frame(viewer: &mut Viewer) -> (u32, Vec<u8>) {
    let mut back = Depacketiser::default();
    loop {
        let packet = packet(viewer).await;
        back.push(&packet.payload).expect("a payload");
        if packet.header.marker {
            return (packet.header.timestamp, back.finish().expect("a frame"));
        }
    }
}

/// Who joins in the middle of a GOP sees its key frame at once, with the very
/// RTP times of capture, although no new frame comes.
#[tokio::test]
async fn the_first_picture_comes_from_the_cached_gop() {
    let mut house = House::open().await;
    let captured: Vec<_> = (0..5).map(|i| house.frame(i == 0)).collect();
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    for (i, at) in captured.iter().enumerate() {
        let (rtp, data) = frame(&mut viewer).await;
        assert_eq!((rtp, data), (at.rtp(), access_unit(i as u64, i == 0, 3000)), "frame {i}");
    }
    let at = house.frame(false);
    assert_eq!(frame(&mut viewer).await.0, at.rtp());
}

/// With nothing cached a key frame is asked for, once, and starts the picture.
#[tokio::test]
async fn without_a_cached_gop_a_key_frame_is_asked_for() {
    let mut house = House::open().await;
    house.frame(false);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    let asked = async {
        tokio::select! {
            () = house.ring.key_wanted() => {}
            notice = async { loop {
                if let Notice::Packet(packet) = viewer.next().await.expect("a living session") {
                    break packet;
                }
            } } => panic!("a packet before the key frame: {notice:?}"),
        }
    };
    timeout(SOON, asked).await.expect("a wish for a key frame");
    house.frame(false);
    let at = house.frame(true);
    assert_eq!(frame(&mut viewer).await.0, at.rtp());
}

/// A key frame of 100 packets reaches everyone whole.
#[tokio::test]
async fn a_large_key_frame_arrives_whole() {
    let mut house = House::open().await;
    house.frame_of(true, 120_000);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    assert_eq!(frame(&mut viewer).await.1, access_unit(0, true, 120_000));
    house.frame_of(false, 2000);
    assert_eq!(frame(&mut viewer).await.1, access_unit(1, false, 2000));
}

/// The capture time is on the first frame, in UTC, and the playout delay.
#[tokio::test]
async fn capture_time_and_playout_delay_are_on_the_wire() {
    let mut house = House::open().await;
    let at = house.frame(true);
    let url = format!("{}?mode=fast", house.whep);
    let mut viewer = Viewer::open(&url, PLAIN).await.expect("a session");
    let first = packet(&mut viewer).await;
    let stamped = first.header.ext_vals.abs_capture_time.expect("abs-capture-time").capture_time;
    let utc = stamped.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let expected = Duration::from_micros(house.wall.utc(at).0 as u64);
    assert!(utc.abs_diff(expected) < Duration::from_micros(2), "{utc:?} for {expected:?}");
    let delay = first.header.ext_vals.play_delay_max.expect("playout-delay");
    assert!(delay.is_zero());
}

/// The answer offers the media port, and the outer address of a box behind NAT.
#[tokio::test]
async fn the_answer_offers_inner_and_outer_addresses() {
    let house = House::open().await;
    let viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    let media = house.media;
    let lines: Vec<_> = viewer.answer.lines().filter(|l| l.starts_with("a=candidate:")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(&format!("{} {} typ host", media.ip(), media.port())));
    assert!(lines[1].contains("203.0.113.7 30000 typ host"));
}

/// A viewer that does not take retransmissions gets the picture too.
#[tokio::test]
async fn a_viewer_without_extras_is_welcome() {
    let mut house = House::open().await;
    let at = house.frame(true);
    let ask = Ask { telemetry: false, resend: false, gro: false };
    let mut viewer = Viewer::open(&house.whep, ask).await.expect("a session");
    assert!(!viewer.answer.contains("rtx"));
    assert_eq!(frame(&mut viewer).await.0, at.rtp());
}

/// Who names no feed gets the first, and is told which that is.
#[tokio::test]
async fn the_first_feed_needs_no_name() {
    let mut house = House::open().await;
    let at = house.frame(true);
    let mut viewer = Viewer::open(&format!("{}/whep", house.url), PLAIN).await.expect("a session");
    assert!(viewer.location.contains("/whep/cam/"), "{}", viewer.location);
    assert_eq!(frame(&mut viewer).await.0, at.rtp());
}
