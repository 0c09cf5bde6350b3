//! Input that is copied into one source as it arrives.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::archive::{ExpansionLimit, is_packed};
use super::probe::SAMPLE_BYTES;
use super::wakeup::Wakeup;
use super::{Bytes, Source, Sources, find};
use crate::envelope::is_newest_first;

/// Input that is copied into one source.
#[derive(Debug)]
pub(super) struct SpooledInput {
    name: String,
    from: SpoolInput,
    pub(super) spool: File,
    /// Bytes copied so far. `complete_bytes` counts those in complete lines.
    copied: u64,
    pub(super) complete_bytes: u64,
    began: Option<Instant>,
    pub(super) last_growth: Instant,
    pub(super) finished: bool,
    pub(super) mode: ReadMode,
}

/// How the bytes of an input are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// Not known yet: more bytes are needed.
    Unknown,
    /// As they arrive, into the source with this index.
    Streaming(usize),
    /// After the end of the input, because it is packed or ordered newest first.
    Deferred,
    /// All bytes were read.
    Done,
}

#[derive(Debug)]
pub(super) enum SpoolInput {
    Pipe(Arc<PipeState>),
    /// Log: the file that its path last led to, the identity of that file, and the bytes of it that
    /// were copied.
    Log {
        path: PathBuf,
        file: File,
        id: (u64, u64),
        at: u64,
    },
}

