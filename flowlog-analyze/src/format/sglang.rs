//! SGLang: `[YYYY-MM-DD HH:MM:SS TP0] WORDS` (`configure_logger`). No level; the body of a stack has no header.

use flowlog_schema::Level;

use super::words::{Words, beginning, level};
use super::{Begin, Example, Recogniser};
use crate::stamp::{self, Stamp};

/// SGLang's own log lines.
pub(super) const SGLANG: Recogniser = Recogniser {
    name: "sglang",
    begins: |line| {
        let text = beginning(line, 256);
        let (_, ranks, body) = head(text)?;
        Some(Begin::logged(ranks.as_bytes(), body, Some(level_of(text.get(body..)?))))
    },
    read: |text| {
        let (time, ranks, body) = head(text)?;
        let message = text.get(body..)?;
        let level = level_of(message);
        Some(
            Words {
                time: Some(time),
                level: Some(level),
                component: "sglang",
                target: ranks.trim(),
                message,
                ..Words::default()
            }
            .observe(),
        )
    },
    examples: &[
        Example {
            text: "[2025-11-22 08:27:15] Load weight end. type=XLMRobertaModel",
            tells: "2025-11-22T08:27:15.000000Z-zone INFO sglang Load weight end. type=XLMRobertaModel",
        },
        Example {
            text: "[2025-11-22 08:27:15 DP1 TP3] Scheduler hit an exception: Traceback (most recent call last):\n  File \"/s/scheduler.py\", line 1, in f\nRuntimeError: x",
            tells: "2025-11-22T08:27:15.000000Z-zone ERROR sglang DP1 TP3: Scheduler hit an exception: Traceback (most recent call last):\n  File \"/s/scheduler.py\", line 1, in f\nRuntimeError: x",
        },
        Example {
            text: "[2025-11-22 08:27:15.123 TP0] Watchdog timeout (self.watchdog_timeout=300)",
            tells: "2025-11-22T08:27:15.123000Z-zone ERROR sglang TP0: Watchdog timeout (self.watchdog_timeout=300)",
        },
    ],
};

/// What the words tell of their level.
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

/// Time, ranks, and where the words begin.
fn head(text: &str) -> Option<(Stamp, &str, usize)> {
    let inner = text.strip_prefix('[')?;
    let (time, end) = stamp::iso(inner.as_bytes()).filter(|(stamp, _)| stamp.lacks_zone)?;
    let (ranks, _) = inner.get(end..)?.split_once(']')?;
    let is_rank = |word: &str| {
        let name = word.trim_end_matches(|c: char| c.is_ascii_digit());
        name.len() < word.len()
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    // A comma before the milliseconds is Python's own: other loggers of the same house.
    if inner.as_bytes().get(10) != Some(&b' ')
        || inner.as_bytes().get(19) == Some(&b',')
        || !ranks.split_whitespace().all(is_rank)
    {
        return None;
    }
    let body = 1 + end + ranks.len() + 1;
    let rest = text.get(body..)?;
    let words = rest.strip_prefix(' ')?;
    // `[TIME] LEVEL FILE:LINE: ` is plain `logging`, `[TIME] [PID] [LEVEL]` gunicorn, `[TIME] HOST:PID:TID [0]` NCCL.
    let first = words.split(' ').next().unwrap_or_default();
    let logging = first.bytes().all(|b| b.is_ascii_uppercase()) && level(first).is_some();
    (!logging && !words.starts_with('[') && !words.contains("NCCL WARN")).then_some((
        time,
        ranks,
        body + 1,
    ))
}
