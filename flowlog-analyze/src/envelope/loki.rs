//! `logcli`: query results of Loki, newest first.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Envelope, EnvelopeMeta, Example, Inner, Stream, name};
use crate::timestamp;

/// Default output of `logcli`: `TIME {LABELS} LINE`.
pub(super) const DEFAULT: Envelope = Envelope {
    name: "logcli",
    peel: |line, meta| {
        if line.get(10) != Some(&b'T') {
            return None;
        }
        let (time, end) = timestamp::iso(line).filter(|(stamp, _)| stamp.is_complete())?;
        let labels = line.get(end..)?.strip_prefix(b" {")?;
        let (pairs, close) = labels_of(labels)?;
        meta.time = Some(time);
        apply_labels(&pairs, meta);
        // Labels are padded to the longest, and the line itself is trimmed.
        let rest = labels.get(close..)?;
        let blanks = rest.iter().take_while(|b| **b == b' ').count();
        Some(Inner::after(end + 2 + close + blanks, line))
    },
    examples: &[
        Example {
            line: r#"2025-11-22T08:27:15Z {container="main", pod="worker-0"}   Traceback (most recent call last):"#,
            content: "Traceback (most recent call last):",
            expected: "2025-11-22T08:27:15.000000Z pod=worker-0 container=main",
        },
        Example {
            line: r#"2025-11-22T09:27:15+01:00 {app="frontend",stream="stderr"} {"a":1}"#,
            content: r#"{"a":1}"#,
            expected: "2025-11-22T08:27:15.000000Z pod=frontend err",
        },
        Example {
            line: "2025-11-22T08:27:15Z {} up",
            content: "up",
            expected: "2025-11-22T08:27:15.000000Z",
        },
    ],
};

/// Parses `name="value"` pairs up to the closing brace. Also returns the offset after the brace.
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
                // A quoted Go string is close enough to a JSON string.
                let mut strings = serde_json::Deserializer::from_slice(text.get(equals + 1..)?)
                    .into_iter::<String>();
                let value = strings.next()?.ok()?;
                at = equals + 1 + strings.byte_offset();
                pairs.insert(String::from_utf8_lossy(key).into_owned(), value);
            }
        }
    }
}

fn apply_labels(labels: &BTreeMap<String, String>, meta: &mut EnvelopeMeta) {
    let get = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| labels.get(*name))
            .map(|value| name(value.as_bytes()))
            .unwrap_or_default()
    };
    meta.producer.pod = get(&["pod", "pod_name", "instance", "app", "service_name", "job"]);
    meta.producer.container = get(&["container", "container_name"]);
    if let Some(stream) = labels.get("stream").and_then(|stream| Stream::parse(stream.as_bytes())) {
        meta.stream = stream;
    }
}

/// Output of `logcli --output=jsonl`.
pub(super) const JSONL: Envelope = Envelope {
    name: "logcli_jsonl",
    peel: |line, meta| {
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
            timestamp::iso(entry.timestamp.as_bytes()).filter(|(stamp, _)| stamp.is_complete())?;
        meta.time = Some(time);
        apply_labels(&entry.labels, meta);
        Some(Inner::Decoded(entry.line.trim_end_matches('\n').as_bytes().to_vec()))
    },
    examples: &[
        Example {
            line: r#"{"labels":{"pod":"worker-0","container":"main"},"line":"  File \"a.py\"\n","timestamp":"2025-11-22T08:27:15.123456789Z"}"#,
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z pod=worker-0 container=main",
        },
        Example {
            line: r#"{"labels":{},"line":"up","timestamp":"2025-11-22T09:27:15+01:00"}"#,
            content: "up",
            expected: "2025-11-22T08:27:15.000000Z",
        },
    ],
};
