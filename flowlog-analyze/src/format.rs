//! What a line means: one file per format, a table of recognisers.

mod dynamo;
mod dynamo_json;
mod dynamo_readable;
mod fault;
mod flowlog;
mod process;
mod raw;

use std::borrow::Cow;

use crate::ansi;
use crate::heads::{is_head, is_raw_head};
use crate::lines::{MAX_EVENT, MAX_LINE, lines};
use crate::observation::Observation;

pub use fault::{Caller, caller_of, engine_of, error_of, is_caller_gone, is_lost, is_relay};

/// The formats that lines are counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A flowlog record in JSON form.
    FlowlogJson,
    /// A flowlog record in text form.
    FlowlogText,
    /// Dynamo's JSONL, of any generation.
    DynamoJson,
    /// Dynamo's READABLE format.
    DynamoReadable,
    /// Anything else.
    Unrecognised,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::FlowlogJson, Self::FlowlogText, Self::DynamoJson, Self::DynamoReadable, Self::Unrecognised];

    /// Its name in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlowlogJson => "flowlog_json",
            Self::FlowlogText => "flowlog_text",
            Self::DynamoJson => "dynamo_json",
            Self::DynamoReadable => "dynamo_readable",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// A function that takes an event or leaves it.
type Recogniser = for<'a> fn(&'a str) -> Option<Observation<'a>>;

/// The recognisers in the order in which they are asked; the first that takes an event has it.
const RECOGNISERS: [(Format, Recogniser); 5] = [
    (Format::FlowlogJson, flowlog::json),
    (Format::DynamoJson, dynamo_json::read),
    (Format::FlowlogText, flowlog::text),
    (Format::DynamoReadable, dynamo_readable::read),
    (Format::Unrecognised, raw::read),
];

/// One event as it lies in a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// Where in the chunk it begins.
    pub at: usize,
    /// Its bytes, with the line feeds inside.
    pub bytes: &'a [u8],
    /// How many lines it has.
    pub lines: u64,
}

/// What is known of one event's text beside its meaning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quality {
    /// It holds bytes that are not UTF-8.
    pub invalid_utf8: bool,
    /// It is longer than the cap and was cut.
    pub cut: bool,
}

/// Hands every event of a chunk to `each`, with its format and, where a format took it, its meaning.
pub fn read_events(bytes: &[u8], mut each: impl FnMut(Block<'_>, Format, Option<Observation<'_>>, Quality)) {
    for block in blocks(bytes) {
        let mut quality = Quality::default();
        let kept = if block.bytes.len() > MAX_LINE {
            quality.cut = true;
            block.bytes.get(..MAX_LINE).unwrap_or_default()
        } else {
            block.bytes
        };
        let text = std::str::from_utf8(kept).map_or_else(|_| String::from_utf8_lossy(kept), Cow::Borrowed);
        quality.invalid_utf8 = matches!(text, Cow::Owned(_)) && !quality.cut;
        let plain = ansi::strip(text.trim_end());
        let taken = RECOGNISERS.iter().find_map(|(format, read)| read(&plain).map(|observation| (*format, observation)));
        match taken {
            Some((format, observation)) => each(block, format, Some(observation), quality),
            None => each(block, Format::Unrecognised, None, quality),
        }
    }
}

/// Groups lines into events: a head takes the lines after it that are none, where its format can be continued.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut lines = lines(bytes).peekable();
    std::iter::from_fn(move || {
        let (at, line) = lines.next()?;
        let mut end = at + line.len();
        let mut count = 1;
        let stamped = is_head(line);
        // A JSON object or a flowlog line is whole; a stamped line or a raw traceback may go on. Which it is costs a
        // look at the whole line, so it is asked only where something follows that is no head.
        let mut whole = if stamped { None } else { Some(!is_raw_head(line)) };
        while let Some((next_at, next)) = lines.peek().copied() {
            let apart = is_head(next) || next_at - at > MAX_EVENT || (!stamped && is_raw_head(next)) || (stamped && is_panic(next));
            if apart || *whole.get_or_insert_with(|| is_whole(line)) {
                break;
            }
            lines.next();
            end = next_at + next.len();
            count += 1;
        }
        Some(Block { at, bytes: bytes.get(at..end).unwrap_or_default(), lines: count })
    })
}

/// A panic is printed past every logger: it never continues a stamped line.
fn is_panic(line: &[u8]) -> bool {
    line.starts_with(b"thread '") && is_raw_head(line)
}

fn is_whole(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.first() == Some(&b'{') || memchr::memmem::find(line, b" - ").is_some_and(|_| flowlog::is_text(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formats(text: &str) -> Vec<(Format, u64)> {
        let mut seen = Vec::new();
        read_events(text.as_bytes(), |block, format, _, _| seen.push((format, block.lines)));
        seen
    }

    #[test]
    fn every_format_takes_its_own_lines() {
        use Format::{DynamoJson, DynamoReadable, FlowlogJson, FlowlogText, Unrecognised};
        for (format, line) in [
            (FlowlogJson, r#"{"component":"router","event":"start","message":"","target":""}"#),
            (FlowlogText, "2025-11-22T08:27:15.705274Z  INFO router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start - {}"),
            (FlowlogText, "router - 019aaaac-a5da-7347-bb80-1089c1876100 - decode"),
            (DynamoJson, r#"{"time":"2025-09-02T15:53:31.943377Z","level":"INFO","target":"log","message":"up"}"#),
            (DynamoJson, r#"{"timestamp":"2025-09-02T15:53:31.943377Z","level":"WARN","target":"log","message":"up"}"#),
            (DynamoReadable, "2025-09-02T15:50:01.770028Z  INFO main.init: worker initialized"),
            (
                DynamoReadable,
                "\u{1b}[2m2026-07-21T09:00:00.123456Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[2mhandlers.generate\u{1b}[0m\u{1b}[2m:\u{1b}[0m boom",
            ),
            (Unrecognised, "hello"),
            (Unrecognised, r#"{"a":1}"#),
            (Unrecognised, "2025-09-02T15:50:01Z\tINFO\tzap line"),
            (Unrecognised, ""),
        ] {
            assert_eq!(formats(line), if line.is_empty() { vec![] } else { vec![(format, 1)] }, "{line}");
        }
    }

    #[test]
    fn lines_join_into_events() {
        let text = "2025-09-02T15:50:01.770028Z ERROR handlers.generate: boom\nTraceback (most recent call last):\n  File \"a.py\", line 1\nValueError: bad\n\
                    {\"time\":\"2025-09-02T15:53:31.943377Z\",\"level\":\"INFO\",\"target\":\"log\",\"message\":\"up\"}\nraw\n\
                    thread 'main' panicked at x.rs:1:1:\nboom\n2025-09-02T15:50:02.770028Z  INFO main: x\nthread 'main' panicked at x.rs:1:1:\nboom\n";
        use Format::{DynamoJson, DynamoReadable, Unrecognised};
        assert_eq!(
            formats(text),
            vec![(DynamoReadable, 4), (DynamoJson, 1), (Unrecognised, 1), (Unrecognised, 2), (DynamoReadable, 1), (Unrecognised, 2)]
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_read_all_the_same() {
        let mut seen = Vec::new();
        let line = b"2025-09-02T15:50:01.770028Z ERROR x.y: bo\xffom\n\x00\x01\xfe\n";
        read_events(line, |_, format, _, quality| seen.push((format, quality.invalid_utf8)));
        assert_eq!(seen, vec![(Format::DynamoReadable, true)]);
    }
}
