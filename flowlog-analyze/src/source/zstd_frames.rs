//! Zstandard frames, unpacked in parallel (RFC 8878).
//!
//! Each frame can be unpacked on its own. If each header has the size of the content, the position
//! of each frame's content is known. Concatenated rotated logs are such a file. Unpacking other
//! files in parallel through memory was measured, and is slower than unpacking one frame after the
//! other.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;

use super::Source;

/// Frame: its range in the packed file, and the range of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    packed: Range<u64>,
    content: Range<u64>,
}

/// Maximum number of frames. A file with more is not a log packed in parts.
const MAX_FRAMES: usize = 1 << 20;

/// Returns the frames of a source, if there are several, the source has nothing else, and each has
/// the size of its content.
pub(super) fn frames(source: &Source) -> io::Result<Option<Vec<Frame>>> {
    let (mut frames, mut at, mut content) = (Vec::new(), 0, 0u64);
    while at < source.size {
        let Some((end, length)) = frame(source, at)? else { return Ok(None) };
        if let Some(length) = length {
            let Some(next) = content.checked_add(length).filter(|_| frames.len() < MAX_FRAMES)
            else {
                return Ok(None);
            };
            frames.push(Frame { packed: at..end, content: content..next });
            content = next;
        }
        at = end;
    }
    Ok(Some(frames).filter(|frames| frames.len() > 1))
}

/// Returns the size of all content in bytes.
pub(super) fn length(frames: &[Frame]) -> u64 {
    frames.last().map_or(0, |frame| frame.content.end)
}

