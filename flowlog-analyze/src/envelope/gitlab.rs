//! GitLab job traces (`lib/gitlab/ci/trace/stream.rb`).

use super::{Envelope, Example, Inner, Stream};
use crate::timestamp;

/// Prefix of 32 bytes: time, stream number, `O` or `E`, and `+` if the line continues the one
/// before.
pub(super) const TRACE: Envelope = Envelope {
    name: "gitlab",
    peel: |line, meta| {
        if line.get(26) != Some(&b'Z')
            || line.get(27) != Some(&b' ')
            || !line.get(28..30)?.iter().all(u8::is_ascii_hexdigit)
        {
            return None;
        }
        let stream = match line.get(30)? {
            b'O' => Stream::Out,
            b'E' => Stream::Err,
            _ => return None,
        };
        let goes_on = match line.get(31) {
            None | Some(b' ') => false,
            Some(b'+') => true,
            Some(_) => return None,
        };
        let (time, _) =
            timestamp::iso(line).filter(|(stamp, end)| stamp.is_complete() && *end == 27)?;
        meta.time = Some(time);
        meta.stream = stream;
        meta.is_continuation = goes_on;
        meta.splits_lines = true;
        meta.marks_continuations = true;
        meta.stream_index = std::str::from_utf8(line.get(28..30)?)
            .ok()
            .and_then(|stream_index| u8::from_str_radix(stream_index, 16).ok())?;
        Some(Inner::after(32, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.123456Z 01O   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z out",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z 01E+rest",
            content: "rest",
            expected: "2025-11-22T08:27:15.123456Z err continues",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z 00O",
            content: "",
            expected: "2025-11-22T08:27:15.123456Z out",
        },
    ],
};

/// Markers between sections. The text after one is the section's header.
///
/// Their carriage return has been removed by now.
pub(super) const SECTION: Envelope = Envelope {
    name: "gitlab_section",
    peel: |line, meta| {
        let (mark, mut rest) = [&b"section_start:"[..], b"section_end:"]
            .iter()
            .find_map(|mark| Some((mark.len(), line.strip_prefix(*mark)?)))?;
        let seconds = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let time: i64 = std::str::from_utf8(rest.get(..seconds)?).ok()?.parse().ok()?;
        rest = rest.get(seconds..)?.strip_prefix(b":")?;
        let mut label = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            .count();
        if rest.get(label) == Some(&b'[') {
            label += memchr::memchr(b']', rest.get(label..)?)? + 1;
        }
        meta.time = meta.time.or(Some(timestamp::Timestamp {
            unit: 1_000_000_000,
            ..timestamp::Timestamp::exact(time.checked_mul(1_000_000_000)?)
        }));
        Some(Inner::after(mark + seconds + 1 + label, line))
    },
    examples: &[
        Example {
            line: "section_start:1763800035:step_script",
            content: "",
            expected: "2025-11-22T08:27:15.000000Z",
        },
        Example {
            line: "section_end:1763800035:tests[collapsed=true]",
            content: "",
            expected: "2025-11-22T08:27:15.000000Z",
        },
    ],
};
