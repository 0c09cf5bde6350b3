//! The order of a source's lines, found in the first ones.
//!
//! Logs that are ordered newest first are reversed: an event's lines belong in the order in which
//! they were written.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use super::{Bytes, LongLines, Source};
use crate::envelope::is_newest_first;

/// Bytes of a source that are probed.
pub(super) const SAMPLE_BYTES: usize = 64 * 1024;

/// Bytes that are reversed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Returns the probed source with its oldest line first, whichever way it was ordered.
pub(super) fn at(source: Source) -> io::Result<Source> {
    let mut sample = vec![0; SAMPLE_BYTES];
    let filled = source.read_at(0, &mut sample)?;
    let sample = sample.get(..filled).unwrap_or_default();
    if !is_newest_first(sample) {
        return Ok(source);
    }
    let mut file = BufWriter::new(tempfile::tempfile()?);
    let lines = turn(&source, &mut file)?;
    let mut file: File = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    let size = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Source {
        name: source.name,
        size,
        bytes: Bytes::Spool(file),
        reversed_lines: Some(lines),
        long_lines: LongLines::default(),
    })
}

/// Returns the source without the zeros after its last line.
///
/// A mapped file has space that was never used if its writer was killed.
pub(super) fn trim_trailing_zeros(mut source: Source) -> io::Result<Source> {
    let mut last = [0];
    if source.size == 0 || source.read_at(source.size - 1, &mut last)? == 0 || last != [0] {
        return Ok(source);
    }
    let mut block = vec![0; SAMPLE_BYTES];
    while source.size > 0 {
        let start = source.size.saturating_sub(SAMPLE_BYTES as u64);
        let filled = source.read_at(start, &mut block)?;
        let used = block.get(..filled).unwrap_or_default().iter().rposition(|byte| *byte != 0);
        source.size = start + used.map_or(0, |at| at as u64 + 1);
        if used.is_some() || filled == 0 {
            break;
        }
    }
    Ok(source)
}

/// Writes the lines of a source from the last to the first. Returns their number.
fn turn(source: &Source, out: &mut impl Write) -> io::Result<u64> {
    let (mut at, mut lines) = (source.size, 0);
    // End of a line that begins in a block still to be read.
    let mut pipe_state: Vec<u8> = Vec::new();
    while at > 0 {
        let start = at.saturating_sub(BLOCK_BYTES as u64);
        let mut block = vec![0; usize::try_from(at - start).unwrap_or(0)];
        let filled = source.read_at(start, &mut block)?;
        block.truncate(filled);
        block.append(&mut pipe_state);
        let mut end = block.len();
        if at == source.size && block.last() == Some(&b'\n') {
            end -= 1;
        }
        while let Some(found) = memchr::memrchr(b'\n', block.get(..end).unwrap_or_default()) {
            out.write_all(block.get(found + 1..end).unwrap_or_default())?;
            out.write_all(b"\n")?;
            lines += 1;
            end = found;
        }
        block.truncate(end);
        pipe_state = block;
        at = start;
    }
    if source.size > 0 {
        out.write_all(&pipe_state)?;
        out.write_all(b"\n")?;
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    #[test]
    fn lines_are_reversed() {
        for (text, expected) in
            [("", ""), ("a", "a\n"), ("a\nb", "b\na\n"), ("a\n\nb\n", "b\n\na\n")]
        {
            let sources = Sources::from_texts([("x", text.as_bytes())]).unwrap();
            let mut out = Vec::new();
            let lines = turn(&sources.read[0], &mut out).unwrap();
            assert_eq!(
                (String::from_utf8(out).unwrap(), lines as usize),
                (expected.to_owned(), text.lines().count()),
                "{text:?}"
            );
        }
        let long: String = (0..400_000).map(|at| format!("{at}\n")).collect();
        let sources = Sources::from_texts([("x", long.as_bytes())]).unwrap();
        let mut out = Vec::new();
        assert_eq!(turn(&sources.read[0], &mut out).unwrap(), 400_000);
        assert!(
            String::from_utf8(out).unwrap().lines().eq((0..400_000).rev().map(|at| at.to_string()))
        );
    }
}
