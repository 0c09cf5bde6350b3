//! UCX: `[EPOCH] [HOST:PID:THREAD] FILE:LINE UCX LEVEL MESSAGE` (`src/ucs/debug/log.c`); fatal
//! errors have no time.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning, level};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp;

/// UCX's log lines.
pub(super) const UCX: LogFormat = LogFormat {
    name: "ucx",
    classify_start: |line| {
        let inner = line.strip_prefix(b"[")?;
        let is_log = inner.get(10) == Some(&b'.') && timestamp::epoch(inner).is_some();
        let text = beginning(line, 256);
        (is_log || fatal(text).is_some()).then(|| EventStart::logged(b"ucx", 0, None))
    },
    read: |text| log(text).or_else(|| fatal(text)),
    examples: &[
        Example {
            text: "[1763800035.705274] [gpu-node-1:760  :0]       ib_device.c:1332 UCX  ERROR   ibv_create_ah(dlid=49152) failed: No such device",
            expected: "2025-11-22T08:27:15.705274Z ERROR ucx ib_device.c:1332: ibv_create_ah(dlid=49152) failed: No such device",
        },
        Example {
            text: "[1763800035.705274] [vm-1:2802608:a]     ucp_worker.c:2903 UCX  DIAG  worker 0x7: 10 pending",
            expected: "2025-11-22T08:27:15.705274Z DEBUG ucx ucp_worker.c:2903: worker 0x7: 10 pending",
        },
        Example {
            text: "[gpu-node-1:19546:0:19546] ib_mlx5_log.c:139  Transport retry count exceeded on mlx5_0:1/IB",
            expected: "ERROR ucx ib_mlx5_log.c:139  Transport retry count exceeded on mlx5_0:1/IB",
        },
        Example {
            text: "[gpu-node-1:594314:0:594797] Caught signal 11 (Segmentation fault: address not mapped to object)\n==== backtrace (tid: 594797) ====",
            expected: "ERROR Caught signal 11 (Segmentation fault: address not mapped to object)\n==== backtrace (tid: 594797) ====",
        },
    ],
};

fn log(text: &str) -> Option<ParsedEvent<'_>> {
    let inner = text.strip_prefix('[')?;
    let (time, end) = timestamp::epoch(inner.as_bytes())?;
    let rest = inner.get(end..)?.strip_prefix("] [")?;
    let (_, rest) = rest.split_once("] ")?;
    let (place, rest) = rest.trim_start().split_once(' ')?;
    let (_, rest) = rest.trim_start().split_once(' ')?;
    let (name, message) = rest.trim_start().split_once(' ')?;
    let level = level(name)?;
    Some(
        PlainLine {
            time: Some(time),
            level: Some(level),
            component: "ucx",
            target: place,
            message: message.trim_start(),
            ..PlainLine::default()
        }
        .into_event(),
    )
}

/// Parses a fatal error: `[HOST:PID:THREAD:TID] MESSAGE`.
fn fatal(text: &str) -> Option<ParsedEvent<'_>> {
    let (who, message) = text.strip_prefix('[')?.split_once("] ")?;
    let mut parts = who.rsplit(':');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| {
            !part.trim().is_empty() && part.trim().bytes().all(|b| b.is_ascii_digit())
        })
    };
    let (tid, _, pid) = (parts.next(), parts.next()?, parts.next());
    // UCX handles the signals of whatever process it is in.
    let is_signal = message.starts_with("Caught signal ");
    if !is_signal && (!number(tid) || !number(pid))
        || parts.next().is_none_or(|host| host.is_empty() || host.contains(' '))
    {
        return None;
    }
    Some(
        PlainLine {
            level: Some(Level::Error),
            component: if is_signal { "" } else { "ucx" },
            message,
            ..PlainLine::default()
        }
        .into_event(),
    )
}
