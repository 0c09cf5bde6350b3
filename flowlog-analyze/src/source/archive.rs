//! Compressed and packed logs, recognized by their first bytes and unpacked into one unnamed file
//! per path.
//!
//! Evidence is read again when it is shown, so unpacked content is kept until the end. Archives
//! nest to a bounded depth, and a path unpacks to a bounded size: content beyond either limit is
//! listed in `read_errors`, and the content before it is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use encoding_rs_io::DecodeReaderBytes;
use flowlog_schema::report::ReadError;

use super::zstd_frames::RangeReader;
use super::{Bytes, Source, flight_file, zstd_frames};

/// Maximum depth of nested archives: a zip of tars of compressed logs is three.
const MAX_DEPTH: usize = 4;

/// Maximum number of members per path.
const MAX_MEMBERS: usize = 100_000;

/// Bytes needed to recognize the format of a file: the magic of a tar is at offset 257.
const HEAD_BYTES: usize = 512;

/// Limit on the unpacked size of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExpansionLimit {
    /// Bytes that are allowed whatever the packed size.
    pub floor: u64,
    /// Multiple of the packed size that is allowed beyond that.
    ///
    /// Logs shrink to a tenth or a fiftieth of their size; a bomb to a thousandth.
    pub ratio: u64,
}

impl ExpansionLimit {
    /// Limit for logs.
    pub(super) const LOGS: Self = Self { floor: 1 << 30, ratio: 250 };
}

/// Format of a file, as its first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContainerFormat {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    Zip,
    Tar,
    /// Text with two bytes per character, as PowerShell writes it.
    Utf16,
    /// Flight file of a process.
    Flight,
}

/// Recognizes a format by its magic number.
///
/// The numbers are from RFC 1952, RFC 8878 (with its skippable frames), the xz, bzip2 and LZ4 frame
/// formats, and PKWARE's APPNOTE.
fn container_format(head: &[u8]) -> Option<ContainerFormat> {
    let skippable = head.get(1..4) == Some(&[0x2a, 0x4d, 0x18])
        && head.first().is_some_and(|first| first & 0xf0 == 0x50);
    Some(match head {
        [0x1f, 0x8b, 8, ..] => ContainerFormat::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ContainerFormat::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ContainerFormat::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if rest.starts_with(b"\x31\x41\x59\x26\x53\x59")
                || rest.starts_with(b"\x17\x72\x45\x38\x50\x90") =>
        {
            ContainerFormat::Bzip2
        }
        [4, 0x22, 0x4d, 0x18, ..] => ContainerFormat::Lz4,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ContainerFormat::Utf16,
        _ if flowlog_schema::flight::is_flight(head) => ContainerFormat::Flight,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => ContainerFormat::Zip,
        _ if head.get(257..262) == Some(b"ustar") => ContainerFormat::Tar,
        _ if skippable => ContainerFormat::Zstd,
        _ => return None,
    })
}

/// Returns whether the first bytes of a source are those of a packed format.
pub(super) fn is_packed(source: &Source) -> io::Result<bool> {
    let mut head = [0; HEAD_BYTES];
    let filled = source.read_at(0, &mut head)?;
    Ok(container_format(head.get(..filled).unwrap_or_default()).is_some())
}

/// Unpacks a source; returns `None` for a plain log.
pub(super) fn unpack(
    source: &Source,
    limit: ExpansionLimit,
) -> io::Result<Option<(Vec<Source>, Vec<ReadError>)>> {
    if !is_packed(source)? {
        return Ok(None);
    }
    let budget = limit.floor.max(source.size.saturating_mul(limit.ratio));
    if let Some(unpacked) = unpack_frames(source, budget)? {
        return Ok(Some(unpacked));
    }
    let mut unpacker = Unpacker {
        out: BufWriter::with_capacity(1 << 18, tempfile::tempfile()?),
        at: 0,
        budget,
        members: Vec::new(),
        read_errors: Vec::new(),
    };
    let mut whole = BufReader::with_capacity(1 << 18, RangeReader::of(source, 0..source.size));
    unpacker.take(&source.name, &mut whole, 0);
    let Unpacker { out, members, read_errors, .. } = unpacker;
    let file = Arc::new(out.into_inner().map_err(io::IntoInnerError::into_error)?);
    let sources = members.into_iter().map(|(name, start, size)| {
        Source::new(name, size, Bytes::Slice { file: Arc::clone(&file), start })
    });
    Ok(Some((sources.collect(), read_errors)))
}

