//! A file, one `write(2)` a record.

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

/// How often it is seen to that the file is still the one of that name, in nanoseconds.
const LOOK: i64 = 1_000_000_000;

/// A file.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    rotation: Rotation,
    file: ArcSwap<File>,
    /// Bytes in it.
    size: AtomicU64,
    /// When it was begun, and when it was looked at last.
    begun: AtomicI64,
    looked: AtomicI64,
    /// The last line was cut short.
    torn: AtomicBool,
    /// A write failed since the file was opened.
    failed: AtomicBool,
    /// It is another process's to rotate.
    is_shared: AtomicBool,
    /// Held while the file is replaced.
    replacing: ArcSwap<Mutex<()>>,
}

/// Why a file is replaced.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// So many bytes more are more than it may hold.
    Full(u64),
    /// It is as old as it may be.
    Old,
    /// Another file has its name, or none, or writing to it failed.
    Gone,
}

impl FileSink {
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        make_folder_of(path)?;
        let file = open(path)?;
        if file.metadata()?.file_type().is_fifo() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a pipe is no file, and writing to it may wait for ever; `stderr` does not",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            rotation,
            size: AtomicU64::new(file.metadata()?.len()),
            file: ArcSwap::from_pointee(file),
            begun: AtomicI64::new(i64::MAX),
            looked: AtomicI64::new(0),
            torn: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            replacing: ArcSwap::default(),
        })
    }

    pub(crate) fn write(&self, line: &[u8], now: i64) -> io::Result<()> {
        self.look_after(now, line.len() as u64);
        let file = self.file.load();
        // What is left of a line that was cut short becomes a line of its own.
        let torn = self.torn.load(Ordering::Relaxed) && self.torn.swap(false, Ordering::Relaxed);
        let parts = [IoSlice::new(if torn { b"\n" } else { b"" }), IoSlice::new(line)];
        let wanted = line.len() + usize::from(torn);
        let wrote = loop {
            let wrote = if torn {
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
                self.torn.store(torn || count > 0, Ordering::Relaxed);
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "the disk took only a part of the line",
                ))
            }
            Err(error) => {
                self.torn.fetch_or(torn, Ordering::Relaxed);
                self.failed.store(true, Ordering::Relaxed);
                Err(error.into())
            }
        }
    }

    /// Begins the next file where it is time, and opens this one anew where it is gone.
    fn look_after(&self, now: i64, more: u64) {
        let may_rotate = !self.is_shared.load(Ordering::Relaxed);
        if may_rotate && self.is_full(more) {
            return self.replace(now, Why::Full(more));
        }
        let looked = self.looked.load(Ordering::Relaxed);
        // One of many threads looks.
        if (0..LOOK).contains(&now.saturating_sub(looked))
            || self
                .looked
                .compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        self.begun.fetch_min(now, Ordering::Relaxed);
        let age = now.saturating_sub(self.begun.load(Ordering::Relaxed));
        let is_old = self.rotation.age.is_some_and(|most| age >= nanos(most));
        if may_rotate && is_old && self.size.load(Ordering::Relaxed) > 0 {
            self.replace(now, Why::Old);
        } else if self.failed.swap(false, Ordering::Relaxed) || self.is_gone() {
            self.replace(now, Why::Gone);
        }
    }

    /// Whether another file has its name, or none.
    fn is_gone(&self) -> bool {
        let (named, own) = (fs::metadata(&self.path), self.file.load().metadata());
        !matches!((named, own), (Ok(named), Ok(own)) if (named.dev(), named.ino()) == (own.dev(), own.ino()))
    }

    /// Whether so many bytes more are more than it may hold.
    fn is_full(&self, more: u64) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        self.rotation.size.is_some_and(|most| size > 0 && size + more > most)
    }

    /// Opens the file anew, under its name a new one if this one is done. Where that fails, the old one is written to.
    fn replace(&self, now: i64, why: Why) {
        let replacing = self.replacing.load();
        let Ok(_held) = replacing.try_lock() else { return };
        let is_free = match why {
            // Another thread may have been quicker.
            Why::Full(more) if !self.is_full(more) => return,
            Why::Full(_) | Why::Old => self.is_gone() || self.rotate().is_ok(),
            Why::Gone => true,
        };
        if is_free && let Ok(file) = open(&self.path) {
            self.size.store(file.metadata().map_or(0, |data| data.len()), Ordering::Relaxed);
            self.begun.store(now, Ordering::Relaxed);
            self.file.store(Arc::new(file));
        }
    }

    /// Moves the file to `PATH.1`, that to `PATH.2`, and so on.
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

    /// One of two processes rotates: the elder.
    pub(crate) fn after_fork(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
        // Whatever another thread held at that moment nobody gives back.
        self.replacing.store(Arc::default());
    }
}

fn open(path: &Path) -> io::Result<File> {
    // To open a pipe that nobody reads would wait for a reader.
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Nanoseconds; the most that there are where they are more.
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
    fn size_and_age_begin_the_next() {
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
        assert!(!path.with_extension("log.3").exists(), "the oldest is gone");
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
    fn who_comes_too_late_to_rotate_does_not_rotate_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        let sink = FileSink::open(
            &path,
            Rotation { size: Some(10), keep: Some(1), ..Rotation::default() },
        )
        .unwrap();
        sink.write(b"one......\n", 1).unwrap();
        // Two threads saw that it was full.
        sink.replace(2, Why::Full(4));
        sink.replace(2, Why::Full(4));
        sink.write(b"two\n", 3).unwrap();
        assert_eq!(
            (read(&path.with_extension("log.1")), read(&path)),
            ("one......\n".into(), "two\n".into())
        );
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_begun_again() {
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
    fn a_pipe_is_no_file() {
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let error = FileSink::open(Path::new(&path), Rotation::default()).unwrap_err();
        assert!(error.to_string().contains("a pipe is no file"), "{error}");
        drop(reader);
    }

    #[test]
    fn a_disk_that_is_full_loses_what_it_does_not_take() {
        // Writing to it fails as on a full disk.
        let sink = FileSink::open(Path::new("/dev/full"), Rotation::default()).unwrap();
        assert_eq!(sink.write(b"one\n", 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            sink.write(b"two\n", 5 * SECOND).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
