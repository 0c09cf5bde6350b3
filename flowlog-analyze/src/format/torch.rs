//! PyTorch: c10's C++ logger (`[E1122 08:27:15.705274000 ProcessGroupNCCL.cpp:616] WORDS`, the month not padded),
//! its Python loggers (glog's header, a pid and a path), and the watchdog.

use flowlog_schema::Level;

use super::words::{Words, beginning, is_source_place, level};
use super::{Begin, Example, Recogniser, glog};
use crate::observation::Observation;
use crate::stamp::{self, Stamp};

/// PyTorch's log lines.
pub(super) const TORCH: Recogniser = Recogniser {
    name: "torch",
    begins: |line| {
        let text = beginning(line, 256);
        let (_, level, place, body) = header(text)?;
        Some(Begin::logged(place.as_bytes(), body, Some(level)).repeating())
    },
    read,
    examples: &[
        Example {
            text: "[E1122 08:27:15.705274881 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout\nException raised from checkTimeout at x.cpp:1\nframe #0: c10::Error::Error + 0x96 (0x7f)",
            tells: "2000-11-22T08:27:15.705274Z-year-zone ERROR torch ProcessGroupNCCL.cpp:616: [Rank 1] Watchdog caught collective operation timeout\nException raised from checkTimeout at x.cpp:1\nframe #0: c10::Error::Error + 0x96 (0x7f)",
        },
        Example {
            text: "[W407 11:39:13.107988995 TCPStore.cpp:106] [c10d] sendBytes failed: Broken pipe",
            tells: "2000-04-07T11:39:13.107988Z-year-zone WARN torch TCPStore.cpp:106: [c10d] sendBytes failed: Broken pipe",
        },
        Example {
            text: "[E ProcessGroupNCCL.cpp:563] timeout",
            tells: "ERROR torch ProcessGroupNCCL.cpp:563: timeout",
        },
        Example {
            text: "W1122 08:27:15.366000 32974 torch/distributed/elastic/multiprocessing/api.py:900] Sending process 33051 closing signal SIGTERM",
            tells: "2000-11-22T08:27:15.366000Z-year-zone WARN torch torch/distributed/elastic/multiprocessing/api.py:900: Sending process 33051 closing signal SIGTERM",
        },
    ],
};

/// Whether a glog line is one of PyTorch's Python loggers.
pub(super) fn is_python(place: &str) -> bool {
    place.contains(".py:")
}

fn native(text: &str) -> Option<(Option<Stamp>, Level, &str, usize)> {
    let inner = text.strip_prefix('[')?;
    let level = level(inner.get(..1)?)
        .filter(|_| matches!(inner.as_bytes().first(), Some(b'I' | b'W' | b'E' | b'F')))?;
    let rest = inner.get(1..)?;
    let (time, rest) = match rest.strip_prefix(' ') {
        Some(rest) => (None, rest),
        None => {
            // The month of one digit gets its zero back.
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (time, end) = match digits {
                4 => stamp::glog(rest.as_bytes())?,
                3 => {
                    let padded = format!("0{}", rest.get(..rest.len().min(64))?);
                    let (time, end) = stamp::glog(padded.as_bytes())?;
                    (time, end - 1)
                }
                _ => return None,
            };
            (Some(time), rest.get(end..)?.strip_prefix(' ')?)
        }
    };
    let (place, rest) = rest.split_once(']')?;
    if !is_source_place(place) || place.contains('[') {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some((time, level, place, text.len() - rest.len()))
}

fn header(text: &str) -> Option<(Option<Stamp>, Level, &str, usize)> {
    let python = || {
        glog::head(text)
            .filter(|head| is_python(head.place))
            .map(|head| (Some(head.time), head.level, head.place, head.body))
    };
    native(text).or_else(python)
}

fn read(text: &str) -> Option<Observation<'_>> {
    let (time, level, place, body) = header(text)?;
    Some(
        Words {
            time,
            level: Some(level),
            component: "torch",
            target: place,
            message: text.get(body..)?,
            ..Words::default()
        }
        .observe(),
    )
}
