//! Timestamps in the formats that log writers use: the time, its missing parts, and its resolution.

mod any;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

pub use any::{any, of_number};

/// Timestamp parsed from a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch. A missing year is read as [`Timestamp::ANY_YEAR`], a
    /// missing zone as UTC.
    pub ns: i64,
    /// Whether the year is missing.
    pub missing_year: bool,
    /// Whether the time zone is missing.
    pub missing_zone: bool,
    /// Value of the last digit in nanoseconds: the actual time is in `ns..ns + unit`.
    pub unit: i64,
}

impl Timestamp {
    /// Placeholder year of a timestamp without one: a leap year, so that 29 February is valid.
    pub const ANY_YEAR: i16 = 2000;

    /// Returns a timestamp with a year, a zone and nanosecond resolution.
    pub const fn exact(ns: i64) -> Self {
        Self { ns, missing_year: false, missing_zone: false, unit: 1 }
    }

    /// Returns whether the timestamp has a year and a zone; it may still lack digits.
    pub fn is_complete(self) -> bool {
        !self.missing_year && !self.missing_zone
    }
}

/// Timestamp at the beginning of a text, and its length in bytes.
pub type Parsed = Option<(Timestamp, usize)>;

/// Parses RFC 3339 and its variants.
///
/// These are `2025-11-22T08:27:15.705274Z`, with a space instead of the `T`, a comma instead of the
/// decimal point, `+0200`, `+02:00`, or no zone at all.
pub fn iso(text: &[u8]) -> Parsed {
    year_first(text, b"-", b"T ")
}

/// Parses the format of Go's `log` package and of NATS: `2025/11/22 08:27:15.705274`.
pub fn slashes(text: &[u8]) -> Parsed {
    year_first(text, b"/", b" ")
}

fn year_first(text: &[u8], between: &[u8], behind: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let year = cursor.digits(4)?;
    cursor.one_of(between)?;
    let month = cursor.digits(2)?;
    cursor.one_of(between)?;
    let day = cursor.digits(2)?;
    cursor.one_of(behind)?;
    cursor.clock_and_zone(year, month, day)
}

/// Parses the format of TensorRT-LLM: `11/22/2025-08:27:15`.
pub fn month_first(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let (month, day) = cursor.month_and_day(b"/")?;
    cursor.one_of(b"/")?;
    let year = cursor.digits(4)?;
    cursor.one_of(b"-")?;
    cursor.clock_and_zone(year, month, day)
}

/// Parses the format of vLLM, which has no year: `11-22 08:27:15`.
pub fn month_day(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let (month, day) = cursor.month_and_day(b"-")?;
    cursor.one_of(b" ")?;
    cursor.yearless(month, day)
}

/// Parses the format of glog, klog and absl, which has no year: `1122 08:27:15.705274`.
pub fn glog(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let month = cursor.digits(2)?;
    let day = cursor.digits(2)?;
    cursor.one_of(b" ")?;
    cursor.yearless(month, day)
}

/// Parses the format of syslog: `Nov 22 08:27:15`.
///
/// As in the output of `ctime`, a weekday may come before it or a year after it.
pub fn syslog(text: &[u8]) -> Parsed {
    const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
    let mut cursor = Cursor { text, at: 0 };
    if text.get(..3).is_some_and(|word| DAYS.chunks(3).any(|day| day == word)) {
        cursor.at = 3;
        cursor.one_of(b" ")?;
    }
    let month = cursor.month_name()?;
    cursor.one_of(b" ")?;
    cursor.one_of(b" ");
    let day = cursor.one_or_two_digits()?;
    cursor.one_of(b" ")?;
    let (stamp, end) = cursor.yearless(month, day)?;
    // `ctime` puts the year last.
    let mut cursor = Cursor { text, at: end };
    if cursor.one_of(b" ").is_some()
        && let Some(year) = cursor.digits(4)
        && (1970..2262).contains(&year)
        && !cursor.text.get(cursor.at).is_some_and(u8::is_ascii_alphanumeric)
        && let Some(ns) = with_year(stamp.ns, i16::try_from(year).ok()?)
    {
        return Some((Timestamp { ns, missing_year: false, ..stamp }, cursor.at));
    }
    Some((stamp, end))
}

