//! The files that containerd and CRI-O write (`kuberuntime/logs`): `TIME STREAM TAG MESSAGE`.

use super::{Envelope, Example, Inside, Stream};
use crate::stamp;

/// A line of such a file. Tag `P` says that the line goes on in the stream's next record.
pub(super) const CRI: Envelope = Envelope {
    name: "cri",
    peel: |line, facts| {
        if line.get(10) != Some(&b'T') {
            return None;
        }
        // The time has one to nine digits: containerd trims zeros.
        let end = memchr::memchr(b' ', line.get(19..line.len().min(40))?)? + 19;
        let stream = Stream::parse(line.get(end + 1..end + 7)?)?;
        let tag = line.get(end + 7..)?.strip_prefix(b" ")?;
        let partial = match tag.first()? {
            b'P' => true,
            b'F' => false,
            _ => return None,
        };
        // More tags may follow behind colons.
        let tag_end = memchr::memchr(b' ', tag).unwrap_or(tag.len());
        if tag_end > 1 && tag.get(1) != Some(&b':') {
            return None;
        }
        let (time, _) =
            stamp::iso(line).filter(|(stamp, stop)| stamp.is_complete() && *stop == end)?;
        facts.time = Some(time);
        facts.stream = stream;
        facts.partial = partial;
        facts.cuts = true;
        Some(Inside::after(end + 8 + tag_end + 1, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.123456789Z stdout F   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "2025-11-22T08:27:15.123456Z out",
        },
        Example {
            line: "2025-11-22T09:27:15.12345+01:00 stderr P {\"a\":",
            content: "{\"a\":",
            tells: "2025-11-22T08:27:15.123450Z err partial",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z stdout F",
            content: "",
            tells: "2025-11-22T08:27:15.123456Z out",
        },
    ],
};
