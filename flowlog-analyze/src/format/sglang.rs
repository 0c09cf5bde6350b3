//! SGLang: `[YYYY-MM-DD HH:MM:SS TP0] MESSAGE` (`configure_logger`). There is no level, and the
//! body of a stack has no header.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning, level};
use super::{EventStart, Example, LogFormat};
use crate::timestamp::{self, Timestamp};

/// SGLang's own log lines.
pub(super) const SGLANG: LogFormat = LogFormat {
    name: "sglang",
    classify_start: |line| {
        let text = beginning(line, 256);
        let (_, ranks, body) = head(text)?;
        Some(EventStart::logged(ranks.as_bytes(), body, Some(level_of(text.get(body..)?))))
    },
    read: |text| {
        let (time, ranks, body) = head(text)?;
        let message = text.get(body..)?;
        let level = level_of(message);
        Some(
            PlainLine {
                time: Some(time),
                level: Some(level),
                component: "sglang",
                target: ranks.trim(),
                message,
                ..PlainLine::default()
            }
            .into_event(),
        )
    },
    examples: &[
        Example {
            text: "[2025-11-22 08:27:15] Load weight end. type=XLMRobertaModel",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO sglang Load weight end. type=XLMRobertaModel",
        },
        Example {
            text: "[2025-11-22 08:27:15 DP1 TP3] Scheduler hit an exception: Traceback (most recent call last):\n  File \"/s/scheduler.py\", line 1, in f\nRuntimeError: x",
            expected: "2025-11-22T08:27:15.000000Z-zone ERROR sglang DP1 TP3: Scheduler hit an exception: Traceback (most recent call last):\n  File \"/s/scheduler.py\", line 1, in f\nRuntimeError: x",
        },
        Example {
            text: "[2025-11-22 08:27:15.123 TP0] Watchdog timeout (self.watchdog_timeout=300)",
            expected: "2025-11-22T08:27:15.123000Z-zone ERROR sglang TP0: Watchdog timeout (self.watchdog_timeout=300)",
        },
    ],
};

/// Infers the level of a message.
fn level_of(words: &str) -> Level {
    const BAD: [&str; 9] = [
        "ERROR",
        "hit an exception",
        "Traceback (most recent",
        "Received sigquit",
        "Watchdog timeout",
        "Exception:",
        " died",
        "failed with exitcode",
        " HTTP/1.1\" 5",
    ];
    if BAD.iter().any(|word| words.contains(word)) {
        return Level::Error;
    }
    if words.starts_with("WARNING") || words.contains("failed") { Level::Warn } else { Level::Info }
}

/// Parses the time, the ranks and the offset of the message.
fn head(text: &str) -> Option<(Timestamp, &str, usize)> {
    let inner = text.strip_prefix('[')?;
    let (time, end) = timestamp::iso(inner.as_bytes()).filter(|(stamp, _)| stamp.missing_zone)?;
    let (ranks, _) = inner.get(end..)?.split_once(']')?;
    let is_rank = |word: &str| {
        let name = word.trim_end_matches(|c: char| c.is_ascii_digit());
        name.len() < word.len()
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    // A comma before the milliseconds is the default of Python's `logging`, used by the project's
    // other loggers.
    if inner.as_bytes().get(10) != Some(&b' ')
        || inner.as_bytes().get(19) == Some(&b',')
        || !ranks.split_whitespace().all(is_rank)
    {
        return None;
    }
    let body = 1 + end + ranks.len() + 1;
    let rest = text.get(body..)?;
    let words = rest.strip_prefix(' ')?;
    // `[TIME] LEVEL FILE:LINE: ` is plain `logging`, `[TIME] [PID] [LEVEL]` is gunicorn, and
    // `[TIME] HOST:PID:TID [0]` is NCCL.
    let first = words.split(' ').next().unwrap_or_default();
    let logging = first.bytes().all(|b| b.is_ascii_uppercase()) && level(first).is_some();
    (!logging && !words.starts_with('[') && !words.contains("NCCL WARN")).then_some((
        time,
        ranks,
        body + 1,
    ))
}
