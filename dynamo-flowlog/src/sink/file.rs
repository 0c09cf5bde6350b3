//! File sink, with one `write(2)` per record.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::io::{Errno, IoSlice};

use super::{Rotation, make_folder_of};

/// Interval between checks of the file's age and identity, in nanoseconds.
const ROTATION_CHECK_INTERVAL_NS: i64 = 1_000_000_000;

/// File that records are appended to.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    rotation: Rotation,
    file: ArcSwap<File>,
    /// Size of the file in bytes.
    size: AtomicU64,
    /// Start of the file and time of the last check, in nanoseconds since the epoch.
    opened_at: AtomicI64,
    last_check: AtomicI64,
    /// Whether the last line was cut short.
    partial_line: AtomicBool,
    /// Whether a write failed since the file was opened.
    failed: AtomicBool,
    /// Whether another process rotates the file.
    is_shared: AtomicBool,
    /// Held while the file is replaced.
    replacing: ArcSwap<Mutex<()>>,
}

/// Reason for replacing the file.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// Adding this many bytes would exceed the maximum size.
    Full(u64),
    /// The file has reached its maximum age.
    Old,
    /// The path names another file or none, or a write failed.
    Gone,
}

impl FileSink {
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        make_folder_of(path)?;
        let file = open(path)?;
        if file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is a pipe, and writes to it may block forever; use `stderr` instead",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            rotation,
            size: AtomicU64::new(file.metadata()?.len()),
            file: ArcSwap::from_pointee(file),
            opened_at: AtomicI64::new(i64::MAX),
            last_check: AtomicI64::new(0),
            partial_line: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            replacing: ArcSwap::default(),
        })
    }

    pub(crate) fn write(&self, line: &[u8], now: i64) -> io::Result<()> {
        self.maintain(now, line.len() as u64);
        let file = self.file.load();
        // Terminate a line that was cut short, so that its remains form a line of their own.
        let partial_line = self.partial_line.load(Ordering::Relaxed)
            && self.partial_line.swap(false, Ordering::Relaxed);
        let parts = [IoSlice::new(if partial_line { b"\n" } else { b"" }), IoSlice::new(line)];
        let wanted = line.len() + usize::from(partial_line);
        let wrote = loop {
            let wrote = if partial_line {
                rustix::io::writev(&**file, &parts)
            } else {
                rustix::io::write(&**file, line)
            };
            if wrote != Err(Errno::INTR) {
                break wrote;
            }
        };
        match wrote {
            Ok(count) if count == wanted => {
                self.size.fetch_add(count as u64, Ordering::Relaxed);
                Ok(())
            }
            Ok(count) => {
                self.size.fetch_add(count as u64, Ordering::Relaxed);
                self.partial_line.store(partial_line || count > 0, Ordering::Relaxed);
                Err(io::Error::new(io::ErrorKind::StorageFull, "only part of the line was written"))
            }
            Err(error) => {
                self.partial_line.fetch_or(partial_line, Ordering::Relaxed);
                self.failed.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    /// Starts the next file when a limit is reached, and reopens the file if it is gone.
    fn maintain(&self, now: i64, more: u64) {
        let may_rotate = !self.is_shared.load(Ordering::Relaxed);
        if may_rotate && self.is_full(more) {
            return self.replace(now, Why::Full(more));
        }
        let last_check = self.last_check.load(Ordering::Relaxed);
        // Only one of several threads does the check.
        if (0..ROTATION_CHECK_INTERVAL_NS).contains(&now.saturating_sub(last_check))
            || self
                .last_check
                .compare_exchange(last_check, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        self.opened_at.fetch_min(now, Ordering::Relaxed);
        let age = now.saturating_sub(self.opened_at.load(Ordering::Relaxed));
        let is_old = self.rotation.age.is_some_and(|most| age >= nanos(most));
        if may_rotate && is_old && self.size.load(Ordering::Relaxed) > 0 {
            self.replace(now, Why::Old);
        } else if self.failed.swap(false, Ordering::Relaxed) || self.is_gone() {
            self.replace(now, Why::Gone);
        }
    }

    /// Returns whether the path names another file or none.
    fn is_gone(&self) -> bool {
        let (named, own) = (fs::metadata(&self.path), self.file.load().metadata());
        !matches!((named, own), (Ok(named), Ok(own)) if (named.dev(), named.ino()) == (own.dev(), own.ino()))
    }

    /// Returns whether adding `more` bytes would exceed the maximum size.
    fn is_full(&self, more: u64) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        self.rotation.size.is_some_and(|most| size > 0 && size + more > most)
    }

    /// Replaces the file, rotating it first if it reached a limit.
    ///
    /// If that fails, writes go on to the old file.
    fn replace(&self, now: i64, why: Why) {
        let replacing = self.replacing.load();
        let Ok(_held) = replacing.try_lock() else { return };
        let is_free = match why {
            // Another thread may have been faster.
            Why::Full(more) if !self.is_full(more) => return,
            Why::Full(_) | Why::Old => self.is_gone() || self.rotate().is_ok(),
            Why::Gone => true,
        };
        if is_free && let Ok(file) = open(&self.path) {
            self.size.store(file.metadata().map_or(0, |data| data.len()), Ordering::Relaxed);
            self.opened_at.store(now, Ordering::Relaxed);
            self.file.store(Arc::new(file));
        }
    }

    /// Renames the file to `PATH.1`, `PATH.1` to `PATH.2`, and so on.
    fn rotate(&self) -> io::Result<()> {
        let name = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let mut last = 1;
        while self.rotation.keep.is_none_or(|keep| last < keep) && name(last).exists() {
            last += 1;
        }
        for number in (1..last).rev() {
            fs::rename(name(number), name(number + 1))?;
        }
        if self.rotation.keep == Some(0) {
            fs::remove_file(&self.path)
        } else {
            fs::rename(&self.path, name(1))
        }
    }

    /// Leaves rotation to the parent: only one of the two processes may rotate the file.
    pub(crate) fn after_fork(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
        // A lock that another thread held during the fork is never released.
        self.replacing.store(Arc::default());
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Without `O_NONBLOCK`, opening a pipe blocks until it has a reader.
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Converts a duration to nanoseconds, saturating at `i64::MAX`.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn rotates_by_size_and_age() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/run.log");
        let rotation =
            Rotation { size: Some(10), age: Some(Duration::from_secs(60)), keep: Some(2) };
        let sink = FileSink::open(&path, rotation).unwrap();
        for (at, line) in ["one..\n", "two..\n", "three\n", "four.\n"].iter().enumerate() {
            sink.write(line.as_bytes(), i64::try_from(at).unwrap()).unwrap();
        }
        assert_eq!(
            (read(&path), read(&path.with_extension("log.1")), read(&path.with_extension("log.2"))),
            ("four.\n".into(), "three\n".into(), "two..\n".into())
        );
        assert!(!path.with_extension("log.3").exists(), "the oldest file is removed");
        let sink = FileSink::open(
            &path,
            Rotation { age: Some(Duration::from_secs(60)), ..Rotation::default() },
        )
        .unwrap();
        for (second, line) in [(1, "a\n"), (30, "b\n"), (62, "c\n")] {
            sink.write(line.as_bytes(), second * SECOND).unwrap();
        }
        assert_eq!(
            (read(&path), read(&path.with_extension("log.1"))),
            ("c\n".into(), "four.\na\nb\n".into())
        );
    }

    #[test]
    fn concurrent_rotations_rotate_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        let sink = FileSink::open(
            &path,
            Rotation { size: Some(10), keep: Some(1), ..Rotation::default() },
        )
        .unwrap();
        sink.write(b"one......\n", 1).unwrap();
        // Both threads saw that the file was full.
        sink.replace(2, Why::Full(4));
        sink.replace(2, Why::Full(4));
        sink.write(b"two\n", 3).unwrap();
        assert_eq!(
            (read(&path.with_extension("log.1")), read(&path)),
            ("one......\n".into(), "two\n".into())
        );
    }

    #[test]
    fn moved_or_removed_file_is_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        let sink = FileSink::open(&path, Rotation::default()).unwrap();
        sink.write(b"one\n", SECOND).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        sink.write(b"two\n", SECOND + 1).unwrap();
        sink.write(b"three\n", 3 * SECOND).unwrap();
        assert_eq!(
            (read(&folder.path().join("moved")), read(&path)),
            ("one\ntwo\n".into(), "three\n".into())
        );
        fs::remove_file(&path).unwrap();
        sink.write(b"four\n", 5 * SECOND).unwrap();
        assert_eq!(read(&path), "four\n");
    }

    #[test]
    fn pipe_is_rejected() {
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let error = FileSink::open(Path::new(&path), Rotation::default()).unwrap_err();
        assert!(error.to_string().contains("the path is a pipe"), "{error}");
        drop(reader);
    }

    #[test]
    fn full_disk_is_an_error() {
        // Writes to `/dev/full` fail as on a full disk.
        let sink = FileSink::open(Path::new("/dev/full"), Rotation::default()).unwrap();
        assert_eq!(sink.write(b"one\n", 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            sink.write(b"two\n", 5 * SECOND).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
