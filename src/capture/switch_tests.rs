use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::capture::encoder::ladder::LADDER;
use crate::capture::encoder::machine::candidates;
use crate::capture::encoder::{Wanted, make};
use crate::capture::line::Taker;
use crate::capture::timing::Edge;
use crate::clock;
use crate::feed::ring::Ring;

const SIDE: u32 = 64;
const KEY: &[u8] = &[0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 1, 0, 0, 1, 0x65, 1];
const DELTA: &[u8] = &[0, 0, 1, 0x41, 1];

fn caps() -> gst::Caps {
    let text = format!(
        "video/x-raw,format=I420,width={SIDE},height={SIDE},framerate=30/1,colorimetry=bt709"
    );
    text.parse().unwrap()
}

fn buffer(at: Mono, luma: u8) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(vec![luma; (SIDE * SIDE * 3 / 2) as usize]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(at.0));
    buffer
}

fn feed() -> (Arc<Ring>, Arc<Flow>, Arc<Switch>) {
    gst::init().unwrap();
    let ring = Ring::new("t".into());
    let flow = Flow::new(ring.clone(), 30);
    (ring, flow.clone(), Switch::new(flow, "t"))
}

/// A real encoder behind the switch.
fn line(flow: &Arc<Flow>, switch: &Arc<Switch>) -> Arc<Line> {
    let wanted = Wanted { width: SIDE, height: SIDE, fps: 30, bitrate_kbps: 100, gop_frames: 1000 };
    let encoder = make(&candidates(LADDER, Some("x264enc"))[0], &wanted, None).unwrap();
    let taken = switch.clone();
    let taker: Taker = Box::new(move |at, data, now| taken.line_coded(at, data, now));
    let line = Arc::new(Line::new(encoder, flow, taker).unwrap());
    line.play().unwrap();
    switch.set_line(Some(line.clone()));
    line
}

/// A picture of the camera goes to the switch; its time.
fn film(flow: &Flow, switch: &Switch) -> Mono {
    let now = clock::now();
    let at = flow.seen(Some(now), Edge::Exact, now).at;
    switch.picture(&buffer(at, 200), &caps());
    at
}

/// A slate goes to the switch; its time.
fn draw(flow: &Flow, switch: &Switch) -> Mono {
    let at = flow.drawn(clock::now());
    switch.slate_picture(&buffer(at, 50), &caps());
    at
}

/// Waits for `done`, at most 20 s.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited 20 s for {what}");
        std::thread::yield_now();
    }
}

/// With pictures, slates and a real encoder at full speed: once the camera is
/// closed, not one of its pictures leaves until it is opened, and what leaves
/// first is a key frame of the slate.
#[test]
fn no_picture_leaves_while_the_camera_is_closed() {
    let (ring, flow, switch) = feed();
    let line = line(&flow, &switch);
    let over = AtomicBool::new(false);
    let filmed = Mutex::new(BTreeSet::new());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Noted before it can leave.
                let now = clock::now();
                let at = flow.seen(Some(now), Edge::Exact, now).at;
                filmed.lock().unwrap().insert(at.0);
                switch.picture(&buffer(at, 200), &caps());
                std::thread::sleep(Duration::from_micros(300)); // a camera's pace
            }
        });
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                draw(&flow, &switch);
                std::thread::sleep(Duration::from_micros(700));
            }
        });
        let is_filmed = |at: Mono| filmed.lock().unwrap().contains(&at.0);
        for turn in 0..100 {
            let mut reader = ring.reader();
            until("the camera", || {
                std::iter::from_fn(|| reader.try_next()).any(|r| is_filmed(r.frame.captured.at))
            });
            switch.close(Closer::House, true);
            let mut reader = ring.reader();
            let mut left = Vec::new();
            until("the slate", || {
                left.extend(std::iter::from_fn(|| reader.try_next()).map(|read| read.frame));
                left.len() > 3
            });
            switch.close(Closer::House, false);
            assert!(left[0].key, "turn {turn}");
            // What was read was pushed before the camera was opened.
            assert!(!left.iter().any(|f| is_filmed(f.captured.at)), "turn {turn}: a picture left");
        }
        over.store(true, Ordering::Relaxed);
    });
    line.stop();
}

