//! Times as text (RFC 3339, section 5.6).

use crate::model::UtcMicros;

/// Nanoseconds since 1970 and the text's resolution in nanoseconds: one
/// second, or what its fraction resolves. `None` if it is no such time.
///
/// A leap second counts as the first second of the next minute, as in UTC
/// clocks that step.
pub fn parse(text: &str) -> Option<(i64, i64)> {
    let bytes = text.as_bytes();
    let number = |from: usize, digits: usize| -> Option<i64> {
        let part = bytes.get(from..from + digits)?;
        part.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !marks || !in_range {
        return None;
    }
    let (mut at, mut fraction, mut resolution) = (19, 0, 1_000_000_000);
    if is(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        resolution = 10i64.pow(9 - kept as u32);
        fraction = number(at + 1, kept)? * resolution;
        at += 1 + digits;
    }
    let offset_minutes = if is(at, b"Zz") {
        at += 1;
        0
    } else {
        let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
        if !is(at, b"+-") || !is(at + 3, b":") || hours > 23 || minutes > 59 {
            return None;
        }
        let east = hours * 60 + minutes;
        let sign = if bytes[at] == b'-' { -1 } else { 1 };
        at += 6;
        sign * east
    };
    if at != bytes.len() {
        return None;
    }
    let seconds =
        days(year, month, day) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some((seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?, resolution))
}

/// The text of a time, to the second, in UTC: `2026-03-01T08:00:00Z`.
///
/// Years before 1970 or after 9999 are shown as the nearest of these.
pub fn text(utc: UtcMicros) -> String {
    let seconds = utc.0.div_euclid(1_000_000).clamp(0, LAST);
    let (mut day, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let length = |year| if leap(year) { 366 } else { 365 };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

/// The last second of the year 9999.
const LAST: i64 = 253_402_300_799;

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, years 0 to 9999.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = |year: i64| 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months: i64 = (1..month).map(|m| days_in(year, m)).sum();
    before(year) - before(1970) + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;

    /// The examples of RFC 3339, section 5.8, and a few round numbers.
    #[test]
    fn examples_of_the_standard() {
        for (text, seconds, nanos, resolution) in [
            ("1970-01-01T00:00:00Z", 0, 0, S),
            ("1985-04-12T23:20:50.52Z", 482_196_050, 520_000_000, S / 100),
            ("1996-12-19T16:39:57-08:00", 851_042_397, 0, S),
            ("1990-12-31T23:59:60Z", 662_688_000, 0, S),
            ("1990-12-31T15:59:60-08:00", 662_688_000, 0, S),
            ("1937-01-01T12:00:27.87+00:20", -1_041_337_173, 870_000_000, S / 100),
            ("2000-02-29 12:00:00.000001z", 951_825_600, 1_000, 1_000),
            ("2026-03-01T08:00:00.1234567891+08:00", 1_772_323_200, 123_456_789, 1),
        ] {
            assert_eq!(parse(text), Some((seconds * S + nanos, resolution)), "{text}");
        }
    }

    /// What is no time is none.
    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+0800",
            "2026-01-01T00:00:00±08:00",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        /// A day later is 86400 s later, across months, leap years and centuries.
        #[test]
        fn days_follow_each_other(year in 1700i64..2260, month in 1i64..=12, day in 1i64..=31) {
            prop_assume!(day <= days_in(year, month));
            let (mut y, mut m, mut d) = (year, month, day + 1);
            if d > days_in(y, m) {
                (m, d) = (m + 1, 1);
            }
            if m > 12 {
                (y, m) = (y + 1, 1);
            }
            let text = |y, m, d| format!("{y:04}-{m:02}-{d:02}T00:00:00Z");
            let (today, _) = parse(&text(year, month, day)).unwrap();
            let (tomorrow, _) = parse(&text(y, m, d)).unwrap();
            prop_assert_eq!(tomorrow - today, 86_400 * S);
        }

        /// What is written is read as the same second.
        #[test]
        fn written_times_are_read_again(seconds in 0i64..9_000_000_000) {
            let text = text(UtcMicros(seconds * 1_000_000 + 999_999));
            prop_assert_eq!(parse(&text), Some((seconds * S, S)));
        }

        /// Whatever arrives, nothing panics.
        #[test]
        fn any_text_is_judged(
            text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:?[0-9]{0,2}|é)?|\\PC{0,30}",
        ) {
            let _ = parse(&text);
        }
    }
}
