//! Docker: the json-file driver, and what Compose and its relatives put before a line.

use serde::Deserialize;

use super::{Envelope, Example, Inside, Stream, name};
use crate::names;
use crate::stamp;

/// The json-file driver's `{"log":…,"stream":…,"time":…}`. A line of more than 16 KiB comes in several, all but the
/// last without a line feed (moby/moby#36777).
pub(super) const JSON_FILE: Envelope = Envelope {
    name: "docker_json",
    peel: |line, facts| {
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
        let (time, _) = stamp::iso(entry.time.as_bytes())
            .filter(|(stamp, end)| stamp.is_complete() && *end == entry.time.len())?;
        facts.time = Some(time);
        facts.stream = Stream::parse(entry.stream.as_bytes()).unwrap_or_default();
        facts.partial = !entry.log.ends_with('\n');
        facts.cuts = true;
        let mut log = entry.log.into_bytes();
        if log.last() == Some(&b'\n') {
            log.pop();
        }
        Some(Inside::Decoded(log))
    },
    examples: &[
        Example {
            line: r#"{"log":"  File \"a.py\"\n","stream":"stderr","time":"2025-11-22T08:27:15.123456789Z"}"#,
            content: "  File \"a.py\"",
            tells: "2025-11-22T08:27:15.123456Z err",
        },
        Example {
            line: r#"{"log":"cut here","stream":"stdout","attrs":{"tag":"x"},"time":"2025-11-22T08:27:15.12Z"}"#,
            content: "cut here",
            tells: "2025-11-22T08:27:15.120000Z out partial",
        },
    ],
};

/// `NAME-1  | ` of Docker Compose, `NAME_1 | ` of its first version, and `08:27:15 NAME.1 | ` of foreman and honcho.
pub(super) const COMPOSE: Envelope = Envelope {
    name: "compose",
    peel: |line, facts| {
        // A line before the bar begins with a name; one that begins with a bar is a table.
        let head = line.get(..line.len().min(MAX_HEAD))?;
        let bar = memchr::memmem::find(head, b" |")?;
        let after = line.get(bar + 2..)?;
        if !after.is_empty() && after.first() != Some(&b' ') {
            return None;
        }
        let mut before = head.get(..bar)?;
        // foreman's clock has no date: the lines around it tell more.
        if before.get(2) == Some(&b':')
            && before.get(8) == Some(&b' ')
            && before.get(..2)?.iter().all(u8::is_ascii_digit)
        {
            before = before.get(9..)?;
        }
        let who = std::str::from_utf8(before).ok()?.trim_end_matches(' ');
        let content = after.get(1..).unwrap_or_default();
        let leads = stamp::leads(content) || content.starts_with(b"Traceback (most recent");
        let is_name = who.starts_with(|c: char| c.is_ascii_alphabetic())
            && who
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'));
        // Names are padded by two blanks at least.
        let padded = before.len() > who.len() || before.len() < head.get(..bar)?.len();
        let numbered = names::is_numbered(who) && padded;
        if !is_name || !(numbered || leads) {
            return None;
        }
        facts.speaker.pod = name(who.as_bytes());
        Some(Inside::after(bar + 3, line))
    },
    examples: &[
        Example {
            line: "worker-1  | Traceback (most recent call last):",
            content: "Traceback (most recent call last):",
            tells: "pod=worker-1",
        },
        Example {
            line: "etcd_server   | {\"level\":\"info\"}",
            content: "{\"level\":\"info\"}",
            tells: "pod=etcd_server",
        },
        Example {
            line: "08:27:15 web.1  |   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "pod=web.1",
        },
        Example { line: "frontend-1  |", content: "", tells: "pod=frontend-1" },
    ],
};

/// Names are padded to the longest of them.
const MAX_HEAD: usize = 80;