/// Who is closed by two is opened by both only.
#[test]
fn a_closed_shutter_outlasts_the_house() {
    let (_, flow, switch) = feed();
    film(&flow, &switch);
    assert_eq!(*switch.on().borrow(), On::Camera);
    switch.close(Closer::House, true);
    switch.close(Closer::Shutter, true);
    switch.close(Closer::House, false);
    film(&flow, &switch);
    assert!(matches!(*switch.on().borrow(), On::Slate(Reason::Privacy, _)));
    assert_eq!(switch.wants(), Wants::Nothing);
    switch.close(Closer::Shutter, false);
    assert_eq!(*switch.on().borrow(), On::Camera);
}

/// A pause, privacy and a name cover the camera alike; of several, the name is shown, then
/// privacy; and what was comes back.
#[test]
fn whatever_covers_the_camera_is_said() {
    let (_, flow, switch) = feed();
    film(&flow, &switch);
    let shown = || match &*switch.on().borrow() {
        On::Camera => None,
        On::Slate(reason, _) => Some(*reason),
    };
    switch.close_as(&[(Closer::Pause, true)], None);
    assert_eq!((shown(), switch.wants()), (Some(Reason::Paused), Wants::Nothing));
    switch.close_as(&[(Closer::Pause, true), (Closer::Hand, true)], None);
    assert_eq!(shown(), Some(Reason::Privacy));
    switch.close_as(&[(Closer::Pause, true), (Closer::Hand, false)], Some("box".into()));
    assert_eq!((shown(), switch.wants()), (Some(Reason::Identify), Wants::Nothing));
    switch.close_as(&[(Closer::Pause, false)], None);
    assert_eq!(shown(), None);
}

/// What happens to a closed camera is told when it is opened, not before.
#[test]
fn privacy_covers_what_happens_beneath() {
    let (_, flow, switch) = feed();
    film(&flow, &switch);
    switch.close(Closer::House, true);
    switch.slate(Reason::Unplugged, "gone");
    assert!(matches!(*switch.on().borrow(), On::Slate(Reason::Privacy, _)));
    switch.close(Closer::House, false);
    assert!(matches!(*switch.on().borrow(), On::Slate(Reason::Unplugged, _)));
}

/// Nothing leaves at rest, and the first after it is a key frame of a picture of
/// after it; the encoder's deadline sees no fault in the rest.
#[test]
fn rest_ends_with_a_key_frame_of_now() {
    let (ring, flow, switch) = feed();
    let line = line(&flow, &switch);
    let at = film(&flow, &switch);
    until("a frame", || ring.newest().is_some_and(|f| f.captured.at >= at));
    for _ in 0..20 {
        film(&flow, &switch); // some of these are in the encoder when the rest begins
        switch.rest();
        assert_eq!(flow.encoding_since(), None);
        let mut reader = ring.reader();
        let before = ring.newest().unwrap().seq;
        (0..3).for_each(|_| _ = film(&flow, &switch));
        assert!(switch.force_key(), "a wish is granted by the end of the rest");
        assert_eq!(flow.encoding_since(), None);
        let woken = clock::now();
        switch.wake();
        let first = film(&flow, &switch);
        until("a frame", || ring.newest().is_some_and(|f| f.captured.at >= first));
        let read = reader.try_next().unwrap();
        assert!(read.frame.key && read.frame.captured.at > woken);
        assert_eq!(read.frame.seq, before + 1);
    }
    line.stop();
}

/// A camera that encodes by itself does not rest.
#[test]
fn a_camera_that_encodes_does_not_rest() {
    let (ring, flow, switch) = feed();
    let unit = |data| {
        let now = clock::now();
        let at = flow.seen(Some(now), Edge::Exact, now).at;
        switch.coded(at, data, now);
        at
    };
    unit(KEY);
    switch.rest();
    let at = unit(DELTA);
    assert_eq!(ring.newest().unwrap().captured.at, at);
}

