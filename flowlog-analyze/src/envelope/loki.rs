//! `logcli`: Loki's answers, newest first.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Envelope, Example, Facts, Inside, Stream, name};
use crate::stamp;

/// The default output: `TIME {LABELS} LINE`.
pub(super) const DEFAULT: Envelope = Envelope {
    name: "logcli",
    peel: |line, facts| {
        if line.get(10) != Some(&b'T') {
            return None;
        }
        let (time, end) = stamp::iso(line).filter(|(stamp, _)| stamp.is_complete())?;
        let labels = line.get(end..)?.strip_prefix(b" {")?;
        let (pairs, close) = labels_of(labels)?;
        facts.time = Some(time);
        tell(&pairs, facts);
        // Labels are padded to the longest; the line itself is trimmed.
        let rest = labels.get(close..)?;
        let blanks = rest.iter().take_while(|b| **b == b' ').count();
        Some(Inside::after(end + 2 + close + blanks, line))
    },
    examples: &[
        Example {
            line: r#"2025-11-22T08:27:15Z {container="main", pod="worker-0"}   Traceback (most recent call last):"#,
            content: "Traceback (most recent call last):",
            tells: "2025-11-22T08:27:15.000000Z pod=worker-0 container=main",
        },
        Example {
            line: r#"2025-11-22T09:27:15+01:00 {app="frontend",stream="stderr"} {"a":1}"#,
            content: r#"{"a":1}"#,
            tells: "2025-11-22T08:27:15.000000Z pod=frontend err",
        },
        Example {
            line: "2025-11-22T08:27:15Z {} up",
            content: "up",
            tells: "2025-11-22T08:27:15.000000Z",
        },
    ],
};

/// `name="value"` pairs up to the closing brace, and what lies behind it.
fn labels_of(text: &[u8]) -> Option<(BTreeMap<String, String>, usize)> {
    let mut pairs = BTreeMap::new();
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'}' => return Some((pairs, at + 1)),
            b',' | b' ' => at += 1,
            _ => {
                let equals = memchr::memchr(b'=', text.get(at..)?)? + at;
                let key = text.get(at..equals)?;
                if key.is_empty()
                    || key.len() > 128
                    || !key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
                {
                    return None;
                }
                // A quoted string of Go is close enough to one of JSON.
                let mut strings = serde_json::Deserializer::from_slice(text.get(equals + 1..)?)
                    .into_iter::<String>();
                let value = strings.next()?.ok()?;
                at = equals + 1 + strings.byte_offset();
                pairs.insert(String::from_utf8_lossy(key).into_owned(), value);
            }
        }
    }
}

fn tell(labels: &BTreeMap<String, String>, facts: &mut Facts) {
    let get = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| labels.get(*name))
            .map(|value| name(value.as_bytes()))
            .unwrap_or_default()
    };
    facts.speaker.pod = get(&["pod", "pod_name", "instance", "app", "service_name", "job"]);
    facts.speaker.container = get(&["container", "container_name"]);
    if let Some(stream) = labels.get("stream").and_then(|stream| Stream::parse(stream.as_bytes())) {
        facts.stream = stream;
    }
}

/// `--output=jsonl`.
pub(super) const JSONL: Envelope = Envelope {
    name: "logcli_jsonl",
    peel: |line, facts| {
        if !line.starts_with(b"{\"labels\":{") {
            return None;
        }
        #[derive(Deserialize)]
        struct Entry {
            labels: BTreeMap<String, String>,
            line: String,
            timestamp: String,
        }
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let (time, _) =
            stamp::iso(entry.timestamp.as_bytes()).filter(|(stamp, _)| stamp.is_complete())?;
        facts.time = Some(time);
        tell(&entry.labels, facts);
        Some(Inside::Decoded(entry.line.trim_end_matches('\n').as_bytes().to_vec()))
    },
    examples: &[
        Example {
            line: r#"{"labels":{"pod":"worker-0","container":"main"},"line":"  File \"a.py\"\n","timestamp":"2025-11-22T08:27:15.123456789Z"}"#,
            content: "  File \"a.py\"",
            tells: "2025-11-22T08:27:15.123456Z pod=worker-0 container=main",
        },
        Example {
            line: r#"{"labels":{},"line":"up","timestamp":"2025-11-22T09:27:15+01:00"}"#,
            content: "up",
            tells: "2025-11-22T08:27:15.000000Z",
        },
    ],
};