/// Unpacks a log of several frames in parallel; returns `None` for anything else, or if it is too
/// long.
fn unpack_frames(
    source: &Source,
    budget: u64,
) -> io::Result<Option<(Vec<Source>, Vec<ReadError>)>> {
    let Some(frames) =
        zstd_frames::frames(source)?.filter(|frames| zstd_frames::length(frames) <= budget)
    else {
        return Ok(None);
    };
    let mut head = Vec::with_capacity(HEAD_BYTES);
    let whole = RangeReader::of(source, 0..source.size);
    // Damaged and doubly packed content is left to the sequential unpacker.
    let began = zstd::stream::read::Decoder::new(whole)
        .and_then(|decoder| decoder.take(HEAD_BYTES as u64).read_to_end(&mut head));
    if began.is_err() || container_format(&head).is_some() {
        return Ok(None);
    }
    let file = tempfile::tempfile()?;
    let (size, error) = zstd_frames::unpack(source, &frames, &file);
    let read_errors = error.map(|error| ReadError {
        source: source.name.clone(),
        error: format!("{} after {size} bytes", damaged(&error)),
    });
    let log =
        Source::new(source.name.clone(), size, Bytes::Slice { file: Arc::new(file), start: 0 });
    Ok(Some((vec![log], read_errors.into_iter().collect())))
}

struct Unpacker {
    out: BufWriter<File>,
    at: u64,
    /// Bytes that may still be written.
    budget: u64,
    /// Name, offset and size of each member.
    members: Vec<(String, u64, u64)>,
    read_errors: Vec<ReadError>,
}

impl Unpacker {
    fn record_error(&mut self, name: &str, error: impl Into<String>) {
        self.read_errors.push(ReadError { source: name.to_owned(), error: error.into() });
    }

    /// Unpacks the content of a stream: a log, or another archive.
    fn take(&mut self, name: &str, mut stream: &mut dyn Read, depth: usize) {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let began = (&mut stream).take(HEAD_BYTES as u64).read_to_end(&mut head);
        let pack = container_format(&head);
        let mut stream = Cursor::new(head).chain(stream);
        if let Err(error) = began {
            // The bytes before the damage are still read.
            self.keep(name, &mut stream);
            return self.record_error(name, damaged(&error));
        }
        match pack {
            None => self.keep(name, &mut stream),
            Some(ContainerFormat::Utf16) => self.keep(name, &mut DecodeReaderBytes::new(stream)),
            Some(ContainerFormat::Flight) => self.take_flight(name, &mut stream),
            Some(_) if depth >= MAX_DEPTH => {
                self.record_error(name, format!("archives nest deeper than {MAX_DEPTH}"));
            }
            Some(ContainerFormat::Tar) => self.take_tar(name, &mut stream, depth),
            Some(ContainerFormat::Zip) => {
                if let Err(error) = self.take_zip(name, &mut stream, depth) {
                    self.record_error(name, damaged(&error));
                }
            }
            Some(ContainerFormat::Gzip) => {
                self.take(name, &mut flate2::read::MultiGzDecoder::new(stream), depth + 1);
            }
            Some(ContainerFormat::Xz) => {
                self.take(
                    name,
                    &mut liblzma::read::XzDecoder::new_multi_decoder(stream),
                    depth + 1,
                );
            }
            Some(ContainerFormat::Bzip2) => {
                self.take(name, &mut bzip2::read::MultiBzDecoder::new(stream), depth + 1);
            }
            Some(ContainerFormat::Lz4) => self.take(
                name,
                &mut Lz4 { frame: lz4_flex::frame::FrameDecoder::new(BufReader::new(stream)) },
                depth + 1,
            ),
            Some(ContainerFormat::Zstd) => match zstd::stream::read::Decoder::new(stream) {
                Ok(mut decoder) => self.take(name, &mut decoder, depth + 1),
                Err(error) => self.record_error(name, damaged(&error)),
            },
        }
    }

    /// Stores a stream as a source, as far as it can be read and the budget allows.
    fn keep(&mut self, name: &str, stream: &mut dyn Read) {
        if self.members.len() >= MAX_MEMBERS {
            return self.record_error(name, format!("more than {MAX_MEMBERS} members"));
        }
        let (size, error) = copy(stream, &mut self.out, self.budget);
        if let Some(error) = error {
            self.record_error(name, error);
        }
        self.members.push((name.to_owned(), self.at, size));
        self.at += size;
        self.budget -= size;
    }

    fn take_flight(&mut self, name: &str, stream: &mut dyn Read) {
        let mut bytes = Vec::new();
        let read = stream.take(flight_file::MAX_FLIGHT_BYTES).read_to_end(&mut bytes);
        match (read, flight_file::log(&bytes)) {
            (Ok(_), Some(log)) => self.keep(name, &mut log.as_slice()),
            (Err(error), _) => self.record_error(name, damaged(&error)),
            (Ok(_), None) => self.record_error(name, "damaged: incomplete flight file"),
        }
    }

