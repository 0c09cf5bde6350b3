//! The timestamps of a template's lines: where they are, and a cache of the last ones read.

use std::ops::Range;

use crate::timestamp::{self, Timestamp};

/// Position of a timestamp in a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TimestampSlot {
    pub(super) range: Range<usize>,
    parser: usize,
}

/// Parsers of timestamps.
const PARSERS: [fn(&[u8]) -> timestamp::Parsed; 7] = [
    timestamp::iso,
    timestamp::month_day,
    timestamp::slashes,
    timestamp::month_first,
    timestamp::glog,
    timestamp::syslog,
    timestamp::epoch,
];

/// Returns the first position at or after `from`, within 160 bytes, of that timestamp.
pub(super) fn find(line: &[u8], timestamp: Timestamp, from: usize) -> Option<TimestampSlot> {
    let starts = |at: &usize| *at == 0 || !line.get(at - 1).is_some_and(u8::is_ascii_digit);
    (from..line.len().min(from + 160)).filter(starts).find_map(|at| {
        let rest = line.get(at..)?;
        let found = PARSERS.iter().enumerate().find_map(|(parser, parse)| {
            let (read, len) = parse(rest)?;
            (read == timestamp).then_some((parser, len))
        });
        found.map(|(parser, len)| TimestampSlot { range: at..at + len, parser })
    })
}

/// Returns the line with the last digit of a timestamp's seconds or minutes changed.
pub(super) fn bump_last_digit(line: &[u8], range: &Range<usize>) -> Option<Vec<u8>> {
    let text = line.get(range.clone())?;
    // Change the second digit after the last colon: the first digit of the seconds is at most five.
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    // The last colon may be that of the zone.
    let colon = if colon > 16 && text.len() == colon + 3 {
        text.iter().position(|byte| *byte == b':')? + 3
    } else {
        colon
    };
    let at = range.start + colon + 2;
    let mut other = line.to_vec();
    let digit = other.get_mut(at).filter(|byte| byte.is_ascii_digit())?;
    *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
    Some(other)
}

/// Last timestamps, by parser and separately for lines and envelopes.
///
/// Most timestamps are in the same second as the one before.
#[derive(Debug, Default)]
pub(super) struct TimestampCache {
    latest: [[Option<CachedTimestamp>; 2]; PARSERS.len()],
}

/// Timestamp that was parsed.
#[derive(Debug)]
struct CachedTimestamp {
    text: Vec<u8>,
    timestamp: Timestamp,
    /// Nanoseconds without the fraction, if that can be parsed separately.
    whole_seconds: Option<i64>,
}

impl TimestampCache {
    pub(super) fn read(
        &mut self,
        slot: &TimestampSlot,
        slot_index: usize,
        line: &[u8],
    ) -> Option<Timestamp> {
        let text = line.get(slot.range.clone())?;
        let cached = self.latest.get_mut(slot.parser)?.get_mut(slot_index)?;
        if let Some(latest) = cached {
            if latest.text == text {
                return Some(latest.timestamp);
            }
            if let Some(whole_seconds) = latest.whole_seconds
                && latest.text.len() == text.len()
                && latest.text.get(..20) == text.get(..20)
                && let Some(fraction) = fraction(text)
            {
                return Some(Timestamp { ns: whole_seconds + fraction, ..latest.timestamp });
            }
        }
        let (timestamp, len) = PARSERS.get(slot.parser)?(line.get(slot.range.start..)?)?;
        if len != text.len() {
            return None;
        }
        let whole_seconds = if slot.parser == 0 {
            fraction(text).map(|fraction| timestamp.ns - fraction)
        } else {
            None
        };
        match cached {
            Some(latest) => {
                latest.text.clear();
                latest.text.extend_from_slice(text);
                (latest.timestamp, latest.whole_seconds) = (timestamp, whole_seconds);
            }
            None => {
                *cached = Some(CachedTimestamp { text: text.to_vec(), timestamp, whole_seconds });
            }
        }
        Some(timestamp)
    }
}

/// Returns the nanoseconds of the digits between a decimal point and a final `Z`.
fn fraction(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?.get(20..).filter(|_| text.get(19) == Some(&b'.'))?;
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        value = value * 10 + i64::from(digit.wrapping_sub(b'0'));
        if !digit.is_ascii_digit() {
            return None;
        }
    }
    Some(
        value
            * [
                1_000_000_000,
                100_000_000,
                10_000_000,
                1_000_000,
                100_000,
                10_000,
                1_000,
                100,
                10,
                1,
            ][digits.len()],
    )
}
