//! What is copied into one source, as it comes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::growing::Bell;
use super::look::SAMPLE;
use super::unpack::{Limit, is_packed};
use super::{Bytes, Source, Sources, find};
use crate::envelope::{is_labelled, is_newest_first};

/// What is copied into one source.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    from: Origin,
    pub(super) spool: File,
    /// Bytes that were copied, and how many of them are whole lines.
    copied: u64,
    pub(super) whole: u64,
    began: Option<Instant>,
    pub(super) grew: Instant,
    pub(super) is_over: bool,
    pub(super) reads_as: ReadsAs,
}

/// How a feed's bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadsAs {
    /// Its first bytes do not tell yet.
    Unknown,
    /// As they come, into the source with that index.
    Lines(usize),
    /// When all are there: they are packed, or come newest first.
    Whole,
    /// All were read.
    Nothing,
}

#[derive(Debug)]
pub(super) enum Origin {
    Pipe(Arc<Carried>),
    /// A log: the file that its path led to last, how it is told from the next, and how much of it was copied.
    Log {
        path: PathBuf,
        file: File,
        id: (u64, u64),
        at: u64,
    },
}

/// What a pipe's thread tells.
#[derive(Debug, Default)]
pub(super) struct Carried {
    copied: AtomicU64,
    is_over: AtomicBool,
    error: Mutex<Option<io::Error>>,
}

/// How long a followed source may take to show as many bytes as tell how it is read.
const SHOWS_ITSELF: Duration = Duration::from_millis(200);

/// Most bytes of a log that are copied before others have their turn.
const TURN: u64 = 64 << 20;

