use std::sync::{Condvar, PoisonError};
use std::time::Instant;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;

use super::*;
use crate::capture::encoder::ladder::LADDER;
use crate::capture::timing::Edge;
use crate::config::Problems;
use crate::config::camera::CameraFile;
use crate::feed::ring::Ring;

/// Pictures that it encodes before it hangs; a trial takes fewer.
const GOOD: u32 = 20;

/// Those that hang, until the test ends.
static OVER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// An encoder that hangs in the middle of a picture, as drivers do.
mod hanging {
    use super::*;

    #[derive(Default)]
    pub struct Encoder;

    #[glib::object_subclass]
    impl ObjectSubclass for Encoder {
        const NAME: &'static str = "TestHangingEncoder";
        type Type = super::HangingEncoder;
        type ParentType = gst::Bin;
    }

    impl ObjectImpl for Encoder {
        fn constructed(&self) {
            self.parent_constructed();
            let inner = gst::ElementFactory::make("x264enc")
                .property_from_str("tune", "zerolatency")
                .property_from_str("speed-preset", "ultrafast")
                .build()
                .unwrap();
            self.obj().add(&inner).unwrap();
            let sink = inner.static_pad("sink").unwrap();
            let taken = Mutex::new(0);
            sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let mut taken = taken.lock().unwrap();
                *taken += 1;
                if *taken > GOOD {
                    let over = OVER.0.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(OVER.1.wait_while(over, |over| !*over));
                }
                gst::PadProbeReturn::Ok
            });
            for (name, pad) in [("sink", sink), ("src", inner.static_pad("src").unwrap())] {
                let ghost = gst::GhostPad::builder_with_target(&pad).unwrap().name(name).build();
                self.obj().add_pad(&ghost).unwrap();
            }
        }
    }

    impl GstObjectImpl for Encoder {}
    impl ElementImpl for Encoder {}
    impl BinImpl for Encoder {}
}

glib::wrapper! {
    pub struct HangingEncoder(ObjectSubclass<hanging::Encoder>)
        @extends gst::Bin, gst::Element, gst::Object;
}

/// The hanging one first, then a good one.
static TEST_LADDER: &[Rung] = &[
    Rung {
        name: "testhangingenc",
        chip: "a test",
        input: "video/x-raw,format=I420",
        output: "video/x-h264,profile=constrained-baseline",
        holds: 0,
        ..Rung::BASE
    },
    Rung {
        name: "x264enc",
        chip: "software",
        input: "video/x-raw,format=I420",
        sets: &[
            ("tune", encoder::ladder::Amount::Is("zerolatency")),
            ("speed-preset", encoder::ladder::Amount::Is("ultrafast")),
        ],
        output: "video/x-h264,profile=constrained-baseline",
        holds: 0,
        ..Rung::BASE
    },
];

