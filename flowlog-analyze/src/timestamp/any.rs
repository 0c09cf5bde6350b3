//! Timestamps of any logger: the format is recognized by its first digits or letters.

use super::{Cursor, Parsed, Timestamp, civil_ns, nanoseconds, syslog};

/// Parses a timestamp in any known format at the beginning of a text.
///
/// Beside the formats of this module's parent, these are the Common Log Format
/// (`22/Nov/2025:08:27:15 +0000`), dates with month names, day first or month first, two-digit
/// years, compact dates (`20251122`), twelve-hour clocks, and epochs in seconds, milliseconds,
/// microseconds and nanoseconds. A day and a month that could be either are read month first.
pub fn any(text: &[u8]) -> Parsed {
    let first = text.first()?;
    if first.is_ascii_alphabetic() {
        return syslog_with_zone(text).or_else(|| named_month_first(text));
    }
    if !first.is_ascii_digit() {
        return None;
    }
    let digits = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    match digits {
        4 => year_first(text),
        1 | 2 => short_first(text),
        6 | 8 => compact(text, digits),
        10 | 13 | 16 | 19 => number(text, digits),
        _ => None,
    }
}

/// Converts a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, by its
/// magnitude; `None` for a time before 2001 or after 2100.
pub fn of_number(value: f64) -> Option<Timestamp> {
    let (scale, unit) = match value {
        1e9..4.2e9 => (1e9, 1_000_000_000),
        1e12..4.2e12 => (1e6, 1_000_000),
        1e15..4.2e15 => (1e3, 1_000),
        1e18..4.2e18 => (1.0, 1),
        _ => return None,
    };
    // A fraction has microseconds at most: a float has no more digits.
    let unit = if value.fract() == 0.0 { unit } else { unit.min(1_000) };
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    let ns = if scale > 1e8 {
        (value * 1e6).round() as i64 * 1_000
    } else {
        value.trunc() as i64 * scale as i64 + (value.fract() * scale) as i64
    };
    Some(Timestamp { unit, ..Timestamp::exact(ns) })
}

/// Parses `YYYY-MM-DD` and its variants, followed by a time.
fn year_first(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let year = cursor.digits(4)?;
    let between = cursor.one_of(b"-/.")?;
    let month = cursor.one_or_two_digits()?;
    cursor.one_of(&[between])?;
    let day = cursor.one_or_two_digits()?;
    cursor.one_of(b"T _-:,/|")?;
    cursor.one_of(b" ");
    time_of_day(cursor, year, month, day)
}

/// Parses what begins with a day, a month or a two-digit year.
fn short_first(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let a = cursor.one_or_two_digits()?;
    let between = cursor.one_of(b"-/. ")?;
    if let Some(month) = cursor.month_name() {
        // `22/Nov/2025:08:27:15`, `22-Nov-2025 08:27:15`, `22 Nov 2025 08:27:15`.
        if cursor.one_of(&[between]).is_none() && between != b' ' {
            return None;
        }
        let year = match cursor.digits(4) {
            Some(year) => year,
            None => 2000 + cursor.digits(2)?,
        };
        cursor.one_of(b": T,")?;
        cursor.one_of(b" ");
        return time_of_day(cursor, year, month, a);
    }
    if between == b' ' {
        return None;
    }
    let b = cursor.one_or_two_digits()?;
    if cursor.one_of(&[between]).is_none() {
        // No year: `11.22 08:27:15`, `11-22 08:27:15`, `11/22 08:27:15`.
        cursor.one_of(b" T")?;
        return cursor.yearless(a, b).or_else(|| Cursor { ..cursor }.yearless(b, a));
    }
    let (year, month, day) = match cursor.digits(4) {
        Some(year) if a > 12 => (year, b, a),
        Some(year) if between == b'.' => (year, b, a),
        Some(year) => (year, a, b),
        // `25/11/22 08:27:15`.
        None => (2000 + a, b, cursor.digits(2)?),
    };
    cursor.one_of(b" T-:,_")?;
    cursor.one_of(b" ");
    time_of_day(cursor, year, month, day)
}

/// Parses `20251122-08:27:15`, `20251122T082715Z`, `251122 082715`.
fn compact(text: &[u8], digits: usize) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let year = if digits == 8 { cursor.digits(4)? } else { 2000 + cursor.digits(2)? };
    let (month, day) = (cursor.digits(2)?, cursor.digits(2)?);
    cursor.one_of(b" T-_")?;
    cursor.one_of(b" ");
    if cursor.text.get(cursor.at + 2) == Some(&b':')
        || cursor.text.get(cursor.at + 1) == Some(&b':')
    {
        return time_of_day(cursor, year, month, day);
    }
    let (hour, minute, second) = (cursor.digits(2)?, cursor.digits(2)?, cursor.digits(2)?);
    if cursor.text.get(cursor.at).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let (fraction, unit) = cursor.fraction();
    let zone = cursor.zone();
    let time = civil_ns(year, month, day, hour, minute, second, fraction)?;
    let ns = nanoseconds(time, zone.unwrap_or(0))?;
    Some((Timestamp { ns, missing_year: false, missing_zone: zone.is_none(), unit }, cursor.at))
}

