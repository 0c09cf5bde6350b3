//! Memory-mapped files: a record is written with one copy and no system call.
#![expect(
    unsafe_code,
    reason = "mapped memory can only be written through raw pointers; measured: a tenth of the cost of write(2)"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use memmap2::{Advice, MmapRaw};

use super::file::nanos;
use super::{DISK_WAIT_TIMEOUT, Rotation, lock_timeout, make_folder_of};
use crate::mmap;

/// Default size of a file, in bytes.
const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;

/// Minimum size of a file, in bytes.
const MIN_SEGMENT_BYTES: u64 = 64 << 10;

/// Next offset of a closed file: beyond every end, and far from an overflow.
const CLOSED_OFFSET: u64 = u64::MAX / 2;

/// Delay between a failure and the next attempt to start a file, in nanoseconds.
const RETRY_INTERVAL_NS: i64 = 1_000_000_000;

/// Sequence of mapped files.
#[derive(Debug)]
pub(crate) struct MappedSink {
    path: PathBuf,
    size: u64,
    age: Option<Duration>,
    keep: Option<usize>,
    segment: ArcSwap<Segment>,
    /// Number of files made so far; shared, so that each file gets a number of its own.
    count: Arc<AtomicU64>,
    /// When the last file was started, and when starting one last failed.
    opened_at: AtomicI64,
    failed: AtomicI64,
    closed: Arc<AtomicBool>,
    /// Full files, oldest first; locked while the current file is replaced.
    full: ArcSwap<Mutex<VecDeque<PathBuf>>>,
    /// Next file, prepared ahead of time.
    ready: ArcSwap<Ready>,
}

/// File that is prepared, or being prepared.
#[derive(Debug, Default)]
struct Ready {
    segment: Mutex<Option<Segment>>,
    /// Whether a thread is preparing the file.
    is_made: AtomicBool,
}

/// One mapped file.
#[derive(Debug)]
struct Segment {
    map: MmapRaw,
    file: File,
    path: PathBuf,
    /// Offset of the next line.
    next: CachePadded<AtomicU64>,
    /// Offset of the first line that did not fit.
    full_at: AtomicU64,
}

impl Segment {
    fn new(path: PathBuf, size: u64) -> io::Result<Self> {
        let (file, map) = mmap::make(&path, size)?;
        Ok(Self {
            map,
            file,
            path,
            next: CachePadded::default(),
            full_at: AtomicU64::new(u64::MAX),
        })
    }

    /// Closes the segment to further lines, and returns the offset of the next line.
    fn close_segment(&self) -> u64 {
        self.next.swap(CLOSED_OFFSET, Ordering::Relaxed)
    }

    /// Returns whether the segment is closed: it was truncated, or it belongs to the parent of this
    /// forked process.
    fn is_closed(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= CLOSED_OFFSET
    }

    /// Allocates all of its memory: page faults during writes cost more than the writes themselves.
    fn populate(&self) {
        // Linux before 5.14 lacks this advice, and only speed depends on it.
        let _ = self.map.advise(Advice::PopulateWrite);
    }

    /// Writes a line; returns whether it fit.
    #[inline]
    fn write(&self, line: &[u8]) -> bool {
        let length = line.len() as u64;
        let begin = self.next.fetch_add(length, Ordering::Relaxed);
        let size = self.map.len() as u64;
        let Some(place) = usize::try_from(begin)
            .ok()
            .filter(|_| begin.checked_add(length).is_some_and(|end| end <= size))
        else {
            self.full_at.fetch_min(begin, Ordering::Relaxed);
            return false;
        };
        // SAFETY: `place..place + line.len()` is within the map (checked above) and within the
        // file, which is never truncated below the ranges handed out (`finish` cuts at `end`).
        // `fetch_add` gives every range to exactly one writer, and nothing reads the map. `line` is
        // memory of the process itself and cannot overlap the map.
        unsafe {
            std::ptr::copy_nonoverlapping(
                line.as_ptr(),
                self.map.as_mut_ptr().add(place),
                line.len(),
            );
        };
        true
    }

    /// Deletes the file, which has no lines.
    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Closes the segment, and truncates the unused space of its file.
    fn finish(&self) {
        let end = self
            .close_segment()
            .min(self.full_at.load(Ordering::Relaxed))
            .min(self.map.len() as u64);
        self.full_at.fetch_min(end, Ordering::Relaxed);
        let _ = self.file.set_len(end);
    }
}

