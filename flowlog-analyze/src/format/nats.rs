//! The NATS server: `[PID] YYYY/MM/DD HH:MM:SS.UUUUUU [INF] MESSAGE`.

use super::plain::{PlainLine, level};
use super::{EventStart, Example, LogFormat};
use crate::timestamp;

/// Log lines of the NATS server.
pub(super) const NATS: LogFormat = LogFormat {
    name: "nats",
    classify_start: |line| {
        let inner = line.strip_prefix(b"[")?;
        let pid = inner.iter().take(10).take_while(|b| b.is_ascii_digit()).count();
        let stamp = inner.get(pid..)?.strip_prefix(b"] ")?;
        (pid > 0 && timestamp::slashes(stamp).is_some()).then_some(EventStart::Whole)
    },
    read: |text| {
        let (pid, rest) = text.strip_prefix('[')?.split_once("] ")?;
        pid.parse::<u64>().ok()?;
        let (time, end) = timestamp::slashes(rest.as_bytes())?;
        let (name, message) = rest.get(end..)?.trim_start().strip_prefix('[')?.split_once(']')?;
        let level = level(name)?;
        let message = message.strip_prefix(' ').unwrap_or(message);
        Some(
            PlainLine {
                time: Some(time),
                level: Some(level),
                component: "nats",
                server: true,
                message,
                ..PlainLine::default()
            }
            .into_event(),
        )
    },
    examples: &[
        Example {
            text: "[7] 2025/11/22 08:27:15.705274 [INF] Server is ready",
            expected: "2025-11-22T08:27:15.705274Z-zone INFO nats Server is ready",
        },
        Example {
            text: "[1] 2025/11/22 08:27:15.705274 [FTL] Can't start JetStream: no space left",
            expected: "2025-11-22T08:27:15.705274Z-zone ERROR nats Can't start JetStream: no space left",
        },
    ],
};
