//! Evidence: resolves offsets to lines, which are read again when they are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flowlog_schema::report;

use crate::ansi;
use crate::envelope;
use crate::flow::LineRef;
use crate::lines::LineIndex;
use crate::secrets;
use crate::source::{Source, Sources};

/// Maximum text of an evidence line, in characters.
const MAX_TEXT_CHARS: usize = 2_000;

/// Lines at given places: number and text, escaped and truncated.
#[derive(Debug, Default)]
pub struct EvidenceLines {
    lines: HashMap<(u32, u64), report::Evidence>,
}

impl EvidenceLines {
    /// Reads every place once. Finding a line number takes a pass from the nearest preceding chunk
    /// start in the index to the line.
    pub fn read(
        sources: &Sources,
        index: &LineIndex,
        places: impl IntoIterator<Item = LineRef>,
    ) -> Self {
        Self::read_reasons(sources, index, places.into_iter().map(|line_ref| (line_ref, "")))
    }

    /// Like [`EvidenceLines::read`], for lines of errors with their messages. If the message of an
    /// event is not on its first line, as below the header of a stack, the line that holds it is
    /// read instead.
    pub fn read_reasons<'m>(
        sources: &Sources,
        index: &LineIndex,
        places: impl IntoIterator<Item = (LineRef, &'m str)>,
    ) -> Self {
        let mut by_source: BTreeMap<u32, BTreeMap<u64, &str>> = BTreeMap::new();
        for (line_ref, reason) in places {
            let kept = by_source.entry(line_ref.source).or_default().entry(line_ref.offset);
            let kept = kept.or_default();
            if kept.is_empty() {
                *kept = reason;
            }
        }
        let mut lines = HashMap::new();
        for (number, reasons) in by_source {
            let Some(source) = sources.read.get(number as usize) else { continue };
            let offsets: BTreeSet<u64> = reasons.keys().copied().collect();
            for (offset, line) in line_numbers(source, index.of(number), &offsets) {
                let reason = reasons.get(&offset).copied().unwrap_or_default();
                let (text, below) = text(source, offset, reason);
                let line = line + below;
                // Number lines as in the original file, which is in reverse order.
                let line =
                    source.reversed_lines.map_or(line, |lines| (lines + 1).saturating_sub(line));
                let evidence = report::Evidence { source: source.name.clone(), line, text };
                lines.insert((number, offset), evidence);
            }
        }
        Self { lines }
    }

    /// Returns the line at a place.
    pub fn get(&self, line_ref: LineRef) -> Option<&report::Evidence> {
        self.lines.get(&(line_ref.source, line_ref.offset))
    }
}

/// Returns offsets and their line numbers, in one pass over what the index does not cover. Omits
/// offsets that can no longer be read.
fn line_numbers(
    source: &Source,
    known: impl Iterator<Item = (u64, u64)>,
    offsets: &BTreeSet<u64>,
) -> Vec<(u64, u64)> {
    let mut numbers = Vec::with_capacity(offsets.len());
    let mut block = vec![0; 64 * 1024];
    let mut known = known.peekable();
    let (mut at, mut line) = (0u64, 1u64);
    let mut wanted = offsets.iter().copied().peekable();
    while let Some(offset) = wanted.peek().copied() {
        while let Some((from, before)) = known.next_if(|(from, _)| *from <= offset) {
            if from > at {
                (at, line) = (from, before + 1);
            }
        }
        let Ok(filled) = source.read_at(at, &mut block) else { break };
        let Some(bytes) = block.get(..filled).filter(|bytes| !bytes.is_empty()) else { break };
        let end = at + filled as u64;
        if offset >= end {
            line += memchr::memchr_iter(b'\n', bytes).count() as u64;
            at = end;
            continue;
        }
        let before = bytes.get(..usize::try_from(offset - at).unwrap_or(0)).unwrap_or_default();
        line += memchr::memchr_iter(b'\n', before).count() as u64;
        at = offset;
        numbers.push((offset, line));
        wanted.next();
    }
    numbers
}

/// Maximum distance of an event's message from its first line, in bytes.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Maximum length of the beginning of a message that is looked for, in bytes.
const MAX_REASON_BYTES: usize = 60;

