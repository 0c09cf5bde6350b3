//! uvicorn: `INFO:     CLIENT - "POST /path HTTP/1.1" 200 OK`, and the server's messages about
//! itself. No time.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning, level};
use super::{EventStart, Example, LogFormat};

/// Log lines of the server: level, colon, padding to ten characters.
pub(super) const UVICORN: LogFormat = LogFormat {
    name: "uvicorn",
    classify_start: |line| {
        let text = beginning(line, 64);
        head(text).map(|(name, _)| EventStart::logged(b"uvicorn", 0, level(name)))
    },
    read: |text| {
        let (name, message) = head(text)?;
        // uvicorn logs an error response at INFO.
        let status = message.rsplit_once("\" ").and_then(|(request, rest)| {
            request.contains(" HTTP/").then(|| rest.get(..3)?.parse::<u16>().ok()).flatten()
        });
        let level = match status {
            Some(500..) => Some(Level::Error),
            _ => level(name),
        };
        Some(PlainLine { level, message, ..PlainLine::default() }.into_event())
    },
    examples: &[
        Example {
            text: "INFO:     10.1.6.81:16983 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
            expected: "ERROR 10.1.6.81:16983 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
        },
        Example {
            text: "INFO:     10.1.6.81:1 - \"GET /health HTTP/1.1\" 200 OK",
            expected: "INFO 10.1.6.81:1 - \"GET /health HTTP/1.1\" 200 OK",
        },
        Example {
            text: "ERROR:    Exception in ASGI application\nTraceback (most recent call last):\n  File \"a.py\", line 1",
            expected: "ERROR Exception in ASGI application\nTraceback (most recent call last):\n  File \"a.py\", line 1",
        },
        Example { text: "INFO:     Shutting down", expected: "INFO Shutting down" },
    ],
};

fn head(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let known = matches!(name, "TRACE" | "DEBUG" | "INFO" | "WARNING" | "ERROR" | "CRITICAL");
    let words = rest.trim_start_matches(' ');
    // The level is padded to ten; a line with a single space comes from another logger.
    (known
        && !words.is_empty()
        && name.len() + 1 + (rest.len() - words.len()) == 10
        && rest.len() - words.len() > 1)
        .then_some((name, words))
}
