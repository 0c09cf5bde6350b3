//! Sources of bytes: files, folders and standard input. All input is read here.
//!
//! Errors do not fail the analysis: unreadable input is listed in [`Sources::read_errors`].

mod wakeup;
mod spool;
mod flight_file;
mod zstd_frames;
mod follow;
mod probe;
mod spill;
mod archive;
mod incomplete;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use flowlog_schema::report::ReadError;
use rayon::prelude::*;
use walkdir::WalkDir;

use archive::ExpansionLimit;
pub use follow::{Follower, Growth, NamedPipe};
pub use incomplete::{Incomplete, cut_times};
pub use spill::Spill;

/// One file, or the content of a pipe.
#[derive(Debug)]
pub struct Source {
    /// Path as given, `-` for standard input.
    pub name: String,
    /// Bytes when the source was opened, or up to which a [`Follower`] saw it grow. Later appends
    /// are not read.
    pub size: u64,
    bytes: Bytes,
    /// Number of lines, if they arrived newest first and were reversed.
    pub reversed_lines: Option<u64>,
    /// See [`LongLines`].
    pub long_lines: LongLines,
}

#[derive(Debug)]
enum Bytes {
    /// Path that is opened anew for every read, so that ten thousand files do not need ten thousand
    /// descriptors.
    Path(PathBuf),
    /// Standard input or a pipe, copied to an unnamed file: evidence is read again when it is
    /// shown.
    Spool(File),
    /// Part of an unnamed file that holds the unpacked content of a path.
    Slice {
        /// Unnamed file.
        file: Arc<File>,
        /// Offset at which the part begins.
        start: u64,
    },
}

/// Ends of long lines that were looked for, so that many chunks in one line do not each look for it.
#[derive(Debug, Default)]
pub struct LongLines(Mutex<BTreeMap<u64, (u64, u64)>>);

impl LongLines {
    /// Returns the end of the long line that an offset is in, if it is known. A line without an end
    /// may have grown since.
    pub fn end_of(&self, at: u64, size: u64) -> Option<u64> {
        let known = self.0.lock().ok()?;
        let (_, (end, known_size)) = known.range(..=at).next_back()?;
        (at < *end && (end < known_size || *known_size == size)).then_some(*end)
    }

    /// Records a long line, or the rest of one.
    pub fn note(&self, line: Range<u64>, size: u64) {
        if let Ok(mut known) = self.0.lock() {
            known.insert(line.start, (line.end, size));
        }
    }
}

impl Source {
    /// Creates a source with lines as they were written, which holds until it is probed.
    fn new(name: String, size: u64, bytes: Bytes) -> Self {
        Self { name, size, bytes, reversed_lines: None, long_lines: LongLines::default() }
    }

    /// Fills `buffer` from `offset` on. Reads fewer bytes than requested only at the end.
    ///
    /// # Errors
    /// Returns the error of opening or reading the source: the file may be gone by now.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.bytes {
            Bytes::Path(path) => read_full(&File::open(path)?, offset, buffer),
            Bytes::Spool(file) => read_full(file, offset, buffer),
            Bytes::Slice { file, start } => {
                let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let length = buffer.len().min(left);
                read_full(
                    file,
                    start.saturating_add(offset),
                    buffer.get_mut(..length).unwrap_or_default(),
                )
            }
        }
    }

    /// Returns the time of the last write, in nanoseconds since the Unix epoch.
    ///
    /// For a pipe and for unpacked content, this is the current time.
    pub fn modified(&self) -> Option<i64> {
        let time = match &self.bytes {
            Bytes::Path(path) => path.metadata().and_then(|data| data.modified()).ok()?,
            Bytes::Spool(_) | Bytes::Slice { .. } => SystemTime::now(),
        };
        i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()
    }
}