/// Parses seconds since the Unix epoch with a fraction: `1745499308.854013`.
pub fn epoch(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let seconds = cursor.digits(10)?;
    let (fraction, unit) =
        if text.get(10) == Some(&b'.') { cursor.fraction() } else { return None };
    let ns = seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some((Timestamp { unit, ..Timestamp::exact(ns) }, cursor.at))
}

/// Parses a time of day without a date: `08:27:15.705`. Returns its length.
pub fn time_of_day(text: &[u8]) -> Option<usize> {
    let digits = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let is_clock = digits(0)
        && digits(1)
        && text.get(2) == Some(&b':')
        && digits(3)
        && digits(4)
        && text.get(5) == Some(&b':')
        && digits(6)
        && digits(7);
    if !is_clock {
        return None;
    }
    let fraction = match text.get(8) {
        Some(b'.' | b',') => {
            1 + text.iter().skip(9).take_while(|byte| byte.is_ascii_digit()).count()
        }
        _ => 0,
    };
    let end = 8 + fraction;
    text.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric()).then_some(end)
}

/// Returns whether a line begins as a logger's line does.
///
/// Such a line begins with a timestamp (bare, in brackets, or after a severity word or letter) or
/// with a JSON record.
pub fn looks_like_start(line: &[u8]) -> bool {
    const KEYS: [&[u8]; 7] =
        [b"{\"time", b"{\"ts\"", b"{\"level", b"{\"component", b"{\"message", b"{\"msg", b"{\"log"];
    let stamped = |text: &[u8]| iso(text).is_some() || slashes(text).is_some();
    let rest = line.get(1..).unwrap_or_default();
    match line.first() {
        Some(b'0'..=b'9') => stamped(line),
        Some(b'[') => stamped(rest) || month_first(rest).is_some() || epoch(rest).is_some(),
        Some(b'{') => KEYS.iter().any(|key| line.starts_with(key)),
        Some(b'A'..=b'Z') => {
            let word = line.iter().take_while(|b| b.is_ascii_uppercase()).count();
            let behind = line.get(word + 1..).unwrap_or_default();
            (word == 1 && glog(rest).is_some())
                || (word > 2
                    && line.get(word) == Some(&b' ')
                    && (month_day(behind).is_some() || stamped(behind)))
        }
        _ => false,
    }
}

/// Returns the same date and time of day in another year; `None` if that year has no such date.
pub fn with_year(ns: i64, year: i16) -> Option<i64> {
    let utc =
        jiff::Timestamp::from_nanosecond(i128::from(ns)).ok()?.to_zoned(TimeZone::UTC).datetime();
    nanoseconds(utc.with().year(year).build().ok()?, 0)
}

/// Returns the year of a time, in UTC.
pub fn year_of(ns: i64) -> i16 {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map_or(Timestamp::ANY_YEAR, |time| time.to_zoned(TimeZone::UTC).year())
}

