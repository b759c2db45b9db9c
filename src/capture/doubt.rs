//! Pictures that come but may not be worth showing: the same one again and
//! again, black ones, too few.
//!
//! Comes in: that a picture came, and some of them. Goes out: what is doubtful
//! about them. A small part of a picture is looked at twice a second. Suspected
//! only: a line at rest under a lamp is legal, though a sensor's noise never
//! repeats a picture to the byte. Time is an argument.

use std::hash::Hasher;
use std::sync::Mutex;
use std::time::Duration;

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use crate::model::Mono;

/// How often a picture is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Every so many rows one is looked at.
const ROWS: usize = 8;
/// A picture whose brightest hundredth is below this is black: a covered lens
/// or no light (8 bit luma; video black is 16).
const BLACK: u8 = 30;
/// Black for this long.
const BLACK_FOR: Duration = Duration::from_secs(3);
/// The rate is taken over this.
const WINDOW: Duration = Duration::from_secs(5);
/// Fewer than this part of the nominal rate is slow …
const SLOW: f64 = 0.8;
/// … until it is this again.
const WELL: f64 = 0.9;

/// What is doubtful.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Doubt {
    /// The same bytes since then.
    Frozen(Mono),
    /// Black since then.
    Dark(Mono),
    /// Pictures per second: most of what is missing does not come.
    Slow(f64),
    /// The same: most of what is missing was lost by the driver.
    Gaps(f64),
    /// The same: most of what is missing came damaged.
    Damaged(f64),
}

impl Doubt {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Frozen(_) => "frozen",
            Self::Dark(_) => "dark",
            Self::Slow(_) => "slow",
            Self::Gaps(_) => "gaps",
            Self::Damaged(_) => "damaged",
        }
    }

    /// For people, without figures that change all the time.
    pub fn words(self) -> String {
        match self {
            Self::Frozen(_) => "the camera repeats one picture to the byte".into(),
            Self::Dark(_) => "the picture is black: covered, or no light".into(),
            Self::Slow(fps) => format!("only about {fps:.0} pictures a second"),
            Self::Gaps(fps) => {
                format!("only about {fps:.0} pictures a second: the driver loses the others")
            }
            Self::Damaged(fps) => {
                format!("only about {fps:.0} pictures a second: the others are damaged")
            }
        }
    }
}

/// What a picture looks like, in little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Print {
    /// Of the bytes looked at.
    hash: u64,
    /// Brightness that a hundredth of the points reaches.
    bright: u8,
}

impl Print {
    /// Of a raw picture; `None` for layouts that cannot be read.
    pub fn of(buffer: &gst::BufferRef, caps: &gst::CapsRef) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(caps).ok()?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
        // The first component is luma, or red where there is no luma.
        let step = usize::try_from(info.comp_pstride(0)).ok().filter(|step| *step > 0)?;
        let (plane, stride) = (frame.plane_data(0).ok()?, *frame.plane_stride().first()? as usize);
        let row = frame.width() as usize * step;
        let first = info.comp_poffset(0) as usize;
        let mut hasher = std::hash::DefaultHasher::new();
        let mut levels = [0u32; 256];
        let mut points = 0;
        for y in (0..frame.height() as usize).step_by(ROWS) {
            let bytes = plane.get(y * stride..y * stride + row)?;
            hasher.write(bytes);
            for level in bytes.get(first..)?.iter().step_by(step * 2) {
                levels[*level as usize] += 1;
                points += 1;
            }
        }
        let mut above = 0;
        let reaches = |(_, count): &(usize, &u32)| {
            above += **count;
            above * 100 >= points
        };
        let bright = levels.iter().enumerate().rev().find(reaches).map_or(0, |(level, _)| level);
        Some(Self { hash: hasher.finish(), bright: bright as u8 })
    }
}

