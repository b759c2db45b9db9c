use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const SIZES: [(u32, u32); 6] =
    [(1280, 720), (640, 360), (360, 640), (320, 180), (64, 64), (1080, 1920)];
const NIGHT: i64 = 1_700_000_000_000_000; // 22:13:20 UTC

fn brand(zh: &str, en: &str) -> Label {
    Label { zh: zh.into(), en: en.into() }
}

fn painter(width: u32, height: u32, brand: &Label) -> Painter {
    Painter::new(width, height, brand, "#d98a1f").expect("painter")
}

fn amber(width: u32, height: u32) -> Painter {
    painter(width, height, &brand("琥珀酒坊", "Amber Works"))
}

/// Where two pictures differ, in any plane.
fn changed(a: &[u8], b: &[u8], width: u32, height: u32) -> Vec<(u32, u32)> {
    let (luma, quarter) = ((width * height) as usize, (width * height / 4) as usize);
    let differing = (0..a.len()).filter(|i| a[*i] != b[*i]);
    let place = |i: usize| match i.checked_sub(luma) {
        None => (i as u32 % width, i as u32 / width),
        Some(i) => {
            let (i, half) = ((i % quarter) as u32, width / 2);
            (i % half * 2, i / half * 2)
        }
    };
    differing.map(place).collect()
}

/// Every reason can be read in both languages, and means one code.
#[test]
fn reasons_have_all_their_letters() {
    let faces = crate::paint::text::Type::load().expect("faces");
    let mut codes = std::collections::HashSet::new();
    for reason in Reason::ALL {
        let words = reason.words();
        for text in [&words.zh, &words.en] {
            assert!(!text.is_empty(), "{reason:?}");
            assert_eq!(faces.missing(text), None, "{reason:?}: {text}");
        }
        assert!(codes.insert(reason.code()), "{reason:?}");
    }
}

/// Within a second everybody shares one picture; a new reason does not wait for the next.
#[test]
fn one_second_is_one_allocation() {
    let mut painter = amber(320, 180);
    let first = painter.picture(Reason::NoSignal, UtcMicros(NIGHT));
    let same = painter.picture(Reason::NoSignal, UtcMicros(NIGHT + 999_999));
    assert_eq!(first.as_ptr(), same.as_ptr());
    let other = painter.picture(Reason::Unplugged, UtcMicros(NIGHT + 999_999));
    assert_ne!(first, other);
    let later = painter.picture(Reason::NoSignal, UtcMicros(NIGHT + 1_000_000));
    assert_ne!(first, later);
    assert_eq!(first, painter.picture(Reason::NoSignal, UtcMicros(NIGHT)));
}

/// Every size has its bytes and shows something: words brighter than all else.
#[test]
fn pictures_have_their_size() {
    for (width, height) in SIZES {
        let mut painter = amber(width, height);
        for reason in Reason::ALL {
            let picture = painter.picture(reason, UtcMicros(NIGHT));
            assert_eq!(picture.len(), (width * height * 3 / 2) as usize);
            let luma = &picture[..(width * height) as usize];
            let bright = luma.iter().filter(|l| **l > 150).count();
            assert!(bright > luma.len() / 200, "{reason:?} at {width}x{height}: {bright}");
            let limited = luma.iter().all(|l| (16..=235).contains(l));
            assert!(limited, "{reason:?} at {width}x{height}");
        }
    }
}

/// What cannot be encoded, and what is no colour, is refused.
#[test]
fn odd_and_enormous_sizes_are_refused() {
    for (width, height) in [(641, 360), (640, 361), (0, 0), (62, 64), (4098, 720), (720, 4098)] {
        let refused = Painter::new(width, height, &Label::default(), "#d98a1f");
        assert!(refused.is_err(), "{width}x{height}");
    }
    for accent in ["", "d98a1f", "#d98a1", "#d98a1g", "#d98a1f0", "#éaaaa"] {
        assert!(Painter::new(64, 64, &Label::default(), accent).is_err(), "{accent}");
    }
}

