//! Python's `logging` in its common layouts: `LEVEL:NAME:MESSAGE`, `TIME - NAME - LEVEL - MESSAGE`,
//! `[TIME] LEVEL FILE:LINE: NAME: MESSAGE`, `TIME [LEVEL] [NAME] MESSAGE`, and those of gunicorn,
//! Ray and loguru.

use super::generic::{Header, MAX_BYTES};
use super::plain::{PlainLine, beginning, is_source_location, level};
use super::{EventStart, Example, LogFormat};
use crate::secrets;
use crate::timestamp::{self, Timestamp};

/// Lines of `logging` with a level.
pub(super) const PYTHON_LOGGING: LogFormat = LogFormat {
    name: "python_logging",
    classify_start: |line| {
        let text = beginning(line, 256);
        let head = head(text)?;
        Some(EventStart::logged(head.target.as_bytes(), head.body, level(head.level)))
    },
    read: |text| {
        let head = head(text)?;
        Some(
            PlainLine {
                time: head.time,
                level: level(head.level),
                component: if head.is_ray { "ray" } else { "" },
                target: head.target,
                message: text.get(head.body..)?,
                ..PlainLine::default()
            }
            .into_event(),
        )
    },
    examples: &[
        Example {
            text: "ERROR:asyncio:Task exception was never retrieved",
            expected: "ERROR asyncio: Task exception was never retrieved",
        },
        Example {
            text: "2025-11-22 08:27:15,705 - vllm.v1.engine - ERROR - Engine core proc died",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR vllm.v1.engine: Engine core proc died",
        },
        Example {
            text: "2025-11-22 08:27:15,705 - INFO - flashinfer.jit: Prebuilt kernels not found",
            expected: "2025-11-22T08:27:15.705000Z-zone INFO flashinfer.jit: Prebuilt kernels not found",
        },
        Example {
            text: "[2025-11-22 08:27:15] WARNING __init__.py:56: dynamo.nixl_connect: no CuPy",
            expected: "2025-11-22T08:27:15.000000Z-zone WARN __init__.py:56: dynamo.nixl_connect: no CuPy",
        },
        Example {
            text: "[2025-11-22 08:27:15,705] LMCache INFO: Loading config",
            expected: "2025-11-22T08:27:15.705000Z-zone INFO LMCache: Loading config",
        },
        Example {
            text: "2025-11-22T08:27:15-0700 [INFO] [entry_service:Frontend:1] Service initialized",
            expected: "2025-11-22T15:27:15.000000Z INFO entry_service:Frontend:1: Service initialized",
        },
        Example {
            text: "[2025-11-22 08:27:15 +0000] [7819] [ERROR] Worker (pid:17) was sent SIGKILL!",
            expected: "2025-11-22T08:27:15.000000Z ERROR 7819: Worker (pid:17) was sent SIGKILL!",
        },
        Example {
            text: "[2025-11-22 08:27:15,705 E 19394 19394] logging.cc:361: *** SIGSEGV received",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR ray logging.cc:361: *** SIGSEGV received",
        },
        Example {
            text: "2025-11-22 08:27:15,705\tINFO worker.py:1564 -- Connecting to existing Ray cluster",
            expected: "2025-11-22T08:27:15.705000Z-zone INFO ray worker.py:1564: Connecting to existing Ray cluster",
        },
        Example {
            text: "2025-11-22 08:27:15.705 | ERROR    | app:main:7 - boom",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR app:main:7: boom",
        },
        Example {
            text: "[2025-11-22 08:27:15,705] [INFO] [accelerator.py:203:get] Setting it to cuda",
            expected: "2025-11-22T08:27:15.705000Z-zone INFO accelerator.py:203:get] Setting it to cuda",
        },
        Example {
            text: "[2025-11-22 08:27:15,705: ERROR/MainProcess] lost",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR MainProcess] lost",
        },
        Example {
            text: "2025-11-22 08:27:15  INFO sglang_router::x: up",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO sglang_router::x: up",
        },
        Example {
            text: "WARNING  tests.common:common.py:102 Giving up",
            expected: "WARN tests.common:common.py:102: Giving up",
        },
        Example {
            text: "2025-11-22 08:27:15,705 ERROR worker: boom",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR worker: boom",
        },
    ],
};

