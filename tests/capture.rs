//! Pushed pictures through a real encoder into the ring.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use floorcast::capture::{self, Look, Pictures, Pixels, RawPicture, Source, Style};
use floorcast::clock::{self, WallClock};
use floorcast::config::Problems;
use floorcast::config::camera::{Camera, CameraFile, Settings};
use floorcast::feed::ring::Ring;
use floorcast::model::{Frame, Label, Mono};
use floorcast::status::{State, Status};
use tokio::sync::watch;
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
    settings: watch::Sender<Settings>,
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
    let style = Style { brand, accent: "#d98a1f".into() };
    Look { style: tokio::sync::watch::channel(style).1, wall: Arc::new(WallClock::new()) }
}

fn start(camera: Camera) -> Line {
    let (pictures, push) =
        capture::push::channel("t", Pixels::I420, camera.width, camera.height, camera.fps);
    let (ring, status, stop) = (Ring::new("t".into()), Status::new(), CancellationToken::new());
    let settings = watch::Sender::new(camera.settings());
    let run = tokio::spawn(capture::run(
        camera,
        settings.subscribe(),
        Source::Push(push),
        look(),
        ring.clone(),
        status.clone(),
        stop.clone(),
    ));
    Line { pictures, ring, status, settings, stop, run }
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

/// Films until `done` is: 30 pictures a second, each other noise.
async fn filming<T>(line: &Line, done: impl Future<Output = T>) -> T {
    let film = async {
        let mut random = 1u32;
        let mut tick = tokio::time::interval(Duration::from_micros(33_333));
        loop {
            tick.tick().await;
            let mut data = vec![128u8; Pixels::I420.size(WIDTH, HEIGHT)];
            for byte in data.iter_mut().take((WIDTH * HEIGHT) as usize).step_by(3) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = 90 + (random >> 26) as u8;
            }
            line.pictures.push(RawPicture { at: clock::now(), data: data.into() }).unwrap();
        }
    };
    tokio::select! {
        done = done => done,
        () = film => unreachable!("cameras do not end"),
    }
}

/// Parameter sets: the first two NAL units.
fn sets(data: &[u8]) -> Vec<u8> {
    let third = data.windows(4).enumerate().filter(|(_, w)| *w == [0, 0, 0, 1]).nth(2);
    data[..third.map_or(data.len(), |(at, _)| at)].to_vec()
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
    let live = || {
        line.push(25);
        line.status.get("feed/t").filter(|h| h.state == State::Live)
    };
    until("live", live).await;
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
    // The newest key frame is that of the turn back.
    let key = until("a key frame", || reader.try_next()).await.frame;
    assert!(key.key && key.seq > later.seq, "{} after {}", key.seq, later.seq);
    assert_eq!(sets(&key.data), sets(&first.data), "the stream's parameters stay");
    line.end().await;
}

/// Waits for a state of the feed.
async fn state(line: &Line, wanted: State) -> floorcast::status::Health {
    let found = || line.status.get("feed/t").filter(|h| h.state == wanted);
    until(&format!("{wanted:?}"), found).await
}

/// A feed on demand rests while nobody watches, which is neither live nor a
/// fault; who comes is given a key frame of a picture of now, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_on_demand_rests_and_is_there_when_asked() {
    let line = start(camera("on_demand = true\ngop_frames = 1000"));
    filming(&line, async {
        state(&line, State::Live).await;
        assert_eq!(state(&line, State::Resting).await.code, "resting");
        let newest = line.ring.newest().unwrap().seq;
        let mut reader = line.ring.reader();
        assert!(reader.try_next().is_none(), "nobody joins with pictures of before");
        // The frozen, slow and silent have their time to be suspected.
        let changes = line.status.changes();
        sleep_pictures(40).await;
        assert_eq!(line.ring.newest().unwrap().seq, newest);
        assert!(!changes.has_changed().unwrap(), "{:?}", line.status.get("feed/t"));
        let asked = clock::now();
        let watching = line.ring.watch();
        line.ring.want_key();
        let first = reader.next().await.frame;
        assert!(first.key && first.captured.at > asked);
        assert_eq!(first.seq, newest + 1);
        let took = clock::now().since(asked);
        assert!(took < Duration::from_millis(300), "the first picture took {took:?}");
        let second = reader.next().await.frame;
        assert!(!second.key, "one key frame is enough");
        state(&line, State::Live).await;
        drop(watching);
        state(&line, State::Resting).await;
        // Nobody watches, but it is not to rest any more.
        line.settings.send_modify(|settings| settings.on_demand = false);
        state(&line, State::Live).await;
    })
    .await;
    line.end().await;
}

/// The time of so many pictures.
async fn sleep_pictures(n: u32) {
    let mut tick = tokio::time::interval(Duration::from_micros(33_333));
    for _ in 0..n {
        tick.tick().await;
    }
}

