//! `journalctl -o export`: one field per line, records separated by a blank line
//! (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).

use std::borrow::Cow;

use flowlog_schema::Level;

use super::plain::PlainLine;
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp::Timestamp;

/// A record of the journal's export format.
pub(super) const JOURNAL_EXPORT: LogFormat = LogFormat {
    name: "journal_export",
    classify_start: |line| {
        line.starts_with(b"__CURSOR=").then(|| EventStart::logged(b"__CURSOR", 0, None))
    },
    read,
    examples: &[
        Example {
            text: "__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1763800035705274\nPRIORITY=3\nSYSLOG_IDENTIFIER=dynamo-worker\n_HOSTNAME=gpu-1\nMESSAGE=boom",
            expected: "2025-11-22T08:27:15.705274Z ERROR /gpu-1 dynamo-worker: boom",
        },
        Example {
            text: "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1763800035705274\nMESSAGE\n\u{7}\0\0\0\0\0\0\0foo\nbar\n_PID=7",
            expected: "2025-11-22T08:27:15.705274Z INFO foo\nbar",
        },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let mut rest = text.strip_prefix("__CURSOR=").map(|_| text)?;
    let (mut time, mut level, mut name, mut host, mut message) = (None, Level::Info, "", "", "");
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        let (key, value) = match line.split_once('=') {
            Some(pair) => pair,
            // A value with line feeds is preceded by its length: eight bytes, little-endian.
            None => {
                let length = after.as_bytes().get(..8).and_then(|bytes| {
                    usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
                });
                let Some(value) =
                    length.and_then(|length| after.get(8..8usize.checked_add(length)?))
                else {
                    continue;
                };
                rest = after.get(8 + value.len()..).unwrap_or_default();
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                (line, value)
            }
        };
        match key {
            "__REALTIME_TIMESTAMP" => {
                time = value.parse::<i64>().ok().and_then(|micros| micros.checked_mul(1_000));
            }
            "PRIORITY" => {
                level = match value {
                    "0" | "1" | "2" | "3" => Level::Error,
                    "4" => Level::Warn,
                    "7" => Level::Debug,
                    _ => Level::Info,
                }
            }
            "SYSLOG_IDENTIFIER" => name = value,
            "_HOSTNAME" => host = value,
            "MESSAGE" => message = value,
            _ => {}
        }
    }
    let time = Timestamp { unit: 1_000, ..Timestamp::exact(time?) };
    let mut event = PlainLine {
        time: Some(time),
        level: Some(level),
        target: name,
        message,
        ..PlainLine::default()
    }
    .into_event();
    event.instance = (!host.is_empty()).then_some(Cow::Borrowed(host));
    Some(event)
}
