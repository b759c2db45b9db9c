//! Pushed pictures through a real encoder into the ring.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floorcast::capture::{self, Look, Pictures, Pixels, RawPicture, Source};
use floorcast::clock::{self, WallClock};
use floorcast::config::Problems;
use floorcast::config::camera::{Camera, CameraFile};
use floorcast::feed::ring::Ring;
use floorcast::model::{Frame, Label, Mono};
use floorcast::status::{State, Status};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;

/// A running capture of pushed pictures.
struct Line {
    pictures: Pictures,
    ring: Arc<Ring>,
    status: Status,
    stop: CancellationToken,
    run: JoinHandle<anyhow::Result<()>>,
}

fn camera(toml: &str) -> Camera {
    let mut problems = Problems::default();
    let text =
        format!("id = \"t\"\nport = \"sim:line\"\nwidth = {WIDTH}\nheight = {HEIGHT}\n{toml}");
    let file: CameraFile = toml::from_str(&text).unwrap();
    let camera = file.check("camera[0]", &mut problems);
    assert!(problems.is_empty(), "{problems}");
    camera
}

fn look() -> Look {
    let brand = Label { zh: "样板灌装厂".into(), en: "Model Filling".into() };
    Look { brand, accent: "#d98a1f".into(), wall: Arc::new(WallClock::new()) }
}

fn start(camera: Camera) -> Line {
    let (pictures, push) =
        capture::push::channel("t", Pixels::I420, camera.width, camera.height, camera.fps);
    let (ring, status, stop) = (Ring::new("t".into()), Status::new(), CancellationToken::new());
    let run = tokio::spawn(capture::run(
        camera,
        Source::Push(push),
        look(),
        ring.clone(),
        status.clone(),
        stop.clone(),
    ));
    Line { pictures, ring, status, stop, run }
}

impl Line {
    /// Pushes a picture of now, noisy enough to cost something; returns its time.
    fn push(&self, n: u32) -> Mono {
        let mut data = vec![128u8; Pixels::I420.size(WIDTH, HEIGHT)];
        for (i, byte) in data.iter_mut().take((WIDTH * HEIGHT) as usize).enumerate() {
            *byte = ((i as u32).wrapping_mul(7) / 5 + n * 3) as u8;
        }
        let at = clock::now();
        self.pictures.push(RawPicture { at, data: Bytes::from(data) }).unwrap();
        at
    }

    /// Waits for the frame captured at `at`.
    async fn frame(&self, at: Mono) -> Arc<Frame> {
        until("a frame", || self.ring.newest().filter(|f| f.captured.at >= at)).await
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), self.run).await;
        ended.expect("capture stops in time").unwrap().unwrap();
    }
}

/// Waits for `found`, at most 10 s.
async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < limit, "waited 10 s for {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// NAL unit types of an access unit.
fn kinds(data: &[u8]) -> Vec<u8> {
    let starts = data.windows(4).filter(|w| w[..3] == [0, 0, 1]);
    starts.map(|w| w[3] & 0x1f).collect()
}

/// Every picture becomes one frame with exactly its own capture time; key
/// frames come at the GOP's distance and bring their parameter sets.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_become_frames_with_their_own_time() {
    let line = start(camera("gop_frames = 10"));
    for n in 0..25u32 {
        let at = line.push(n);
        let frame = line.frame(at).await;
        assert_eq!(frame.captured.at, at);
        assert_eq!(frame.captured.error, Duration::ZERO);
        assert_eq!(frame.seq, u64::from(n));
        assert!(frame.encoded > at);
        assert_eq!(frame.key, n % 10 == 0, "frame {n}");
        let kinds = kinds(&frame.data);
        if frame.key {
            assert_eq!(kinds[..2], [7, 8], "{kinds:?}");
            assert!(kinds.contains(&5));
        } else {
            assert!(!kinds.iter().any(|k| [5, 7, 8, 9].contains(k)), "{kinds:?}");
        }
    }
    let health = line.status.get("feed/t").unwrap();
    assert_eq!(health.state, State::Live);
    line.end().await;
}

/// A viewer's wish brings a key frame in the middle of the GOP, at once.
#[tokio::test(flavor = "multi_thread")]
async fn wanted_key_frame_comes_within_the_gop() {
    let line = start(camera("gop_frames = 1000"));
    let first = line.push(0);
    assert!(line.frame(first).await.key);
    line.ring.want_key();
    let mut n = 1;
    loop {
        let frame = line.frame(line.push(n)).await;
        if frame.key {
            assert_eq!(kinds(&frame.data)[..2], [7, 8]);
            break;
        }
        n += 1;
        assert!(n < 1000, "no key frame came");
    }
    line.end().await;
}

/// A source that falls silent is off the air, with the reason; the slate goes
/// on in its place, through the same encoder, and so does the source when it
/// is back: numbers and times rise, parameter sets stay, each turn is a key frame.
#[tokio::test(flavor = "multi_thread")]
async fn the_slate_takes_the_place_of_a_silent_source() {
    let line = start(camera("frame_deadline_ms = 150\ngop_frames = 1000"));
    let first = line.frame(line.push(0)).await;
    // Only fresh pictures are live: they go on until that was seen.
    let live = || {
        line.push(1);
        line.status.get("feed/t").filter(|h| h.state == State::Live)
    };
    until("live", live).await;
    let silent = || line.status.get("feed/t").filter(|h| h.state == State::NoSignal);
    let health = until("no signal", silent).await;
    assert_eq!(health.code, "no_signal");
    assert!(health.reason.starts_with("no frame for 0."), "{}", health.reason);
    let newest = || line.ring.newest().expect("a frame");
    let last = newest().seq.max(first.seq);
    let slate = until("the slate", || Some(newest()).filter(|f| f.seq > last)).await;
    let later = until("more of it", || Some(newest()).filter(|f| f.seq > slate.seq + 3)).await;
    assert!(later.captured.at > slate.captured.at);
    let back = line.frame(line.push(1)).await;
    assert!(back.seq > later.seq && back.captured.at > later.captured.at);
    until("live again", live).await;
    let mut reader = line.ring.reader();
    // Parameter sets: the first two NAL units.
    let sets = |data: &[u8]| {
        let third = data.windows(4).enumerate().filter(|(_, w)| *w == [0, 0, 0, 1]).nth(2);
        data[..third.map_or(data.len(), |(at, _)| at)].to_vec()
    };
    // The newest key frame is that of the turn back.
    let key = until("a key frame", || reader.try_next()).await.frame;
    assert!(key.key && key.seq > later.seq, "{} after {}", key.seq, later.seq);
    assert_eq!(sets(&key.data), sets(&first.data), "the stream's parameters stay");
    line.end().await;
}

/// The next session goes on where the ring ended: numbers and times keep rising.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_session_continues_the_feed() {
    let camera = camera("");
    let (pictures, push) =
        capture::push::channel("t", Pixels::I420, camera.width, camera.height, camera.fps);
    let ring = Ring::new("t".into());
    let mut before = None;
    for _ in 0..2 {
        let stop = CancellationToken::new();
        let source = Source::Push(push.clone());
        let run =
            capture::run(camera.clone(), source, look(), ring.clone(), Status::new(), stop.clone());
        let line = Line {
            pictures: pictures.clone(),
            ring: ring.clone(),
            status: Status::new(),
            stop,
            run: tokio::spawn(run),
        };
        let frame = line.frame(line.push(0)).await;
        assert!(frame.key);
        assert_eq!(frame.seq, before.map_or(0, |seq: u64| seq + 1));
        before = Some(frame.seq);
        line.end().await;
    }
}
