//! Files that are written to as memory: a record is one copy, and no call into the kernel.
#![expect(
    unsafe_code,
    reason = "a mapped file has no other door; measured: a tenth of what write(2) costs"
)]

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use memmap2::{Advice, MmapRaw};

use super::file::nanos;
use super::{PATIENCE_WITH_DISKS, Rotation, held, make_folder_of};
use crate::lane::Apart;
use crate::room;

/// How long a file is where nobody says.
const SIZE: u64 = 16 << 20;

/// The shortest file that is made.
const LEAST: u64 = 64 << 10;

/// Where lines go that nobody may write any more: behind every end, and far from an overflow.
const SHUT: u64 = u64::MAX / 2;

/// How long after a failure the next file is tried, in nanoseconds.
const RETRY: i64 = 1_000_000_000;

/// Mapped files, one after the other.
#[derive(Debug)]
pub(crate) struct MappedSink {
    path: PathBuf,
    size: u64,
    age: Option<Duration>,
    keep: Option<usize>,
    segment: ArcSwap<Segment>,
    /// Files that were made: each has a number of its own, whoever makes it.
    count: Arc<AtomicU64>,
    /// When the last one was made, and when that failed last.
    begun: AtomicI64,
    failed: AtomicI64,
    closed: Arc<AtomicBool>,
    /// Held while the file is replaced: those that are full, the oldest first.
    full: ArcSwap<Mutex<VecDeque<PathBuf>>>,
    /// The next file, made ready ahead of time.
    ready: ArcSwap<Ready>,
}

/// A file that is made ready, or is there.
#[derive(Debug, Default)]
struct Ready {
    segment: Mutex<Option<Segment>>,
    /// A thread is at it.
    is_made: AtomicBool,
}

/// One of them.
#[derive(Debug)]
struct Segment {
    map: MmapRaw,
    file: File,
    path: PathBuf,
    /// Where the next line goes.
    next: Apart<AtomicU64>,
    /// Where the first line would have gone that found no room.
    full_at: AtomicU64,
}

impl Segment {
    fn new(path: PathBuf, size: u64) -> io::Result<Self> {
        let (file, map) = room::make(&path, size)?;
        Ok(Self { map, file, path, next: Apart::default(), full_at: AtomicU64::new(u64::MAX) })
    }

    /// Whoever comes later finds no room; where the next line would have gone.
    fn shut(&self) -> u64 {
        self.next.0.swap(SHUT, Ordering::Relaxed)
    }

    /// Whether it is shut: a forked process's parent goes on with it, or it is cut.
    fn is_shut(&self) -> bool {
        self.next.0.load(Ordering::Relaxed) >= SHUT
    }

    /// Has the kernel find memory for all of it: to find it line by line costs more than to write them.
    fn populate(&self) {
        // Before Linux 5.14 there is no such advice, and nothing but speed depends on it.
        let _ = self.map.advise(Advice::PopulateWrite);
    }

    /// Writes a line; whether there was room.
    #[inline]
    fn write(&self, line: &[u8]) -> bool {
        let length = line.len() as u64;
        let begin = self.next.0.fetch_add(length, Ordering::Relaxed);
        let size = self.map.len() as u64;
        let Some(place) = usize::try_from(begin)
            .ok()
            .filter(|_| begin.checked_add(length).is_some_and(|end| end <= size))
        else {
            self.full_at.fetch_min(begin, Ordering::Relaxed);
            return false;
        };
        // SAFETY: `place..place + line.len()` lies in the map (checked above) and in the file, which nobody makes shorter than
        // what was handed out (`finish` cuts at `end`). `fetch_add` gives every range to one writer, and nothing reads the map.
        // `line` is this process's own memory and cannot overlap it.
        unsafe {
            std::ptr::copy_nonoverlapping(
                line.as_ptr(),
                self.map.as_mut_ptr().add(place),
                line.len(),
            )
        };
        true
    }

    /// Nobody wrote to it.
    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Takes no more lines, and cuts off the room that is left.
    fn finish(&self) {
        let end = self.shut().min(self.full_at.load(Ordering::Relaxed)).min(self.map.len() as u64);
        self.full_at.fetch_min(end, Ordering::Relaxed);
        let _ = self.file.set_len(end);
    }
}

