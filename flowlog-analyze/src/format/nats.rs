//! The NATS server: `[PID] YYYY/MM/DD HH:MM:SS.UUUUUU [INF] WORDS`.

use super::words::{Words, level};
use super::{Begin, Example, Recogniser};
use crate::stamp;

/// The server's log lines.
pub(super) const NATS: Recogniser = Recogniser {
    name: "nats",
    begins: |line| {
        let inner = line.strip_prefix(b"[")?;
        let pid = inner.iter().take(10).take_while(|b| b.is_ascii_digit()).count();
        let stamp = inner.get(pid..)?.strip_prefix(b"] ")?;
        (pid > 0 && stamp::slashes(stamp).is_some()).then_some(Begin::Whole)
    },
    read: |text| {
        let (pid, rest) = text.strip_prefix('[')?.split_once("] ")?;
        pid.parse::<u64>().ok()?;
        let (time, end) = stamp::slashes(rest.as_bytes())?;
        let (name, message) = rest.get(end..)?.trim_start().strip_prefix('[')?.split_once(']')?;
        let level = level(name)?;
        let message = message.strip_prefix(' ').unwrap_or(message);
        Some(
            Words {
                time: Some(time),
                level: Some(level),
                component: "nats",
                server: true,
                message,
                ..Words::default()
            }
            .observe(),
        )
    },
    examples: &[
        Example {
            text: "[7] 2025/11/22 08:27:15.705274 [INF] Server is ready",
            tells: "2025-11-22T08:27:15.705274Z-zone INFO nats Server is ready",
        },
        Example {
            text: "[1] 2025/11/22 08:27:15.705274 [FTL] Can't start JetStream: no space left",
            tells: "2025-11-22T08:27:15.705274Z-zone ERROR nats Can't start JetStream: no space left",
        },
    ],
};
