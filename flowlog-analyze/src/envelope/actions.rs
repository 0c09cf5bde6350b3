//! CI systems that add timestamps to lines: GitHub Actions and Azure Pipelines, Jenkins.

use super::{Envelope, Example, Inner};
use crate::timestamp::{self, Timestamp};

/// Raw job log of GitHub Actions or Azure Pipelines: RFC 3339 with seven digits, a space, the line.
pub(super) const RAW: Envelope = Envelope {
    name: "github",
    peel: |line, meta| {
        let (time, content) = seven_digits(line)?;
        meta.time = Some(time);
        Some(Inner::after(content, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.1234567Z ##[error]boom",
            content: "##[error]boom",
            expected: "2025-11-22T08:27:15.123456Z",
        },
        Example {
            line: "2025-11-22T08:27:15.1234567Z   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z",
        },
        Example {
            line: "2025-11-22T08:27:15.1234567Z",
            content: "",
            expected: "2025-11-22T08:27:15.123456Z",
        },
    ],
};

/// Parses a timestamp of .NET's format "O". Returns it and the offset of the line after it.
fn seven_digits(line: &[u8]) -> Option<(Timestamp, usize)> {
    if line.get(19) != Some(&b'.')
        || line.get(27) != Some(&b'Z')
        || !matches!(line.get(28), None | Some(b' '))
    {
        return None;
    }
    let (time, _) =
        timestamp::iso(line).filter(|(stamp, end)| stamp.is_complete() && *end == 28)?;
    Some((time, line.len().min(29)))
}

/// Output of `gh run view --log`: job, step and line in columns.
pub(super) const COLUMNS: Envelope = Envelope {
    name: "gh",
    peel: |line, meta| {
        let head = line.get(..line.len().min(MAX_COLUMNS_BYTES))?;
        let job = memchr::memchr(b'\t', head)?;
        let step = memchr::memchr(b'\t', head.get(job + 1..)?)? + job + 1;
        let start = step + 1;
        let stamped = line.get(start..)?;
        // The first line of a job or step has a byte order mark, in the middle of the line.
        let mark = if stamped.starts_with(BOM) { BOM.len() } else { 0 };
        let (time, content) = seven_digits(stamped.get(mark..)?)?;
        meta.time = Some(time);
        Some(Inner::after(start + mark + content, line))
    },
    examples: &[
        Example {
            line: "tests (gpu_1)\tRun tests\t2025-11-22T08:27:15.1234567Z FAILED tests/a.py",
            content: "FAILED tests/a.py",
            expected: "2025-11-22T08:27:15.123456Z",
        },
        Example {
            line: "build\tUNKNOWN STEP\t\u{feff}2025-11-22T08:27:15.1234567Z Current runner",
            content: "Current runner",
            expected: "2025-11-22T08:27:15.123456Z",
        },
    ],
};

/// Maximum length in bytes of the names of a job and a step.
const MAX_COLUMNS_BYTES: usize = 512;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// Prefix of the Jenkins Timestamper: `[2025-11-22T08:27:15.123Z] `.
pub(super) const TIMESTAMPER: Envelope = Envelope {
    name: "timestamper",
    peel: |line, meta| {
        let inner = line.strip_prefix(b"[")?;
        if inner.get(10) != Some(&b'T') {
            return None;
        }
        let (time, end) = timestamp::iso(inner).filter(|(stamp, _)| stamp.is_complete())?;
        if inner.get(end) != Some(&b']') || !matches!(inner.get(end + 1), None | Some(b' ')) {
            return None;
        }
        meta.time = Some(time);
        Some(Inner::after(end + 3, line))
    },
    examples: &[
        Example {
            line: "[2025-11-22T08:27:15.123Z] + make test",
            content: "+ make test",
            expected: "2025-11-22T08:27:15.123000Z",
        },
        Example {
            line: "[2025-11-22T09:27:15+01:00]   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.000000Z",
        },
    ],
};
