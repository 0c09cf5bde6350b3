//! TensorRT-LLM: `[MM/DD/YYYY-HH:MM:SS] [TRT-LLM] [RANK 0] [E] MESSAGE` in Python
//! (`tensorrt_llm/logger.py`), `[TensorRT-LLM][ERROR] MESSAGE` without a time in C++
//! (`common/logger.cpp`).

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning, level};
use super::{EventStart, Example, LogFormat};
use crate::timestamp::{self, Timestamp};

/// Log lines of TensorRT-LLM in both forms.
pub(super) const TENSORRT_LLM: LogFormat = LogFormat {
    name: "tensorrt_llm",
    classify_start: |line| {
        if line.first() != Some(&b'[') {
            return None;
        }
        let text = beginning(line, 256);
        let head = head(text)?;
        Some(EventStart::logged(head.rank.as_bytes(), head.body, Some(head.level)))
    },
    read: |text| {
        let head = head(text)?;
        let message = text.get(head.body..)?;
        Some(
            PlainLine {
                time: head.time,
                level: Some(head.level),
                component: "trtllm",
                target: head.rank,
                message,
                ..PlainLine::default()
            }
            .into_event(),
        )
    },
    examples: &[
        Example {
            text: "[11/22/2025-08:27:15] [TRT-LLM] [RANK 0] [E] Failed to initialize executor on rank 0\n1       0x7f3ac0d77c31 tensorrt_llm::common::throwRuntimeError(char const*) + 76",
            expected: "2025-11-22T08:27:15.000000Z-zone ERROR trtllm RANK 0: Failed to initialize executor on rank 0\n1       0x7f3ac0d77c31 tensorrt_llm::common::throwRuntimeError(char const*) + 76",
        },
        Example {
            text: "[11/22/2025-08:27:15] [TRT-LLM] [W] Found pynvml",
            expected: "2025-11-22T08:27:15.000000Z-zone WARN trtllm Found pynvml",
        },
        Example {
            text: "[11/22/2025-08:27:15] Loading model",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO trtllm Loading model",
        },
        Example {
            text: "[TensorRT-LLM][ERROR] Assertion failed: x",
            expected: "ERROR trtllm Assertion failed: x",
        },
        Example {
            text: "[TensorRT-LLM] TensorRT-LLM version: 1.1.0",
            expected: "INFO trtllm TensorRT-LLM version: 1.1.0",
        },
    ],
};

struct Head<'a> {
    time: Option<Timestamp>,
    level: Level,
    rank: &'a str,
    body: usize,
}

fn head(text: &str) -> Option<Head<'_>> {
    if let Some(rest) = text.strip_prefix("[TensorRT-LLM]") {
        let (level, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((name, rest)) => (level(name)?, rest),
            None => (Level::Info, rest.strip_prefix(' ')?),
        };
        return Some(Head { time: None, level, rank: "", body: text.len() - rest.len() });
    }
    let inner = text.strip_prefix('[')?;
    let (time, mut rest) = match timestamp::month_first(inner.as_bytes()) {
        Some((time, end)) => (Some(time), inner.get(end..)?.strip_prefix("] ")?),
        None if text.starts_with("[TRT-LLM] ") => (None, text),
        None => return None,
    };
    let (mut found, mut rank) = (Level::Info, "");
    // `[TRT-LLM]`, then the rank if there are several, then the level.
    while let Some((tag, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        if tag.starts_with("RANK ") || tag.starts_with("MPI_Rank ") {
            rank = tag;
        } else if let Some(level) = level(tag).filter(|_| tag.len() == 1) {
            found = level;
            rest = after;
            break;
        } else if !matches!(tag, "TRT-LLM" | "TRT") {
            break;
        }
        rest = after;
    }
    Some(Head { time, level: found, rank, body: text.len() - rest.len() })
}
