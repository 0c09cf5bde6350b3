//! PyTorch: c10's C++ logger (`[E1122 08:27:15.705274000 ProcessGroupNCCL.cpp:616] MESSAGE`, the
//! month not padded), its Python loggers (glog's header with a PID and a path), and the watchdog.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning, is_source_location, level};
use super::{EventStart, Example, LogFormat, glog_header};
use crate::event::ParsedEvent;
use crate::timestamp::{self, Timestamp};

/// PyTorch's log lines.
pub(super) const TORCH: LogFormat = LogFormat {
    name: "torch",
    classify_start: |line| {
        let text = beginning(line, 256);
        let (_, level, place, body) = header(text)?;
        Some(EventStart::logged(place.as_bytes(), body, Some(level)).repeating_header())
    },
    read,
    examples: &[
        Example {
            text: "[E1122 08:27:15.705274881 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout\nException raised from checkTimeout at x.cpp:1\nframe #0: c10::Error::Error + 0x96 (0x7f)",
            expected: "2000-11-22T08:27:15.705274Z-year-zone ERROR torch ProcessGroupNCCL.cpp:616: [Rank 1] Watchdog caught collective operation timeout\nException raised from checkTimeout at x.cpp:1\nframe #0: c10::Error::Error + 0x96 (0x7f)",
        },
        Example {
            text: "[W407 11:39:13.107988995 TCPStore.cpp:106] [c10d] sendBytes failed: Broken pipe",
            expected: "2000-04-07T11:39:13.107988Z-year-zone WARN torch TCPStore.cpp:106: [c10d] sendBytes failed: Broken pipe",
        },
        Example {
            text: "[E ProcessGroupNCCL.cpp:563] timeout",
            expected: "ERROR torch ProcessGroupNCCL.cpp:563: timeout",
        },
        Example {
            text: "W1122 08:27:15.366000 32974 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 33051 closing signal SIGTERM",
            expected: "2000-11-22T08:27:15.366000Z-year-zone WARN torch torch/distributed/elastic/multiprocessing/api.py:900: Sending process 33051 closing signal SIGTERM",
        },
    ],
};

/// Returns whether a glog line comes from a Python logger of PyTorch, by its source location.
pub(super) fn is_python(place: &str) -> bool {
    place.contains(".py:")
}

fn native(text: &str) -> Option<(Option<Timestamp>, Level, &str, usize)> {
    let inner = text.strip_prefix('[')?;
    let level = level(inner.get(..1)?)
        .filter(|_| matches!(inner.as_bytes().first(), Some(b'I' | b'W' | b'E' | b'F')))?;
    let rest = inner.get(1..)?;
    let (time, rest) = match rest.strip_prefix(' ') {
        Some(rest) => (None, rest),
        None => {
            // Pad a one-digit month with a zero.
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (time, end) = match digits {
                4 => timestamp::glog(rest.as_bytes())?,
                3 => {
                    let padded = format!("0{}", rest.get(..rest.len().min(64))?);
                    let (time, end) = timestamp::glog(padded.as_bytes())?;
                    (time, end - 1)
                }
                _ => return None,
            };
            (Some(time), rest.get(end..)?.strip_prefix(' ')?)
        }
    };
    let (place, rest) = rest.split_once(']')?;
    if !is_source_location(place) || place.contains('[') {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some((time, level, place, text.len() - rest.len()))
}

fn header(text: &str) -> Option<(Option<Timestamp>, Level, &str, usize)> {
    let python = || {
        glog_header::head(text)
            .filter(|head| is_python(head.place))
            .map(|head| (Some(head.time), head.level, head.place, head.body))
    };
    native(text).or_else(python)
}

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let (time, level, place, body) = header(text)?;
    Some(
        PlainLine {
            time,
            level: Some(level),
            component: "torch",
            target: place,
            message: text.get(body..)?,
            ..PlainLine::default()
        }
        .into_event(),
    )
}
