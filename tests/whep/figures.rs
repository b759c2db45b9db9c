//! The telemetry channel.

use std::collections::BTreeMap;
use std::time::Duration;

use floorcast::clock;
use serde_json::Value;
use tokio::time::timeout;

use crate::client::{Ask, Notice, Viewer};
use crate::house::{House, SOON, is_rtp, sample};

const FIGURES: Ask = Ask { telemetry: true, resend: true, gro: false };

/// Reads messages until `enough` says so.
async fn messages(viewer: &mut Viewer, mut enough: impl FnMut(&Value) -> bool) {
    let read = async {
        loop {
            match viewer.next().await.expect("a living session") {
                Notice::Message(text) => {
                    assert!(text.len() <= 12_000, "{} bytes", text.len());
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    if enough(&message) {
                        return;
                    }
                }
                Notice::Gone => panic!("the session ended"),
                _ => {}
            }
        }
    };
    timeout(SOON, read).await.expect("the message in time");
}

fn tags(message: &Value) -> impl Iterator<Item = (u64, &Value)> {
    let lines = message["tags"].as_array().expect("tags");
    lines.iter().map(|line| (line[0].as_u64().expect("id"), &line[1]))
}

/// Messages say what the page needs, with RTP time and UTC of one instant, and
/// the first ones tell the recent past.
#[tokio::test]
async fn the_channel_tells_the_past_and_one_time_line() {
    let mut house = House::open().await;
    let at = house.frame(true);
    for value in 0..10 {
        house.board.publish(vec![sample(0, value, clock::now()), sample(1, -1, clock::now())]);
    }
    let mut viewer = Viewer::open(&house.whep, FIGURES).await.expect("a session");
    let mut seen = std::collections::BTreeSet::new();
    let utc = house.wall.utc(at).0;
    messages(&mut viewer, |message| {
        assert_eq!((&message["v"], &message["rtp"]), (&1.into(), &at.rtp().into()));
        assert_eq!(message["utc_us"], utc);
        assert_eq!(
            (&message["state"]["state"], &message["mode"]),
            (&"live".into(), &"exact".into())
        );
        assert!(
            ["locked", "holdover", "free"].contains(&message["clock"].as_str().expect("clock"))
        );
        assert_eq!(message["viewers"], 1);
        for (tag, value) in tags(message) {
            assert_eq!(tag, 0, "tag 1 is private");
            seen.insert(value.as_i64().expect("a number"));
        }
        seen.len() == 10
    })
    .await;
}

/// `{"mode":"fast"}` switches this viewer, and its playout delay goes to zero;
/// anything else is ignored.
#[tokio::test]
async fn a_viewer_switches_its_mode() {
    let mut house = House::open().await;
    house.frame(true);
    let late = clock::now() - Duration::from_millis(120);
    let mut viewer = Viewer::open(&house.whep, FIGURES).await.expect("a session");
    (0..10).for_each(|value| house.board.publish(vec![sample(0, value, late)]));
    let mut tick = 0;
    messages(&mut viewer, |message| {
        tick += 1;
        house.frame(false);
        house.board.publish(vec![sample(0, tick, clock::now() - Duration::from_millis(120))]);
        message["mode"] == "exact" && message["delay_ms"].as_u64() >= Some(130)
    })
    .await;
    for nonsense in ["", "{", "[]", "{\"mode\":1}", "{\"mode\":\"slow\"}", &"x".repeat(1000)] {
        viewer.say(nonsense).expect("sent");
    }
    viewer.say("{\"mode\":\"fast\"}").expect("sent");
    messages(&mut viewer, |message| {
        house.frame(false);
        message["mode"] == "fast" && message["delay_ms"] == 0
    })
    .await;
    let zero = async {
        loop {
            house.frame(false);
            if let Notice::Packet(packet) = viewer.next().await.expect("a living session")
                && packet.header.ext_vals.play_delay_max.is_some_and(|delay| delay.is_zero())
            {
                return;
            }
        }
    };
    timeout(SOON, zero).await.expect("a playout delay of zero");
}

/// One message in five lost: the newest values are there soon all the same.
#[tokio::test]
async fn lost_messages_heal() {
    let mut house = House::open().await;
    house.frame(true);
    let mut viewer = Viewer::open(&house.whep, FIGURES).await.expect("a session");
    messages(&mut viewer, |_| true).await;
    let mut n = 0u32;
    viewer.lose = Box::new(move |data| {
        // What is neither RTP nor RTCP nor STUN is DTLS: the channel.
        let channel = matches!(data, [20..=63, ..]) && !is_rtp(data);
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        channel && (n >> 16).is_multiple_of(5)
    });
    for value in 0..50 {
        let at = clock::now();
        house.board.publish(vec![sample(0, value, at), sample(2, value * 2, at)]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut newest = BTreeMap::new();
    messages(&mut viewer, |message| {
        for (tag, value) in tags(message) {
            let newest = newest.entry(tag).or_insert(-1);
            *newest = value.as_i64().expect("a number").max(*newest);
        }
        newest.get(&0) == Some(&49) && newest.get(&2) == Some(&98)
    })
    .await;
}
