//! Time stamps as systems write them: what they say, what they leave out, and how fine they are.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// A point in time as a line tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since the epoch; what the stamp leaves out is taken for [`Stamp::ANY_YEAR`] and UTC.
    pub ns: i64,
    /// The stamp has no year.
    pub lacks_year: bool,
    /// The stamp has no zone.
    pub lacks_zone: bool,
    /// Its last digit, in nanoseconds: the moment lies in `ns..ns + unit`.
    pub unit: i64,
}

impl Stamp {
    /// Stands for the year of a stamp that has none: a leap year, so that 29 February is a day.
    pub const ANY_YEAR: i16 = 2000;

    /// A stamp that leaves nothing out.
    pub const fn exact(ns: i64) -> Self {
        Self { ns, lacks_year: false, lacks_zone: false, unit: 1 }
    }

    /// Whether it leaves nothing out but digits.
    pub fn is_complete(self) -> bool {
        !self.lacks_year && !self.lacks_zone
    }
}

/// A stamp at the beginning of a text, and how many bytes it takes.
pub type Read = Option<(Stamp, usize)>;

/// RFC 3339 and its relatives: `2025-11-22T08:27:15.705274Z`, with a blank for the `T`, a comma for the point,
/// `+0200`, `+02:00`, or no zone at all.
pub fn iso(text: &[u8]) -> Read {
    year_first(text, b"-", b"T ")
}

/// Go's `log` and NATS: `2025/11/22 08:27:15.705274`.
pub fn slashes(text: &[u8]) -> Read {
    year_first(text, b"/", b" ")
}

fn year_first(text: &[u8], between: &[u8], behind: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let year = cursor.digits(4)?;
    cursor.one_of(between)?;
    let month = cursor.digits(2)?;
    cursor.one_of(between)?;
    let day = cursor.digits(2)?;
    cursor.one_of(behind)?;
    cursor.rest(year, month, day)
}

/// TensorRT-LLM: `11/22/2025-08:27:15`.
pub fn month_first(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let (month, day) = cursor.month_and_day(b"/")?;
    cursor.one_of(b"/")?;
    let year = cursor.digits(4)?;
    cursor.one_of(b"-")?;
    cursor.rest(year, month, day)
}

/// vLLM: `11-22 08:27:15`, without a year.
pub fn month_day(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let (month, day) = cursor.month_and_day(b"-")?;
    cursor.one_of(b" ")?;
    cursor.yearless(month, day)
}

/// glog, klog and absl: `1122 08:27:15.705274`, without a year.
pub fn glog(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let month = cursor.digits(2)?;
    let day = cursor.digits(2)?;
    cursor.one_of(b" ")?;
    cursor.yearless(month, day)
}

/// syslog: `Nov 22 08:27:15`, with a weekday before it or a year behind it as `ctime` has them.
pub fn syslog(text: &[u8]) -> Read {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
    let mut cursor = Cursor { text, at: 0 };
    if text.get(..3).is_some_and(|word| DAYS.chunks(3).any(|day| day == word)) {
        cursor.at = 3;
        cursor.one_of(b" ")?;
    }
    let name = text.get(cursor.at..cursor.at + 3)?;
    let month = MONTHS.chunks(3).position(|month| month == name)? as i64 + 1;
    cursor.at += 3;
    cursor.one_of(b" ")?;
    let day = if cursor.one_of(b" ").is_some() { cursor.digits(1)? } else { cursor.digits(2)? };
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
        return Some((Stamp { ns, lacks_year: false, ..stamp }, cursor.at));
    }
    Some((stamp, end))
}

/// Seconds since the epoch with a fraction: `1745499308.854013`.
pub fn epoch(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let seconds = cursor.digits(10)?;
    let (fraction, unit) =
        if text.get(10) == Some(&b'.') { cursor.fraction() } else { return None };
    let ns = seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some((Stamp { unit, ..Stamp::exact(ns) }, cursor.at))
}