/// Kilobits per second of the next two seconds' frames, none of them missing.
async fn kbps(line: &Line) -> f64 {
    let mut reader = line.ring.reader();
    while let Some(read) = reader.try_next() {
        drop(read);
    }
    let (mut bytes, mut first, mut last) = (0, None, None);
    loop {
        let frame = reader.next().await.frame;
        assert!(last.is_none_or(|(seq, _)| frame.seq == seq + 1), "a frame is missing");
        last = Some((frame.seq, frame.captured.at));
        let began = *first.get_or_insert(frame.captured.at);
        let passed = frame.captured.at.since(began);
        if passed >= Duration::from_secs(2) {
            return bytes as f64 * 8.0 / 1000.0 / passed.as_secs_f64();
        }
        bytes += frame.data.len();
    }
}

/// The bit rate changes on air: it is measured in what comes out, no frame is
/// missing, and x264's parameter sets stay to the byte.
#[tokio::test(flavor = "multi_thread")]
async fn the_bit_rate_changes_on_air() {
    for encoder in ["x264enc", "openh264enc"] {
        let text = format!("encoder = \"{encoder}\"\nbitrate_kbps = 250\ngop_frames = 1000");
        let line = start(camera(&text));
        filming(&line, async {
            state(&line, State::Live).await;
            let first = line.ring.reader().next().await.frame;
            sleep_pictures(20).await;
            let low = kbps(&line).await;
            let key = line.ring.reader().next().await.frame;
            assert_eq!(key.seq, first.seq, "{encoder}: no other key frame");
            line.settings.send_modify(|settings| settings.bitrate_kbps = 750);
            sleep_pictures(20).await;
            let high = kbps(&line).await;
            // OpenH264 marks its first change with a key frame and a higher level in it.
            let x264 = encoder == "x264enc";
            let key = line.ring.reader().next().await.frame;
            assert!(key.seq == first.seq || !x264, "{encoder}: a key frame");
            assert!((170.0..380.0).contains(&low), "{encoder}: {low:.0} kbit/s of 250");
            assert!((550.0..960.0).contains(&high), "{encoder}: {high:.0} kbit/s of 750");
            let before = line.ring.newest().unwrap().seq;
            line.ring.want_key();
            let key = until("a key frame", || {
                line.ring.reader().try_next().map(|r| r.frame).filter(|f| f.seq > before)
            });
            let key = key.await;
            assert!(sets(&key.data) == sets(&first.data) || !x264, "{encoder}: parameter sets");
        })
        .await;
        line.end().await;
    }
}

/// Privacy on air: paused with its reason, the slate in the camera's place
/// from a key frame on, and the same stream when it ends.
#[tokio::test(flavor = "multi_thread")]
async fn privacy_takes_the_camera_off_and_gives_it_back() {
    let line = start(camera("gop_frames = 1000"));
    filming(&line, async {
        state(&line, State::Live).await;
        let first = line.ring.reader().next().await.frame;
        line.settings.send_modify(|settings| settings.privacy = true);
        assert_eq!(state(&line, State::Paused).await.code, "privacy");
        let mut reader = line.ring.reader();
        let slate = reader.next().await.frame;
        assert!(slate.key && slate.seq > first.seq);
        assert_eq!(sets(&slate.data), sets(&first.data));
        let mut before = slate.clone();
        for _ in 0..10 {
            let frame = reader.next().await.frame;
            assert_eq!((frame.seq, frame.key), (before.seq + 1, false));
            before = frame;
        }
        // Ten a second: the slate's pace, not the camera's.
        assert!(before.captured.at.since(slate.captured.at) > Duration::from_millis(600));
        line.settings.send_modify(|settings| settings.privacy = false);
        let back = loop {
            let frame = reader.next().await.frame;
            assert_eq!(frame.seq, before.seq + 1);
            before = frame.clone();
            if frame.key {
                break frame;
            }
        };
        assert_eq!(sets(&back.data), sets(&first.data));
        state(&line, State::Live).await;
    })
    .await;
    line.end().await;
}

/// A camera that is private from the start shows the slate and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn privacy_holds_from_the_first_picture_on() {
    let line = start(camera("privacy = true"));
    filming(&line, async {
        assert_eq!(state(&line, State::Paused).await.code, "privacy");
        let mut reader = line.ring.reader();
        let first = reader.next().await.frame;
        assert_eq!(first.seq, 0);
        let mut last = first.clone();
        for _ in 0..10 {
            last = reader.next().await.frame;
        }
        // Ten a second: the slate's pace, not the camera's.
        assert!(last.captured.at.since(first.captured.at) > Duration::from_millis(600));
    })
    .await;
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
        let settings = watch::Sender::new(camera.settings());
        let run = capture::run(
            camera.clone(),
            settings.subscribe(),
            source,
            look(),
            ring.clone(),
            Status::new(),
            stop.clone(),
        );
        let line = Line {
            pictures: pictures.clone(),
            ring: ring.clone(),
            status: Status::new(),
            settings,
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