struct Head<'a> {
    time: Option<Timestamp>,
    level: &'a str,
    target: &'a str,
    body: usize,
    /// Whether only Ray's own loggers have this layout.
    is_ray: bool,
}

fn head(text: &str) -> Option<Head<'_>> {
    match text.as_bytes().first()? {
        b'D' | b'I' | b'W' | b'E' | b'C' => basic(text).or_else(|| live(text)),
        b'[' => bracketed(text).or_else(|| loose(text)),
        b'0'..=b'9' => stamped(text).or_else(|| loose(text)),
        _ => None,
    }
}

fn is_level(name: &str) -> bool {
    name.len() > 1 && name.bytes().all(|b| b.is_ascii_uppercase()) && level(name).is_some()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 128
        && !secrets::is_key(name)
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/' | b':'))
}

/// Parses pytest's live log: `LEVEL    NAME:FILE:LINE MESSAGE`.
fn live(text: &str) -> Option<Head<'_>> {
    let (level, rest) = text.split_once(' ').filter(|(level, _)| is_level(level))?;
    let (place, words) = rest.trim_start().split_once(' ')?;
    let (name, source) = place.split_once(':')?;
    // The level is padded to eight columns, and a space follows.
    let padded = text.len() - level.len() - rest.trim_start().len() + level.len() == 9;
    (padded && is_name(name) && source.contains(".py:") && is_source_location(source)).then(|| {
        Head { time: None, level, target: place, body: text.len() - words.len(), is_ray: false }
    })
}

/// Parses the layout of `basicConfig` without arguments: `LEVEL:NAME:MESSAGE`.
fn basic(text: &str) -> Option<Head<'_>> {
    let (level, rest) = text.split_once(':').filter(|(level, _)| is_level(level))?;
    let (target, _) = rest.split_once(':').filter(|(name, _)| is_name(name))?;
    Some(Head {
        time: None,
        level,
        target,
        body: level.len() + 1 + target.len() + 1,
        is_ray: false,
    })
}

/// Parses layouts with the time in brackets.
fn bracketed(text: &str) -> Option<Head<'_>> {
    let inner = text.strip_prefix('[')?;
    let (time, end) = timestamp::iso(inner.as_bytes()).or_else(|| {
        // gunicorn puts a space before the zone.
        let glued = format!("{}{}", inner.get(..19)?, inner.get(19..25)?.strip_prefix(' ')?);
        timestamp::iso(glued.as_bytes())
            .filter(|(stamp, _)| stamp.is_complete())
            .map(|(stamp, end)| (stamp, end + 1))
    })?;
    let gunicorn = if time.missing_zone {
        inner.get(end..).filter(|rest| rest.starts_with(" +") || rest.starts_with(" -")).and_then(
            |rest| {
                let glued = format!("{}{}", inner.get(..end)?, rest.get(1..6)?);
                timestamp::iso(glued.as_bytes())
                    .filter(|(stamp, stop)| stamp.is_complete() && *stop == end + 5)
                    .map(|(stamp, _)| (stamp, end + 6))
            },
        )
    } else {
        None
    };
    let (time, end) = gunicorn.unwrap_or((time, end));
    let rest = inner.get(end..)?;
    let at = |rest: &str| text.len() - rest.len();
    // Ray: a letter, a PID and a thread inside the brackets, then the source location.
    if let Some((tags, rest)) = rest.strip_prefix(' ').and_then(|rest| rest.split_once("] ")) {
        let level = tags.get(..1).filter(|_| tags.as_bytes().get(1) == Some(&b' '))?;
        let (place, rest) = rest.split_once(": ").filter(|(place, _)| is_source_location(place))?;
        return Some(Head { time: Some(time), level, target: place, body: at(rest), is_ray: true });
    }
    let rest = rest.strip_prefix("] ")?;
    if let Some((pid, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] [")) {
        let (level, rest) = rest.split_once("] ").filter(|(level, _)| is_level(level))?;
        return pid.parse::<u64>().ok().map(|_| Head {
            time: Some(time),
            level,
            target: pid,
            body: at(rest),
            is_ray: false,
        });
    }
    let (first, rest) = rest.split_once(' ')?;
    if is_level(first) {
        let (place, rest) = rest.split_once(": ").filter(|(place, _)| is_name(place))?;
        return Some(Head {
            time: Some(time),
            level: first,
            target: place,
            body: at(rest),
            is_ray: false,
        });
    }
    let (level, rest) = rest.split_once(": ").filter(|(level, _)| is_level(level))?;
    is_name(first).then_some(Head {
        time: Some(time),
        level,
        target: first,
        body: at(rest),
        is_ray: false,
    })
}

