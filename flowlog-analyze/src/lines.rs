//! Chunks of complete lines, the unit of parallel work.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use memchr::memchr;

use crate::envelope::Layout;
use crate::source::Source;

/// Maximum bytes of one event that are examined. Lines beyond them become events of their own.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Maximum bytes of one line that are examined.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Bytes before a range that may determine which event its first lines belong to.
///
/// An event may extend over [`MAX_EVENT_BYTES`] bytes, and the lines that determine where it begins
/// are within as many bytes before it.
const LOOKBEHIND_BYTES: u64 = 2 * MAX_EVENT_BYTES as u64;

/// Complete lines of one source.
#[derive(Debug)]
pub struct Chunk {
    /// Offset of the first line.
    pub start: u64,
    /// Offset at which the lines of the requested range begin. The lines before it are lookbehind.
    pub chunk_start: u64,
    /// Offset at which the lines of the range end.
    pub end: u64,
    /// Bytes of the lines. They end earlier if the last line is very long.
    pub bytes: Vec<u8>,
    /// Layout of the lines; [`Layout::Plain`] until it is set.
    pub layout: Layout,
    /// Whether the chunk has all the lookbehind that matters.
    pub has_lookbehind: bool,
    /// Offset from which no line continues an earlier one, because the source was quiescent there.
    pub quiescent_at: Option<u64>,
}

/// Reads the lines that begin in `range` of a source.
///
/// With `lookbehind`, also reads the lines before them that may determine which event they belong
/// to. `buffer` is memory to reuse.
///
/// # Errors
/// Returns the error of reading the source.
pub fn read_chunk(
    source: &Source,
    range: Range<u64>,
    lookbehind: bool,
    buffer: Vec<u8>,
) -> io::Result<Chunk> {
    let chunk_start = line_start(source, range.start)?;
    let end = line_start(source, range.end)?.max(chunk_start);
    let start = if lookbehind {
        line_start(source, range.start.saturating_sub(LOOKBEHIND_BYTES))?.min(chunk_start)
    } else {
        chunk_start
    };
    // Of a last line that extends far beyond the range, only the beginning is examined.
    let last = end.min(range.end.max(start).saturating_add(MAX_TAIL_BYTES));
    let mut bytes = buffer;
    bytes.resize(usize::try_from(last.saturating_sub(start)).unwrap_or(usize::MAX), 0);
    let filled = source.read_at(start, &mut bytes)?;
    bytes.truncate(filled);
    let is_cut = last < end && start + filled as u64 == last;
    Ok(Chunk {
        start,
        chunk_start,
        end: if is_cut { end } else { start + filled as u64 },
        bytes,
        layout: Layout::Plain,
        has_lookbehind: lookbehind || chunk_start == 0,
        quiescent_at: None,
    })
}

/// Bytes of a line beyond the range in which it begins that are read: a line is longer than the
/// limit if they are too few.
const MAX_TAIL_BYTES: u64 = MAX_LINE_BYTES as u64 + 1;

/// Number of lines before the start of each chunk, for every source.
#[derive(Debug, Default)]
pub struct LineIndex {
    /// Number of lines from each chunk to the next, by source and offset.
    chunks: BTreeMap<(u32, u64), u64>,
}

impl LineIndex {
    /// Records the number of lines in the chunk that begins at `offset`.
    pub fn note(&mut self, source: u32, offset: u64, lines: u64) {
        self.chunks.insert((source, offset), lines);
    }

    /// Returns the offset of each chunk of a source, and the number of lines before it.
    ///
    /// Returns nothing if the source was not read from its beginning.
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

/// Returns the first offset at or after `from` at which a line begins, or the end of the source.
fn line_start(source: &Source, from: u64) -> io::Result<u64> {
    if from == 0 || from >= source.size {
        return Ok(from.min(source.size));
    }
    let mut at = from - 1;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        // Many chunks may begin in one line; its end is looked for once.
        if let Some(end) = source.long_lines.end_of(at, source.size) {
            return Ok(end);
        }
        let filled = source.read_at(at, &mut block)?;
        let bytes = block.get(..filled).unwrap_or_default();
        let found = memchr(b'\n', bytes).map(|found| (at + found as u64 + 1).min(source.size));
        let end = found.or((filled < block.len()).then_some(source.size));
        if let Some(end) = end {
            if end - from > BLOCK_BYTES as u64 {
                source.long_lines.note(from - 1..end, source.size);
            }
            return Ok(end);
        }
        at += filled as u64;
        block.resize(MAX_BLOCK_BYTES, 0);
    }
}

const BLOCK_BYTES: usize = 8 * 1024;

/// Bytes that are read at a time in a long line.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// Returns the lines in some bytes with their offsets, without line ends and leading zero bytes.
///
/// A line end is a line feed, with or without a carriage return. A log has zero bytes where it was
/// truncated while its writer continued (`copytruncate` of `logrotate`).
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
        let sources = Sources::from_texts([("a", text.as_bytes())]).unwrap();
        let source = &sources.read[0];
        for size in [1u64, 5, 64, 1000, 1 << 20] {
            let mut joined = Vec::new();
            let mut at = 0;
            while at < source.size {
                let chunk = read_chunk(source, at..at + size, false, Vec::new()).unwrap();
                assert_eq!(chunk.start, chunk.chunk_start);
                assert!(chunk.bytes.is_empty() || joined.len() as u64 == chunk.start);
                joined.extend_from_slice(&chunk.bytes);
                at += size;
            }
            assert_eq!(joined, text.as_bytes(), "chunk size {size}");
        }
    }

    #[test]
    fn lookbehind_precedes_the_chunk() {
        let text = "0123456789abcde\n".repeat(100_000);
        let sources = Sources::from_texts([("a", text.as_bytes())]).unwrap();
        let chunk = read_chunk(&sources.read[0], 1_000_000..1_000_100, true, Vec::new()).unwrap();
        assert_eq!((chunk.chunk_start, chunk.start), (1_000_000, 1_000_000 - LOOKBEHIND_BYTES));
        assert_eq!(chunk.bytes.len() as u64, chunk.chunk_start - chunk.start + 112);
        assert_eq!(read_chunk(&sources.read[0], 10..20, true, Vec::new()).unwrap().start, 0);
    }

    #[test]
    fn line_ends_and_leading_zeros_are_stripped() {
        let read: Vec<_> = lines(b"a\r\n\nb").collect();
        assert_eq!(read, vec![(0, &b"a"[..]), (3, b""), (4, b"b")]);
        let read: Vec<_> = lines(b"\0\0a\0\n\0\nb").collect();
        assert_eq!(read, vec![(2, &b"a\0"[..]), (6, b""), (7, b"b")]);
    }
}