    fn take_tar(&mut self, name: &str, stream: &mut dyn Read, depth: usize) {
        let mut archive = tar::Archive::new(stream);
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(error) => return self.record_error(name, damaged(&error)),
        };
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                // After a damaged header, the position of the next one is unknown.
                Err(error) => return self.record_error(name, damaged(&error)),
            };
            let member = format!("{name}/{}", String::from_utf8_lossy(&entry.path_bytes()));
            match entry.header().entry_type() {
                kind if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                    self.take(&member, &mut entry, depth + 1);
                }
                kind if kind.is_dir() || kind.is_pax_global_extensions() => {}
                _ => self.record_error(&member, "not a regular file"),
            }
            if self.budget == 0 {
                return;
            }
        }
    }

    fn take_zip(&mut self, name: &str, stream: &mut dyn Read, depth: usize) -> io::Result<()> {
        // The table of contents of a zip is at its end, so copy the stream to a seekable file.
        let mut file = tempfile::tempfile()?;
        if let (_, Some(error)) = copy(stream, &mut file, self.budget) {
            self.record_error(name, error);
        }
        file.seek(SeekFrom::Start(0))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(io::Error::other)?;
        for index in 0..archive.len().min(MAX_MEMBERS) {
            let mut entry = match archive.by_index(index) {
                Ok(entry) => entry,
                Err(error) => {
                    self.record_error(&format!("{name}/{index}"), error.to_string());
                    continue;
                }
            };
            let member = format!("{name}/{}", String::from_utf8_lossy(entry.name_raw()));
            if entry.is_symlink() {
                self.record_error(&member, "not a regular file");
            } else if !entry.is_dir() {
                self.take(&member, &mut entry, depth + 1);
            }
            if self.budget == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn damaged(error: &io::Error) -> String {
    format!("damaged: {error}")
}

/// Copies at most `budget` bytes. Returns their number, and the error if that is not all.
fn copy(from: &mut dyn Read, to: &mut dyn Write, budget: u64) -> (u64, Option<String>) {
    let mut block = vec![0; 1 << 17];
    let mut size = 0u64;
    loop {
        let filled = match from.read(&mut block) {
            Ok(0) => return (size, None),
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return (size, Some(format!("{} after {size} bytes", damaged(&error)))),
        };
        let kept = filled.min(usize::try_from(budget - size).unwrap_or(usize::MAX));
        if let Err(error) = to.write_all(block.get(..kept).unwrap_or_default()) {
            return (size, Some(format!("failed to unpack after {size} bytes: {error}")));
        }
        size += kept as u64;
        if kept < filled {
            return (
                size,
                Some(format!("unpacked size exceeds the limit: stopped after {size} bytes")),
            );
        }
    }
}

/// Reader of concatenated LZ4 frames.
struct Lz4<R: BufRead> {
    frame: lz4_flex::frame::FrameDecoder<R>,
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let filled = self.frame.read(buffer)?;
            // At the end of a frame, the next one begins if bytes are left.
            if filled > 0 || buffer.is_empty() || self.frame.get_mut().fill_buf()?.is_empty() {
                return Ok(filled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, spool};
    use super::*;

    const LOG: &str = "INFO 11-22 08:27:15 [a.py:1] one\nINFO 11-22 08:27:16 [a.py:1] two\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated);
        for (name, bytes) in members {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// Returns every log with its text, and every error.
    fn found(
        name: &str,
        bytes: &[u8],
        limit: ExpansionLimit,
    ) -> (Vec<(String, String)>, Vec<String>) {
        let source = spool(name, &mut &*bytes).unwrap();
        let (sources, read_errors) =
            unpack(&source, limit).unwrap().unwrap_or_else(|| (vec![source], Vec::new()));
        let texts = sources.iter().map(|source| {
            let mut text = vec![0; usize::try_from(source.size).unwrap() + 10];
            let filled = source.read_at(0, &mut text).unwrap();
            text.truncate(filled);
            (source.name.clone(), String::from_utf8_lossy(&text).into_owned())
        });
        (
            texts.collect(),
            read_errors
                .into_iter()
                .map(|read_errors| format!("{}: {}", read_errors.source, read_errors.error))
                .collect(),
        )
    }

    fn log(name: &str) -> (String, String) {
        (name.to_owned(), LOG.to_owned())
    }

    #[test]
    fn every_format_unpacks_single_and_concatenated() {
        for (name, pack) in [
            ("a.gz", gzip as fn(&[u8]) -> Vec<u8>),
            ("a.zst", zstd),
            ("a.xz", xz),
            ("a.bz2", bzip2),
            ("a.lz4", lz4),
        ] {
            let (first, second) = LOG.split_at(33);
            let rotated = [pack(first.as_bytes()), pack(second.as_bytes())].concat();
            for bytes in [pack(LOG.as_bytes()), rotated] {
                assert_eq!(
                    found(name, &bytes, ExpansionLimit::LOGS),
                    (vec![log(name)], vec![]),
                    "{name}"
                );
            }
        }
        let utf16: Vec<u8> =
            std::iter::once(0xfeff).chain(LOG.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(found("a.txt", &utf16, ExpansionLimit::LOGS), (vec![log("a.txt")], vec![]));
        assert_eq!(
            found("plain.log", LOG.as_bytes(), ExpansionLimit::LOGS),
            (vec![log("plain.log")], vec![])
        );
        // Text that only looks like a packed format.
        for text in ["BZh9 is no archive\n", "PK alone\n", ""] {
            assert_eq!(
                found("x", text.as_bytes(), ExpansionLimit::LOGS),
                (vec![("x".to_owned(), text.to_owned())], vec![])
            );
        }
    }

    #[test]
    fn nested_archives_are_unpacked() {
        let inner = tar(&[
            ("pods/worker-0.log", LOG.as_bytes()),
            ("pods/worker-1.log.gz", &gzip(LOG.as_bytes())),
        ]);
        let expected = |outer: &str| {
            vec![
                log(&format!("{outer}/pods/worker-0.log")),
                log(&format!("{outer}/pods/worker-1.log.gz")),
            ]
        };
        assert_eq!(found("a.tar", &inner, ExpansionLimit::LOGS), (expected("a.tar"), vec![]));
        assert_eq!(
            found("a.tgz", &gzip(&inner), ExpansionLimit::LOGS),
            (expected("a.tgz"), vec![])
        );
        let outer = zip(&[("logs/a.tar.zst", &zstd(&inner)), ("0_build.txt", LOG.as_bytes())]);
        let mut members = expected("run.zip/logs/a.tar.zst");
        members.push(log("run.zip/0_build.txt"));
        assert_eq!(found("run.zip", &outer, ExpansionLimit::LOGS), (members, vec![]));
        let deep = (0..6).fold(gzip(LOG.as_bytes()), |bytes, _| gzip(&bytes));
        assert_eq!(
            found("deep.gz", &deep, ExpansionLimit::LOGS),
            (vec![], vec!["deep.gz: archives nest deeper than 4".to_owned()])
        );
    }

    #[test]
    fn links_in_archives_are_not_followed() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link.log", "/etc/passwd").unwrap();
        let (logs, read_errors) =
            found("a.tar", &builder.into_inner().unwrap(), ExpansionLimit::LOGS);
        assert_eq!(
            (logs, read_errors),
            (vec![], vec!["a.tar/link.log: not a regular file".to_owned()])
        );
    }

    #[test]
    fn damaged_input_is_read_up_to_the_damage() {
        let long: String = (0..40_000).map(|at| format!("line {at}\n")).collect();
        for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd, xz, bzip2, lz4] {
            let bytes = pack(long.as_bytes());
            let (logs, read_errors) =
                found("a", bytes.get(..bytes.len() - 20).unwrap(), ExpansionLimit::LOGS);
            assert!(logs.len() == 1 && long.starts_with(&logs[0].1), "{read_errors:?}");
            assert!(
                read_errors.len() == 1 && read_errors[0].starts_with("a: damaged: "),
                "{read_errors:?}"
            );
        }
        for bytes in [
            &gzip(LOG.as_bytes())[..12],
            &zip(&[("a", LOG.as_bytes())])[..40],
            &tar(&[("a", LOG.as_bytes())])[..540],
        ] {
            assert!(!found("a", bytes, ExpansionLimit::LOGS).1.is_empty());
        }
    }

    #[test]
    fn a_decompression_bomb_is_stopped_and_reported() {
        let limit = ExpansionLimit { floor: 100_000, ratio: 20 };
        let bomb = gzip(&vec![b'\n'; 10_000_000]);
        let (logs, read_errors) = found("bomb.gz", &bomb, limit);
        let size = (bomb.len() * 20).max(100_000);
        assert_eq!(logs[0].1.len(), size);
        assert_eq!(
            read_errors,
            [format!("bomb.gz: unpacked size exceeds the limit: stopped after {size} bytes")]
        );
        // All members share the limit, however deeply they are nested.
        let many = zip(&[("a.gz", &bomb), ("b.gz", &bomb), ("c", &vec![b'x'; 10_000_000])]);
        let (logs, read_errors) = found("many.zip", &many, limit);
        assert!(
            logs.iter().map(|(_, text)| text.len()).sum::<usize>()
                <= (many.len() * 20).max(100_000)
        );
        assert!(read_errors.iter().any(|error| error.contains("stopped after")), "{read_errors:?}");
    }

    #[test]
    fn packed_sources_are_read() {
        let sources = Sources::from_texts([
            ("b.log", LOG.as_bytes()),
            ("a.zip", &zip(&[("x.log", LOG.as_bytes())])[..]),
        ])
        .unwrap();
        let names: Vec<&str> = sources.read.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["a.zip/x.log", "b.log"]);
    }
}