/// Parses any other layout: a level among the first words after the time, in any brackets.
fn loose(text: &str) -> Option<Head<'_>> {
    let start = usize::from(text.starts_with('['));
    let (time, end) = timestamp::iso(text.get(start..)?.as_bytes())
        .filter(|_| text.as_bytes().get(start + 10) == Some(&b' '))?;
    let is_end =
        |c: char| c.is_whitespace() || matches!(c, '[' | ']' | '|' | ':' | '/' | '(' | ')');
    let mut at = start + end;
    for _ in 0..4 {
        let rest = text.get(at..)?;
        at += rest.len() - rest.trim_start_matches(|c: char| is_end(c) || c == '-').len();
        let word = text.get(at..)?.split(is_end).next()?;
        // NIXL has a format of its own.
        if word == "NIXL" {
            return None;
        }
        if is_level(word) {
            let behind = text.get(at + word.len()..)?;
            let body =
                text.len() - behind.trim_start_matches(|c: char| is_end(c) || c == '-').len();
            // A Java program's line has more to say.
            if Header::read(beginning(text.as_bytes(), MAX_BYTES))
                .is_some_and(|header| header.is_of_java())
            {
                return None;
            }
            // A name in brackets is more useful in the message than as a guessed target.
            return Some(Head { time: Some(time), level: word, target: "", body, is_ray: false });
        }
        at += word.len();
    }
    None
}

/// Parses layouts with the time not in brackets.
fn stamped(text: &str) -> Option<Head<'_>> {
    let (time, end) = timestamp::iso(text.as_bytes())?;
    let rest = text.get(end..)?;
    let at = |rest: &str| text.len() - rest.len();
    let head = |level, target, rest: &str| {
        Some(Head { time: Some(time), level, target, body: at(rest), is_ray: false })
    };
    if let Some(rest) = rest.strip_prefix(" - ") {
        let (first, rest) = rest.split_once(" - ")?;
        if is_level(first) {
            let (target, rest) =
                rest.split_once(": ").filter(|(name, _)| is_name(name)).unwrap_or(("", rest));
            return head(first, target, rest);
        }
        let (level, rest) = rest.split_once(" - ").filter(|(level, _)| is_level(level))?;
        return is_name(first).then_some(()).and_then(|()| head(level, first, rest));
    }
    if let Some(rest) = rest.strip_prefix(" | ") {
        let (level, rest) = rest.split_once('|').filter(|(level, _)| is_level(level.trim_end()))?;
        let (target, rest) = rest.trim_start().split_once(" - ").unwrap_or(("", rest));
        return head(level.trim_end(), target, rest);
    }
    if let Some(rest) = rest.strip_prefix(" [") {
        let (level, rest) = rest.split_once("] ").filter(|(level, _)| is_level(level.trim()))?;
        let (target, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((name, rest)) if is_name(name) => (name, rest),
            _ => rest.split_once(": ").filter(|(name, _)| is_name(name)).unwrap_or(("", rest)),
        };
        return head(level.trim(), target, rest);
    }
    let has_tab = rest.starts_with('\t');
    let (level, rest) = rest.get(1..)?.split_once(' ').filter(|(level, _)| is_level(level))?;
    // Ray's layout has a tab, which copies turn into a space.
    let ray = rest.split_once(" -- ").filter(|(place, _)| is_source_location(place));
    if let Some((target, rest)) = ray {
        return head(level, target, rest).map(|head| Head { is_ray: true, ..head });
    }
    if has_tab {
        return None;
    }
    // The timestamp has a space for the `T`; Dynamo's own lines have a `T` and a zone.
    if text.as_bytes().get(10) != Some(&b' ') {
        return None;
    }
    let (target, rest) = rest.trim_start().split_once(": ").filter(|(name, _)| is_name(name))?;
    head(level, target, rest)
}
