//! Bytes to chunks of whole events, the unit of parallel work.
//!
//! A chunk begins at a line that can begin an event (see [`heads`](crate::heads)) and ends before one, so that no
//! traceback is cut in two and the report does not depend on the chunk size. Where no such line comes for twice
//! [`MAX_EVENT`] bytes, no event can reach that far: a panic or traceback without a stamp will do, and where none
//! comes for as long again, any line.

use std::io;
use std::ops::Range;

use memchr::memchr;

use crate::heads::{is_head, is_raw_head};
use crate::source::Source;

/// Bytes of one event that are looked at. Lines past it stand for themselves.
pub const MAX_EVENT: usize = 256 * 1024;

/// Bytes of one line that are looked at.
pub const MAX_LINE: usize = 1024 * 1024;

/// A range of one source that begins and ends at an event.
#[derive(Debug)]
pub struct Chunk {
    /// Where it begins.
    pub start: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads the events that begin in `range` of a source.
///
/// # Errors
/// Whatever reading says.
pub fn read_chunk(source: &Source, range: Range<u64>) -> io::Result<Chunk> {
    let start = next_head(source, range.start)?;
    let end = next_head(source, range.end)?;
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX)];
    let filled = source.read_at(start, &mut bytes)?;
    bytes.truncate(filled);
    Ok(Chunk { start, bytes })
}

/// The first offset at or after `from` where an event can begin: the same whoever asks.
fn next_head(source: &Source, from: u64) -> io::Result<u64> {
    if from == 0 || from >= source.size {
        return Ok(from.min(source.size));
    }
    let mut window = Window::new(source, from - 1);
    // The line that `from - 1` lies in belongs to the chunk before.
    let mut line_start = window.after_line(from - 1)?;
    let give_up = from.saturating_add(2 * MAX_EVENT as u64);
    while line_start < source.size {
        let line = window.line(line_start)?;
        let loose = line_start > give_up && (is_raw_head(line) || line_start > give_up + MAX_EVENT as u64);
        if loose || is_head(line) {
            return Ok(line_start);
        }
        line_start = window.after_line(line_start)?;
    }
    Ok(source.size)
}

/// A few bytes of a source, moved along as they are asked for.
struct Window<'a> {
    source: &'a Source,
    start: u64,
    bytes: Vec<u8>,
}

/// Enough of a line to tell whether it is a head.
const HEAD_BYTES: u64 = 1024;

const WINDOW: usize = 64 * 1024;

impl<'a> Window<'a> {
    fn new(source: &'a Source, start: u64) -> Self {
        Self { source, start, bytes: Vec::new() }
    }

    /// The bytes from `offset` on; at least `need` of them unless the source ends.
    fn at(&mut self, offset: u64, need: u64) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + need > end {
            self.bytes.resize(WINDOW, 0);
            let filled = self.source.read_at(offset, &mut self.bytes)?;
            self.bytes.truncate(filled);
            self.start = offset;
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    /// The first bytes of the line at `offset`.
    fn line(&mut self, offset: u64) -> io::Result<&[u8]> {
        let bytes = self.at(offset, HEAD_BYTES)?;
        let end = memchr(b'\n', bytes).unwrap_or(bytes.len()).min(HEAD_BYTES as usize);
        Ok(bytes.get(..end).unwrap_or_default())
    }

    /// Where the line after the one at `offset` begins.
    fn after_line(&mut self, mut offset: u64) -> io::Result<u64> {
        loop {
            let bytes = self.at(offset, 1)?;
            if bytes.is_empty() {
                return Ok(self.source.size);
            }
            if let Some(at) = memchr(b'\n', bytes) {
                return Ok(offset + at as u64 + 1);
            }
            offset += bytes.len() as u64;
        }
    }
}

/// The lines of some bytes with their offsets, without their line feed and carriage return.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        at += end + 1;
        let line = rest.get(..end)?;
        Some((start, line.strip_suffix(b"\r").unwrap_or(line)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    #[test]
    fn every_chunk_size_gives_the_same_events() {
        let mut text = String::from("no head here\n");
        for at in 0..200 {
            text.push_str(&format!("{{\"n\":{at}}}\n"));
            if at % 7 == 0 {
                text.push_str("Traceback (most recent call last):\n  File \"x\"\n");
            }
        }
        let sources = Sources::of_texts([("a", text.as_bytes())]).unwrap();
        let source = &sources.read[0];
        for size in [1u64, 5, 64, 1000, 1 << 20] {
            let mut joined = Vec::new();
            let mut at = 0;
            while at < source.size {
                let chunk = read_chunk(source, at..at + size).unwrap();
                if !chunk.bytes.is_empty() && chunk.start > 0 {
                    assert!(chunk.bytes.starts_with(b"{"), "chunk size {size}");
                }
                joined.extend_from_slice(&chunk.bytes);
                at += size;
            }
            assert_eq!(joined, text.as_bytes(), "chunk size {size}");
        }
    }

    #[test]
    fn lines_lose_their_ends_only() {
        let read: Vec<_> = lines(b"a\r\n\nb").collect();
        assert_eq!(read, vec![(0, &b"a"[..]), (3, b""), (4, b"b")]);
    }
}