/// Whether a line begins as one of a logger does: with a stamp, bare or in brackets, behind a level's word or letter, or
/// with a record in JSON.
pub fn leads(line: &[u8]) -> bool {
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

/// The same moment in another year; `None` where that year has no such day.
pub fn with_year(ns: i64, year: i16) -> Option<i64> {
    let utc =
        jiff::Timestamp::from_nanosecond(i128::from(ns)).ok()?.to_zoned(TimeZone::UTC).datetime();
    nanoseconds(utc.with().year(year).build().ok()?, 0)
}

/// The year of a moment, in UTC.
pub fn year_of(ns: i64) -> i16 {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
        .map_or(Stamp::ANY_YEAR, |time| time.to_zoned(TimeZone::UTC).year())
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
        let value = digits.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
        })?;
        self.at += count;
        Some(value)
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let found = self.text.get(self.at).copied().filter(|byte| bytes.contains(byte))?;
        self.at += 1;
        Some(found)
    }

    fn month_and_day(&mut self, between: &[u8]) -> Option<(i64, i64)> {
        let month = self.digits(2)?;
        self.one_of(between)?;
        Some((month, self.digits(2)?))
    }

    /// Hours, minutes and seconds.
    fn clock(&mut self) -> Option<(i64, i64, i64)> {
        let hour = self.digits(2)?;
        self.one_of(b":")?;
        let minute = self.digits(2)?;
        self.one_of(b":")?;
        Some((hour, minute, self.digits(2)?))
    }

    /// A fraction of a second in nanoseconds, and the worth of its last digit.
    fn fraction(&mut self) -> (i64, i64) {
        let (mut value, mut unit) = (0, 1_000_000_000);
        if self.text.get(self.at + 1).is_some_and(u8::is_ascii_digit)
            && self.one_of(b".,").is_some()
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

    /// Seconds east of UTC; `None` where no zone follows.
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

    /// What follows a date: time, fraction, zone.
    fn rest(&mut self, year: i64, month: i64, day: i64) -> Read {
        let (hour, minute, second) = self.clock()?;
        let (fraction, unit) = self.fraction();
        let zone = self.zone();
        let time = civil(year, month, day, hour, minute, second, fraction)?;
        let ns = nanoseconds(time, zone.unwrap_or(0))?;
        Some((Stamp { ns, lacks_year: false, lacks_zone: zone.is_none(), unit }, self.at))
    }

    fn yearless(&mut self, month: i64, day: i64) -> Read {
        let (hour, minute, second) = self.clock()?;
        let (fraction, unit) = self.fraction();
        let time = civil(i64::from(Stamp::ANY_YEAR), month, day, hour, minute, second, fraction)?;
        Some((
            Stamp { ns: nanoseconds(time, 0)?, lacks_year: true, lacks_zone: true, unit },
            self.at,
        ))
    }
}

fn civil(
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanosecond: i64,
) -> Option<DateTime> {
    let small = |value: i64| i8::try_from(value).ok();
    // A leap second belongs to the second before it.
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

    fn shown(read: Read) -> String {
        let Some((stamp, end)) = read else { return "none".to_owned() };
        let lacks = [(stamp.lacks_year, " no year"), (stamp.lacks_zone, " no zone")];
        let lacks: String = lacks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        format!("{} +{} {end}{lacks}", flowlog_schema::Time(stamp.ns), stamp.unit)
    }

    #[test]
    fn every_shape() {
        type Parse = fn(&[u8]) -> Read;
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
    fn lines_that_loggers_write() {
        for line in [
            "2025-11-22T08:27:15Z x",
            "[2025-11-22 08:27:15 TP0] x",
            "[11/22/2025-08:27:15] x",
            "[1763800035.705274] [h:1] x",
            "INFO 11-22 08:27:15 [core.py:1] x",
            "E1122 08:27:15.705274 7 x.go:1] x",
            "{\"time\":1}",
        ] {
            assert!(leads(line.as_bytes()), "{line}");
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
            assert!(!leads(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn years_are_put_in() {
        let (stamp, _) = month_day(b"02-29 08:27:15").unwrap();
        assert_eq!(with_year(stamp.ns, 2023), None);
        let leap = with_year(stamp.ns, 2024).unwrap();
        assert_eq!(
            (flowlog_schema::Time(leap).to_string().as_str(), year_of(leap)),
            ("2024-02-29T08:27:15.000000Z", 2024)
        );
    }
}
