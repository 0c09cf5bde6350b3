//! Sinks that records are written to.
//!
//! # Durability
//! No sink buffers records in the process: when a call returns, the kernel has the record. The
//! crate's front page lists what that survives.
//!
//! # When it fails
//! A sink writes a record as a whole or returns an error, and tries again with the next record. It
//! waits at most [`WRITE_TIMEOUT`] for a reader, and at most half a second for a disk to allocate
//! the next mapped file. A file that was removed or moved, or that failed, is reopened within a
//! second.
//!
//! # Troubleshooting
//! A mapped file has its allocated length until it is full or closed: after the last record it
//! holds zeros, which readers skip.

mod file;
mod mapped;
mod pipe;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

pub(crate) use file::FileSink;
pub(crate) use mapped::MappedSink;
pub(crate) use pipe::PipeSink;

/// Maximum time that a record waits for a reader that does not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_millis(20);

/// Maximum time that a record waits for a disk to allocate the next file.
pub(crate) const DISK_WAIT_TIMEOUT: Duration = WRITE_TIMEOUT.saturating_mul(25);

/// Destination of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sink {
    /// Standard error, with one `write(2)` per record.
    #[default]
    Stderr,
    /// A file, with one `write(2)` per record; several processes may share it.
    File {
        /// Path of the file.
        path: PathBuf,
        /// When to start the next file.
        rotation: Rotation,
    },
    /// Memory-mapped files for hot paths: `PATH.PID.NUMBER`, each preallocated to the rotation's
    /// size.
    Mapped {
        /// Prefix of the file names.
        path: PathBuf,
        /// Size and maximum age of each file, and number of files to keep.
        rotation: Rotation,
    },
    /// Discards records; flight files are still written.
    Discard,
}

impl Sink {
    /// Writes to a file that is never rotated.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), rotation: Rotation::default() }
    }

    /// Writes to mapped files of 16 MiB, all of which are kept.
    pub fn mapped(path: impl Into<PathBuf>) -> Self {
        Self::Mapped { path: path.into(), rotation: Rotation::default() }
    }
}

/// Parses the syntax of `FLOWLOG_SINK`: `stderr`, `none`, `file:PATH` or `mapped:PATH`.
impl FromStr for Sink {
    type Err = UnknownSink;

    fn from_str(text: &str) -> Result<Self, UnknownSink> {
        match text.split_once(':') {
            None if text == "stderr" => Ok(Self::Stderr),
            None if text == "none" => Ok(Self::Discard),
            Some(("file", path)) => Ok(Self::file(path)),
            Some(("mapped", path)) => Ok(Self::mapped(path)),
            _ => Err(UnknownSink(text.to_owned())),
        }
    }
}

/// Error returned when parsing a [`Sink`] fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid sink `{0}`: expected `stderr`, `none`, `file:PATH` or `mapped:PATH`")]
pub struct UnknownSink(String);

/// Limits at which a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Maximum size in bytes. `None`: unlimited, or 16 MiB for mapped files.
    pub size: Option<u64>,
    /// Maximum age. `None`: unlimited.
    pub age: Option<Duration>,
    /// Number of files to keep besides the current one. `None`: all.
    pub keep: Option<usize>,
}

/// Encoding of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// One JSON object per line.
    #[default]
    Json,
    /// `TIME LEVEL COMPONENT - FLOW - EVENT STATE {...}`.
    Text,
}

/// Open sink.
#[derive(Debug)]
pub(crate) enum SinkWriter {
    Pipe(PipeSink),
    File(FileSink),
    Mapped(MappedSink),
    Discard,
}

impl SinkWriter {
    /// Opens a sink, creating its parent directory if necessary.
    pub(crate) fn open(sink: &Sink) -> io::Result<Self> {
        Ok(match sink {
            Sink::Stderr => Self::Pipe(PipeSink::stderr()),
            Sink::File { path, rotation } => Self::File(FileSink::open(path, *rotation)?),
            Sink::Mapped { path, rotation } => Self::Mapped(MappedSink::open(path, *rotation)?),
            Sink::Discard => Self::Discard,
        })
    }

    /// Writes a line, including its line feed. `now` is in nanoseconds since the epoch.
    #[inline]
    pub(crate) fn write(&self, line: &[u8], now: i64) -> io::Result<()> {
        match self {
            Self::Pipe(sink) => sink.write(line),
            Self::File(sink) => sink.write(line, now),
            Self::Mapped(sink) => sink.write(line, now),
            Self::Discard => Ok(()),
        }
    }

    /// Gives a forked process files of its own if it cannot share its parent's.
    pub(crate) fn after_fork(&self) {
        match self {
            Self::File(sink) => sink.after_fork(),
            Self::Mapped(sink) => sink.after_fork(),
            Self::Pipe(sink) => sink.after_fork(),
            Self::Discard => {}
        }
    }

    /// Truncates preallocated space that was not used.
    pub(crate) fn close(&self) {
        if let Self::Mapped(sink) = self {
            sink.close();
        }
    }
}

/// Creates the parent directory of a file.
pub(crate) fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)
}

/// Acquires `lock` within a timeout: after a fork, the thread that held it may not exist.
#[inline]
pub(crate) fn lock_timeout<T>(lock: &Mutex<T>, timeout: Duration) -> io::Result<MutexGuard<'_, T>> {
    let mut began = None;
    loop {
        match lock.try_lock() {
            Ok(lock_timeout) => return Ok(lock_timeout),
            Err(TryLockError::Poisoned(lock_timeout)) => return Ok(lock_timeout.into_inner()),
            // Most locks are held for less time than it takes to fall asleep.
            Err(TryLockError::WouldBlock) => match began.get_or_insert_with(Instant::now).elapsed()
            {
                waited if waited > timeout => return Err(io::ErrorKind::TimedOut.into()),
                waited if waited < Duration::from_millis(1) => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            },
        }
    }
}
