//! The camera that looks at the line.
//!
//! Comes in: the time. Goes out: one picture per period, exposed at instants
//! that lie exactly one period apart on the monotonic clock. Who takes them
//! must not wait; a picture that is late by more than a period is left out and
//! counted, as a camera would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::picture::{Painter, Shot};
use super::truth::Truth;
use crate::clock;
use crate::model::Mono;

/// What a camera sees, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which part of the line.
    pub shot: Shot,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Pictures per second.
    pub fps: u32,
    /// With the calibration strip.
    pub strip: bool,
}

/// Buffers kept for reuse: what is drawn, what waits and what is being encoded.
const KEPT: usize = 6;

/// Buffers that come back when their picture has been used.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    fn take(&self, size: usize) -> Vec<u8> {
        self.0.lock().expect("picture pool lock").pop().unwrap_or_else(|| vec![0; size])
    }

    fn seal(&self, data: Vec<u8>) -> Bytes {
        Bytes::from_owner(Pooled { data, home: self.clone() })
    }
}

struct Pooled {
    data: Vec<u8>,
    home: Pool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut home = self.home.0.lock().expect("picture pool lock");
        if home.len() < KEPT {
            home.push(std::mem::take(&mut self.data));
        }
    }
}

/// Draws until `stop`; blocks its thread. `sink` gets each picture (I420,
/// tightly packed, BT.709 limited range) with the instant it shows.
pub fn run(
    spec: Spec,
    truth: &Truth,
    sink: &(dyn Fn(Mono, Bytes) + Send + Sync),
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut painter =
        Painter::new(spec.shot, spec.width as usize, spec.height as usize, spec.strip)?;
    let skipped = metrics::counter!("floorcast_sim_pictures_skipped_total");
    let pool = Pool::default();
    let mut follower = truth.follow();
    let mut pace = Pace::new(clock::now(), spec.fps);
    while !stop.is_cancelled() {
        let (due, missed) = pace.next(clock::now());
        skipped.increment(missed);
        // Short enough for a stop to be heard.
        let mut left = due.since(clock::now());
        while !left.is_zero() && !stop.is_cancelled() {
            std::thread::sleep(left.min(Duration::from_millis(100)));
            left = due.since(clock::now());
        }
        let mut data = pool.take(painter.bytes());
        painter.paint(follower.at(due), truth.tick(due), &mut data);
        sink(due, pool.seal(data));
    }
    Ok(())
}

/// Instants one period apart, counted from the start so that nothing adds up.
struct Pace {
    start: Mono,
    fps: u64,
    next: u64,
}

impl Pace {
    fn new(start: Mono, fps: u32) -> Self {
        Self { start, fps: u64::from(fps.max(1)), next: 0 }
    }

    fn at(&self, n: u64) -> Mono {
        self.start
            + Duration::from_nanos((u128::from(n) * 1_000_000_000 / u128::from(self.fps)) as u64)
    }

    /// The next instant that is not a whole period ago, and how many were missed.
    fn next(&mut self, now: Mono) -> (Mono, u64) {
        let late = now.since(self.at(self.next)).as_nanos() * u128::from(self.fps) / 1_000_000_000;
        let missed = late as u64;
        let n = self.next + missed;
        self.next = n + 1;
        (self.at(n), missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallClock;

    /// A third of a second is no whole number of nanoseconds; an hour still ends on time.
    #[test]
    fn schedule_does_not_drift() {
        let start = Mono(1_000);
        let mut pace = Pace::new(start, 30);
        let mut now = start;
        for _ in 0..=30 * 3600 {
            now = pace.next(now).0;
        }
        assert_eq!(now, start + Duration::from_secs(3600));
    }

    /// Late by less than a period loses nothing; by more, only what is past.
    #[test]
    fn late_pictures_are_left_out_and_counted() {
        let ms = |n: u64| Mono(n * 1_000_000);
        let mut pace = Pace::new(ms(0), 50);
        assert_eq!(pace.next(ms(0)), (ms(0), 0));
        assert_eq!(pace.next(ms(39)), (ms(20), 0));
        assert_eq!(pace.next(ms(101)), (ms(100), 3));
        assert_eq!(pace.next(ms(101)), (ms(120), 0));
    }

    /// The picture stamped with an instant shows the line at that instant, strip included.
    #[test]
    fn pictures_show_their_own_instant() {
        let truth = Truth::new(1, &WallClock::new(), clock::now());
        let stop = CancellationToken::new();
        let got = Mutex::new(Vec::new());
        let spec = Spec { shot: Shot::Line, width: 640, height: 360, fps: 100, strip: true };
        // The sink must live as long as any thread might hold it.
        let sink = |at: Mono, data: Bytes| {
            let mut got = got.lock().expect("lock");
            got.push((at, data));
            if got.len() == 8 {
                stop.cancel();
            }
        };
        run(spec, &truth, &sink, &stop).expect("camera");
        let got = got.into_inner().expect("lock");
        let mut painter = Painter::new(Shot::Line, 640, 360, true).expect("painter");
        let mut follower = truth.follow();
        let mut want = vec![0; painter.bytes()];
        for (at, data) in &got {
            painter.paint(follower.at(*at), truth.tick(*at), &mut want);
            assert!(want == data[..], "the picture of {at:?} shows another instant");
        }
        let gaps = got.windows(2).map(|w| w[1].0.since(w[0].0).as_millis() % 10);
        assert_eq!(gaps.max(), Some(0), "whole periods apart");
    }
}