/// Looks at one camera's pictures. Shared.
pub(super) struct Watch {
    fps: u32,
    frozen_after: Duration,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    looked: Option<Mono>,
    print: Option<Print>,
    same_since: Mono,
    black_since: Option<Mono>,
    window: Option<Mono>,
    count: u32,
    /// Of this window: lost by the driver, damaged.
    missed: [u32; 2],
    /// What is doubtful about the last window.
    slow: Option<Doubt>,
}

impl Watch {
    /// For a camera of `fps` pictures a second.
    pub fn new(fps: u32, frozen_after: Duration) -> Self {
        Self { fps, frozen_after, seen: Mutex::default() }
    }

    /// Another session: nothing of before counts.
    pub fn begin(&self) {
        *self.seen.lock().expect("watch lock") = Seen::default();
    }

    /// A picture came, whether it is looked at or not.
    pub fn came(&self, now: Mono) {
        self.seen.lock().expect("watch lock").count(now, self.fps);
    }

    /// Pictures that should have come: lost by the driver, or damaged.
    pub fn missed(&self, lost: u32, damaged: u32) {
        let missed = &mut self.seen.lock().expect("watch lock").missed;
        missed[0] = missed[0].saturating_add(lost);
        missed[1] = missed[1].saturating_add(damaged);
    }

    /// Whether the next picture is to be looked at.
    pub fn due(&self, now: Mono) -> bool {
        let looked = self.seen.lock().expect("watch lock").looked;
        looked.is_none_or(|at| now.since(at) >= LOOK)
    }

    /// Here is a picture; `print` is asked for where it is to be looked at.
    pub fn picture(&self, now: Mono, print: impl FnOnce() -> Option<Print>) {
        let mut seen = self.seen.lock().expect("watch lock");
        if seen.looked.is_some_and(|at| now.since(at) < LOOK) {
            return;
        }
        seen.looked = Some(now);
        let Some(print) = print() else { return };
        if seen.print.replace(print).map(|before| before.hash) != Some(print.hash) {
            seen.same_since = now;
        }
        seen.black_since = (print.bright < BLACK).then(|| seen.black_since.unwrap_or(now));
    }

    /// The worst doubt at this moment.
    pub fn doubt(&self, now: Mono) -> Option<Doubt> {
        let seen = self.seen.lock().expect("watch lock");
        let same = seen.print.is_some().then_some(seen.same_since);
        if let Some(since) = same.filter(|since| now.since(*since) >= self.frozen_after) {
            return Some(Doubt::Frozen(since));
        }
        if let Some(since) = seen.black_since.filter(|since| now.since(*since) >= BLACK_FOR) {
            return Some(Doubt::Dark(since));
        }
        seen.slow
    }
}

