//! When a value was taken: the payload's own time if it is trusted, else
//! arrival; and what a stored message is worth.

use std::time::Duration;

use super::payload::Content;
use crate::clock::WallClock;
use crate::clock::rfc3339;
use crate::config::mqtt::tag::{Retained, TimeFrom, TimeUnit};
use crate::model::Mono;

/// A sample's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// The instant.
    pub taken: Mono,
    /// The true instant lies within `taken` ± this.
    pub error: Duration,
    /// Why it is stale whatever `stale_after` says; `None` if its age tells.
    pub stale: Option<&'static str>,
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When.
    pub at: Mono,
    /// Time from the broker to here, at most.
    pub round_trip: Duration,
    /// The broker had stored it.
    pub retained: bool,
}

/// Without a trusted payload time: arrival. How long the message took to the
/// broker cannot be known; the error covers the way from there.
///
/// `None`: a retained message that is to be passed over.
pub fn by_arrival(arrival: Arrival, retained: Retained) -> Option<When> {
    let fresh = When { taken: arrival.at, error: arrival.round_trip, stale: None };
    match (arrival.retained, retained) {
        (false, _) | (true, Retained::Current) => Some(fresh),
        (true, Retained::Stale) => Some(unknown(arrival.at)),
        (true, Retained::Ignore) => None,
    }
}

/// When a message that cannot be used was taken: on arrival. One that the
/// broker had stored must not push out what has been seen since.
pub fn of_bad(arrival: Arrival, retained: Retained) -> Mono {
    let stored = arrival.retained && retained != Retained::Current;
    if stored { unknown(arrival.at).taken } else { arrival.at }
}

/// Some time up to `at`: put shortly after boot, so that a sample of known time
/// always wins, and in order of arrival, so that among these the last does.
/// Stale whatever `stale_after` says.
fn unknown(at: Mono) -> When {
    let taken = Mono(at.0 / 1_000_000);
    When { taken, error: at.since(taken), stale: Some("age unknown") }
}

/// The time that the payload states, ± its resolution; or why it cannot be true.
///
/// How well source and box agree on UTC is what `time_pointer` trusts; the
/// error does not cover it.
pub fn by_payload(
    from: &TimeFrom,
    content: &Content<'_>,
    arrival: Arrival,
    wall: &WallClock,
) -> Result<When, &'static str> {
    let (utc, resolution) = stated(from.unit, content.at(&from.pointer)?)?;
    // A whole microsecond on both clocks, so that equal steps stay equal.
    let now = wall.utc(arrival.at);
    let (here, now) = (i128::from(wall.mono(now).0), i128::from(now.0) * 1000);
    let age = now - i128::from(utc);
    if -age > from.ahead.as_nanos() as i128 {
        return Err("time in the future");
    }
    if age > from.behind.as_nanos() as i128 {
        return Err("time too long ago");
    }
    let resolution = Duration::from_nanos(resolution.unsigned_abs());
    let since_boot = here - age;
    if since_boot < 0 {
        // Monotonic time starts at boot: what was taken before is known to be old.
        let error = Duration::from_nanos(since_boot.unsigned_abs() as u64) + resolution;
        return Ok(When { taken: Mono(0), error, stale: Some("older than the last start") });
    }
    let taken = Mono(since_boot as u64);
    // A little ahead of us: it cannot have been taken after it arrived.
    let ahead = taken.since(arrival.at);
    Ok(When { taken: taken.min(arrival.at), error: resolution + ahead, stale: None })
}

/// Nanoseconds since 1970 and the resolution in nanoseconds.
fn stated(unit: TimeUnit, found: &serde_json::Value) -> Result<(i64, i64), &'static str> {
    use serde_json::Value as Json;
    let one = match unit {
        TimeUnit::S => 1_000_000_000,
        TimeUnit::Ms => 1_000_000,
        TimeUnit::Us => 1_000,
        TimeUnit::Rfc3339 => {
            let text = found.as_str().ok_or("time is no text")?;
            return rfc3339::parse(text).ok_or("time is not RFC 3339");
        }
    };
    let text = match found {
        Json::Number(n) => n.to_string(),
        Json::String(text) => text.trim().to_owned(),
        _ => return Err("time is no number"),
    };
    decimal(&text, one).ok_or("time is no number")
}

