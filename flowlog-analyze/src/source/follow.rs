//! Sources that grow while they are read: pipes and followed logs.
//!
//! New bytes are copied to an unnamed file, because evidence is read again when it is shown, and
//! the original may be gone by then: a pipe keeps nothing, and a log is rotated or truncated.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use super::spool::{PipeState, ReadMode, SpoolInput, SpooledInput, spool_pipe};
use super::wakeup::Wakeup;
use super::{Opened, STDIN, Sources, has_stdin, open_file};

/// Follower of growing inputs.
#[derive(Debug, Default)]
pub struct Follower {
    inputs: Vec<SpooledInput>,
    /// Paths that are followed: logs, folders, and paths that do not exist yet.
    followed: Vec<PathBuf>,
    /// Whether the reader needs data at once: a source that is slow to show its kind is not waited
    /// for.
    is_live: bool,
    /// Files in the followed paths that are being read.
    known: HashSet<PathBuf>,
    /// Time of the last scan of the folders.
    last_scan: Option<Instant>,
    /// Pipes that arrive while others are read.
    pipe_receiver: Option<Receiver<NamedPipe>>,
    /// Wakeup that is notified when data arrives.
    wakeup: Arc<Wakeup>,
}

/// Pipe with the name of its source.
pub type NamedPipe = (String, Box<dyn Read + Send>);

/// Progress of a growing source.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// Index of the source.
    pub source: usize,
    /// Bytes in complete lines.
    pub size: u64,
    /// Time of the last growth.
    pub last_growth: Instant,
    /// Whether the source grows no more.
    pub finished: bool,
}

