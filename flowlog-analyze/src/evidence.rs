//! Places to lines: what proves an answer is read again when it is shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flowlog_schema::report;

use crate::ansi;
use crate::envelope;
use crate::flow::Place;
use crate::lines::LineIndex;
use crate::source::{Source, Sources};

/// Longest text of a line of evidence, in characters.
const MAX_TEXT: usize = 2_000;

/// The lines at some places: number and text, escaped and cut.
#[derive(Debug, Default)]
pub struct Lines {
    lines: HashMap<(u32, u64), report::Evidence>,
}

impl Lines {
    /// Reads every place once; a line's number costs a pass over what lies between it and the chunk's begin that the index
    /// knows before it.
    pub fn read(
        sources: &Sources,
        index: &LineIndex,
        places: impl IntoIterator<Item = Place>,
    ) -> Self {
        let mut by_source: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for place in places {
            by_source.entry(place.source).or_default().insert(place.offset);
        }
        let mut lines = HashMap::new();
        for (number, offsets) in by_source {
            let Some(source) = sources.read.get(number as usize) else { continue };
            for (offset, line) in line_numbers(source, index.of(number), &offsets) {
                // As the reader's own file counts.
                let line = source.turned.map_or(line, |lines| (lines + 1).saturating_sub(line));
                let evidence = report::Evidence {
                    source: source.name.clone(),
                    line,
                    text: text(source, offset),
                };
                lines.insert((number, offset), evidence);
            }
        }
        Self { lines }
    }

    /// The line at a place.
    pub fn get(&self, place: Place) -> Option<&report::Evidence> {
        self.lines.get(&(place.source, place.offset))
    }
}

/// Line numbers of the offsets, in one pass over what no index knows. A source that has vanished gives none.
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

fn text(source: &Source, offset: u64) -> String {
    let mut bytes = [0; 4 * MAX_TEXT];
    let Ok(filled) = source.read_at(offset, &mut bytes) else {
        return "(the file cannot be read any more)".to_owned();
    };
    let bytes = bytes.get(..filled).unwrap_or_default();
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    printable(&String::from_utf8_lossy(&ansi::strip(line)), MAX_TEXT)
}

/// A line as a person reads it: of an object its time, level, speaker, words and what tells its outcome, of any
/// other line the line.
pub fn digest(text: &str) -> String {
    let peeled = envelope::peel(text.as_bytes());
    let inner = String::from_utf8_lossy(peeled.content());
    let Ok((fields, _)) = flowlog_schema::json::flat(inner.as_bytes()) else {
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

/// Text that is safe on a terminal: no colour, no control character, no bidirectional override, and cut.
pub fn printable(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.trim().chars().enumerate() {
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
    fn numbers_and_texts() {
        let text = "one\ntwo\n\u{1b}[31mthree\u{7}\nfour";
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let place = |offset| Place { source: 0, offset, speaker: 0 };
        let mut index = LineIndex::default();
        for chunks in [vec![], vec![(0, 2), (8, 1), (20, 1)], vec![(0, 1), (4, 3)]] {
            chunks.iter().for_each(|(offset, lines)| index.note(0, *offset, *lines));
            let lines = Lines::read(&sources, &index, [place(8), place(0), place(4), place(20)]);
            let shown =
                |offset| lines.get(place(offset)).map(|line| (line.line, line.text.as_str()));
            assert_eq!(shown(0), Some((1, "one")));
            assert_eq!(shown(4), Some((2, "two")));
            assert_eq!(shown(8), Some((3, "three\\u{7}")));
            assert_eq!(shown(20), Some((4, "four")));
            assert_eq!(shown(21), None);
            index = LineIndex::default();
        }
    }

    #[test]
    fn objects_are_told_in_short_out_of_their_envelopes() {
        let line = r#"{"time":"T","level":"WARN","target":"t","message":"route request failed","error.type":"disconnected","worker_id":7,"x":1}"#;
        assert_eq!(
            digest(line),
            "T WARN t route request failed error.type=disconnected worker_id=7"
        );
        assert_eq!(
            digest(&format!("2025-11-22T08:27:15.123456789Z stdout F {line}")),
            digest(line)
        );
        assert_eq!(digest("{cut"), "{cut");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("a\u{9b}31m\u{202e}b", 10), "a\\u{9b}31m\\u{202e}b");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
