//! vLLM: `LEVEL MM-DD HH:MM:SS [FILE:LINE] MESSAGE` (`vllm/logging_utils/formatter.py`), before 0.7
//! `FILE:LINE] MESSAGE`. No year, no zone; every line of a message repeats the header.

use super::plain::{PlainLine, beginning, is_source_location, level};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp::{self, Timestamp};

/// vLLM's own log lines.
pub(super) const VLLM: LogFormat = LogFormat {
    name: "vllm",
    classify_start: |line| {
        if !matches!(line.first()?, b'D' | b'I' | b'W' | b'E' | b'C') {
            return None;
        }
        let head = head(beginning(line, 256))?;
        Some(
            EventStart::logged(head.place.as_bytes(), head.body, level(head.level))
                .repeating_header(),
        )
    },
    read,
    examples: &[
        Example {
            text: "INFO 11-22 08:27:15 [__init__.py:190] Automatically detected platform cuda.",
            expected: "2000-11-22T08:27:15.000000Z-year-zone INFO vllm __init__.py:190: Automatically detected platform cuda.",
        },
        Example {
            text: "ERROR 11-22 08:27:15 engine.py:244] AssertionError()\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f",
            expected: "2000-11-22T08:27:15.000000Z-year-zone ERROR vllm engine.py:244: AssertionError()\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f",
        },
        Example {
            text: "DEBUG 11-22 08:27:15 [v1/core/.../scheduler.py:12]     indented",
            expected: "2000-11-22T08:27:15.000000Z-year-zone DEBUG vllm v1/core/.../scheduler.py:12:     indented",
        },
        Example {
            text: "CRITICAL 11-22 08:27:15 [core_client.py:260] Got fatal signal from worker processes",
            expected: "2000-11-22T08:27:15.000000Z-year-zone ERROR vllm core_client.py:260: Got fatal signal from worker processes",
        },
    ],
};

struct Head<'a> {
    level: &'a str,
    time: Timestamp,
    place: &'a str,
    body: usize,
}

fn head(text: &str) -> Option<Head<'_>> {
    let (name, rest) = text.split_once(' ')?;
    if !name.bytes().all(|b| b.is_ascii_uppercase()) || level(name).is_none() {
        return None;
    }
    let (time, end) = timestamp::month_day(rest.as_bytes())?;
    let rest = rest.get(end..)?.strip_prefix(' ')?;
    let (place, _) = rest.split_once(']')?;
    let at = name.len() + 1 + end + 1 + place.len() + 1;
    let place = place.strip_prefix('[').unwrap_or(place);
    if !is_source_location(place) {
        return None;
    }
    let blank = usize::from(text.as_bytes().get(at) == Some(&b' '));
    Some(Head { level: name, time, place, body: at + blank })
}

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let head = head(text)?;
    let message = text.get(head.body..)?;
    Some(
        PlainLine {
            time: Some(head.time),
            level: level(head.level),
            component: "vllm",
            target: head.place,
            message,
            ..PlainLine::default()
        }
        .into_event(),
    )
}
