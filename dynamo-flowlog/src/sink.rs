//! Where records go.
//!
//! # Durability
//! No sink keeps a record in the process: when a call has returned, the kernel has it. See the crate's page for what that survives.
//!
//! # When it fails
//! A sink takes a record whole or says why not, and tries again with the next record. It never waits longer than [`PATIENCE`] for a
//! reader, and half a second for a disk that is to make room for the next mapped file. A
//! file that was removed, moved or failed is opened anew within a second.
//!
//! # Troubleshooting
//! A mapped file's length is its room until it is full or closed: behind the last record it holds zeros, which readers skip.

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

/// How long a record waits for a reader that does not read.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// How long a record waits for a disk that is to make room for the next file.
pub(crate) const PATIENCE_WITH_DISKS: Duration = PATIENCE.saturating_mul(25);

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sink {
    /// Standard error, one `write(2)` a record.
    #[default]
    Stderr,
    /// A file, one `write(2)` a record; several processes may write to one.
    File {
        /// Its path.
        path: PathBuf,
        /// When the next one is begun.
        rotation: Rotation,
    },
    /// Mapped files for hot paths: `PATH.PID.NUMBER`, each as long as the rotation's size, made ready before it is written to.
    Mapped {
        /// What their names begin with.
        path: PathBuf,
        /// How long each is, and how many are kept.
        rotation: Rotation,
    },
    /// Nowhere; flights are kept all the same.
    Nothing,
}

impl Sink {
    /// A file that is never rotated.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), rotation: Rotation::default() }
    }

    /// Mapped files of 16 MiB, all kept.
    pub fn mapped(path: impl Into<PathBuf>) -> Self {
        Self::Mapped { path: path.into(), rotation: Rotation::default() }
    }
}

/// A sink as it is written in `FLOWLOG_SINK`: `stderr`, `none`, `file:PATH` or `mapped:PATH`.
impl FromStr for Sink {
    type Err = UnknownSink;

    fn from_str(text: &str) -> Result<Self, UnknownSink> {
        match text.split_once(':') {
            None if text == "stderr" => Ok(Self::Stderr),
            None if text == "none" => Ok(Self::Nothing),
            Some(("file", path)) => Ok(Self::file(path)),
            Some(("mapped", path)) => Ok(Self::mapped(path)),
            _ => Err(UnknownSink(text.to_owned())),
        }
    }
}

/// What a text says is no sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no sink: `stderr`, `none`, `file:PATH` or `mapped:PATH`")]
pub struct UnknownSink(String);

/// When a file is done and the next is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    /// At so many bytes. `None`: never; of mapped files, at 16 MiB.
    pub size: Option<u64>,
    /// At that age.
    pub age: Option<Duration>,
    /// How many are kept beside the one that is written to. `None`: all.
    pub keep: Option<usize>,
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// One JSON object a line.
    #[default]
    Json,
    /// `TIME LEVEL COMPONENT - FLOW - EVENT STATE {...}`.
    Text,
}

/// A sink that is open.
#[derive(Debug)]
pub(crate) enum OpenSink {
    Pipe(PipeSink),
    File(FileSink),
    Mapped(MappedSink),
    Nothing,
}

impl OpenSink {
    /// Opens a sink, and makes the folder that it lies in.
    pub(crate) fn open(sink: &Sink) -> io::Result<Self> {
        Ok(match sink {
            Sink::Stderr => Self::Pipe(PipeSink::stderr()),
            Sink::File { path, rotation } => Self::File(FileSink::open(path, *rotation)?),
            Sink::Mapped { path, rotation } => Self::Mapped(MappedSink::open(path, *rotation)?),
            Sink::Nothing => Self::Nothing,
        })
    }

    /// Writes a line, line feed included, at that moment in nanoseconds since the epoch.
    #[inline]
    pub(crate) fn write(&self, line: &[u8], now: i64) -> io::Result<()> {
        match self {
            Self::Pipe(sink) => sink.write(line),
            Self::File(sink) => sink.write(line, now),
            Self::Mapped(sink) => sink.write(line, now),
            Self::Nothing => Ok(()),
        }
    }

    /// Gives a process that was forked files of its own where two may not share one.
    pub(crate) fn after_fork(&self) {
        match self {
            Self::File(sink) => sink.after_fork(),
            Self::Mapped(sink) => sink.after_fork(),
            Self::Pipe(sink) => sink.after_fork(),
            Self::Nothing => {}
        }
    }

    /// Cuts off room that was made ready and not used.
    pub(crate) fn close(&self) {
        if let Self::Mapped(sink) = self {
            sink.close();
        }
    }
}

/// Makes the folder that a file is to lie in.
pub(crate) fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)
}

/// The lock, waited for no longer than that: in a process that was forked its owner may be no more.
#[inline]
pub(crate) fn held<T>(lock: &Mutex<T>, patience: Duration) -> io::Result<MutexGuard<'_, T>> {
    let mut began = None;
    loop {
        match lock.try_lock() {
            Ok(held) => return Ok(held),
            Err(TryLockError::Poisoned(held)) => return Ok(held.into_inner()),
            // Most are held for less than it takes to fall asleep.
            Err(TryLockError::WouldBlock) => match began.get_or_insert_with(Instant::now).elapsed()
            {
                waited if waited > patience => return Err(io::ErrorKind::TimedOut.into()),
                waited if waited < Duration::from_millis(1) => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            },
        }
    }
}