fn nanoseconds(time: DateTime, offset_seconds: i32) -> Option<i64> {
    let zone = if offset_seconds == 0 {
        Offset::UTC
    } else {
        Offset::from_seconds(offset_seconds).ok()?
    };
    i64::try_from(zone.to_timestamp(time).ok()?.as_nanosecond()).ok()
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let digits = self.text.get(self.at..self.at + count)?;
        let value = digits.iter().try_fold(0_i64, |value, byte| {
            let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
            value.checked_mul(10)?.checked_add(digit)
        })?;
        self.at += count;
        Some(value)
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let found = self.text.get(self.at).copied().filter(|byte| bytes.contains(byte))?;
        self.at += 1;
        Some(found)
    }

    fn one_or_two_digits(&mut self) -> Option<i64> {
        self.digits(2).or_else(|| self.digits(1))
    }

    /// Parses the first three letters of a month's English name.
    fn month_name(&mut self) -> Option<i64> {
        const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let name = self.text.get(self.at..self.at + 3)?;
        let month = MONTHS.chunks(3).position(|month| month == name)? as i64 + 1;
        self.at += 3;
        Some(month)
    }

    fn month_and_day(&mut self, between: &[u8]) -> Option<(i64, i64)> {
        let month = self.digits(2)?;
        self.one_of(between)?;
        Some((month, self.digits(2)?))
    }

    /// Parses hours, minutes and seconds.
    fn clock(&mut self) -> Option<(i64, i64, i64)> {
        let hour = self.digits(2)?;
        self.one_of(b":")?;
        let minute = self.digits(2)?;
        self.one_of(b":")?;
        Some((hour, minute, self.digits(2)?))
    }

    /// Parses an optional fraction of a second. Returns it and the value of its last digit, in
    /// nanoseconds.
    fn fraction(&mut self) -> (i64, i64) {
        self.fraction_after(b".,")
    }

    /// Like [`Cursor::fraction`], after any of `points`.
    fn fraction_after(&mut self, points: &[u8]) -> (i64, i64) {
        let (mut value, mut unit) = (0, 1_000_000_000);
        if self.text.get(self.at + 1).is_some_and(u8::is_ascii_digit)
            && self.one_of(points).is_some()
        {
            while let Some(digit) = self.digits(1) {
                if unit > 1 {
                    unit /= 10;
                    value += digit * unit;
                }
            }
        }
        (value, unit)
    }

    /// Parses a zone. Returns its offset in seconds east of UTC, or `None` if no zone follows.
    fn zone(&mut self) -> Option<i32> {
        match self.text.get(self.at)? {
            b'Z' => {
                self.at += 1;
                Some(0)
            }
            sign @ (b'+' | b'-') => {
                let start = self.at;
                self.at += 1;
                let offset = self.offset();
                if offset.is_none() {
                    self.at = start;
                }
                offset.map(|offset| if *sign == b'-' { -offset } else { offset })
            }
            b' ' if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(b" UTC")) => {
                self.at += 4;
                Some(0)
            }
            _ => None,
        }
    }

    fn offset(&mut self) -> Option<i32> {
        let hours = self.digits(2)?;
        self.one_of(b":");
        let minutes = self.digits(2)?;
        i32::try_from(hours * 3_600 + minutes * 60).ok().filter(|offset| *offset <= 15 * 3_600)
    }

    /// Parses the rest after a date: time, fraction, zone.
    fn clock_and_zone(&mut self, year: i64, month: i64, day: i64) -> Parsed {
        let (hour, minute, second) = self.clock()?;
        let (fraction, unit) = self.fraction();
        let zone = self.zone();
        let time = civil_ns(year, month, day, hour, minute, second, fraction)?;
        let ns = nanoseconds(time, zone.unwrap_or(0))?;
        Some((Timestamp { ns, missing_year: false, missing_zone: zone.is_none(), unit }, self.at))
    }

    fn yearless(&mut self, month: i64, day: i64) -> Parsed {
        let (hour, minute, second) = self.clock()?;
        let (fraction, unit) = self.fraction();
        let time =
            civil_ns(i64::from(Timestamp::ANY_YEAR), month, day, hour, minute, second, fraction)?;
        Some((
            Timestamp { ns: nanoseconds(time, 0)?, missing_year: true, missing_zone: true, unit },
            self.at,
        ))
    }
}