/// Returns the line at an offset, or the first one below it that holds a message, and the number of
/// lines in between.
fn text(source: &Source, offset: u64, reason: &str) -> (String, u64) {
    let reason = reason.lines().next().unwrap_or_default();
    let reason = reason.get(..reason.floor_char_boundary(MAX_REASON_BYTES)).unwrap_or_default();
    let len = if reason.is_empty() { 4 * MAX_TEXT_CHARS } else { MAX_EVENT_BYTES };
    let mut bytes = vec![0; len];
    let Ok(filled) = source.read_at(offset, &mut bytes) else {
        return ("(the file can no longer be read)".to_owned(), 0);
    };
    let bytes = bytes.get(..filled).unwrap_or_default();
    let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    // The first line of an event with its message in JSON holds it, however it is escaped.
    let is_elsewhere = !reason.is_empty()
        && !first.contains(&b'{')
        && memchr::memmem::find(first, reason.as_bytes()).is_none();
    let found = memchr::memmem::find(bytes, reason.as_bytes()).filter(|_| is_elsewhere);
    let (line, below) = found.map_or((first, 0), |found| {
        let (above, _) = bytes.split_at(found);
        let start = memchr::memrchr(b'\n', above).map_or(0, |end| end + 1);
        let line = bytes.get(start..).unwrap_or_default();
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        (line, memchr::memchr_iter(b'\n', above).count() as u64)
    });
    (sanitize(&String::from_utf8_lossy(&ansi::strip(line)), MAX_TEXT_CHARS), below)
}

/// Summarizes a line for display, without its envelope.
///
/// A JSON object is reduced to its time, level, component, event, state, message, and the fields
/// that show its outcome. Any other line stays unchanged.
pub fn summarize_line(text: &str) -> String {
    let peeled = envelope::peel(text.as_bytes());
    let inner = String::from_utf8_lossy(peeled.content());
    let Ok((fields, _)) = flowlog_schema::json::flat_object(inner.as_bytes()) else {
        return inner.into_owned();
    };
    let get = |names: &[&str]| {
        let found = names.iter().find_map(|name| {
            fields.iter().find(|(key, value)| key == name && !value.to_text().is_empty())
        });
        found.map(|(_, value)| value.to_text().into_owned())
    };
    let head = [
        &["time", "timestamp"][..],
        &["level"],
        &["span_name", "component", "target"],
        &["event"],
        &["state"],
        &["message", "msg"],
    ];
    let mut words: Vec<String> = head.into_iter().filter_map(get).collect();
    for key in [
        "request.outcome",
        "error.type",
        "error_type",
        "error",
        "err",
        "error_detail",
        "status",
        "instance_id",
        "instance",
        "worker_id",
    ] {
        if let Some(value) = get(&[key]) {
            words.push(format!("{key}={value}"));
        }
    }
    words.join(" ")
}

/// Makes text safe to show: masks secrets, escapes control characters, including color codes, and
/// bidirectional overrides, and truncates to `max` characters.
pub fn sanitize(text: &str, max: usize) -> String {
    let mut out = String::new();
    let masked = secrets::mask(text.trim());
    for (count, c) in masked.chars().enumerate() {
        if count >= max {
            out.push('…');
            break;
        }
        match c {
            '\t' => out.push(' '),
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_and_texts() {
        let text = "one\ntwo\n\u{1b}[31mthree\u{7}\nfour";
        let sources = Sources::from_texts([("a", text.as_bytes())]).unwrap();
        let line_ref = |offset| LineRef { source: 0, offset, producer: 0 };
        let mut index = LineIndex::default();
        for chunks in [vec![], vec![(0, 2), (8, 1), (20, 1)], vec![(0, 1), (4, 3)]] {
            chunks.iter().for_each(|(offset, lines)| index.note(0, *offset, *lines));
            let lines = EvidenceLines::read(
                &sources,
                &index,
                [line_ref(8), line_ref(0), line_ref(4), line_ref(20)],
            );
            let shown =
                |offset| lines.get(line_ref(offset)).map(|line| (line.line, line.text.as_str()));
            assert_eq!(shown(0), Some((1, "one")));
            assert_eq!(shown(4), Some((2, "two")));
            assert_eq!(shown(8), Some((3, "three\\u{7}")));
            assert_eq!(shown(20), Some((4, "four")));
            assert_eq!(shown(21), None);
            index = LineIndex::default();
        }
    }

    #[test]
    fn objects_are_summarized_without_their_envelopes() {
        let line = r#"{"time":"T","level":"WARN","target":"t","message":"route request failed","error.type":"disconnected","worker_id":7,"x":1}"#;
        assert_eq!(
            summarize_line(line),
            "T WARN t route request failed error.type=disconnected worker_id=7"
        );
        assert_eq!(
            summarize_line(&format!("2025-11-22T08:27:15.123456789Z stdout F {line}")),
            summarize_line(line)
        );
        assert_eq!(summarize_line("{cut"), "{cut");
    }

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(sanitize("a\u{9b}31m\u{202e}b", 10), "a\\u{9b}31m\\u{202e}b");
        assert_eq!(sanitize("abcdef", 3), "abc…");
    }
}