/// `text` times `one`, and what its last digit stands for; exact, since a
/// binary fraction cannot hold today's date in nanoseconds.
fn decimal(text: &str, one: i64) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(fraction) || !digits(whole.strip_prefix('-').unwrap_or(whole)) {
        // Numbers with an exponent: the float's own resolution is all there is.
        let x: f64 = text.parse().ok()?;
        let nanos = x * one as f64;
        let near = nanos.is_finite() && nanos.abs() < 9e18;
        return near.then(|| (nanos as i64, one.max((nanos.abs() * f64::EPSILON) as i64)));
    }
    let mut total = whole.parse::<i64>().ok()?.checked_mul(one)?;
    let (mut resolution, negative) = (one, whole.starts_with('-'));
    for digit in fraction.bytes() {
        if resolution < 10 {
            break;
        }
        resolution /= 10;
        let part = resolution * i64::from(digit - b'0');
        total = if negative { total.checked_sub(part) } else { total.checked_add(part) }?;
    }
    Some((total, resolution))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEC: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);
    const NOW: Mono = Mono(50_000 * 1_000_000_000);

    /// UTC is 1,700,000,000 s ahead of this clock: it shows 1700050000 at `NOW`.
    fn wall() -> WallClock {
        WallClock::fixed(Duration::from_secs(1_700_000_000))
    }

    fn live() -> Arrival {
        Arrival { at: NOW, round_trip: MS, retained: false }
    }

    fn from(unit: TimeUnit) -> TimeFrom {
        TimeFrom { pointer: "/t".into(), unit, ahead: SEC * 2, behind: SEC * 86_400 }
    }

    fn stamp(unit: TimeUnit, t: &str) -> Result<When, &'static str> {
        let payload = format!("{{\"t\":{t}}}");
        by_payload(&from(unit), &Content::new("x", payload.as_bytes()), live(), &wall())
    }

    fn good(taken: Mono, error: Duration) -> Result<When, &'static str> {
        Ok(When { taken, error, stale: None })
    }

    /// Every unit gives the same instant, each with its own resolution.
    #[test]
    fn every_unit_is_understood() {
        let taken = NOW - MS * 250;
        for (unit, t, error) in [
            (TimeUnit::S, "1700049999.750", MS * 10),
            (TimeUnit::S, "\"1700049999.7500\"", Duration::from_micros(100)),
            (TimeUnit::Ms, "1700049999750", MS),
            (TimeUnit::Us, "1700049999750000", Duration::from_micros(1)),
            (TimeUnit::Rfc3339, "\"2023-11-15T12:06:39.75Z\"", MS * 10),
            (TimeUnit::Rfc3339, "\"2023-11-15T20:06:39.750+08:00\"", MS),
        ] {
            assert_eq!(stamp(unit, t), good(taken, error), "{t}");
        }
        assert_eq!(stamp(TimeUnit::S, "1700049999"), good(NOW - SEC, SEC));
    }

    /// A wrong unit, a wrong clock or no time at all makes the sample bad.
    #[test]
    fn implausible_times_are_refused() {
        for (unit, t, why) in [
            (TimeUnit::Ms, "1700049999", "time too long ago"),
            (TimeUnit::S, "1700049999750", "time is no number"),
            (TimeUnit::S, "17000499997", "time is no number"),
            (TimeUnit::S, "1700050003", "time in the future"),
            (TimeUnit::S, "1699900000", "time too long ago"),
            (TimeUnit::S, "true", "time is no number"),
            (TimeUnit::S, "\"now\"", "time is no number"),
            (TimeUnit::Rfc3339, "1700049999", "time is no text"),
            (TimeUnit::Rfc3339, "\"yesterday\"", "time is not RFC 3339"),
        ] {
            assert_eq!(stamp(unit, t), Err(why), "{t}");
        }
        let none = Content::new("x", b"{}");
        let why = by_payload(&from(TimeUnit::S), &none, live(), &wall());
        assert_eq!(why, Err("nothing at the pointer"));
    }

    /// A source that is a little ahead has not seen the future: its sample is
    /// taken on arrival, and that much less certain.
    #[test]
    fn slightly_ahead_is_arrival() {
        assert_eq!(stamp(TimeUnit::Ms, "1700050000500"), good(NOW, MS * 501));
    }

    /// A time before boot has no place on the monotonic clock: stale.
    #[test]
    fn before_boot_is_stale() {
        let when = stamp(TimeUnit::S, "1699999000").unwrap();
        assert_eq!(when.taken, Mono(0));
        assert!(when.stale.is_some());
        assert_eq!(when.error, SEC * 1001);
    }

    /// A retained message of unknown age is stale from the start, even if the
    /// box has been up for less than the tag's `stale_after`.
    #[test]
    fn retained_is_not_fresh() {
        let retained = Arrival { retained: true, ..live() };
        let when = by_arrival(retained, Retained::Stale).unwrap();
        assert!(when.stale.is_some());
        assert_eq!(when.taken + when.error, NOW);
        let next = by_arrival(Arrival { at: NOW + SEC, ..retained }, Retained::Stale).unwrap();
        assert!(when.taken < next.taken && next.taken < Mono(0) + SEC);
        assert_eq!(by_arrival(retained, Retained::Ignore), None);
        assert_eq!(of_bad(retained, Retained::Stale), when.taken);
        assert_eq!(of_bad(retained, Retained::Current), NOW);
        assert_eq!(of_bad(live(), Retained::Stale), NOW);
        assert_eq!(by_arrival(retained, Retained::Current).unwrap().taken, NOW);
        assert_eq!(by_arrival(live(), Retained::Ignore).unwrap().error, MS);
    }

    proptest! {
        /// A time in range is always placed at or before its arrival, and never
        /// further from what it says than its error.
        #[test]
        fn times_in_range_are_kept(age_us in -2_000_000i64..40_000_000_000) {
            let utc = wall().utc(NOW).0 - age_us;
            let when = stamp(TimeUnit::Us, &utc.to_string()).unwrap();
            prop_assert!(when.taken <= NOW);
            let off = wall().utc(when.taken).0.abs_diff(utc);
            prop_assert!(Duration::from_micros(off) <= when.error);
        }

        /// Whatever stands there, nothing panics.
        #[test]
        fn any_time_is_judged(t in "-?[0-9]{1,25}(\\.[0-9]{0,25})?([eE]-?[0-9]{1,3})?|\"\\PC{0,12}\"") {
            for unit in [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Rfc3339] {
                let _ = stamp(unit, &t);
            }
        }
    }
}
