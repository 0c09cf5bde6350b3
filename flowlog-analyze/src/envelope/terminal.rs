//! Terminal output around a line: byte order marks, color, redraws, and borders of full-screen
//! programs.

use super::{Envelope, Example, Inner};
use crate::ansi;
use crate::timestamp;

/// Color (ECMA-48) and a byte order mark.
pub(super) const CONTROL: Envelope = Envelope {
    name: "terminal",
    peel: |line, _| {
        if !line.starts_with(BOM) && memchr::memchr(0x1b, line).is_none() {
            return None;
        }
        let plain = ansi::strip(line.strip_prefix(BOM).unwrap_or(line));
        // A lone ESC is not a sequence. It is dropped too, or this envelope would match again.
        Some(Inner::Decoded(plain.into_owned()))
    },
    examples: &[
        Example { line: "\u{feff}Requested runner", content: "Requested runner", expected: "" },
        Example { line: "\u{1b}[32mINFO\u{1b}[0m up", content: "INFO up", expected: "" },
    ],
};

/// Line numbers of `grep -n`, before a line of a log or an event that `kubectl describe` prints.
pub(super) const GREP_NUMBER: Envelope = Envelope {
    name: "grep",
    peel: |line, _| {
        let digits = line.iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..8).contains(&digits) || line.get(digits) != Some(&b':') {
            return None;
        }
        let content = line.get(digits + 1..)?;
        let is_event = [b"  Warning  ".as_slice(), b"  Normal  "]
            .iter()
            .any(|start| content.starts_with(start));
        let is_log = is_event || timestamp::looks_like_start(content);
        is_log.then(|| Inner::after(digits + 1, line))
    },
    examples: &[
        Example {
            line: "61:  Warning  Unhealthy  10s  kubelet  Liveness probe failed",
            content: "  Warning  Unhealthy  10s  kubelet  Liveness probe failed",
            expected: "",
        },
        Example {
            line: "7:2025-11-22T08:27:15.705274Z ERROR x: boom",
            content: "2025-11-22T08:27:15.705274Z ERROR x: boom",
            expected: "",
        },
    ],
};

/// Text redrawn after carriage returns.
///
/// The last drawing counts, unless one of them is a logger's line that a progress bar drew over.
/// Matched last, because the text before the first return may be another envelope.
pub(super) const REDRAW: Envelope = Envelope {
    name: "redraw",
    peel: |line, _| {
        memchr::memchr(b'\r', line)?;
        let parts = || line.split(|b| *b == b'\r').filter(|part| !part.trim_ascii().is_empty());
        let is_logger_line = |part: &&[u8]| {
            timestamp::looks_like_start(part)
                || part.starts_with(b"(") && memchr::memmem::find(part, b" pid=").is_some()
        };
        let drawn =
            parts().find(is_logger_line).or_else(|| parts().next_back()).unwrap_or_default();
        Some(Inner::Decoded(drawn.to_vec()))
    },
    examples: &[
        Example {
            line: "INFO 11-22 08:27:15 [a.py:1] up\rLoading: 50%",
            content: "INFO 11-22 08:27:15 [a.py:1] up",
            expected: "",
        },
        Example {
            line: "Loading: 10%\r(Worker_TP0 pid=7) up",
            content: "(Worker_TP0 pid=7) up",
            expected: "",
        },
        Example {
            line: "Loading: 10%\rLoading: 50%\rLoading: done\r",
            content: "Loading: done",
            expected: "",
        },
    ],
};

const BOM: &[u8] = "\u{feff}".as_bytes();

/// Frame that k9s and other full-screen programs draw around text that users copy out of them.
pub(super) const BORDER: Envelope = Envelope {
    name: "border",
    peel: |line, _| {
        let inner = line.trim_ascii().strip_prefix(BAR)?.strip_suffix(BAR)?;
        let inner = inner.strip_prefix(b" ").unwrap_or(inner).trim_ascii_end();
        // Bars inside make it a table row.
        if memchr::memmem::find(inner, BAR).is_some() {
            return None;
        }
        Some(Inner::Decoded(inner.to_vec()))
    },
    examples: &[
        Example {
            line: "│ 2025-11-22T08:27:15.705274Z  INFO x: up        │",
            content: "2025-11-22T08:27:15.705274Z  INFO x: up",
            expected: "",
        },
        Example {
            line: "│   File \"a.py\", line 1   │",
            content: "  File \"a.py\", line 1",
            expected: "",
        },
    ],
};

const BAR: &[u8] = "│".as_bytes();

/// Logger's line after a progress bar that did not end its own line (`tqdm`).
pub(super) const PROGRESS: Envelope = Envelope {
    name: "progress",
    peel: |line, _| {
        let ends = |at: &usize| {
            line.get(..*at).is_some_and(|bar| bar.ends_with(b"it/s") || bar.ends_with(b"s/it"))
        };
        let end = memchr::memrchr_iter(b']', line).find(ends)? + 1;
        let rest = line.get(end..)?;
        let leads = timestamp::looks_like_start(rest)
            || rest.starts_with(b"(")
                && memchr::memmem::find(rest.get(..rest.len().min(60))?, b" pid=").is_some();
        leads.then(|| Inner::after(end, line))
    },
    examples: &[
        Example {
            line: "Loading: 50% 2/4 [00:01<00:01,  1.5it/s]ERROR 11-22 08:27:15 [core.py:1] boom",
            content: "ERROR 11-22 08:27:15 [core.py:1] boom",
            expected: "",
        },
        Example {
            line: " 50%|##   | 2/4 [00:02<00:02,  1.1s/it](Worker_TP0 pid=7) up",
            content: "(Worker_TP0 pid=7) up",
            expected: "",
        },
    ],
};