impl Feed {
    pub(super) fn new(name: &str, from: Origin) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            from,
            spool: tempfile::tempfile()?,
            copied: 0,
            whole: 0,
            began: None,
            grew: Instant::now(),
            is_over: false,
            reads_as: ReadsAs::Unknown,
        })
    }

    /// Of a log that may grow; none of what is packed or no regular file.
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
        let from = Origin::Log { path: path.to_path_buf(), id: id_of(&file)?, file, at: 0 };
        Self::new(&name, from).map(Some)
    }

    /// Goes on with the log that has the path by now.
    pub(super) fn turn_over(&mut self, sources: &mut Sources) {
        let Origin::Log { path, id, .. } = &self.from else { return };
        if self.is_over {
            return;
        }
        let Ok(next) = File::open(path) else { return };
        let Ok(next_id) = id_of(&next) else { return };
        if next_id == *id {
            return;
        }
        self.copy(sources, u64::MAX);
        if let Err(error) = self.end_line() {
            self.give_up(sources, &error);
        }
        if let Origin::Log { file, id, at, .. } = &mut self.from {
            (*file, *id, *at) = (next, next_id, 0);
        }
    }

    /// Takes in what came, as the source that it is.
    pub(super) fn take_in(&mut self, sources: &mut Sources, follows: bool) {
        if self.reads_as == ReadsAs::Nothing {
            return;
        }
        self.copy(sources, TURN);
        if self.reads_as == ReadsAs::Unknown {
            self.find_out(sources, follows);
        }
        match self.reads_as {
            ReadsAs::Lines(index) => {
                self.whole = if self.is_over { self.copied } else { self.last_line_end() };
                if let Some(source) = sources.read.get_mut(index) {
                    source.size = self.whole;
                }
            }
            ReadsAs::Whole if self.is_over => {
                self.reads_as = ReadsAs::Nothing;
                match self.source().and_then(|source| find(source, Limit::LOGS)) {
                    Ok(found) => sources.add(found),
                    Err(error) => sources.refuse(Path::new(&self.name), &error),
                }
            }
            ReadsAs::Unknown | ReadsAs::Whole | ReadsAs::Nothing => {}
        }
    }

    /// Notes how much came, and of a log copies up to so many bytes.
    fn copy(&mut self, sources: &mut Sources, most: u64) {
        if self.is_over {
            return;
        }
        let before = self.copied;
        if let Origin::Pipe(carried) = &self.from {
            // In this order: what came before the end is not missed.
            self.is_over = carried.is_over.load(Ordering::Acquire);
            self.copied = carried.copied.load(Ordering::Acquire);
            if self.is_over {
                if let Some(error) = carried.error.lock().ok().and_then(|mut error| error.take()) {
                    self.give_up(sources, &error);
                } else if self.copied == 0 && self.name != super::STDIN {
                    self.reads_as = ReadsAs::Nothing;
                    self.give_up(sources, &io::Error::other("a pipe that nobody writes to"));
                }
            }
        } else if let Err(error) = self.copy_log(most) {
            self.give_up(sources, &error);
        }
        if self.copied > before {
            self.grew = Instant::now();
            self.began.get_or_insert(self.grew);
        }
    }

    fn copy_log(&mut self, most: u64) -> io::Result<()> {
        let Origin::Log { file, at, .. } = &mut self.from else { return Ok(()) };
        let size = file.metadata()?.len();
        if size < *at {
            *at = 0;
            self.end_line()?;
        }
        let Origin::Log { file, at, .. } = &mut self.from else { return Ok(()) };
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
                .map_err(|error| not_kept(&error))?;
            *at += filled as u64;
            self.copied += filled as u64;
            left = left.saturating_sub(filled as u64);
        }
        Ok(())
    }

    /// Takes in nothing more, and says why.
    fn give_up(&mut self, sources: &mut Sources, error: &io::Error) {
        self.is_over = true;
        sources.refuse(Path::new(&self.name), error);
    }

    /// Ends a line that has no end, before what is no more of it.
    fn end_line(&mut self) -> io::Result<()> {
        let mut last = [0];
        if self.copied == 0
            || self.spool.read_at(&mut last, self.copied - 1)? == 0
            || last == *b"\n"
        {
            return Ok(());
        }
        self.spool.write_all(b"\n").map_err(|error| not_kept(&error))?;
        self.copied += 1;
        Ok(())
    }

    /// Looks at the first bytes.
    fn find_out(&mut self, sources: &mut Sources, follows: bool) {
        let has_come = self.copied >= SAMPLE as u64 || self.is_over;
        let is_due = follows && self.began.is_some_and(|began| began.elapsed() >= SHOWS_ITSELF);
        if !has_come && !is_due {
            return;
        }
        let mut sample = vec![0; SAMPLE.min(usize::try_from(self.copied).unwrap_or(SAMPLE))];
        let filled = self.spool.read_at(&mut sample, 0).unwrap_or(0);
        let sample = sample.get(..filled).unwrap_or_default();
        match self.source() {
            Ok(source)
                if is_packed(&source).unwrap_or(false) || !follows && is_newest_first(sample) =>
            {
                self.reads_as = ReadsAs::Whole
            }
            Ok(source) => {
                self.reads_as = ReadsAs::Lines(sources.read.len());
                sources.read.push(Source { size: 0, labelled: is_labelled(sample), ..source });
            }
            Err(error) => {
                self.reads_as = ReadsAs::Nothing;
                self.give_up(sources, &error);
            }
        }
    }

    fn source(&self) -> io::Result<Source> {
        Ok(Source::new(self.name.clone(), self.copied, Bytes::Spool(self.spool.try_clone()?)))
    }

    /// Where the last whole line ends.
    fn last_line_end(&self) -> u64 {
        let mut block = [0; 16 * 1024];
        let mut end = self.copied;
        while end > self.whole {
            let start = end.saturating_sub(block.len() as u64).max(self.whole);
            let wanted =
                block.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
            let filled = self.spool.read_at(wanted, start).unwrap_or(0);
            if let Some(found) = memchr::memrchr(b'\n', wanted.get(..filled).unwrap_or_default()) {
                return start + found as u64 + 1;
            }
            end = start;
        }
        self.whole
    }
}

fn not_kept(error: &io::Error) -> io::Error {
    io::Error::other(format!(
        "failed to keep what came in a temporary file ({}): {error}",
        std::env::temp_dir().display()
    ))
}

/// How a file is told from another that takes over its path.
fn id_of(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|data| (data.dev(), data.ino()))
}

/// Carries a pipe's bytes to a file until it ends.
pub(super) fn carry(mut pipe: impl Read, mut spool: File, told: &Carried, bell: &Bell) {
    let mut block = vec![0; 1 << 18];
    let end = loop {
        match pipe.read(&mut block) {
            Ok(0) => break Ok(()),
            Ok(filled) => {
                if let Err(error) = spool.write_all(block.get(..filled).unwrap_or_default()) {
                    break Err(not_kept(&error));
                }
                told.copied.fetch_add(filled as u64, Ordering::Release);
                bell.ring();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    if let (Err(error), Ok(mut told)) = (end, told.error.lock()) {
        *told = Some(error);
    }
    told.is_over.store(true, Ordering::Release);
    bell.ring();
}