/// State of a pipe, updated by its thread.
#[derive(Debug, Default)]
pub(super) struct PipeState {
    copied: AtomicU64,
    finished: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

/// Maximum wait for a followed source to have enough bytes to show how it is read.
const DETECT_TIMEOUT: Duration = Duration::from_millis(200);

/// Maximum bytes that are copied from a log before the next input is polled.
const MAX_COPY_PER_POLL_BYTES: u64 = 64 << 20;

impl SpooledInput {
    pub(super) fn new(name: &str, from: SpoolInput) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            from,
            spool: tempfile::tempfile()?,
            copied: 0,
            complete_bytes: 0,
            began: None,
            last_growth: Instant::now(),
            finished: false,
            mode: ReadMode::Unknown,
        })
    }

    /// Creates the input for a log that may grow; `None` if it is packed or not a regular file.
    pub(super) fn of_log(path: &Path) -> io::Result<Option<Self>> {
        if !path.metadata()?.is_file() {
            return Ok(None);
        }
        let (file, name) = (File::open(path)?, path.display().to_string());
        if is_packed(&Source::new(
            name.clone(),
            file.metadata()?.len(),
            Bytes::Path(path.to_path_buf()),
        ))? {
            return Ok(None);
        }
        let from = SpoolInput::Log { path: path.to_path_buf(), id: id_of(&file)?, file, at: 0 };
        Self::new(&name, from).map(Some)
    }

    /// Continues with the log that now has the path, if it was rotated.
    pub(super) fn reopen_if_rotated(&mut self, sources: &mut Sources) {
        let SpoolInput::Log { path, id, .. } = &self.from else { return };
        if self.finished {
            return;
        }
        let Ok(next) = File::open(path) else { return };
        let Ok(next_id) = id_of(&next) else { return };
        if next_id == *id {
            return;
        }
        self.copy(sources, u64::MAX);
        if let Err(error) = self.end_line() {
            self.fail_input(sources, &error);
        }
        if let SpoolInput::Log { file, id, at, .. } = &mut self.from {
            (*file, *id, *at) = (next, next_id, 0);
        }
    }

    /// Reads new bytes into the source, which is created once its kind is known.
    pub(super) fn poll(&mut self, sources: &mut Sources, follows: bool) {
        if self.mode == ReadMode::Done {
            return;
        }
        self.copy(sources, MAX_COPY_PER_POLL_BYTES);
        if self.mode == ReadMode::Unknown {
            self.detect_mode(sources, follows);
        }
        match self.mode {
            ReadMode::Streaming(index) => {
                self.complete_bytes =
                    if self.finished { self.copied } else { self.last_line_end() };
                if let Some(source) = sources.read.get_mut(index) {
                    source.size = self.complete_bytes;
                }
            }
            ReadMode::Deferred if self.finished => {
                self.mode = ReadMode::Done;
                match self.source().and_then(|source| find(source, ExpansionLimit::LOGS)) {
                    Ok(found) => sources.add(found),
                    Err(error) => sources.record_error(Path::new(&self.name), &error),
                }
            }
            ReadMode::Unknown | ReadMode::Deferred | ReadMode::Done => {}
        }
    }

    /// Records how many bytes arrived; copies up to `most` bytes of a log.
    fn copy(&mut self, sources: &mut Sources, most: u64) {
        if self.finished {
            return;
        }
        let before = self.copied;
        if let SpoolInput::Pipe(pipe_state) = &self.from {
            // Load in this order, so that bytes written before the end are not missed.
            self.finished = pipe_state.finished.load(Ordering::Acquire);
            self.copied = pipe_state.copied.load(Ordering::Acquire);
            if self.finished {
                if let Some(error) = pipe_state.error.lock().ok().and_then(|mut error| error.take())
                {
                    self.fail_input(sources, &error);
                } else if self.copied == 0 && self.name != super::STDIN {
                    self.mode = ReadMode::Done;
                    self.fail_input(sources, &io::Error::other("pipe has no writer"));
                }
            }
        } else if let Err(error) = self.copy_log(most) {
            self.fail_input(sources, &error);
        }
        if self.copied > before {
            self.last_growth = Instant::now();
            self.began.get_or_insert(self.last_growth);
        }
    }

    fn copy_log(&mut self, most: u64) -> io::Result<()> {
        let SpoolInput::Log { file, at, .. } = &mut self.from else { return Ok(()) };
        let size = file.metadata()?.len();
        if size < *at {
            *at = 0;
            self.end_line()?;
        }
        let SpoolInput::Log { file, at, .. } = &mut self.from else { return Ok(()) };
        let mut left = size.saturating_sub(*at).min(most);
        if left == 0 {
            return Ok(());
        }
        let mut block = vec![0; usize::try_from(left.min(1 << 20)).unwrap_or(1 << 20)];
        while left > 0 {
            let filled = match file.read_at(&mut block, *at) {
                Ok(0) => break,
                Ok(filled) => filled,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.spool
                .write_all(block.get(..filled).unwrap_or_default())
                .map_err(|error| spool_error(&error))?;
            *at += filled as u64;
            self.copied += filled as u64;
            left = left.saturating_sub(filled as u64);
        }
        Ok(())
    }

    /// Stops reading and records the error.
    fn fail_input(&mut self, sources: &mut Sources, error: &io::Error) {
        self.finished = true;
        sources.record_error(Path::new(&self.name), error);
    }

    /// Terminates an unfinished line before text that does not belong to it.
    fn end_line(&mut self) -> io::Result<()> {
        let mut last = [0];
        if self.copied == 0
            || self.spool.read_at(&mut last, self.copied - 1)? == 0
            || last == *b"\n"
        {
            return Ok(());
        }
        self.spool.write_all(b"\n").map_err(|error| spool_error(&error))?;
        self.copied += 1;
        Ok(())
    }

    /// Decides from the first bytes how the input is read.
    fn detect_mode(&mut self, sources: &mut Sources, follows: bool) {
        let has_enough = self.copied >= SAMPLE_BYTES as u64 || self.finished;
        let is_due = follows && self.began.is_some_and(|began| began.elapsed() >= DETECT_TIMEOUT);
        if !has_enough && !is_due {
            return;
        }
        let mut sample =
            vec![0; SAMPLE_BYTES.min(usize::try_from(self.copied).unwrap_or(SAMPLE_BYTES))];
        let filled = self.spool.read_at(&mut sample, 0).unwrap_or(0);
        let sample = sample.get(..filled).unwrap_or_default();
        match self.source() {
            Ok(source)
                if is_packed(&source).unwrap_or(false) || !follows && is_newest_first(sample) =>
            {
                self.mode = ReadMode::Deferred;
            }
            Ok(source) => {
                self.mode = ReadMode::Streaming(sources.read.len());
                sources.read.push(Source { size: 0, ..source });
            }
            Err(error) => {
                self.mode = ReadMode::Done;
                self.fail_input(sources, &error);
            }
        }
    }

    fn source(&self) -> io::Result<Source> {
        Ok(Source::new(self.name.clone(), self.copied, Bytes::Spool(self.spool.try_clone()?)))
    }

    /// Returns the offset at which the last complete line ends.
    fn last_line_end(&self) -> u64 {
        let mut block = [0; 16 * 1024];
        let mut end = self.copied;
        while end > self.complete_bytes {
            let start = end.saturating_sub(block.len() as u64).max(self.complete_bytes);
            let wanted =
                block.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
            let filled = self.spool.read_at(wanted, start).unwrap_or(0);
            if let Some(found) = memchr::memrchr(b'\n', wanted.get(..filled).unwrap_or_default()) {
                return start + found as u64 + 1;
            }
            end = start;
        }
        self.complete_bytes
    }
}

fn spool_error(error: &io::Error) -> io::Error {
    io::Error::other(format!(
        "failed to copy input to a temporary file ({}): {error}",
        std::env::temp_dir().display()
    ))
}

/// Returns the device and inode that distinguish a file from another that takes over its path.
fn id_of(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|data| (data.dev(), data.ino()))
}

/// Copies a pipe to a file until the pipe ends.
pub(super) fn spool_pipe(
    mut pipe: impl Read,
    mut spool: File,
    pipe_state: &PipeState,
    wakeup: &Wakeup,
) {
    let mut block = vec![0; 1 << 18];
    let end = loop {
        match pipe.read(&mut block) {
            Ok(0) => break Ok(()),
            Ok(filled) => {
                if let Err(error) = spool.write_all(block.get(..filled).unwrap_or_default()) {
                    break Err(spool_error(&error));
                }
                pipe_state.copied.fetch_add(filled as u64, Ordering::Release);
                wakeup.notify();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    if let (Err(error), Ok(mut pipe_state)) = (end, pipe_state.error.lock()) {
        *pipe_state = Some(error);
    }
    pipe_state.finished.store(true, Ordering::Release);
    wakeup.notify();
}
