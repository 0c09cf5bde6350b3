//! GitLab job traces (`lib/gitlab/ci/trace/stream.rb`).

use super::{Envelope, Example, Inside, Stream};
use crate::stamp;

/// The 32 bytes before each line: time, stream number, `O` or `E`, and `+` where the line goes on from the one before.
pub(super) const TRACE: Envelope = Envelope {
    name: "gitlab",
    peel: |line, facts| {
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
            stamp::iso(line).filter(|(stamp, end)| stamp.is_complete() && *end == 27)?;
        facts.time = Some(time);
        facts.stream = stream;
        facts.continues = goes_on;
        facts.cuts = true;
        facts.marks_later = true;
        facts.lane = std::str::from_utf8(line.get(28..30)?)
            .ok()
            .and_then(|lane| u8::from_str_radix(lane, 16).ok())?;
        Some(Inside::after(32, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.123456Z 01O   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "2025-11-22T08:27:15.123456Z out",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z 01E+rest",
            content: "rest",
            tells: "2025-11-22T08:27:15.123456Z err continues",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z 00O",
            content: "",
            tells: "2025-11-22T08:27:15.123456Z out",
        },
    ],
};

/// The marks between sections; the text behind one is the section's headline. Their carriage return is gone by now.
pub(super) const SECTION: Envelope = Envelope {
    name: "gitlab_section",
    peel: |line, facts| {
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
        facts.time = facts.time.or(Some(stamp::Stamp {
            unit: 1_000_000_000,
            ..stamp::Stamp::exact(time.checked_mul(1_000_000_000)?)
        }));
        Some(Inside::after(mark + seconds + 1 + label, line))
    },
    examples: &[
        Example {
            line: "section_start:1763800035:step_script",
            content: "",
            tells: "2025-11-22T08:27:15.000000Z",
        },
        Example {
            line: "section_end:1763800035:tests[collapsed=true]",
            content: "",
            tells: "2025-11-22T08:27:15.000000Z",
        },
    ],
};
