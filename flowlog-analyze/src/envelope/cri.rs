//! Log files of containerd and CRI-O (`kuberuntime/logs`): `TIME STREAM TAG MESSAGE`.

use super::{Envelope, Example, Inner, Stream};
use crate::timestamp;

/// Line of such a file. Tag `P` means that the line continues in the stream's next record.
pub(super) const CRI: Envelope = Envelope {
    name: "cri",
    peel: |line, meta| {
        if line.get(10) != Some(&b'T') {
            return None;
        }
        // The fraction has one to nine digits: containerd trims zeros.
        let end = memchr::memchr(b' ', line.get(19..line.len().min(40))?)? + 19;
        let stream = Stream::parse(line.get(end + 1..end + 7)?)?;
        let tag = line.get(end + 7..)?.strip_prefix(b" ")?;
        let partial = match tag.first()? {
            b'P' => true,
            b'F' => false,
            _ => return None,
        };
        // More tags may follow after colons.
        let tag_end = memchr::memchr(b' ', tag).unwrap_or(tag.len());
        if tag_end > 1 && tag.get(1) != Some(&b':') {
            return None;
        }
        let (time, _) =
            timestamp::iso(line).filter(|(stamp, stop)| stamp.is_complete() && *stop == end)?;
        meta.time = Some(time);
        meta.stream = stream;
        meta.partial = partial;
        meta.splits_lines = true;
        Some(Inner::after(end + 8 + tag_end + 1, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.123456789Z stdout F   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z out",
        },
        Example {
            line: "2025-11-22T09:27:15.12345+01:00 stderr P {\"a\":",
            content: "{\"a\":",
            expected: "2025-11-22T08:27:15.123450Z err partial",
        },
        Example {
            line: "2025-11-22T08:27:15.123456Z stdout F",
            content: "",
            expected: "2025-11-22T08:27:15.123456Z out",
        },
    ],
};
