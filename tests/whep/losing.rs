//! What happens to what the network loses.

use std::time::Duration;

use tokio::time::timeout;

use crate::client::{Tally, Viewer};
use crate::house::{House, PLAIN, SOON, access_unit, is_rtp};
use crate::joining::{frame, packet};

/// A lost packet is asked for and comes again, and the frame is whole.
#[tokio::test]
async fn a_lost_packet_is_sent_again() {
    let mut house = House::open().await;
    house.frame_of(true, 3000);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut viewer).await;
    let mut left = 2;
    viewer.lose = Box::new(move |data| {
        left -= i32::from(left > 0 && is_rtp(data));
        left == 1
    });
    house.frame_of(false, 9000);
    house.frame_of(false, 900);
    let mut tally = Tally::default();
    let mut frames = std::collections::BTreeMap::<u32, Vec<_>>::new();
    let whole = async {
        while tally.packets < 9 || tally.lost() > 0 {
            let packet = packet(&mut viewer).await;
            tally.add(&packet);
            frames.entry(packet.header.timestamp).or_default().push((packet.seq_no, packet));
        }
    };
    timeout(SOON, whole).await.expect("all packets");
    assert_eq!(tally.frames, 2);
    let mut back = floorcast::feed::rtp::Depacketiser::default();
    let (_, mut first) = frames.pop_first().expect("a frame");
    first.sort_by_key(|(seq, _)| *seq);
    first.iter().for_each(|(_, packet)| back.push(&packet.payload).expect("a payload"));
    let (whole, came) = (access_unit(1, false, 9000), back.finish().expect("a frame"));
    let packets: Vec<_> = first.iter().map(|(seq, p)| (**seq, p.payload.len())).collect();
    assert!(came == whole, "{} of {} bytes in {packets:?}", came.len(), whole.len());
}

/// A viewer that loses nearly everything skips to a key frame, is counted, and
/// does not take the others with it.
#[tokio::test]
async fn a_viewer_on_a_bad_way_skips_and_the_others_do_not_notice() {
    let mut house = House::open().await;
    house.frame(true);
    let mut bad = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    let mut good = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut bad).await;
    frame(&mut good).await;
    let mut n = 0u32;
    bad.lose = Box::new(move |data| {
        n += u32::from(is_rtp(data));
        is_rtp(data) && !n.is_multiple_of(4)
    });
    let watching = tokio::spawn(async move { while bad.next().await.is_ok() {} });
    for _ in 0..60 {
        let at = house.frame_of(false, 12_000);
        assert_eq!(frame(&mut good).await.0, at.rtp());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let at = house.frame(true);
    assert_eq!(frame(&mut good).await.0, at.rtp());
    watching.abort();
}
