//! Monotonic time inside, wall time at the edge with its lock state.

pub mod rfc3339;

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};

use crate::model::{Mono, UtcMicros};

fn read(clock: libc::clockid_t) -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut t) };
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// Now, `CLOCK_MONOTONIC`.
pub fn now() -> Mono {
    Mono(read(libc::CLOCK_MONOTONIC) as u64)
}

/// The kernel's name for this boot, other at every boot; empty where it gives none.
pub fn boot_id() -> &'static str {
    static BOOT: LazyLock<String> = LazyLock::new(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.map(|id| id.trim().to_owned()).unwrap_or_default()
    });
    &BOOT
}

/// How far the wall clock can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Lock {
    /// The kernel is disciplined by NTP or PTP now.
    Locked,
    /// It was, and is running free since.
    Holdover,
    /// It never was since this process started.
    Free,
}

/// UTC from monotonic time.
///
/// On Linux both clocks are slewed by the same frequency correction, so the
/// line between them has slope one and its offset moves only when the wall
/// clock is stepped. The offset is kept until it is off by more than
/// [`STEP`]: small jitter must not reorder frames and samples.
pub struct WallClock {
    /// UTC minus monotonic, nanoseconds.
    offset: AtomicI64,
    lock: AtomicU8,
    error_us: AtomicI64,
    was_locked: Mutex<bool>,
}

/// A larger difference than this is a step of the wall clock.
pub const STEP: Duration = Duration::from_micros(500);

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock {
    /// Reads both clocks once.
    pub fn new() -> Self {
        let wall = Self {
            offset: AtomicI64::new(measure()),
            lock: AtomicU8::new(Lock::Free as u8),
            error_us: AtomicI64::new(0),
            was_locked: Mutex::new(false),
        };
        wall.refit();
        wall
    }

    /// A clock with a fixed offset, for tests: UTC = monotonic + `offset`.
    pub fn fixed(offset: Duration) -> Self {
        Self {
            offset: AtomicI64::new(offset.as_nanos() as i64),
            lock: AtomicU8::new(Lock::Free as u8),
            error_us: AtomicI64::new(0),
            was_locked: Mutex::new(false),
        }
    }

    /// Looks for a step and at the kernel's discipline; call about once a second.
    pub fn refit(&self) {
        let (seen, kept) = (measure(), self.offset.load(Ordering::Relaxed));
        if (seen - kept).unsigned_abs() > STEP.as_nanos() as u64 {
            warn!(by_us = (seen - kept) / 1000, "the wall clock was stepped");
            metrics::counter!("floorcast_clock_steps_total").increment(1);
            self.offset.store(seen, Ordering::Relaxed);
        }
        let (synced, error_us) = discipline();
        let mut was_locked = self.was_locked.lock().expect("clock lock");
        let lock = match (synced, *was_locked) {
            (true, _) => Lock::Locked,
            (false, true) => Lock::Holdover,
            (false, false) => Lock::Free,
        };
        *was_locked |= synced;
        self.error_us.store(error_us, Ordering::Relaxed);
        if self.lock.swap(lock as u8, Ordering::Relaxed) != lock as u8 {
            info!(?lock, "clock state");
        }
        metrics::gauge!("floorcast_clock_locked").set(f64::from(u8::from(lock == Lock::Locked)));
    }

    /// UTC of an instant.
    pub fn utc(&self, at: Mono) -> UtcMicros {
        UtcMicros((at.0 as i64 + self.offset.load(Ordering::Relaxed)).div_euclid(1000))
    }

    /// The instant of a UTC time.
    pub fn mono(&self, utc: UtcMicros) -> Mono {
        let ns = utc.0.saturating_mul(1000).saturating_sub(self.offset.load(Ordering::Relaxed));
        Mono(ns.max(0) as u64)
    }

    /// How far to trust [`Self::utc`].
    pub fn lock(&self) -> Lock {
        match self.lock.load(Ordering::Relaxed) {
            0 => Lock::Locked,
            1 => Lock::Holdover,
            _ => Lock::Free,
        }
    }

    /// The kernel's own bound on its error (`adjtimex(2)`, maxerror), microseconds.
    pub fn error_us(&self) -> i64 {
        self.error_us.load(Ordering::Relaxed)
    }
}

/// UTC minus monotonic, nanoseconds: the tightest of a few brackets.
fn measure() -> i64 {
    (0..5)
        .map(|_| {
            let before = read(libc::CLOCK_MONOTONIC);
            let wall = read(libc::CLOCK_REALTIME);
            let after = read(libc::CLOCK_MONOTONIC);
            (after - before, wall - (before + after) / 2)
        })
        .min()
        .map_or(0, |(_, offset)| offset)
}

/// Whether the kernel says it is synchronised, and its error bound (`adjtimex(2)`).
fn discipline() -> (bool, i64) {
    // SAFETY: all-zero is a valid timex, and modes = 0 only reads.
    let mut t: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `t` is valid for writes.
    let state = unsafe { libc::adjtimex(&mut t) };
    let synced = state >= 0 && state != libc::TIME_ERROR && t.status & libc::STA_UNSYNC == 0;
    (synced, t.maxerror)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There and back again is exact to the microsecond.
    #[test]
    fn utc_and_mono_are_inverse() {
        let wall = WallClock::fixed(Duration::from_secs(1_700_000_000));
        let at = Mono(123_456_789_000);
        assert_eq!(wall.utc(at), UtcMicros(1_700_000_123_456_789));
        assert_eq!(wall.mono(wall.utc(at)), at);
    }

    /// Reading the clocks twice without a step keeps the line.
    #[test]
    fn refit_without_a_step_keeps_the_offset() {
        let wall = WallClock::new();
        let (at, _) = (now(), ());
        let before = wall.utc(at);
        wall.refit();
        assert_eq!(wall.utc(at), before);
    }
}