/// A second later only the time looks different, from the last digit to midnight.
#[test]
fn only_the_time_moves() {
    for (width, height) in SIZES {
        let mut painter = amber(width, height);
        let clock = painter.look.clock();
        let columns = clock.x as u32..clock.x as u32 + clock.width;
        let rows = clock.y as u32..clock.y as u32 + clock.height;
        for second in [1, 2, 40, 2800, 6400] {
            let at = |second: i64| UtcMicros(NIGHT + second * 1_000_000);
            let before = painter.picture(Reason::Busy, at(second - 1));
            let now = painter.picture(Reason::Busy, at(second));
            let moved = changed(&before, &now, width, height);
            assert!(!moved.is_empty(), "{second} at {width}x{height}");
            let inside = |(x, y): &(u32, u32)| columns.contains(x) && rows.contains(y);
            assert!(moved.iter().all(inside), "{second} at {width}x{height}");
        }
    }
}

/// The time is that of the machine's zone, as `date` says it.
#[test]
fn time_is_local() {
    for second in [0, 1_700_000_000, 1_720_000_007] {
        let date = std::process::Command::new("date")
            .args(["-d", &format!("@{second}"), "+%-H %-M %-S"])
            .output()
            .expect("date");
        let [hour, minute, seconds] = local(second);
        let told = String::from_utf8_lossy(&date.stdout);
        assert_eq!(told.trim(), format!("{hour} {minute} {seconds}"));
    }
    assert_eq!(local(i64::MAX), [15, 30, 7], "a year that does not fit");
}

/// An accent as dark as the ground is lifted until it is seen.
#[test]
fn accent_stands_out() {
    let sign = |accent: &str| {
        let mut painter = Painter::new(320, 180, &Label::default(), accent).expect("painter");
        let picture = painter.picture(Reason::Privacy, UtcMicros(NIGHT));
        // In the lock's body, at the left margin.
        let rows = 40..80u32;
        rows.map(|y| picture[(y * 320 + 20) as usize]).max().expect("rows")
    };
    assert!(sign("#000000") > 70, "{}", sign("#000000"));
    assert!(sign("#ffffff") > 200, "{}", sign("#ffffff"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No brand, however long and in whatever script, paints outside its place.
    #[test]
    fn brand_stays_in_its_place(zh in ".{0,80}", en in "\\PC{0,200}", size in 1..5usize) {
        let (width, height) = SIZES[size];
        let mut with = painter(width, height, &brand(&zh, &en));
        let mut without = painter(width, height, &Label::default());
        let [left, top, right, bottom] = with.look.brand_place();
        let a = with.picture(Reason::Failed, UtcMicros(NIGHT));
        let b = without.picture(Reason::Failed, UtcMicros(NIGHT));
        for (x, y) in changed(&a, &b, width, height) {
            let (x, y) = (x as f32, y as f32);
            let inside = x >= left - 1.0 && x < right + 1.0 && y >= top - 1.0 && y < bottom + 1.0;
            prop_assert!(inside, "{x},{y} of {width}x{height}: {zh:?} {en:?}");
        }
    }
}

/// A second's picture costs next to nothing, a new reason's little.
#[test]
fn a_picture_is_cheap() {
    let mut painter = amber(1280, 720);
    let (mut full, mut second) = (Duration::MAX, Duration::MAX);
    for n in 0..20 {
        let reason = Reason::ALL[n % 8];
        let began = Instant::now();
        painter.picture(reason, UtcMicros(NIGHT));
        full = full.min(began.elapsed());
        let began = Instant::now();
        painter.picture(reason, UtcMicros(NIGHT + 1_000_000));
        second = second.min(began.elapsed());
    }
    eprintln!("{full:?} a reason, {second:?} a second");
    assert!(second < Duration::from_millis(8), "{second:?}");
    assert!(full < Duration::from_millis(80), "{full:?}");
}
