//! The kernel's ring buffer: `[SECONDS] MESSAGE`, or `[ctime] MESSAGE` of `dmesg -T`; OOM kills and
//! NVIDIA's Xid errors also without a timestamp.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp::{self, Timestamp};

/// Log lines of the kernel.
pub(super) const KERNEL: LogFormat = LogFormat {
    name: "kernel",
    classify_start: |line| read(beginning(line, 512)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example {
            text: "[ 1234.567890] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
            expected: "ERROR NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        },
        Example {
            text: "[Sat Nov 22 08:27:15 2025] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
            expected: "2025-11-22T08:27:15.000000Z-zone ERROR oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
        },
        Example {
            text: "Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB",
            expected: "ERROR Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB",
        },
        Example {
            text: "[  518.050000] python3[1234]: segfault at 10 ip 00007f",
            expected: "ERROR python3[1234]: segfault at 10 ip 00007f",
        },
        Example {
            text: "kernel: watchdog: BUG: soft lockup - CPU#7 stuck",
            expected: "ERROR watchdog: BUG: soft lockup - CPU#7 stuck",
        },
        Example {
            text: "[    0.000000] Linux version 6.1.0",
            expected: "INFO Linux version 6.1.0",
        },
    ],
};

/// Phrases that identify kernel lines with or without a timestamp.
const MESSAGE_PREFIXES: [&str; 5] = [
    "NVRM: Xid",
    "Out of memory: Killed process ",
    "Memory cgroup out of memory: ",
    "oom-kill:constraint=",
    "oom_reaper: ",
];

/// Phrases of severe errors, for lines known to be the kernel's.
const ERROR_WORDS: [&str; 6] = [
    "segfault at ",
    "soft lockup",
    "hung_task",
    "blocked for more than ",
    "fallen off the bus",
    "Kernel panic",
];

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let (time, message) = match text.strip_prefix('[') {
        Some(inner) => stamped(inner)?,
        None => (None, text),
    };
    let bare = message.strip_prefix("kernel: ");
    let message = bare.unwrap_or(message);
    let is_prefixed = MESSAGE_PREFIXES.iter().any(|word| message.starts_with(word))
        || message.contains(" invoked oom-killer: gfp_mask=");
    if !is_prefixed && bare.is_none() && !text.starts_with('[') {
        return None;
    }
    let bad = is_prefixed || ERROR_WORDS.iter().any(|word| message.contains(word));
    let level = if bad { Level::Error } else { Level::Info };
    Some(PlainLine { time, level: Some(level), message, ..PlainLine::default() }.into_event())
}

/// Parses seconds since boot, which give no time of day, or a date.
fn stamped(inner: &str) -> Option<(Option<Timestamp>, &str)> {
    let (stamp, message) = inner.split_once("] ")?;
    if let Some((time, end)) = timestamp::syslog(stamp.as_bytes()) {
        return (end == stamp.len()).then_some((Some(time), message));
    }
    let (seconds, fraction) = stamp.trim_start_matches(' ').split_once('.')?;
    // Six digits of fraction; a longer number of seconds would be an absolute time, not a duration.
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(seconds) && seconds.len() < 10 && digits(fraction) && fraction.len() == 6)
        .then_some((None, message))
}
