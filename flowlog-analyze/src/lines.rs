//! Bytes to chunks of whole lines, the unit of parallel work.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use memchr::memchr;

use crate::source::Source;

/// Bytes of one event that are looked at. Lines past it stand for themselves.
pub const MAX_EVENT: usize = 256 * 1024;

/// Bytes of one line that are looked at.
pub const MAX_LINE: usize = 1024 * 1024;

/// How much of what lies before a range may decide what its first lines belong to: an event may reach that far into
/// it, and what began that event lies within as much again.
const PAST: u64 = 2 * MAX_EVENT as u64;

/// Whole lines of one source.
#[derive(Debug)]
pub struct Chunk {
    /// Where they begin.
    pub start: u64,
    /// Where the lines of the range that was asked for begin; those before are its past.
    pub own: u64,
    /// The lines.
    pub bytes: Vec<u8>,
    /// Each begins with the number of the task that wrote it.
    pub labelled: bool,
    /// What lies before is in it, as far as it matters.
    pub knows_past: bool,
    /// No line from there on goes on with one before it: the source had come to rest.
    pub rested: Option<u64>,
}

/// Reads the lines that begin in `range` of a source, and where `past` is asked for those before them that may decide
/// what they belong to. `room` is memory that may be used again.
///
/// # Errors
/// Whatever reading says.
pub fn read_chunk(
    source: &Source,
    range: Range<u64>,
    past: bool,
    room: Vec<u8>,
) -> io::Result<Chunk> {
    let own = line_start(source, range.start)?;
    let end = line_start(source, range.end)?;
    let start =
        if past { line_start(source, range.start.saturating_sub(PAST))?.min(own) } else { own };
    let mut bytes = room;
    bytes.resize(usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX), 0);
    let filled = source.read_at(start, &mut bytes)?;
    bytes.truncate(filled);
    Ok(Chunk {
        start,
        own,
        bytes,
        labelled: source.labelled,
        knows_past: past || own == 0,
        rested: None,
    })
}

/// How many lines lie before a place in each source, at the places where chunks begin.
#[derive(Debug, Default)]
pub struct LineIndex {
    /// By source and offset: the lines between there and the next.
    chunks: BTreeMap<(u32, u64), u64>,
}

impl LineIndex {
    /// Notes how many lines a chunk has that begins at an offset.
    pub fn note(&mut self, source: u32, offset: u64, lines: u64) {
        self.chunks.insert((source, offset), lines);
    }

    /// Where each chunk of a source begins, and how many lines lie before; nothing where the source was not read from its begin.
    pub fn of(&self, source: u32) -> impl Iterator<Item = (u64, u64)> {
        let is_whole = self.chunks.contains_key(&(source, 0));
        let known =
            self.chunks.range((source, 0)..=(source, u64::MAX)).take_while(move |_| is_whole);
        known.scan(0, |before, ((_, offset), lines)| {
            let at = (*offset, *before);
            *before += lines;
            Some(at)
        })
    }
}

/// The first offset at or after `from` where a line begins; the source's end where none does.
fn line_start(source: &Source, from: u64) -> io::Result<u64> {
    if from == 0 || from >= source.size {
        return Ok(from.min(source.size));
    }
    let mut at = from - 1;
    let mut block = [0; BLOCK];
    loop {
        let filled = source.read_at(at, &mut block)?;
        let bytes = block.get(..filled).unwrap_or_default();
        if let Some(found) = memchr(b'\n', bytes) {
            return Ok((at + found as u64 + 1).min(source.size));
        }
        if filled < BLOCK {
            return Ok(source.size);
        }
        at += filled as u64;
    }
}

const BLOCK: usize = 8 * 1024;

/// The lines of some bytes with their offsets, without their line feed and carriage return, and without the zero bytes
/// that a log holds which was cut to nothing while its writer went on (`logrotate`'s `copytruncate`).
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        at += end + 1;
        let mut line = rest.get(..end)?;
        let mut start = start;
        if line.first() == Some(&0) {
            let zeros = line.iter().position(|b| *b != 0).unwrap_or(line.len());
            line = line.get(zeros..)?;
            start += zeros;
        }
        Some((start, line.strip_suffix(b"\r").unwrap_or(line)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    #[test]
    fn every_line_is_in_one_chunk() {
        let text: String = (0..300)
            .map(|at| format!("line {at} {}\n", "x".repeat(at * 7 % 90)))
            .collect::<String>()
            + "no line feed";
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let source = &sources.read[0];
        for size in [1u64, 5, 64, 1000, 1 << 20] {
            let mut joined = Vec::new();
            let mut at = 0;
            while at < source.size {
                let chunk = read_chunk(source, at..at + size, false, Vec::new()).unwrap();
                assert_eq!(chunk.start, chunk.own);
                assert!(chunk.bytes.is_empty() || joined.len() as u64 == chunk.start);
                joined.extend_from_slice(&chunk.bytes);
                at += size;
            }
            assert_eq!(joined, text.as_bytes(), "chunk size {size}");
        }
    }

    #[test]
    fn the_past_comes_before() {
        let text = "0123456789abcde\n".repeat(100_000);
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let chunk = read_chunk(&sources.read[0], 1_000_000..1_000_100, true, Vec::new()).unwrap();
        assert_eq!((chunk.own, chunk.start), (1_000_000, 1_000_000 - PAST));
        assert_eq!(chunk.bytes.len() as u64, chunk.own - chunk.start + 112);
        assert_eq!(read_chunk(&sources.read[0], 10..20, true, Vec::new()).unwrap().start, 0);
    }

    #[test]
    fn lines_lose_their_ends_only() {
        let read: Vec<_> = lines(b"a\r\n\nb").collect();
        assert_eq!(read, vec![(0, &b"a"[..]), (3, b""), (4, b"b")]);
        let read: Vec<_> = lines(b"\0\0a\0\n\0\nb").collect();
        assert_eq!(read, vec![(2, &b"a\0"[..]), (6, b""), (7, b"b")]);
    }
}