fn camera() -> Camera {
    let mut problems = Problems::default();
    let text = "id = \"t\"\nport = \"sim:line\"\nwidth = 160\nheight = 96\nfps = 30";
    let file: CameraFile = toml::from_str(text).unwrap();
    let camera = file.check("camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    camera
}

/// A hung encoder is given up and replaced while the feed goes on; the third
/// time the next one of the ladder takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn the_third_hang_steps_down_the_ladder() {
    gst::init().unwrap();
    let factory = "testhangingenc";
    gst::Element::register(None, factory, gst::Rank::NONE, HangingEncoder::static_type()).unwrap();
    assert!(LADDER.iter().all(|rung| rung.name != factory));
    let (camera, stop, trouble) = (camera(), CancellationToken::new(), Trouble::default());
    let (_keep, settings) = watch::channel(camera.settings());
    let status = Status::new();
    let ring = Ring::new("t".into());
    let flow = &Flow::new(ring.clone(), camera.fps);
    let switch = &Switch::new(flow.clone(), "t");
    let keeper = Keeper {
        camera: &camera,
        settings: &settings,
        ladder: TEST_LADDER,
        flow,
        switch,
        trouble: &trouble,
        status: &status,
        stop: &stop,
    };
    let film = async {
        let caps = "video/x-raw,format=I420,width=160,height=96,framerate=30/1,colorimetry=bt709";
        let caps = caps.parse().unwrap();
        let began = Instant::now();
        let mut tick = interval(camera.period());
        let mut widest = Duration::ZERO;
        // Three encoders' worth of pictures, and one more that only a good encoder gives.
        while ring.newest().is_none_or(|f| f.seq < u64::from(4 * GOOD)) {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "at {:?}",
                ring.newest().map(|f| f.seq)
            );
            tick.tick().await;
            let now = clock::now();
            let at = flow.seen(Some(now), Edge::Exact, now).at;
            let mut buffer = gst::Buffer::from_slice(vec![100u8; 160 * 96 * 3 / 2]);
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
            switch.picture(&buffer, &caps);
            if let Some(newest) = ring.newest() {
                widest = widest.max(now.since(newest.encoded));
            }
        }
        stop.cancel();
        widest
    };
    let (widest, ()) = tokio::join!(film, keeper.keep());
    *OVER.0.lock().unwrap() = true;
    OVER.1.notify_all();
    let health = status.get("encoder/t").unwrap();
    assert_eq!((health.state, health.code), (State::Suspect, "stepped_down"));
    assert!(health.reason.contains("to x264enc"), "{}", health.reason);
    assert!(health.reason.contains("testhangingenc by memory failed"), "{}", health.reason);
    // Once for each of three hangs, and never after the step down.
    assert!(widest >= DEADLINE, "{widest:?}: nothing hung");
    assert!(widest < Duration::from_secs(2), "a hang cost {widest:?} of picture");
    let candidate = choice::choose(TEST_LADDER, &wanted(&camera), None, None).unwrap();
    assert_eq!(candidate.candidate.factory, "x264enc");
}

fn wanted(camera: &Camera) -> Wanted {
    let Camera { width, height, fps, bitrate_kbps, gop_frames, .. } = *camera;
    Wanted { width, height, fps, bitrate_kbps, gop_frames }
}

/// An encoder that cannot change its bit rate gives way to another of its kind,
/// which is no failure of it, while the feed goes on: numbers and times rise.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_of_one_bit_rate_is_replaced() {
    gst::init().unwrap();
    // Passed trials are remembered by what was wanted: that of the other test is its own.
    let camera = Camera { gop_frames: 31, ..camera() };
    let (stop, trouble) = (CancellationToken::new(), Trouble::default());
    let settings = watch::Sender::new(camera.settings());
    let ring = Ring::new("t".into());
    let flow = &Flow::new(ring.clone(), camera.fps);
    let switch = &Switch::new(flow.clone(), "t");
    let status = Status::new();
    let keeper = Keeper {
        camera: &camera,
        settings: &settings.subscribe(),
        ladder: &TEST_LADDER[1..],
        flow,
        switch,
        trouble: &trouble,
        status: &status,
        stop: &stop,
    };
    let film = async {
        let caps = "video/x-raw,format=I420,width=160,height=96,framerate=30/1,colorimetry=bt709";
        let caps = caps.parse().unwrap();
        let mut tick = interval(camera.period());
        let mut reader = ring.reader();
        let mut frames: Vec<Arc<crate::model::Frame>> = Vec::new();
        let began = Instant::now();
        // The second key frame is the other encoder's first.
        while frames.iter().filter(|f| f.key).count() < 2 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} frames", frames.len());
            tick.tick().await;
            let now = clock::now();
            let at = flow.seen(Some(now), Edge::Exact, now).at;
            let mut buffer = gst::Buffer::from_slice(vec![100u8; 160 * 96 * 3 / 2]);
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
            switch.picture(&buffer, &caps);
            frames.extend(std::iter::from_fn(|| reader.try_next()).map(|read| read.frame));
            if frames.len() == 10 {
                settings.send_modify(|settings| settings.bitrate_kbps = 999);
            }
        }
        stop.cancel();
        frames
    };
    let (frames, ()) = tokio::join!(film, keeper.keep());
    assert!(frames.len() > 10, "replaced unasked after {}", frames.len());
    for pair in frames.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
        let gap = pair[1].captured.at.since(pair[0].captured.at);
        assert!(gap < Duration::from_secs(1), "the change cost {gap:?} of picture");
    }
    assert_eq!(*trouble.lock().unwrap(), None);
}
