//! uvicorn: `INFO:     CLIENT - "POST /path HTTP/1.1" 200 OK`, and what the server says of itself. No time.

use flowlog_schema::Level;

use super::words::{Words, beginning, level};
use super::{Begin, Example, Recogniser};

/// The server's lines: level, colon, padding to ten characters.
pub(super) const UVICORN: Recogniser = Recogniser {
    name: "uvicorn",
    begins: |line| {
        let text = beginning(line, 64);
        head(text).map(|(name, _)| Begin::logged(b"uvicorn", 0, level(name)))
    },
    read: |text| {
        let (name, message) = head(text)?;
        // An answer that is an error is no information.
        let status = message.rsplit_once("\" ").and_then(|(request, rest)| {
            request.contains(" HTTP/").then(|| rest.get(..3)?.parse::<u16>().ok()).flatten()
        });
        let level = match status {
            Some(500..) => Some(Level::Error),
            _ => level(name),
        };
        Some(Words { level, message, ..Words::default() }.observe())
    },
    examples: &[
        Example {
            text: "INFO:     10.1.6.81:16983 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
            tells: "ERROR 10.1.6.81:16983 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
        },
        Example {
            text: "INFO:     10.1.6.81:1 - \"GET /health HTTP/1.1\" 200 OK",
            tells: "INFO 10.1.6.81:1 - \"GET /health HTTP/1.1\" 200 OK",
        },
        Example {
            text: "ERROR:    Exception in ASGI application\nTraceback (most recent call last):\n  File \"a.py\", line 1",
            tells: "ERROR Exception in ASGI application\nTraceback (most recent call last):\n  File \"a.py\", line 1",
        },
        Example { text: "INFO:     Shutting down", tells: "INFO Shutting down" },
    ],
};

fn head(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let known = matches!(name, "TRACE" | "DEBUG" | "INFO" | "WARNING" | "ERROR" | "CRITICAL");
    let words = rest.trim_start_matches(' ');
    // Padded to ten: a single blank is somebody else's.
    (known
        && !words.is_empty()
        && name.len() + 1 + (rest.len() - words.len()) == 10
        && rest.len() - words.len() > 1)
        .then_some((name, words))
}
