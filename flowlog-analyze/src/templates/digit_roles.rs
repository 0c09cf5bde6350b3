//! The digits of a template's lines: which of them change what a line means.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::template::{Template, read};
use super::timestamp_slots::{TimestampCache, TimestampSlot};
use crate::timestamp::Timestamp;
use crate::{format, rules};

/// Role of a run of digits in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigitRun {
    Wildcard,
    Literal,
}

/// Placeholder for a digit in a shape.
pub(super) const DIGIT_PLACEHOLDER: u8 = b'?';

/// What replaces the numbers of a line.
#[derive(Debug, Clone, Copy)]
enum Probe {
    /// The same digit everywhere.
    Digit(u8),
    /// A year, or two digits that can be a month, a day, an hour, a minute and a second: what looks
    /// like a timestamp becomes one.
    Date,
}

/// Values on both sides of the limits of HTTP and exit statuses, zero, and dates.
const PROBES: [Probe; 7] = [
    Probe::Digit(b'0'),
    Probe::Digit(b'1'),
    Probe::Digit(b'2'),
    Probe::Digit(b'4'),
    Probe::Digit(b'5'),
    Probe::Digit(b'9'),
    Probe::Date,
];

/// Returns every run of digits.
pub(super) fn numbers(line: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, _) in line.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

pub(super) fn overlaps(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Returns a hash of a line with numbers of any length, its format and its count of numbers.
pub(super) fn role_key(line: &[u8], template: &Template, numbers: usize) -> u64 {
    let mut kind: Vec<u8> = Vec::with_capacity(line.len());
    for byte in line {
        if !byte.is_ascii_digit() {
            kind.push(*byte);
        } else if kind.last() != Some(&DIGIT_PLACEHOLDER) {
            kind.push(DIGIT_PLACEHOLDER);
        }
    }
    FixedState::default().hash_one((kind, template.format, numbers))
}

/// Returns which numbers affect the meaning of a line. Adds the number of reads.
pub(super) fn find_significant_runs(
    line: &[u8],
    template: &Template,
    numbers: &[Range<usize>],
    reads: &mut i64,
) -> Vec<DigitRun> {
    if is_free(line, numbers, template, reads) {
        return vec![DigitRun::Wildcard; numbers.len()];
    }
    let role = |range: &Range<usize>| {
        let is_free = is_free(line, std::slice::from_ref(range), template, reads);
        if is_free { DigitRun::Wildcard } else { DigitRun::Literal }
    };
    numbers.iter().map(role).collect()
}

/// Returns whether a line keeps its meaning with other numbers in these ranges. Adds the number of
/// reads.
pub(super) fn is_free(
    line: &[u8],
    ranges: &[Range<usize>],
    template: &Template,
    reads: &mut i64,
) -> bool {
    PROBES.iter().all(|probe| {
        *reads += 1;
        is_equivalent(&changed(line, ranges, *probe), template)
    })
}

fn changed(line: &[u8], ranges: &[Range<usize>], probe: Probe) -> Vec<u8> {
    let mut other = line.to_vec();
    for range in ranges {
        let Some(run) = other.get_mut(range.clone()) else { continue };
        match probe {
            Probe::Digit(digit) => {
                run.fill(digit);
                // JSON does not allow numbers with leading zeros.
                if run.len() > 1 && digit == b'0' {
                    run[0] = b'1';
                }
            }
            Probe::Date => {
                run.fill(b'1');
                if run.len() == 4 {
                    run.copy_from_slice(b"2020");
                }
            }
        }
    }
    other
}

fn is_equivalent(line: &[u8], template: &Template) -> bool {
    let Some((other, timestamps)) = read(line) else { return false };
    let mut cache = TimestampCache::default();
    let mut is_stamp = |slot: &Option<TimestampSlot>, timestamp: Option<Timestamp>| match slot {
        Some(slot) => cache.read(slot, 0, line) == timestamp,
        None => timestamp.is_none(),
    };
    template.is_same_as(other)
        && is_stamp(&template.own_slot, timestamps[0])
        && is_stamp(&template.envelope_slot, timestamps[1])
}

/// Returns the ranges of a shape with text of a rule or a format in which digits matter.
pub(super) fn significant_digit_ranges(key: &[u8]) -> Vec<Range<usize>> {
    let lower = key.to_ascii_lowercase();
    let shape = |phrase: &str| -> Vec<u8> {
        let shown = |byte: u8| match byte {
            b'0'..=b'9' => DIGIT_PLACEHOLDER,
            byte => byte.to_ascii_lowercase(),
        };
        phrase.bytes().map(shown).collect()
    };
    let has_phrase = |phrase: &str| memchr::memmem::find(&lower, &shape(phrase)).is_some();
    let mut found = Vec::new();
    for phrase in
        rules::phrases_with_digits(has_phrase).into_iter().chain(format::phrases_with_digits())
    {
        let phrase = shape(phrase);
        found.extend(memchr::memmem::find_iter(&lower, &phrase).map(|at| at..at + phrase.len()));
    }
    found
}