/// Interval at which folders, and the paths of logs, are checked.
const FOLDER_SCAN_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum wait for new data.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Follower {
    /// Creates a follower without inputs, for a reader that needs data at once.
    pub fn live() -> Self {
        Self { is_live: true, ..Self::default() }
    }

    /// Adds standard input, as the source `-`, if it is among the paths. Returns the other paths.
    pub(super) fn add_stdin_of(
        &mut self,
        paths: &[PathBuf],
        sources: &mut Sources,
    ) -> Vec<PathBuf> {
        if has_stdin(paths) {
            self.add_pipe(STDIN, io::stdin(), sources);
        }
        paths.iter().filter(|path| path.as_os_str() != STDIN).cloned().collect()
    }

    /// Adds the result of opening a path.
    pub(super) fn add_opened(
        &mut self,
        path: &Path,
        opened: io::Result<Opened>,
        sources: &mut Sources,
    ) {
        match opened {
            Ok(Opened::Logs(found)) => sources.add(found),
            Ok(Opened::Pipe(pipe)) => self.add_pipe(&path.display().to_string(), pipe, sources),
            Err(error) => sources.record_error(path, &error),
        }
    }

    /// Adds a pipe, which is read on its own thread.
    pub fn add_pipe(
        &mut self,
        name: &str,
        pipe: impl Read + Send + 'static,
        sources: &mut Sources,
    ) {
        let pipe_state = Arc::new(PipeState::default());
        let (thread_state, wakeup) = (Arc::clone(&pipe_state), Arc::clone(&self.wakeup));
        let added = SpooledInput::new(name, SpoolInput::Pipe(pipe_state)).and_then(|input| {
            let spool = input.spool.try_clone()?;
            thread::Builder::new()
                .name("pipe".to_owned())
                .spawn(move || spool_pipe(pipe, spool, &thread_state, &wakeup))?;
            Ok(input)
        });
        match added {
            Ok(input) => self.inputs.push(input),
            Err(error) => sources.record_error(Path::new(name), &error),
        }
    }

    /// Follows logs and folders.
    pub(super) fn follow(&mut self, paths: Vec<PathBuf>, sources: &mut Sources) {
        self.followed = paths;
        self.poll(sources);
    }

    /// Sets the channel for pipes that arrive later. The follower reads them until their sender is
    /// dropped.
    pub fn set_pipe_receiver(&mut self, pipes: Receiver<NamedPipe>) {
        self.pipe_receiver = Some(pipes);
    }

    fn accept_pipes(&mut self, sources: &mut Sources) {
        while let Some(pipe_receiver) = &self.pipe_receiver {
            match pipe_receiver.try_recv() {
                Ok((name, pipe)) => self.add_pipe(&name, pipe, sources),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.pipe_receiver = None,
            }
        }
    }

    /// Returns the followed paths that do not exist yet.
    pub fn missing(&self) -> impl Iterator<Item = &Path> {
        self.followed.iter().map(PathBuf::as_path).filter(|path| !path.exists())
    }

    /// Waits briefly, or until data arrives from a pipe.
    pub fn wait(&self) {
        self.wakeup.wait(POLL_INTERVAL);
    }

    /// Waits until every input has ended.
    pub fn wait_for_all(&mut self, sources: &mut Sources) {
        while !self.finished() {
            self.wait();
            self.poll(sources);
        }
        sources.sort();
    }

    /// Reads new data. Sources grow, and new sources may be added.
    pub fn poll(&mut self, sources: &mut Sources) {
        self.accept_pipes(sources);
        if !self.followed.is_empty()
            && self.last_scan.is_none_or(|last_scan| last_scan.elapsed() >= FOLDER_SCAN_INTERVAL)
        {
            self.scan_folders(sources);
            for input in &mut self.inputs {
                input.reopen_if_rotated(sources);
            }
        }
        for input in &mut self.inputs {
            input.poll(sources, self.is_live);
        }
    }

    /// Returns the progress of each source that is read as it arrives.
    pub fn growths(&self) -> impl Iterator<Item = Growth> {
        self.inputs.iter().filter_map(|input| {
            let ReadMode::Streaming(source) = input.mode else { return None };
            Some(Growth {
                source,
                size: input.complete_bytes,
                last_growth: input.last_growth,
                finished: input.finished,
            })
        })
    }

    /// Returns whether no more data will arrive.
    pub fn finished(&self) -> bool {
        self.followed.is_empty()
            && self.pipe_receiver.is_none()
            && self.inputs.iter().all(|input| {
                input.finished && !matches!(input.mode, ReadMode::Unknown | ReadMode::Deferred)
            })
    }

    /// Reads the data that has arrived, and nothing that arrives later.
    pub fn end(&mut self, sources: &mut Sources) {
        self.poll(sources);
        self.followed.clear();
        self.pipe_receiver = None;
        for input in &mut self.inputs {
            input.finished = true;
            input.poll(sources, false);
        }
    }

    /// Finds new logs.
    fn scan_folders(&mut self, sources: &mut Sources) {
        let first = self.last_scan.replace(Instant::now()).is_none();
        let mut found = Vec::new();
        // Report the entries of a folder that are not logs only once.
        let mut refused = Sources::default();
        for path in &self.followed {
            if path.is_dir() {
                refused.walk(path, &mut found);
            } else if path.exists() {
                found.push(path.clone());
            }
        }
        if first {
            sources.read_errors.append(&mut refused.read_errors);
        }
        found.sort();
        for path in found {
            if self.known.contains(&path)
                || !first && !self.followed.contains(&path) && self.is_rotated(&path)
            {
                continue;
            }
            self.known.insert(path.clone());
            match SpooledInput::of_log(&path) {
                Ok(Some(input)) => self.inputs.push(input),
                // Packed logs do not grow, and pipes are read on their own threads.
                Ok(None) => self.add_opened(&path, open_file(&path), sources),
                Err(error) => sources.record_error(&path, &error),
            }
        }
    }

    /// Returns whether a new file is a rotated copy of a followed log: `app.log.1`,
    /// `app.log-20251122.gz`.
    fn is_rotated(&self, path: &Path) -> bool {
        let name = path.as_os_str().as_encoded_bytes();
        let is_older = |log: &PathBuf| {
            let rest = name.strip_prefix(log.as_os_str().as_encoded_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'-')))
        };
        self.known.iter().any(is_older)
    }
}