fn civil_ns(
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
) -> Option<DateTime> {
    let small = |value: i64| i8::try_from(value).ok();
    // A leap second counts as the second before it.
    let second = small(second)?.min(if second == 60 { 59 } else { i8::MAX });
    DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        second,
        i32::try_from(nanosecond).ok()?,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(read: Parsed) -> String {
        let Some((stamp, end)) = read else { return "none".to_owned() };
        let lacks = [(stamp.missing_year, " no year"), (stamp.missing_zone, " no zone")];
        let lacks: String = lacks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        format!("{} +{} {end}{lacks}", flowlog_schema::Time(stamp.ns), stamp.unit)
    }

    #[test]
    fn every_format_is_parsed() {
        type Parse = fn(&[u8]) -> Parsed;
        for (parse, text, expected) in [
            (iso as Parse, "2025-11-22T08:27:15.705274Z x", "2025-11-22T08:27:15.705274Z +1000 27"),
            (iso, "2025-11-22T08:27:15.123456789Z", "2025-11-22T08:27:15.123456Z +1 30"),
            (iso, "2025-11-22T08:27:15-0700 [INFO]", "2025-11-22T15:27:15.000000Z +1000000000 24"),
            (iso, "2025-11-22 10:27:15,705+02:00", "2025-11-22T08:27:15.705000Z +1000000 29"),
            (iso, "2025-11-22 08:27:15,705 - x", "2025-11-22T08:27:15.705000Z +1000000 23 no zone"),
            (iso, "2025-11-22 08:27:15 UTC x", "2025-11-22T08:27:15.000000Z +1000000000 23"),
            (
                iso,
                "2025-11-22T08:27:15 TP0] x",
                "2025-11-22T08:27:15.000000Z +1000000000 19 no zone",
            ),
            (iso, "2025-11-22T23:59:60Z", "2025-11-22T23:59:59.000000Z +1000000000 20"),
            (iso, "2025-11-22T08:27:15. x", "2025-11-22T08:27:15.000000Z +1000000000 19 no zone"),
            (iso, "2025-13-22T08:27:15Z", "none"),
            (iso, "2025-02-30T08:27:15Z", "none"),
            (iso, "2025-11-22", "none"),
            (
                slashes,
                "2025/11/22 08:27:15.705274 [INF]",
                "2025-11-22T08:27:15.705274Z +1000 26 no zone",
            ),
            (
                month_first,
                "11/22/2025-08:27:15]",
                "2025-11-22T08:27:15.000000Z +1000000000 19 no zone",
            ),
            (
                month_day,
                "11-22 08:27:15 [core.py:1]",
                "2000-11-22T08:27:15.000000Z +1000000000 14 no year no zone",
            ),
            (
                month_day,
                "02-29 08:27:15",
                "2000-02-29T08:27:15.000000Z +1000000000 14 no year no zone",
            ),
            (
                glog,
                "1122 08:27:15.705274   7 x.go:1]",
                "2000-11-22T08:27:15.705274Z +1000 20 no year no zone",
            ),
            (
                syslog,
                "Nov 22 08:27:15 host x",
                "2000-11-22T08:27:15.000000Z +1000000000 15 no year no zone",
            ),
            (
                syslog,
                "Nov  2 08:27:15.705274 host",
                "2000-11-02T08:27:15.705274Z +1000 22 no year no zone",
            ),
            (
                syslog,
                "Sat Nov 22 08:27:15 2025] NVRM",
                "2025-11-22T08:27:15.000000Z +1000000000 24 no zone",
            ),
            (syslog, "Now 22 08:27:15", "none"),
            (epoch, "1763800035.705274] [host:7", "2025-11-22T08:27:15.705274Z +1000 17"),
            (epoch, "1763800035]", "none"),
        ] {
            assert_eq!(shown(parse(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn logger_lines_are_recognized() {
        for line in [
            "2025-11-22T08:27:15Z x",
            "[2025-11-22 08:27:15 TP0] x",
            "[11/22/2025-08:27:15] x",
            "[1763800035.705274] [h:1] x",
            "INFO 11-22 08:27:15 [core.py:1] x",
            "E1122 08:27:15.705274 7 x.go:1] x",
            "{\"time\":1}",
        ] {
            assert!(looks_like_start(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "Go       | 12",
            "add retry",
            "{\"x\":1}",
            "[router] add",
            "  File \"a.py\"",
            "INFO: x",
        ] {
            assert!(!looks_like_start(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn missing_years_are_filled_in() {
        let (stamp, _) = month_day(b"02-29 08:27:15").unwrap();
        assert_eq!(with_year(stamp.ns, 2023), None);
        let leap = with_year(stamp.ns, 2024).unwrap();
        assert_eq!(
            (flowlog_schema::Time(leap).to_string().as_str(), year_of(leap)),
            ("2024-02-29T08:27:15.000000Z", 2024)
        );
    }
}
