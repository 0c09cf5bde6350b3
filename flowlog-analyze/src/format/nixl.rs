//! NIXL: Abseil lines of its C++ files, `YYYY-MM-DD HH:MM:SS NIXL LEVEL FILE:LINE MESSAGE` in
//! Python, and lines that older builds print without a header.

use flowlog_schema::Level;

use super::glog_header;
use super::plain::{PlainLine, beginning, level};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp;

/// NIXL's log lines.
pub(super) const NIXL: LogFormat = LogFormat {
    name: "nixl",
    classify_start: |line| {
        let text = beginning(line, 256);
        if let Some(head) = glog_header::head(text) {
            return is_native(head.place).then(|| {
                EventStart::logged(head.place.as_bytes(), head.body, Some(head.level))
                    .repeating_header()
            });
        }
        let is_bare = PHRASES.iter().any(|phrase| text.starts_with(phrase));
        if !is_bare && !line.first()?.is_ascii_digit() {
            return None;
        }
        (is_bare || python(text).is_some())
            .then(|| EventStart::logged(b"nixl", 0, Some(Level::Info)))
    },
    read: |text| native(text).or_else(|| python(text)).or_else(|| bare(text)),
    examples: &[
        Example {
            text: "2025-11-22 08:27:15 NIXL INFO    _api.py:361 Backend UCX was instantiated",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO nixl _api.py:361: Backend UCX was instantiated",
        },
        Example {
            text: "Initialized NIXL agent: 72fca207-f8c6-4554-9663-6b9c3f44660b",
            expected: "INFO nixl Initialized NIXL agent: 72fca207-f8c6-4554-9663-6b9c3f44660b",
        },
        Example { text: "Loaded plugin UCX", expected: "INFO nixl Loaded plugin UCX" },
        Example {
            text: "E1122 08:27:15.705274  994396 nixl_agent.cpp:359] createBackend: backend 'UCX' encountered error NIXL_ERR_BACKEND",
            expected: "2000-11-22T08:27:15.705274Z-year-zone ERROR nixl nixl_agent.cpp:359: createBackend: backend 'UCX' encountered error NIXL_ERR_BACKEND",
        },
    ],
};

/// Prefixes of lines without a header.
const PHRASES: [&str; 4] =
    ["Loaded plugin ", "Initialized NIXL agent: ", "Backend UCX was ", "Backend GDS was "];

/// Returns whether a source location is in a file of NIXL or of one of its plugins.
fn is_own(place: &str) -> bool {
    place.contains("nixl") || place.starts_with("ucx_") || place.contains("_backend.cpp")
}

/// Returns whether a glog line is NIXL's, by its source location.
pub(super) fn is_native(place: &str) -> bool {
    place.contains(".cpp:") && is_own(place)
}

fn native(text: &str) -> Option<ParsedEvent<'_>> {
    let head = glog_header::head(text).filter(|head| is_native(head.place))?;
    let message = text.get(head.body..)?;
    Some(
        PlainLine {
            time: Some(head.time),
            level: Some(head.level),
            component: "nixl",
            target: head.place,
            message,
            ..PlainLine::default()
        }
        .into_event(),
    )
}

fn python(text: &str) -> Option<ParsedEvent<'_>> {
    let (time, end) = timestamp::iso(text.as_bytes())?;
    let rest = text.get(end..)?.strip_prefix(" NIXL ")?;
    let (name, rest) = rest.split_once(' ')?;
    let (place, message) = rest.trim_start().split_once(' ')?;
    let level = level(name)?;
    Some(
        PlainLine {
            time: Some(time),
            level: Some(level),
            component: "nixl",
            target: place,
            message,
            ..PlainLine::default()
        }
        .into_event(),
    )
}

fn bare(text: &str) -> Option<ParsedEvent<'_>> {
    PHRASES.iter().any(|phrase| text.starts_with(phrase)).then(|| {
        PlainLine {
            level: Some(Level::Info),
            component: "nixl",
            message: text,
            ..PlainLine::default()
        }
        .into_event()
    })
}
