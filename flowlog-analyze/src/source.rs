//! Where bytes come from: files, folders, standard input. Only here is anything read.
//!
//! Nothing here fails the analysis: what cannot be read is named in [`Sources::unread`].

mod feed;
mod flight;
mod frames;
mod growing;
mod look;
mod spill;
mod unpack;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use flowlog_schema::report::Unread;
use rayon::prelude::*;
use walkdir::WalkDir;

pub use growing::{Growing, Growth, NamedPipe};
pub use spill::Spill;
use unpack::Limit;

/// One file, or what came through a pipe.
#[derive(Debug)]
pub struct Source {
    /// Its path as given, `-` for standard input.
    pub name: String,
    /// Bytes when it was opened, or as far as [`Growing`] saw it grow; what is appended later is not read.
    pub size: u64,
    bytes: Bytes,
    /// Every line begins with the number of the task that wrote it.
    pub labelled: bool,
    /// Its lines came newest first and are read the other way round: how many there are.
    pub turned: Option<u64>,
}

#[derive(Debug)]
enum Bytes {
    /// Opened anew for every read, so that ten thousand files need no ten thousand descriptors.
    Path(PathBuf),
    /// Standard input or a pipe, copied to a file without a name: evidence is read again when it is shown.
    Spool(File),
    /// A part of such a file: what a path unpacked to.
    Slice {
        /// The file.
        file: Arc<File>,
        /// Where the part begins.
        start: u64,
    },
}

impl Source {
    /// A log whose lines stand as they were written, until somebody looks at it.
    fn new(name: String, size: u64, bytes: Bytes) -> Self {
        Self { name, size, bytes, labelled: false, turned: None }
    }

    /// Fills `buffer` from `offset` on; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// Whatever opening and reading say: the file may be gone by now.
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

    /// When it was last written, in nanoseconds since the epoch; now, for a pipe.
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

/// How standard input is called.
const STDIN: &str = "-";

/// What the paths led to.
#[derive(Debug, Default)]
pub struct Sources {
    /// In the order of their names.
    pub read: Vec<Source>,
    /// What could not be opened.
    pub unread: Vec<Unread>,
}

/// Opens all paths and waits for the end of every pipe; a folder is walked, `-` is standard input, and so is no path at all.
///
/// No symbolic link inside a folder is followed. A path given twice is read once.
pub fn open(paths: &[PathBuf]) -> Sources {
    let (mut sources, mut growing) = start(paths);
    growing.wait_for_all(&mut sources);
    sources
}

/// Opens all paths; what comes through pipes is still to come.
pub fn start(paths: &[PathBuf]) -> (Sources, Growing) {
    let (mut sources, mut growing) = (Sources::default(), Growing::default());
    let mut files: Vec<PathBuf> = Vec::new();
    for path in growing.add_stdin_of(paths, &mut sources) {
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
        growing.add_opened(path, opened, &mut sources);
    }
    sources.sort();
    (sources, growing)
}

/// Opens all paths to follow them, as `tail -F` does: also what is not there yet, is rotated, or is cut to nothing.
pub fn follow(paths: &[PathBuf]) -> (Sources, Growing) {
    let (mut sources, mut growing) = (Sources::default(), Growing::live());
    let logs = growing.add_stdin_of(paths, &mut sources);
    growing.follow(logs, &mut sources);
    (sources, growing)
}

/// Whether standard input is among the paths; it is where there is none.
pub fn has_stdin(paths: &[PathBuf]) -> bool {
    paths.is_empty() || paths.iter().any(|path| path.as_os_str() == STDIN)
}

/// The logs that a path holds, and what of it cannot be read.
type Found = (Vec<Source>, Vec<Unread>);

/// Unpacks a source where it is packed, and looks at each log.
fn find(source: Source, limit: Limit) -> io::Result<Found> {
    let (sources, unread) = match unpack::unpack(&source, limit)? {
        Some(found) => found,
        None => (vec![look::without_room(source)?], Vec::new()),
    };
    Ok((sources.into_iter().map(look::at).collect::<io::Result<_>>()?, unread))
}

impl Sources {
    /// Sources made of text in memory, for tests and other programs.
    ///
    /// # Errors
    /// Where no temporary file can be made.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> io::Result<Self> {
        let mut sources = Self::default();
        for (name, bytes) in texts {
            sources.add(find(spool(name, &mut &*bytes)?, Limit::LOGS)?);
        }
        sources.sort();
        Ok(sources)
    }

    fn sort(&mut self) {
        self.read.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn add(&mut self, (read, unread): Found) {
        self.read.extend(read);
        self.unread.extend(unread);
    }

    fn walk(&mut self, folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in WalkDir::new(folder).follow_links(false).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() => files.push(entry.into_path()),
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => {
                    let why = if entry.path_is_symlink() {
                        "a symbolic link inside a folder is not followed; name its target to read it"
                    } else {
                        "not a regular file"
                    };
                    self.refuse(entry.path(), &io::Error::other(why));
                }
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_path_buf();
                    let error = error
                        .into_io_error()
                        .unwrap_or_else(|| io::Error::other("a loop of links"));
                    self.refuse(&path, &error);
                }
            }
        }
    }

    fn refuse(&mut self, path: &Path, error: &io::Error) {
        self.unread.push(Unread { source: path.display().to_string(), error: error.to_string() });
    }
}

/// `O_NONBLOCK`: opening a FIFO that nobody writes must not wait for ever.
const NONBLOCK: i32 = 0o4000;

/// What a path led to.
enum Opened {
    /// Logs that are there.
    Logs(Found),
    /// A pipe, of which the bytes are to come.
    Pipe(Pipe),
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let name = path.display().to_string();
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        let size = file.metadata()?.len();
        return find(Source::new(name, size, Bytes::Path(path.to_path_buf())), Limit::LOGS)
            .map(Opened::Logs);
    }
    if kind.is_char_device() {
        // A terminal or /dev/zero may never end.
        return Err(io::Error::other("a device is not read"));
    }
    // A FIFO named on the command line, or the `/dev/fd/63` of a shell's `<(...)`.
    if kind.is_fifo() {
        return Ok(Opened::Pipe(Pipe(file)));
    }
    Err(io::Error::other("not a regular file, folder or pipe"))
}

/// A pipe opened without blocking. While somebody has it open for writing it is waited for; when nobody has, it ends.
struct Pipe(File);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(PIPE_PAUSE)
                }
                other => return other,
            }
        }
    }
}

/// How long a pipe without bytes is left alone.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

fn spool(name: &str, from: &mut dyn Read) -> io::Result<Source> {
    let mut file = tempfile::tempfile()?;
    let size = io::copy(from, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Source::new(name.to_owned(), size, Bytes::Spool(file)))
}
