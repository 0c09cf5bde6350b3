//! journald and syslog: `TIME HOST NAME[PID]: MESSAGE`, and the journal as JSON.

use serde::Deserialize;
use serde_json::Value;

use super::{Envelope, Example, Inner, name};
use crate::timestamp::{self, Timestamp};

/// Output of `journalctl -o short` and similar formats, and syslog files (RFC 3164).
pub(super) const SHORT: Envelope = Envelope {
    name: "journald",
    peel: |line, meta| {
        let (time, end) = time(line)?;
        let rest = line.get(end..)?.strip_prefix(b" ")?;
        let host = memchr::memchr(b' ', rest.get(..rest.len().min(256))?)?;
        let is_host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if !rest.get(..host)?.iter().all(is_host) {
            return None;
        }
        let tail = rest.get(host + 1..)?;
        let colon = memchr::memmem::find(tail.get(..tail.len().min(128))?, b": ")
            .or_else(|| tail.strip_suffix(b":").map(<[u8]>::len))?;
        let who = tail.get(..colon)?;
        // `NAME[PID]`, or the kernel, which has no PID.
        let process = match who.strip_suffix(b"]") {
            Some(who) => {
                let open = memchr::memrchr(b'[', who)?;
                let pid = who
                    .get(open + 1..)
                    .filter(|pid| !pid.is_empty() && pid.iter().all(u8::is_ascii_digit))?;
                let _ = pid;
                who.get(..open)?
            }
            None if who == b"kernel" => who,
            None => return None,
        };
        meta.time = Some(time);
        meta.producer.host = name(rest.get(..host)?);
        meta.producer.process = name(process);
        // Kernel messages keep `kernel: `, by which their format is recognized.
        let words = if who == b"kernel" { 0 } else { colon + 2 };
        Some(Inner::after(end + 1 + host + 1 + words, line))
    },
    examples: &[
        Example {
            line: "Nov 22 08:27:15 gpu-node-1 dynamo-worker[4711]: up",
            content: "up",
            expected: "2000-11-22T08:27:15.000000Z host=gpu-node-1 process=dynamo-worker",
        },
        Example {
            line: "2025-11-22T09:27:15.123456+01:00 gpu-node-1 kernel: NVRM: Xid",
            content: "kernel: NVRM: Xid",
            expected: "2025-11-22T08:27:15.123456Z host=gpu-node-1 process=kernel",
        },
        Example {
            line: "Sat 2025-11-22 08:27:15 UTC gpu-node-1 systemd[1]: Started x.",
            content: "Started x.",
            expected: "2025-11-22T08:27:15.000000Z host=gpu-node-1 process=systemd",
        },
    ],
};

fn time(line: &[u8]) -> Option<(Timestamp, usize)> {
    match line.first()? {
        b'0'..=b'9' if line.get(10) == Some(&b'T') && !matches!(line.get(26), Some(b'Z')) => {
            timestamp::iso(line).filter(|(stamp, _)| stamp.is_complete())
        }
        b'A'..=b'Z' => match timestamp::iso(line.get(4..)?) {
            // `short-full` puts a weekday before the time and a zone name after it.
            Some((time, end)) if line.get(3) == Some(&b' ') => {
                let zone = line.get(4 + end..)?;
                let named = if zone.first() == Some(&b' ') && time.missing_zone {
                    zone.get(1..)?.iter().take_while(|b| b.is_ascii_uppercase()).count()
                } else {
                    0
                };
                Some((time, 4 + end + if named >= 2 { named + 1 } else { 0 }))
            }
            _ => timestamp::syslog(line).filter(|(stamp, _)| stamp.missing_year),
        },
        _ => None,
    }
}

/// Output of `journalctl -o json`.
pub(super) const JSON: Envelope = Envelope {
    name: "journald_json",
    peel: |line, meta| {
        if !is_entry(line) {
            return None;
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "__REALTIME_TIMESTAMP")]
            time: String,
            #[serde(rename = "MESSAGE", default)]
            message: Value,
            #[serde(rename = "_HOSTNAME", default)]
            host: String,
            #[serde(rename = "SYSLOG_IDENTIFIER", default)]
            identifier: String,
            #[serde(rename = "CONTAINER_NAME", default)]
            container: String,
            #[serde(rename = "CONTAINER_PARTIAL_MESSAGE", default)]
            partial: String,
        }
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let micros: i64 = entry.time.parse().ok()?;
        meta.time = Some(Timestamp { unit: 1_000, ..Timestamp::exact(micros.checked_mul(1_000)?) });
        meta.producer.host = name(entry.host.as_bytes());
        meta.producer.container = name(entry.container.as_bytes());
        meta.producer.process = name(entry.identifier.as_bytes());
        meta.partial = entry.partial == "true";
        meta.splits_lines = true;
        // Bytes that are not valid UTF-8 come as numbers.
        let message = match entry.message {
            Value::String(text) => text.into_bytes(),
            Value::Array(bytes) => bytes
                .iter()
                .filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect(),
            _ => Vec::new(),
        };
        Some(Inner::Decoded(message))
    },
    examples: &[
        Example {
            line: r#"{"__REALTIME_TIMESTAMP":"1763800035123456","MESSAGE":"up","_HOSTNAME":"n1","SYSLOG_IDENTIFIER":"worker","_PID":"7"}"#,
            content: "up",
            expected: "2025-11-22T08:27:15.123456Z host=n1 process=worker",
        },
        Example {
            line: r#"{"_HOSTNAME":"n1","MESSAGE":[27,91,49,109,117,112],"__REALTIME_TIMESTAMP":"1763800035123456"}"#,
            content: "\u{1b}[1mup",
            expected: "2025-11-22T08:27:15.123456Z host=n1",
        },
    ],
};

/// Returns whether a line looks like a journal entry.
///
/// Field names are in capitals. The journal's own begin with underscores.
fn is_entry(line: &[u8]) -> bool {
    line.starts_with(b"{\"")
        && line.get(2).is_some_and(|b| b.is_ascii_uppercase() || *b == b'_')
        && memchr::memmem::find(line, b"\"__REALTIME_TIMESTAMP\"").is_some()
}
