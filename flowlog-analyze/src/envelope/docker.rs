//! Docker: the json-file driver, and the prefixes of Compose and similar tools.

use serde::Deserialize;

use super::{Envelope, Example, Inner, Stream, name};
use crate::component_names;
use crate::timestamp;

/// Record of the json-file driver: `{"log":…,"stream":…,"time":…}`.
///
/// A line of more than 16 KiB is split into several records; all but the last have no line feed
/// (moby/moby#36777).
pub(super) const JSON_FILE: Envelope = Envelope {
    name: "docker_json",
    peel: |line, meta| {
        let first = [&b"{\"log\":"[..], b"{\"stream\":", b"{\"time\":"]
            .iter()
            .any(|key| line.starts_with(key));
        if !first || memchr::memmem::find(line, b"\"log\":").is_none() {
            return None;
        }
        #[derive(Deserialize)]
        struct Entry {
            log: String,
            #[serde(default)]
            stream: String,
            time: String,
        }
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let (time, _) = timestamp::iso(entry.time.as_bytes())
            .filter(|(stamp, end)| stamp.is_complete() && *end == entry.time.len())?;
        meta.time = Some(time);
        meta.stream = Stream::parse(entry.stream.as_bytes()).unwrap_or_default();
        meta.partial = !entry.log.ends_with('\n');
        meta.splits_lines = true;
        let mut log = entry.log.into_bytes();
        if log.last() == Some(&b'\n') {
            log.pop();
        }
        Some(Inner::Decoded(log))
    },
    examples: &[
        Example {
            line: r#"{"log":"  File \"a.py\"\n","stream":"stderr","time":"2025-11-22T08:27:15.123456789Z"}"#,
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z err",
        },
        Example {
            line: r#"{"log":"cut here","stream":"stdout","attrs":{"tag":"x"},"time":"2025-11-22T08:27:15.12Z"}"#,
            content: "cut here",
            expected: "2025-11-22T08:27:15.120000Z out partial",
        },
    ],
};

/// Prefix of Docker Compose (`NAME-1  | `), its first version (`NAME_1 | `), and foreman and honcho
/// (`08:27:15 NAME.1 | `).
pub(super) const COMPOSE: Envelope = Envelope {
    name: "compose",
    peel: |line, meta| {
        // The text before the bar is a name; a line that begins with a bar is a table row.
        let head = line.get(..line.len().min(MAX_HEAD_BYTES))?;
        let bar = memchr::memmem::find(head, b" |")?;
        let after = line.get(bar + 2..)?;
        if !after.is_empty() && after.first() != Some(&b' ') {
            return None;
        }
        let mut before = head.get(..bar)?;
        // foreman's time has no date, so it is ignored: the lines around it have better times.
        if before.get(2) == Some(&b':')
            && before.get(8) == Some(&b' ')
            && before.get(..2)?.iter().all(u8::is_ascii_digit)
        {
            before = before.get(9..)?;
        }
        let who = std::str::from_utf8(before).ok()?.trim_end_matches(' ');
        let content = after.get(1..).unwrap_or_default();
        let leads =
            timestamp::looks_like_start(content) || content.starts_with(b"Traceback (most recent");
        let is_name = who.starts_with(|c: char| c.is_ascii_alphabetic())
            && who
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'));
        // Names are padded with at least two spaces.
        let padded = before.len() > who.len() || before.len() < head.get(..bar)?.len();
        let numbered = component_names::is_numbered(who) && padded;
        if !is_name || !(numbered || leads) {
            return None;
        }
        meta.producer.pod = name(who.as_bytes());
        Some(Inner::after(bar + 3, line))
    },
    examples: &[
        Example {
            line: "worker-1  | Traceback (most recent call last):",
            content: "Traceback (most recent call last):",
            expected: "pod=worker-1",
        },
        Example {
            line: "etcd_server   | {\"level\":\"info\"}",
            content: "{\"level\":\"info\"}",
            expected: "pod=etcd_server",
        },
        Example {
            line: "08:27:15 web.1  |   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "pod=web.1",
        },
        Example { line: "frontend-1  |", content: "", expected: "pod=frontend-1" },
    ],
};

/// Maximum length in bytes of a prefix. Names are padded to the longest of them.
const MAX_HEAD_BYTES: usize = 80;
