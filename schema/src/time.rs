//! A point in time on the wall clock.

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC. Writers round to microseconds, readers keep what they find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// Reads an RFC 3339 stamp with a zone, such as `2025-11-22T08:27:15.705274Z`.
    ///
    /// `None` where the text is no such stamp, or lies outside 1677 to 2262.
    pub fn parse(text: &str) -> Option<Self> {
        // jiff also takes ISO 8601 forms and time zone annotations that no log line carries.
        if text.len() < 20 || text.len() > 35 || !text.is_ascii() {
            return None;
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }

    /// The time in whole milliseconds since the Unix epoch, rounded down; zero before it.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000_000)).unwrap_or(0)
    }
}

/// RFC 3339 in UTC with six digits and `Z`, as a record carries it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.div_euclid(1_000);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(stamp) => write!(f, "{stamp:.6}"),
            // Every i64 of nanoseconds lies within jiff's range; this arm keeps a broken clock from a panic.
            Err(_) => f.write_str("1970-01-01T00:00:00.000000Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (input, output) in [
            ("2025-11-22T08:27:15.705274Z", "2025-11-22T08:27:15.705274Z"),
            ("2025-11-22T08:27:15Z", "2025-11-22T08:27:15.000000Z"),
            ("2025-11-22T10:27:15.7+02:00", "2025-11-22T08:27:15.700000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Time::parse(input).map(|t| t.to_string()).as_deref(), Some(output), "{input}");
        }
        for bad in ["", "2025-11-22", "2025-11-22T08:27:15", "2025-13-22T08:27:15Z", "08:27:15.705274Z", "9999-11-22T08:27:15.705274Z"] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
        assert_eq!(Time(i64::MIN).to_string(), "1677-09-21T00:12:43.145224Z");
        assert_eq!((Time(-1).unix_ms(), Time(1_999_999).unix_ms()), (0, 1));
    }
}