impl MappedSink {
    pub(crate) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        make_folder_of(path)?;
        let size = rotation.size.unwrap_or(SIZE).max(LEAST);
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
            begun: AtomicI64::new(i64::MAX),
            failed: AtomicI64::new(i64::MIN),
            closed: Arc::default(),
            full: ArcSwap::default(),
            ready: ArcSwap::default(),
        };
        sink.make_ready();
        Ok(sink)
    }

    /// Makes a file ready on a thread that does nothing else. Where that fails it is made when it is needed.
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
                if let Ok(mut ready) = held(&ready.segment, PATIENCE_WITH_DISKS)
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
        let begun = self.begun.load(Ordering::Relaxed);
        if begun == i64::MAX {
            let _ = self.begun.compare_exchange(begun, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        now.saturating_sub(begun)
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
        let mut full_ones = held(&lock, PATIENCE_WITH_DISKS)?;
        // Another thread may have been quicker.
        let current = self.segment.load();
        if !Arc::ptr_eq(&current, full) && current.write(line) {
            return Ok(());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the sink is closed"));
        }
        // A clock that was turned back makes nobody wait.
        let is_early =
            (0..RETRY).contains(&now.saturating_sub(self.failed.load(Ordering::Relaxed)));
        let next = match if is_early {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no room for the next mapped file"))
        } else {
            self.begin(now)
        } {
            Ok(next) => next,
            // It may be old, and not full.
            Err(_) if current.write(line) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Before anybody else may fill it.
        let is_written = next.write(line);
        self.segment.store(next);
        self.make_ready();
        // The parent's is not this process's to cut, or to remove.
        if !current.is_shut() {
            current.finish();
            full_ones.push_back(current.path.clone());
        }
        while self.keep.is_some_and(|keep| full_ones.len() > keep) {
            let _ = full_ones.pop_front().map(fs::remove_file);
        }
        if is_written { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    /// The next file.
    fn begin(&self, now: i64) -> io::Result<Arc<Segment>> {
        let ready = self.ready.load().segment.try_lock().ok().and_then(|mut ready| ready.take());
        let made = ready.map_or_else(|| make(&self.path, &self.count, self.size), Ok);
        let next = Arc::new(made.inspect_err(|_| self.failed.store(now, Ordering::Relaxed))?);
        self.begun.store(now, Ordering::Relaxed);
        Ok(next)
    }

    /// A process that was forked writes to files of its own. Whatever another thread held at that moment nobody gives back.
    pub(crate) fn after_fork(&self) {
        // First of all nothing more goes to the parent's.
        self.segment.load().shut();
        self.full.store(Arc::default());
        self.ready.store(Arc::default());
        self.count.store(0, Ordering::Relaxed);
        self.begun.store(i64::MAX, Ordering::Relaxed);
        self.failed.store(i64::MIN, Ordering::Relaxed);
        // Where there is no room yet, the first line that is written tries again.
        if let Ok(first) = make(&self.path, &self.count, self.size) {
            self.segment.store(Arc::new(first));
            self.make_ready();
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let segment = self.segment.load();
        // A forked process that has none of its own yet leaves its parent's alone.
        if segment.is_shut() {
            return;
        }
        segment.finish();
        if segment.file.metadata().is_ok_and(|data| data.len() == 0) {
            segment.remove();
        }
        // One that is being made goes when it is ready.
        if let Ok(mut ready) = held(&self.ready.load().segment, PATIENCE_WITH_DISKS)
            && let Some(segment) = ready.take()
        {
            segment.remove();
        }
    }
}

/// Makes the next file of that name that nobody has made: in a container every process may have the number of the one before it.
fn make(path: &Path, count: &AtomicU64, size: u64) -> io::Result<Segment> {
    loop {
        let made = Segment::new(name(path, count.fetch_add(1, Ordering::Relaxed) + 1), size);
        if !made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            return made;
        }
    }
}

/// `PATH.PID.NUMBER`.
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
        // One that is just being made ready holds zeros yet, and goes by itself.
        names
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .filter(|text| !text.starts_with('\0'))
            .collect()
    }

    #[test]
    fn lines_of_many_threads_lie_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let sink = MappedSink::open(
            &folder.path().join("run.log"),
            Rotation { size: Some(LEAST), ..Rotation::default() },
        )
        .unwrap();
        let line = |thread: usize, at: usize| format!("{thread} {at} {}\n", "x".repeat(at % 90));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    (0..2_000).for_each(|at| sink.write(line(thread, at).as_bytes(), 0).unwrap())
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
    fn old_files_go_and_old_age_begins_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let rotation =
            Rotation { size: Some(LEAST), age: Some(Duration::from_secs(1)), keep: Some(1) };
        let sink = MappedSink::open(&folder.path().join("run.log"), rotation).unwrap();
        for (second, line) in ["one\n", "two\n", "three\n"].iter().enumerate() {
            sink.write(line.as_bytes(), i64::try_from(second * 2).unwrap() * RETRY).unwrap();
        }
        sink.close();
        assert_eq!(files(folder.path()), ["two\n", "three\n"]);
    }

    #[test]
    fn what_finds_no_room_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let sink = MappedSink::open(
            &folder.path().join("run.log"),
            Rotation { size: Some(LEAST), ..Rotation::default() },
        )
        .unwrap();
        assert!(sink.write(&vec![b'x'; 1 << 20], 0).is_err());
        // The folder is gone: no next file, and the next try a second later.
        fs::remove_dir_all(folder.path()).unwrap();
        let line = vec![b'x'; 40_000];
        assert!(sink.write(&line, 0).is_err() || sink.write(&line, 0).is_err());
        assert_eq!(sink.write(&line, 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        fs::create_dir_all(folder.path()).unwrap();
        sink.write(&line, 2 * RETRY).unwrap();
    }
}
