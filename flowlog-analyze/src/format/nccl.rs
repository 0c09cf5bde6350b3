//! NCCL: `HOST:PID:TID [DEVICE] NCCL INFO MESSAGE`, `… FILE:LINE NCCL WARN MESSAGE`
//! (`src/debug.cc`).

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp;

/// NCCL's log lines.
pub(super) const NCCL: LogFormat = LogFormat {
    name: "nccl",
    classify_start: |line| {
        let text = beginning(line, 256);
        (text.starts_with("NCCL version ") || text.contains(" NCCL ") && read(text).is_some())
            .then_some(EventStart::Whole)
    },
    read,
    examples: &[
        Example {
            text: "gpu-node-1:39964:40075 [0] misc/socket.cc:483 NCCL WARN socketStartConnect: Connect to 10.0.0.2<45763> failed",
            expected: "ERROR nccl misc/socket.cc:483: socketStartConnect: Connect to 10.0.0.2<45763> failed",
        },
        Example {
            text: "gpu-node-1:39964:40075 [-1] NCCL INFO proxy.cc:1377 -> 2",
            expected: "INFO nccl proxy.cc:1377 -> 2",
        },
        Example {
            text: "[2025-11-22 08:27:15] gpu-node-1:7:9 [3] enqueue.cc:43 (ncclLaunch) NCCL WARN Cuda failure 'out of memory'",
            expected: "2025-11-22T08:27:15.000000Z-zone ERROR nccl enqueue.cc:43 (ncclLaunch): Cuda failure 'out of memory'",
        },
        Example {
            text: "NCCL version 2.27.3+cuda12.9",
            expected: "INFO nccl NCCL version 2.27.3+cuda12.9",
        },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let words = |level| PlainLine { level: Some(level), component: "nccl", ..PlainLine::default() };
    if text.starts_with("NCCL version ") {
        return Some(PlainLine { message: text, ..words(Level::Info) }.into_event());
    }
    let (time, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (time, end) = timestamp::iso(inner.as_bytes())?;
            (Some(time), inner.get(end..)?.strip_prefix("] ")?)
        }
        None => (None, text),
    };
    let (who, rest) = rest.split_once(" [")?;
    let mut parts = who.rsplit(':');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    if who.contains(' ') || !number(parts.next()) || !number(parts.next()) {
        return None;
    }
    let (device, rest) = rest.split_once("] ")?;
    device.parse::<i32>().ok()?;
    let (place, rest) = rest.split_once("NCCL ")?;
    let (name, message) = rest.split_once(' ').unwrap_or((rest, ""));
    // NCCL reports its worst errors as warnings.
    let level = match name {
        "WARN" | "ABORT" => Level::Error,
        "INFO" => Level::Info,
        "TRACE" | "CALL" => Level::Trace,
        _ => return None,
    };
    Some(PlainLine { time, target: place.trim_end(), message, ..words(level) }.into_event())
}
