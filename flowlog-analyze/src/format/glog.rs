//! glog and its kin, klog and Abseil: `LMMDD HH:MM:SS.UUUUUU THREAD FILE:LINE] WORDS`, without a year.

use flowlog_schema::Level;

use super::nixl;
use super::words::{Words, beginning, is_source_place, level};
use super::{Begin, Example, Recogniser, torch};
use crate::stamp::{self, Stamp};

/// Lines of Kubernetes' and Google's loggers.
pub(super) const GLOG: Recogniser = Recogniser {
    name: "glog",
    begins: |line| {
        if !matches!(line.first()?, b'I' | b'W' | b'E' | b'F' | b'V' | b'C')
            || !line.get(1)?.is_ascii_digit()
        {
            return None;
        }
        let head = head(beginning(line, 256))?;
        Some(Begin::logged(head.place.as_bytes(), head.body, Some(head.level)).repeating())
    },
    read: |text| {
        let head = head(text)
            .filter(|head| !nixl::is_native(head.place) && !torch::is_python(head.place))?;
        let message = text.get(head.body..)?;
        Some(
            Words {
                time: Some(head.time),
                level: Some(head.level),
                target: head.place,
                message,
                ..Words::default()
            }
            .observe(),
        )
    },
    examples: &[
        Example {
            text: "E1122 08:27:15.705274       1 pod_workers.go:1294] \"Error syncing pod, skipping\" err=\"failed\"",
            tells: "2000-11-22T08:27:15.705274Z-year-zone ERROR pod_workers.go:1294: \"Error syncing pod, skipping\" err=\"failed\"",
        },
        Example {
            text: "I1122 08:27:15.705274 120 libtensorrtllm.cc:184] \"TRITONBACKEND_ModelInstanceInitialize\"",
            tells: "2000-11-22T08:27:15.705274Z-year-zone INFO libtensorrtllm.cc:184: \"TRITONBACKEND_ModelInstanceInitialize\"",
        },
        Example {
            text: "W20251122 08:27:15.705274  7 x.cc:1] old",
            tells: "2025-11-22T08:27:15.705274Z-zone WARN x.cc:1: old",
        },
    ],
};

pub(super) struct Head<'a> {
    pub time: Stamp,
    pub level: Level,
    pub place: &'a str,
    pub body: usize,
}

/// The header, whoever's it is.
pub(super) fn head(text: &str) -> Option<Head<'_>> {
    let level =
        level(text.get(..1)?).filter(|_| text.as_bytes().get(1).is_some_and(u8::is_ascii_digit))?;
    let date = text.get(1..)?;
    let (time, end) = match stamp::glog(date.as_bytes()) {
        Some(read) => read,
        // Since 0.6 the year comes first.
        None => {
            let (time, end) = stamp::glog(date.get(4..)?.as_bytes())?;
            let year = date.get(..4)?.parse().ok()?;
            (Stamp { ns: stamp::with_year(time.ns, year)?, lacks_year: false, ..time }, end + 4)
        }
    };
    let rest = date.get(end..)?.strip_prefix(' ')?.trim_start_matches(' ');
    let (thread, rest) = rest.split_once(' ')?;
    let (place, rest) = rest.split_once(']')?;
    if thread.is_empty() || !thread.bytes().all(|b| b.is_ascii_digit()) || !is_source_place(place) {
        return None;
    }
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    Some(Head { time, level, place, body: text.len() - rest.len() })
}
