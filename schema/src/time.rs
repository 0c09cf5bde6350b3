//! Points in time on the wall clock.

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC. Writers round down to microseconds; readers keep the
/// precision they find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// Parses an RFC 3339 timestamp with a time zone, such as `2025-11-22T08:27:15.705274Z`.
    ///
    /// Returns `None` if the text has another form, or if the time is outside of 1677 to 2262.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(time) = text.as_bytes().try_into().ok().and_then(Self::parse_fixed) {
            return Some(time);
        }
        // jiff also accepts ISO 8601 forms and time zone annotations, which log lines do not
        // contain.
        if text.len() < 20 || text.len() > 35 || !text.is_ascii() {
            return None;
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }

    /// Parses the fixed form in which records are written, `2025-11-22T08:27:15.705274Z`.
    pub(crate) fn parse_fixed(text: &[u8; 27]) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?;
            digits.iter().try_fold(0, |number, byte| {
                byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
            })
        };
        let marks =
            [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
        if !marks.iter().all(|(at, mark)| text[*at] == *mark) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second, micros) =
            (number(11..13)?, number(14..16)?, number(17..19)?, number(20..26)?);
        // Nanoseconds in an i64 end in 2262. Leap seconds are left to the calendar library.
        if !(1700..2262).contains(&year)
            || !(1..=12).contains(&month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let leaps = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            2 => 28 + i64::from(leaps),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=length).contains(&day) {
            return None;
        }
        // Days since the epoch, with years that begin in March (Hinnant, "chrono-Compatible
        // Low-Level Date Algorithms").
        let (march_year, march_month) =
            if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = march_year * 365 + march_year / 4 - march_year / 100
            + march_year / 400
            + (153 * march_month + 2) / 5
            + day
            - 1
            - 719_468;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        Some(Self((seconds * 1_000_000 + micros) * 1_000))
    }

    /// Returns whole milliseconds since the Unix epoch, rounded down; zero for times before it.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000_000)).unwrap_or(0)
    }
}

/// Formats the time as in a record: RFC 3339 in UTC with six fractional digits and `Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.div_euclid(1_000);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(stamp) => write!(f, "{stamp:.6}"),
            // Every i64 of nanoseconds is within jiff's range; this arm only rules out a panic.
            Err(_) => f.write_str("1970-01-01T00:00:00.000000Z"),
        }
    }
}

/// Text of a time, reformatted only when the second changes.
#[derive(Debug, Clone)]
pub struct SecondText {
    second: i64,
    text: [u8; 27],
}

impl Default for SecondText {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }
}

impl SecondText {
    /// Returns `time` as [`Time`] displays it.
    #[inline]
    pub fn text(&mut self, time: Time) -> &[u8; 27] {
        let second = time.0.div_euclid(1_000_000_000);
        if second != self.second {
            let text = Time(second.saturating_mul(1_000_000_000)).to_string();
            if let Ok(text) = text.as_bytes().try_into() {
                (self.second, self.text) = (second, text);
            }
        }
        let mut micros = time.0.rem_euclid(1_000_000_000) / 1_000;
        for digit in self.text[20..26].iter_mut().rev() {
            // The remainder is less than ten, so the cast loses nothing.
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_text_matches_display() {
        let mut second = SecondText::default();
        for nanos in [
            0,
            999,
            1_000,
            999_999_999,
            1_000_000_000,
            1_763_800_035_705_274_123,
            1_763_800_035_705_274_999,
            -1,
            -1_000_000_001,
            5,
        ] {
            assert_eq!(second.text(Time(nanos)), Time(nanos).to_string().as_bytes(), "{nanos}");
        }
    }

    #[test]
    fn fixed_form_parses_like_the_calendar_library() {
        let by_library = |text: &str| {
            text.parse::<jiff::Timestamp>()
                .ok()
                .and_then(|stamp| i64::try_from(stamp.as_nanosecond()).ok())
        };
        let mut days = 0;
        for year in [1700, 1899, 1900, 1969, 1970, 1999, 2000, 2024, 2025, 2100, 2261] {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let text = format!("{year}-{month:02}-{day:02}T23:59:07.000301Z");
                let read = text.as_bytes().try_into().ok().and_then(Time::parse_fixed);
                assert_eq!(read.map(|time| time.0), by_library(&text), "{text}");
                days += usize::from(read.is_some());
            }
        }
        assert_eq!(days, 11 * 365 + 2);
        for text in [
            "2025-11-22T24:00:00.000000Z",
            "2025-11-22T08:60:00.000000Z",
            "2025-11-22 08:00:00.000000Z",
            "2025-11-22T08:00:00.00000xZ",
        ] {
            assert_eq!(text.as_bytes().try_into().ok().and_then(Time::parse_fixed), None, "{text}");
        }
    }

    #[test]
    fn parses_and_formats() {
        for (input, output) in [
            ("2025-11-22T08:27:15.705274Z", "2025-11-22T08:27:15.705274Z"),
            ("2025-11-22T08:27:15Z", "2025-11-22T08:27:15.000000Z"),
            ("2025-11-22T10:27:15.7+02:00", "2025-11-22T08:27:15.700000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(
                Time::parse(input).map(|t| t.to_string()).as_deref(),
                Some(output),
                "{input}"
            );
        }
        for bad in [
            "",
            "2025-11-22",
            "2025-11-22T08:27:15",
            "2025-13-22T08:27:15Z",
            "08:27:15.705274Z",
            "9999-11-22T08:27:15.705274Z",
        ] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
        assert_eq!(Time(i64::MIN).to_string(), "1677-09-21T00:12:43.145224Z");
        assert_eq!((Time(-1).unix_ms(), Time(1_999_999).unix_ms()), (0, 1));
    }
}