/// Parses a number of seconds, milliseconds, microseconds or nanoseconds since the epoch.
fn number(text: &[u8], digits: usize) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let value = cursor.digits(digits)?;
    let scale = match digits {
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        _ => 1,
    };
    let (fraction, unit) = if digits == 10 { cursor.fraction() } else { (0, scale) };
    let ns = value.checked_mul(scale)?.checked_add(fraction)?;
    let is_plausible = (1_000_000_000..4_200_000_000).contains(&(ns / 1_000_000_000));
    let ends = cursor.text.get(cursor.at).is_none_or(|byte| {
        !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'-' | b'/' | b'=')
    });
    (is_plausible && ends).then_some((Timestamp { unit, ..Timestamp::exact(ns) }, cursor.at))
}

/// Parses syslog's format and that of `ctime` with the zone before the year, and RFC 2822 dates:
/// `Sat Nov 22 08:27:15 UTC 2025`, `Sat, 22 Nov 2025 08:27:15 GMT`.
fn syslog_with_zone(text: &[u8]) -> Parsed {
    if text.get(3..5) == Some(b", ") {
        let (stamp, end) = short_first(text.get(5..)?)?;
        return Some((stamp, end + 5));
    }
    let (stamp, end) = syslog(text)?;
    if stamp.missing_year
        && let Some(rest) = text.get(end..)
        && let Some(rest) = rest.strip_prefix(b" UTC ").or_else(|| rest.strip_prefix(b" GMT "))
    {
        let mut cursor = Cursor { text: rest, at: 0 };
        if let Some(year) = cursor.digits(4)
            && let Some(ns) = super::with_year(stamp.ns, i16::try_from(year).ok()?)
        {
            let stamp = Timestamp { ns, missing_year: false, missing_zone: false, ..stamp };
            return Some((stamp, end + 9));
        }
    }
    Some((stamp, end))
}

/// Parses `Nov 22, 2025 8:27:15 AM`, of `java.util.logging`.
fn named_month_first(text: &[u8]) -> Parsed {
    let mut cursor = Cursor { text, at: 0 };
    let month = cursor.month_name()?;
    cursor.one_of(b" ")?;
    let day = cursor.one_or_two_digits()?;
    cursor.one_of(b",")?;
    cursor.one_of(b" ")?;
    let year = cursor.digits(4)?;
    cursor.one_of(b",");
    cursor.one_of(b" ")?;
    time_of_day(cursor, year, month, day)
}

