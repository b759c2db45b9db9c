//! Peers nobody here wrote, and the studio's description.

use std::process::Stdio;
use std::time::Duration;

use gstreamer::prelude::*;
use tokio::time::timeout;

use crate::client::http;
use crate::house::{House, SOON};
use crate::support::peer;

/// Two seconds of a real picture, 320x240, constrained baseline, a key frame
/// every 15: `(key, access unit)`.
fn real_pictures() -> Vec<(bool, Vec<u8>)> {
    gstreamer::init().expect("GStreamer");
    let pipeline = gstreamer::parse::launch(
        "videotestsrc num-buffers=60 ! video/x-raw,width=320,height=240,framerate=30/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=500 \
         ! video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au \
         ! h264parse config-interval=-1 \
         ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false",
    )
    .expect("a pipeline")
    .downcast::<gstreamer::Pipeline>()
    .expect("a pipeline");
    let out = pipeline.by_name("out").expect("out");
    let out = out.downcast::<gstreamer_app::AppSink>().expect("an appsink");
    pipeline.set_state(gstreamer::State::Playing).expect("playing");
    let mut pictures = Vec::new();
    while let Ok(sample) = out.pull_sample() {
        let buffer = sample.buffer().expect("a buffer");
        let key = !buffer.flags().contains(gstreamer::BufferFlags::DELTA_UNIT);
        pictures.push((key, buffer.map_readable().expect("bytes").to_vec()));
    }
    pipeline.set_state(gstreamer::State::Null).expect("null");
    assert_eq!(pictures.len(), 60);
    pictures
}

/// aiortc, which shares no code with us, decodes the feed; it offers audio first.
#[tokio::test]
async fn aiortc_plays_the_feed() {
    let pictures = tokio::task::spawn_blocking(real_pictures).await.expect("pictures");
    let mut house = House::open().await;
    let mut player = tokio::process::Command::new(peer::python());
    player.arg(peer::script("whep_aiortc.py")).args([&house.whep, "30"]);
    let player = player.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("python");
    let mut played = std::pin::pin!(player.wait_with_output());
    let mut i = 0;
    let output = loop {
        let (key, data) = &pictures[i % pictures.len()];
        house.push(*key, data.clone());
        i += 1;
        match timeout(Duration::from_millis(33), &mut played).await {
            Ok(output) => break output.expect("output"),
            Err(_) => assert!(i < 30 * 40, "aiortc has not finished after 40 s"),
        }
    };
    assert!(output.status.success(), "aiortc failed");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let frames = told["frames"].as_array().expect("frames");
    assert_eq!(frames.len(), 30);
    assert!(frames.iter().all(|f| f["width"] == 320 && f["height"] == 240));
}

/// The studio's description has what the page needs, and no private tag.
#[tokio::test]
async fn the_studio_is_described_without_private_tags() {
    let house = House::open().await;
    let url = format!("{}/api/studio", house.url);
    let answer = timeout(SOON, http("GET", &url, &[], b"")).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200);
    let studio: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(studio["version"], 1);
    assert_eq!(studio["feeds"][0]["whep"], "/whep/cam");
    assert_eq!(studio["feeds"][0]["state"]["state"], "live");
    let tags = studio["tags"].as_array().expect("tags");
    let ids: Vec<_> = tags.iter().map(|tag| (tag["id"].clone(), tag["figure"].clone())).collect();
    assert_eq!(ids, [(0.into(), serde_json::Value::Null), (2.into(), 0.into())]);
    assert_eq!(tags[0]["label"]["zh"], "标签");
    assert!(!String::from_utf8_lossy(&answer.body).contains("tag-1"));
}