/// Returns the end of the frame at `at` and the size of its content, which a skippable frame does
/// not have.
///
/// Returns `None` if there is no complete frame, or its header has no content size.
fn frame(source: &Source, at: u64) -> io::Result<Option<(u64, Option<u64>)>> {
    let mut head = [0; 18];
    let filled = source.read_at(at, &mut head)?;
    let number = |from: usize, bytes: usize| {
        let bytes = head.get(from..from + bytes)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    match head.get(..filled) {
        Some([first, 0x2a, 0x4d, 0x18, ..]) if first & 0xf0 == 0x50 && filled >= 8 => {
            let end = number(4, 4).map(|length| at + 8 + length).filter(|end| *end <= source.size);
            return Ok(end.map(|end| (end, None)));
        }
        Some([0x28, 0xb5, 0x2f, 0xfd, _, ..]) => {}
        _ => return Ok(None),
    }
    let descriptor = head[4];
    let single_segment = descriptor & 0x20 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (size_of_length, least) = match descriptor >> 6 {
        0 if single_segment => (1, 0),
        0 => return Ok(None),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let from = 5 + window + dictionary;
    let Some(length) = number(from, size_of_length).filter(|_| from + size_of_length <= filled)
    else {
        return Ok(None);
    };
    let mut next = at + (from + size_of_length) as u64;
    loop {
        let mut block = [0; 3];
        if source.read_at(next, &mut block)? < block.len() {
            return Ok(None);
        }
        let [a, b, c] = block.map(u64::from);
        let block = a | b << 8 | c << 16;
        // An RLE block holds only the byte that it repeats.
        next += 3 + if block >> 1 & 3 == 1 { 1 } else { block >> 3 };
        if block & 1 == 1 {
            break;
        }
    }
    let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
    let content = length.saturating_add(least);
    Ok(Some(next + checksum).filter(|end| *end <= source.size).map(|end| (end, Some(content))))
}

/// Unpacks frames to their positions in a file.
///
/// Returns the size of the content without a gap, and the error if that is not all of it.
pub(super) fn unpack(source: &Source, frames: &[Frame], to: &File) -> (u64, Option<io::Error>) {
    let unpacked: Vec<(u64, Option<io::Error>)> =
        frames.par_iter().map(|frame| unpack_one(source, frame, to)).collect();
    let mut size = 0;
    for (length, error) in unpacked {
        size += length;
        if error.is_some() {
            return (size, error);
        }
    }
    (size, None)
}

/// Unpacks one frame. A frame is damaged if its content differs in size from its header.
fn unpack_one(source: &Source, frame: &Frame, to: &File) -> (u64, Option<io::Error>) {
    let mut at = frame.content.start;
    let mut copy = || -> io::Result<()> {
        let mut decoder =
            zstd::stream::read::Decoder::new(RangeReader::of(source, frame.packed.clone()))?
                .single_frame();
        let mut block = vec![0; 1 << 17];
        loop {
            let filled = match decoder.read(&mut block) {
                Ok(0) if at < frame.content.end => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => return Ok(()),
                Ok(filled) if at + filled as u64 > frame.content.end => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(filled) => filled,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            to.write_all_at(block.get(..filled).unwrap_or_default(), at)?;
            at += filled as u64;
        }
    };
    let error = copy().err();
    (at - frame.content.start, error)
}

/// Reader of a range of a source.
pub(super) struct RangeReader<'s> {
    source: &'s Source,
    range: Range<u64>,
}

impl<'s> RangeReader<'s> {
    pub(super) fn of(source: &'s Source, range: Range<u64>) -> Self {
        Self { source, range }
    }
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let filled =
            self.source.read_at(self.range.start, buffer.get_mut(..left).unwrap_or_default())?;
        self.range.start += filled as u64;
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spool;
    use super::*;

    /// Packs one frame as the command does: with its content size if `told`, and a checksum if
    /// `checked`.
    fn pack(bytes: &[u8], level: i32, with_size: bool, checked: bool) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
        encoder.include_checksum(checked).unwrap();
        encoder.include_contentsize(with_size).unwrap();
        if with_size {
            encoder.set_pledged_src_size(Some(bytes.len() as u64)).unwrap();
        }
        io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn found(bytes: &[u8]) -> Option<Vec<Frame>> {
        frames(&spool("a.zst", &mut &*bytes).unwrap()).unwrap()
    }

    #[test]
    fn frames_of_every_length_are_found_and_unpacked() {
        let mut random = fastrand::Rng::with_seed(1);
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"12345"].concat();
        // Lengths around each change in the width of the size field, and lengths of several blocks;
        // noise, text and a single byte.
        for length in [0usize, 1, 255, 256, 257, 65_790, 65_791, 65_792, 400_000] {
            let noise: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let words: Vec<u8> = (0..length).map(|at| b"a line of a log\n"[at % 16]).collect();
            for text in [noise, words, vec![b'x'; length]] {
                for checked in [false, true] {
                    let packed = [
                        pack(&text, 1, true, checked),
                        skipped.clone(),
                        pack(b"end\n", 3, true, !checked),
                    ]
                    .concat();
                    let source = spool("a.zst", &mut &*packed).unwrap();
                    let frames = frames(&source).unwrap().unwrap();
                    assert_eq!((frames.len(), super::length(&frames)), (2, length as u64 + 4));
                    let file = tempfile::tempfile().unwrap();
                    let (size, error) = unpack(&source, &frames, &file);
                    assert!(error.is_none() && size == length as u64 + 4, "{error:?}");
                    let mut read = vec![0; length + 4];
                    file.read_exact_at(&mut read, 0).unwrap();
                    assert!(read.starts_with(&text) && read.ends_with(b"end\n"));
                }
            }
        }
    }

    #[test]
    fn anything_but_several_complete_frames_is_declined() {
        let with_size = pack(b"one\n", 1, true, true);
        let two = [with_size.clone(), with_size.clone()].concat();
        assert!(found(&two).is_some());
        assert_eq!(found(&with_size), None, "a single frame");
        assert_eq!(
            found(&[with_size.clone(), pack(b"two\n", 1, false, true)].concat()),
            None,
            "one frame has no content size"
        );
        assert_eq!(found(&[&two[..], b"garbage"].concat()), None);
        for cut in 1..with_size.len() {
            assert_eq!(found(&two[..two.len() - cut]), None, "{cut}");
        }
    }

    #[test]
    fn unpacking_stops_at_damage() {
        let long: Vec<u8> =
            (0..40_000u32).flat_map(|at| format!("line {at}\n").into_bytes()).collect();
        let first = pack(&long, 1, true, true);
        let mut packed = [first.clone(), first.clone(), first.clone()].concat();
        packed[first.len() * 2 - 100] ^= 0x55;
        let source = spool("a.zst", &mut &*packed).unwrap();
        let file = tempfile::tempfile().unwrap();
        let (size, error) = unpack(&source, &frames(&source).unwrap().unwrap(), &file);
        assert!(
            error.is_some() && size >= long.len() as u64 && size <= 2 * long.len() as u64,
            "{size} {error:?}"
        );
    }
}
