//! The kernel's ring buffer: `[SECONDS] WORDS`, `[ctime] WORDS` of `dmesg -T`; OOM kills and NVIDIA's Xid wherever they stand.

use flowlog_schema::Level;

use super::words::{Words, beginning};
use super::{Begin, Example, Recogniser};
use crate::observation::Observation;
use crate::stamp::{self, Stamp};

/// Lines of the kernel.
pub(super) const KERNEL: Recogniser = Recogniser {
    name: "kernel",
    begins: |line| read(beginning(line, 512)).map(|_| Begin::Whole),
    read,
    examples: &[
        Example {
            text: "[ 1234.567890] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
            tells: "ERROR NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        },
        Example {
            text: "[Sat Nov 22 08:27:15 2025] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
            tells: "2025-11-22T08:27:15.000000Z-zone ERROR oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
        },
        Example {
            text: "Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB",
            tells: "ERROR Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB",
        },
        Example {
            text: "[  518.050000] python3[1234]: segfault at 10 ip 00007f",
            tells: "ERROR python3[1234]: segfault at 10 ip 00007f",
        },
        Example {
            text: "kernel: watchdog: BUG: soft lockup - CPU#7 stuck",
            tells: "ERROR watchdog: BUG: soft lockup - CPU#7 stuck",
        },
        Example { text: "[    0.000000] Linux version 6.1.0", tells: "INFO Linux version 6.1.0" },
    ],
};

/// Words that are the kernel's with or without a stamp.
const WORDS: [&str; 5] = [
    "NVRM: Xid",
    "Out of memory: Killed process ",
    "Memory cgroup out of memory: ",
    "oom-kill:constraint=",
    "oom_reaper: ",
];

/// Words that tell of the worst where the line is known to be the kernel's.
const BAD: [&str; 6] = [
    "segfault at ",
    "soft lockup",
    "hung_task",
    "blocked for more than ",
    "fallen off the bus",
    "Kernel panic",
];

fn read(text: &str) -> Option<Observation<'_>> {
    let (time, message) = match text.strip_prefix('[') {
        Some(inner) => stamped(inner)?,
        None => (None, text),
    };
    let bare = message.strip_prefix("kernel: ");
    let message = bare.unwrap_or(message);
    let told = WORDS.iter().any(|word| message.starts_with(word))
        || message.contains(" invoked oom-killer: gfp_mask=");
    if !told && bare.is_none() && !text.starts_with('[') {
        return None;
    }
    let bad = told || BAD.iter().any(|word| message.contains(word));
    let level = if bad { Level::Error } else { Level::Info };
    Some(Words { time, level: Some(level), message, ..Words::default() }.observe())
}

/// Seconds since the start, which tell no time of day; or a date.
fn stamped(inner: &str) -> Option<(Option<Stamp>, &str)> {
    let (stamp, message) = inner.split_once("] ")?;
    if let Some((time, end)) = stamp::syslog(stamp.as_bytes()) {
        return (end == stamp.len()).then_some((Some(time), message));
    }
    let (seconds, fraction) = stamp.trim_start_matches(' ').split_once('.')?;
    // Six digits; a longer number of seconds would be a moment, not a span.
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(seconds) && seconds.len() < 10 && digits(fraction) && fraction.len() == 6)
        .then_some((None, message))
}