fn read_full(file: &File, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Path that stands for standard input.
const STDIN: &str = "-";

/// Sources that the paths led to.
#[derive(Debug, Default)]
pub struct Sources {
    /// Opened sources, ordered by name; sources that arrive later are appended.
    pub read: Vec<Source>,
    /// Input that could not be read.
    pub read_errors: Vec<ReadError>,
    incomplete: OnceLock<BTreeMap<u32, Incomplete>>,
}

/// Opens all paths and waits for the end of every pipe.
///
/// Folders are walked. `-` is standard input, and so is an empty list of paths. Symbolic links
/// inside folders are not followed. A path given twice is read once.
pub fn open(paths: &[PathBuf]) -> Sources {
    let (mut sources, mut follower) = start(paths);
    follower.wait_for_all(&mut sources);
    sources
}

/// Opens all paths. The content of pipes arrives later.
pub fn start(paths: &[PathBuf]) -> (Sources, Follower) {
    let (mut sources, mut follower) = (Sources::default(), Follower::default());
    let mut files: Vec<PathBuf> = Vec::new();
    for path in follower.add_stdin_of(paths, &mut sources) {
        if path.is_dir() {
            sources.walk(&path, &mut files);
        } else {
            files.push(path);
        }
    }
    files.sort();
    files.dedup();
    let opened: Vec<(&PathBuf, io::Result<Opened>)> =
        files.par_iter().map(|path| (path, open_file(path))).collect();
    for (path, opened) in opened {
        follower.add_opened(path, opened, &mut sources);
    }
    sources.sort();
    (sources, follower)
}

/// Opens all paths to follow them, as `tail -F` does.
///
/// Files may appear later, be rotated, or be truncated.
pub fn follow(paths: &[PathBuf]) -> (Sources, Follower) {
    let (mut sources, mut follower) = (Sources::default(), Follower::live());
    let logs = follower.add_stdin_of(paths, &mut sources);
    follower.follow(logs, &mut sources);
    (sources, follower)
}

/// Returns whether standard input is read: it is among the paths, or there are no paths.
pub fn has_stdin(paths: &[PathBuf]) -> bool {
    paths.is_empty() || paths.iter().any(|path| path.as_os_str() == STDIN)
}

/// Logs in a path, and the parts of it that cannot be read.
type Found = (Vec<Source>, Vec<ReadError>);

/// Unpacks a source if it is packed, and probes each log.
fn find(source: Source, limit: ExpansionLimit) -> io::Result<Found> {
    let (sources, read_errors) = match archive::unpack(&source, limit)? {
        Some(found) => found,
        None => (vec![probe::trim_trailing_zeros(source)?], Vec::new()),
    };
    Ok((sources.into_iter().map(probe::at).collect::<io::Result<_>>()?, read_errors))
}

impl Sources {
    /// Creates sources from text in memory, for tests and other programs.
    ///
    /// # Errors
    /// Returns an error if a temporary file cannot be created.
    pub fn from_texts<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> io::Result<Self> {
        let mut sources = Self::default();
        for (name, bytes) in texts {
            sources.add(find(spool(name, &mut &*bytes)?, ExpansionLimit::LOGS)?);
        }
        sources.sort();
        Ok(sources)
    }

    /// Returns the sources whose end is missing, by index. Call it when everything was read: the
    /// sources are examined once.
    pub fn incomplete(&self) -> &BTreeMap<u32, Incomplete> {
        self.incomplete.get_or_init(|| incomplete::of(self))
    }

    fn sort(&mut self) {
        self.read.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn add(&mut self, (read, read_errors): Found) {
        self.read.extend(read);
        self.read_errors.extend(read_errors);
    }

    fn walk(&mut self, folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in WalkDir::new(folder).follow_links(false).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() => files.push(entry.into_path()),
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => {
                    let why = if entry.path_is_symlink() {
                        "symbolic links inside folders are not followed; pass the link's target to read it"
                    } else {
                        "not a regular file"
                    };
                    self.record_error(entry.path(), &io::Error::other(why));
                }
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_path_buf();
                    let error = error
                        .into_io_error()
                        .unwrap_or_else(|| io::Error::other("symbolic link loop"));
                    self.record_error(&path, &error);
                }
            }
        }
    }

    fn record_error(&mut self, path: &Path, error: &io::Error) {
        self.read_errors
            .push(ReadError { source: path.display().to_string(), error: error.to_string() });
    }
}

/// Result of opening a path.
enum Opened {
    /// Logs that exist.
    Logs(Found),
    /// Pipe with its bytes still to come.
    Pipe(Pipe),
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let name = path.display().to_string();
    // Opening a FIFO without a writer must not block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        let size = file.metadata()?.len();
        return find(
            Source::new(name, size, Bytes::Path(path.to_path_buf())),
            ExpansionLimit::LOGS,
        )
        .map(Opened::Logs);
    }
    if kind.is_char_device() {
        // A terminal or /dev/zero may never end.
        return Err(io::Error::other("device files are not read"));
    }
    // A FIFO named on the command line, or the `/dev/fd/63` of a shell's `<(...)`.
    if kind.is_fifo() {
        return Ok(Opened::Pipe(Pipe(file)));
    }
    Err(io::Error::other("not a regular file, folder or pipe"))
}

/// Pipe opened without blocking.
///
/// Reads wait while the pipe has a writer; the pipe ends when it has none.
struct Pipe(File);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(PIPE_PAUSE);
                }
                other => return other,
            }
        }
    }
}

/// Pause before an empty pipe is read again.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

fn spool(name: &str, from: &mut dyn Read) -> io::Result<Source> {
    let mut file = tempfile::tempfile()?;
    let size = io::copy(from, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Source::new(name.to_owned(), size, Bytes::Spool(file)))
}