/// Parses a time of day, with AM or PM or a fraction, and a zone.
fn time_of_day(mut cursor: Cursor<'_>, year: i64, month: i64, day: i64) -> Parsed {
    let mut hour = cursor.one_or_two_digits()?;
    let between = cursor.one_of(b":.")?;
    // Some loggers do not pad.
    let minute = cursor.one_or_two_digits()?;
    let (mut second, mut fraction, mut unit) = (0, 0, 60_000_000_000);
    if cursor.one_of(&[between]).is_some() {
        second = cursor.one_or_two_digits()?;
        // `08:27:15:606` of some loggers.
        (fraction, unit) = match cursor.text.get(cursor.at) {
            Some(b':') => cursor.fraction_after(b":"),
            _ => cursor.fraction(),
        };
    } else if between == b'.' {
        return None;
    }
    let rest = cursor.text.get(cursor.at..).unwrap_or_default();
    let half = rest.strip_prefix(b" ").unwrap_or(rest);
    let is_half = |name: &[u8]| {
        half.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(name))
            && !half.get(2).is_some_and(u8::is_ascii_alphanumeric)
    };
    if (1..=12).contains(&hour) && (is_half(b"am") || is_half(b"pm")) {
        hour = hour % 12 + if is_half(b"pm") { 12 } else { 0 };
        cursor.at += rest.len() - half.len() + 2;
    } else if unit == 60_000_000_000 {
        // Without seconds, it could be anything.
        return None;
    }
    let zone = cursor.zone().or_else(|| {
        let rest = cursor.text.get(cursor.at..)?;
        let named = rest.starts_with(b" GMT") || rest.starts_with(b" UTC");
        let numeric = rest.first() == Some(&b' ')
            && rest.get(1).is_some_and(|sign| matches!(sign, b'+' | b'-'))
            && rest.get(2..6).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
            && !rest.get(6).is_some_and(u8::is_ascii_alphanumeric);
        if named {
            cursor.at += 4;
            return Some(0);
        }
        if numeric {
            cursor.at += 1;
            return cursor.zone();
        }
        None
    });
    let time = civil_ns(year, month, day, hour, minute, second, fraction)?;
    let ns = nanoseconds(time, zone.unwrap_or(0))?;
    Some((Timestamp { ns, missing_year: false, missing_zone: zone.is_none(), unit }, cursor.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_recognized() {
        for (text, expected) in [
            ("2025-11-22T08:27:15.705274Z x", "2025-11-22T08:27:15.705274Z 27"),
            ("2025-11-22 08:27:15,705 - x", "2025-11-22T08:27:15.705000Z 23 no zone"),
            ("2025-11-22-08.27.15.705274 R0", "2025-11-22T08:27:15.705274Z 26 no zone"),
            ("2025/11/22 08:27:15 [error]", "2025-11-22T08:27:15.000000Z 19 no zone"),
            ("20251122-08:27:15:606|x", "2025-11-22T08:27:15.606000Z 21 no zone"),
            ("20251122T082715Z x", "2025-11-22T08:27:15.000000Z 16"),
            ("251122 082715 13 INFO", "2025-11-22T08:27:15.000000Z 13 no zone"),
            ("25/11/22 08:27:15 INFO", "2025-11-22T08:27:15.000000Z 17 no zone"),
            ("22/Nov/2025:09:27:15 +0100] x", "2025-11-22T08:27:15.000000Z 26"),
            ("22-Nov-2025 08:27:15.705 x", "2025-11-22T08:27:15.705000Z 24 no zone"),
            ("22 Nov 2025 08:27:15.705 * x", "2025-11-22T08:27:15.705000Z 24 no zone"),
            ("Nov 22, 2025 8:27:15 PM x", "2025-11-22T20:27:15.000000Z 23 no zone"),
            ("22/11/2025 08:27:15 x", "2025-11-22T08:27:15.000000Z 19 no zone"),
            ("11/22/2025 08:27:15 AM x", "2025-11-22T08:27:15.000000Z 22 no zone"),
            ("22.11.2025 08:27:15 x", "2025-11-22T08:27:15.000000Z 19 no zone"),
            ("11.22 08:27:15] x", "2000-11-22T08:27:15.000000Z 14 no year no zone"),
            ("11-22 08:27:15.705  1 D x", "2000-11-22T08:27:15.705000Z 18 no year no zone"),
            ("Sat Nov 22 08:27:15 UTC 2025 x", "2025-11-22T08:27:15.000000Z 28"),
            ("Sat, 22 Nov 2025 08:27:15 GMT x", "2025-11-22T08:27:15.000000Z 29"),
            ("Nov 22 08:27:15 host x", "2000-11-22T08:27:15.000000Z 15 no year no zone"),
            ("1763800035 x", "2025-11-22T08:27:15.000000Z 10"),
            ("1763800035.705 x", "2025-11-22T08:27:15.705000Z 14"),
            ("1763800035705 x", "2025-11-22T08:27:15.705000Z 13"),
            ("1763800035705274 x", "2025-11-22T08:27:15.705274Z 16"),
            ("1763800035705274000 x", "2025-11-22T08:27:15.705274Z 19"),
            ("08:27:15", "none"),
            ("12 apples", "none"),
            ("5551234567 x", "none"),
            ("9999999999999999999 x", "none"),
            ("1763800035abc", "none"),
            ("10.0.0.1 x", "none"),
            ("2025-11-22", "none"),
            ("11/22/2025 8:27", "none"),
        ] {
            let shown = any(text.as_bytes()).map_or_else(
                || "none".to_owned(),
                |(stamp, end)| {
                    let lacks =
                        [(stamp.missing_year, " no year"), (stamp.missing_zone, " no zone")];
                    let lacks: String =
                        lacks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
                    format!("{} {end}{lacks}", flowlog_schema::Time(stamp.ns))
                },
            );
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_epochs_by_their_magnitude() {
        for (value, expected) in [
            (1_763_800_035.0, Some("2025-11-22T08:27:15.000000Z")),
            (1_763_800_035.705, Some("2025-11-22T08:27:15.705000Z")),
            (1_763_800_035_705.0, Some("2025-11-22T08:27:15.705000Z")),
            (1_763_800_035_705_274.0, Some("2025-11-22T08:27:15.705274Z")),
            (1_763_800_035_705_274_000.0, Some("2025-11-22T08:27:15.705274Z")),
            (17.0, None),
        ] {
            let found = of_number(value).map(|stamp| flowlog_schema::Time(stamp.ns).to_string());
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }
}