impl MappedSink {
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        make_folder_of(path)?;
        let size = rotation.size.unwrap_or(DEFAULT_SEGMENT_BYTES).max(MIN_SEGMENT_BYTES);
        let count = Arc::default();
        let first = make(path, &count, size)?;
        first.populate();
        let sink = Self {
            path: path.to_owned(),
            size,
            age: rotation.age,
            keep: rotation.keep,
            segment: ArcSwap::from_pointee(first),
            count,
            opened_at: AtomicI64::new(i64::MAX),
            failed: AtomicI64::new(i64::MIN),
            closed: Arc::default(),
            full: ArcSwap::default(),
            ready: ArcSwap::default(),
        };
        sink.make_ready();
        Ok(sink)
    }

    /// Prepares the next file on a separate thread.
    ///
    /// If that fails, the file is made when it is needed.
    fn make_ready(&self) {
        let ready = self.ready.load_full();
        if ready.is_made.swap(true, Ordering::Relaxed) {
            return;
        }
        let (closed, count) = (Arc::clone(&self.closed), Arc::clone(&self.count));
        let (path, size) = (self.path.clone(), self.size);
        let make = move || {
            if let Ok(segment) = make(&path, &count, size) {
                segment.populate();
                if let Ok(mut ready) = lock_timeout(&ready.segment, DISK_WAIT_TIMEOUT)
                    && !closed.load(Ordering::Relaxed)
                    && ready.is_none()
                {
                    *ready = Some(segment);
                } else {
                    segment.remove();
                }
            }
            ready.is_made.store(false, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("flowlog-segment".to_owned()).spawn(make).is_err() {
            self.ready.load().is_made.store(false, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn write(&self, line: &[u8], now: i64) -> io::Result<()> {
        let segment = self.segment.load();
        let is_old = self.age.is_some_and(|age| self.age_at(now) >= nanos(age));
        if !is_old && segment.write(line) {
            return Ok(());
        }
        self.write_to_next(&segment, line, now)
    }

    fn age_at(&self, now: i64) -> i64 {
        let opened_at = self.opened_at.load(Ordering::Relaxed);
        if opened_at == i64::MAX {
            let _ = self.opened_at.compare_exchange(
                opened_at,
                now,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        now.saturating_sub(opened_at)
    }

    #[cold]
    fn write_to_next(&self, full: &Arc<Segment>, line: &[u8], now: i64) -> io::Result<()> {
        if line.len() as u64 > self.size {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the line is longer than a mapped file",
            ));
        }
        let lock = self.full.load_full();
        let mut full_ones = lock_timeout(&lock, DISK_WAIT_TIMEOUT)?;
        // Another thread may have been faster.
        let current = self.segment.load();
        if !Arc::ptr_eq(&current, full) && current.write(line) {
            return Ok(());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the sink is closed"));
        }
        // A clock that was set back does not prolong the delay.
        let is_early = (0..RETRY_INTERVAL_NS)
            .contains(&now.saturating_sub(self.failed.load(Ordering::Relaxed)));
        let next = match if is_early {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space for the next mapped file"))
        } else {
            self.begin(now)
        } {
            Ok(next) => next,
            // The current file may have reached its maximum age without being full.
            Err(_) if current.write(line) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Write the line before other threads can fill the file.
        let is_written = next.write(line);
        self.segment.store(next);
        self.make_ready();
        // A closed segment belongs to the parent process, which truncates and removes it.
        if !current.is_closed() {
            current.finish();
            full_ones.push_back(current.path.clone());
        }
        while self.keep.is_some_and(|keep| full_ones.len() > keep) {
            let _ = full_ones.pop_front().map(fs::remove_file);
        }
        if is_written { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// Returns the next file, prepared ahead of time or made now.
    fn begin(&self, now: i64) -> io::Result<Arc<Segment>> {
        let ready = self.ready.load().segment.try_lock().ok().and_then(|mut ready| ready.take());
        let made = ready.map_or_else(|| make(&self.path, &self.count, self.size), Ok);
        let next = Arc::new(made.inspect_err(|_| self.failed.store(now, Ordering::Relaxed))?);
        self.opened_at.store(now, Ordering::Relaxed);
        Ok(next)
    }

    /// Gives a forked process files and locks of its own.
    ///
    /// A lock that another thread held during the fork is never released.
    pub(crate) fn after_fork(&self) {
        // First of all, stop writing to the parent's file.
        self.segment.load().close_segment();
        self.full.store(Arc::default());
        self.ready.store(Arc::default());
        self.count.store(0, Ordering::Relaxed);
        self.opened_at.store(i64::MAX, Ordering::Relaxed);
        self.failed.store(i64::MIN, Ordering::Relaxed);
        // If there is no space yet, the first write tries again.
        if let Ok(first) = make(&self.path, &self.count, self.size) {
            self.segment.store(Arc::new(first));
            self.make_ready();
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let segment = self.segment.load();
        // A forked process without a file of its own does not touch its parent's.
        if segment.is_closed() {
            return;
        }
        segment.finish();
        if segment.file.metadata().is_ok_and(|data| data.len() == 0) {
            segment.remove();
        }
        // A file that is still being prepared is removed by the thread that prepares it.
        if let Ok(mut ready) = lock_timeout(&self.ready.load().segment, DISK_WAIT_TIMEOUT)
            && let Some(segment) = ready.take()
        {
            segment.remove();
        }
    }
}

/// Makes the file with the next unused number: in a container, a process may have the PID of its
/// predecessor.
fn make(path: &Path, count: &AtomicU64, size: u64) -> io::Result<Segment> {
    loop {
        let made = Segment::new(name(path, count.fetch_add(1, Ordering::Relaxed) + 1), size);
        if !made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            return made;
        }
    }
}

/// Returns `PATH.PID.NUMBER`.
fn name(path: &Path, number: u64) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{}.{number:06}", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        // A file that is still being prepared holds zeros, and is removed by its thread.
        names
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter(|text| !text.starts_with('\0'))
            .collect()
    }

    #[test]
    fn lines_of_concurrent_threads_do_not_overlap() {
        let folder = tempfile::tempdir().unwrap();
        let sink = MappedSink::open(
            &folder.path().join("run.log"),
            Rotation { size: Some(MIN_SEGMENT_BYTES), ..Rotation::default() },
        )
        .unwrap();
        let line = |thread: usize, at: usize| format!("{thread} {at} {}\n", "x".repeat(at % 90));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    (0..2_000).for_each(|at| sink.write(line(thread, at).as_bytes(), 0).unwrap());
                });
            }
        });
        sink.close();
        assert!(sink.write(b"late\n", 0).is_err());
        let files = files(folder.path());
        assert!(files.len() > 3, "{}", files.len());
        let mut lines: Vec<&str> =
            files.iter().flat_map(|file| file.split_inclusive('\n')).collect();
        let mut expected: Vec<String> =
            (0..4).flat_map(|thread| (0..2_000).map(move |at| line(thread, at))).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        assert!(lines == expected, "{} lines of {}", lines.len(), expected.len());
    }

    #[test]
    fn rotates_by_age_and_removes_old_files() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            size: Some(MIN_SEGMENT_BYTES),
            age: Some(Duration::from_secs(1)),
            keep: Some(1),
        };
        let sink = MappedSink::open(&folder.path().join("run.log"), rotation).unwrap();
        for (second, line) in ["one\n", "two\n", "three\n"].iter().enumerate() {
            sink.write(line.as_bytes(), i64::try_from(second * 2).unwrap() * RETRY_INTERVAL_NS)
                .unwrap();
        }
        sink.close();
        assert_eq!(files(folder.path()), ["two\n", "three\n"]);
    }

    #[test]
    fn write_without_space_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let sink = MappedSink::open(
            &folder.path().join("run.log"),
            Rotation { size: Some(MIN_SEGMENT_BYTES), ..Rotation::default() },
        )
        .unwrap();
        assert!(sink.write(&vec![b'x'; 1 << 20], 0).is_err());
        // Without the directory there is no next file, and the next attempt is a second later.
        fs::remove_dir_all(folder.path()).unwrap();
        let line = vec![b'x'; 40_000];
        assert!(sink.write(&line, 0).is_err() || sink.write(&line, 0).is_err());
        assert_eq!(sink.write(&line, 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        fs::create_dir_all(folder.path()).unwrap();
        sink.write(&line, 2 * RETRY_INTERVAL_NS).unwrap();
    }
}