/// One that encodes comes back from privacy with a key frame, not in the middle of a GOP.
#[test]
fn a_camera_that_encodes_is_opened_with_a_key_frame() {
    let (ring, flow, switch) = feed();
    let unit = |data| {
        let now = clock::now();
        let at = flow.seen(Some(now), Edge::Exact, now).at;
        switch.coded(at, data, now);
        ring.newest().map(|f| f.captured.at) == Some(at)
    };
    assert!(unit(KEY) && unit(DELTA));
    switch.close(Closer::House, true);
    assert!(!unit(KEY) && !unit(DELTA));
    switch.close(Closer::House, false);
    assert!(!unit(DELTA));
    assert!(unit(KEY) && unit(DELTA));
}

/// What can happen to a switch, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Film,
    Draw,
    /// The oldest picture in the encoder comes out, as a key frame or not.
    Out(bool),
    Close(bool),
    Rest(bool),
}

proptest! {
    /// Whatever happens in whatever order, and however late the encoder is and
    /// whatever it makes a key frame: no picture of a closed camera leaves,
    /// nothing leaves at rest, and a key frame is first after either.
    #[test]
    fn nothing_leaves_that_should_not(
        steps in prop::collection::vec(
            prop_oneof![
                Just(Step::Film), Just(Step::Draw),
                any::<bool>().prop_map(Step::Out),
                any::<bool>().prop_map(Step::Out),
                any::<bool>().prop_map(Step::Close),
                any::<bool>().prop_map(Step::Rest),
            ],
            0..120,
        ),
    ) {
        let (ring, flow, switch) = feed();
        // Pictures in an encoder that this test plays: time, and whether the camera's.
        let mut inside = std::collections::VecDeque::new();
        let (mut closed, mut resting, mut broke) = (false, false, false);
        for step in steps {
            match step {
                Step::Film => {
                    let at = film(&flow, &switch);
                    if !closed && !resting {
                        inside.push_back((at, true));
                        switch.taken();
                    }
                }
                Step::Draw => {
                    let drawn = *switch.on().borrow() != On::Camera && !resting;
                    let at = draw(&flow, &switch);
                    if drawn {
                        inside.push_back((at, false));
                        switch.taken();
                    }
                }
                Step::Out(key) => {
                    let Some((at, camera)) = inside.pop_front() else { continue };
                    let before = ring.newest().map(|f| f.seq);
                    switch.line_coded(at, if key { KEY } else { DELTA }, at);
                    if ring.newest().map(|f| f.seq) != before {
                        prop_assert!(!(closed && camera), "a picture left a closed camera");
                        prop_assert!(!resting, "something left at rest");
                        prop_assert!(key || !broke, "no key frame first");
                        broke = false;
                    }
                }
                Step::Close(close) => {
                    broke |= close && !closed;
                    closed = close;
                    switch.close(Closer::House, close);
                }
                Step::Rest(true) => {
                    broke |= !resting;
                    resting = true;
                    switch.rest();
                }
                Step::Rest(false) => {
                    resting = false;
                    switch.wake();
                }
            }
        }
    }
}

/// A camera that is off gets its last picture back, though no encoder ever took it.
#[test]
fn a_picture_that_waits_goes_with_its_camera() {
    gst::init().unwrap();
    let switch = Switch::new(Flow::new(Ring::new("t".into()), 25), "t");
    let caps = "video/x-raw,format=I420,width=4,height=4".parse().unwrap();
    let lent = Arc::new(());
    let driver = Arc::downgrade(&lent);
    let mut picture = gst::Buffer::from_slice(Lent([0; 24], lent));
    picture.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(1));
    switch.picture(&picture, &caps);
    drop(picture);
    assert!(driver.upgrade().is_some());
    switch.slate(Reason::NoSignal, "no frame");
    assert!(driver.upgrade().is_none());
}

struct Lent([u8; 24], #[expect(dead_code, reason = "held")] Arc<()>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