impl Seen {
    fn count(&mut self, now: Mono, fps: u32) {
        let began = *self.window.get_or_insert(now);
        let passed = now.since(began);
        if passed >= WINDOW {
            // The picture that ends a window begins the next.
            let seconds = passed.as_secs_f64();
            let rate = f64::from(self.count) / seconds;
            let limit = f64::from(fps) * if self.slow.is_some() { WELL } else { SLOW };
            let half_missing = (f64::from(fps) - rate) * seconds / 2.0;
            let [lost, damaged] = self.missed.map(|n| f64::from(n) > half_missing);
            self.slow = (rate < limit).then_some(match (lost, damaged) {
                (_, true) => Doubt::Damaged(rate),
                (true, false) => Doubt::Gaps(rate),
                (false, false) => Doubt::Slow(rate),
            });
            (self.window, self.count, self.missed) = (Some(now), 0, [0; 2]);
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn print(hash: u64, bright: u8) -> Option<Print> {
        Some(Print { hash, bright })
    }

    /// Pictures at `fps` from `from` to `to`, each as `of` says.
    fn pictures(watch: &Watch, fps: u64, from: u64, to: u64, of: impl Fn(u64) -> Option<Print>) {
        for ms in (from..to).step_by((1000 / fps) as usize) {
            watch.came(at(ms));
            watch.picture(at(ms), || of(ms));
        }
    }

    /// The same bytes for as long as configured are suspect; one other picture clears that.
    #[test]
    fn a_repeated_picture_is_suspected_after_its_time() {
        let watch = Watch::new(25, Duration::from_secs(4));
        pictures(&watch, 25, 0, 2000, |ms| print(ms, 200));
        pictures(&watch, 25, 2000, 5900, |_| print(7, 200));
        assert_eq!(watch.doubt(at(5900)), None);
        pictures(&watch, 25, 5900, 6700, |_| print(7, 200));
        let Some(Doubt::Frozen(since)) = watch.doubt(at(6700)) else { panic!("not frozen") };
        assert!((at(2000)..at(2600)).contains(&since), "{since:?}");
        pictures(&watch, 25, 6700, 7300, |_| print(8, 200));
        assert_eq!(watch.doubt(at(7300)), None);
    }

    /// Black and noisy is dark, not frozen; a moment of it is nothing.
    #[test]
    fn black_pictures_are_suspected() {
        let watch = Watch::new(25, Duration::from_secs(10));
        pictures(&watch, 25, 0, 2500, |ms| print(ms, 20));
        assert_eq!(watch.doubt(at(2500)), None);
        pictures(&watch, 25, 2500, 3500, |ms| print(ms, 20));
        assert_eq!(watch.doubt(at(3500)), Some(Doubt::Dark(at(0))));
        pictures(&watch, 25, 3500, 4100, |ms| print(ms, 90));
        assert_eq!(watch.doubt(at(4100)), None);
    }

    /// A rate that fell is told, and forgotten only when it is well again.
    #[test]
    fn a_falling_rate_is_suspected() {
        let watch = Watch::new(25, Duration::from_secs(60));
        pictures(&watch, 25, 0, 5040, |ms| print(ms, 90));
        assert_eq!(watch.doubt(at(5040)), None);
        pictures(&watch, 10, 5040, 10_200, |ms| print(ms, 90));
        let Some(Doubt::Slow(fps)) = watch.doubt(at(10_200)) else { panic!("not slow") };
        assert!((9.5..11.0).contains(&fps), "{fps}");
        pictures(&watch, 25, 10_200, 20_500, |ms| print(ms, 90));
        assert_eq!(watch.doubt(at(20_500)), None);
    }

    /// Where most of what is missing went is said; a few lost ones are no doubt.
    #[test]
    fn what_is_missing_has_a_cause() {
        // Per second: pictures that come, lost ones, damaged ones.
        let after_5_s = |come: u64, lost, damaged| {
            let watch = Watch::new(25, Duration::from_secs(60));
            for second in 0..6 {
                watch.missed(lost, damaged);
                pictures(&watch, come, second * 1000, (second + 1) * 1000, |ms| print(ms, 90));
            }
            watch.doubt(at(6000)).map(Doubt::code)
        };
        assert_eq!(after_5_s(25, 0, 0), None);
        assert_eq!(after_5_s(10, 0, 0), Some("slow"));
        assert_eq!(after_5_s(10, 15, 0), Some("gaps"));
        assert_eq!(after_5_s(10, 0, 15), Some("damaged"));
        assert_eq!(after_5_s(10, 3, 3), Some("slow"));
        assert_eq!(after_5_s(25, 2, 2), None);
    }

    /// One changed point in a row looked at changes the print; padding does not.
    #[test]
    fn prints_tell_pictures_apart() {
        gst::init().unwrap();
        let caps: gst::Caps =
            "video/x-raw,format=I420,width=64,height=64,framerate=25/1".parse().unwrap();
        let print = |data: Vec<u8>| Print::of(&gst::Buffer::from_slice(data), &caps).unwrap();
        let grey = vec![100u8; 64 * 64 * 3 / 2];
        let mut other = grey.clone();
        other[64 * 8 + 3] = 101;
        assert_eq!(print(grey.clone()), print(grey.clone()));
        assert_ne!(print(grey.clone()).hash, print(other).hash);
        assert_eq!(print(grey).bright, 100);
        assert_eq!(print(vec![16; 64 * 64 * 3 / 2]).bright, 16);
    }
}
