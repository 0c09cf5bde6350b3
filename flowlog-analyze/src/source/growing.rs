//! Sources that grow while they are read: pipes, and logs that are followed.
//!
//! What comes is copied to a nameless file, for evidence is read again when it is shown, and what a log held may be gone by then:
//! a pipe holds nothing, and a log is rotated or cut to nothing.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::feed::{Carried, Feed, Origin, ReadsAs, carry};
use super::{Opened, STDIN, Sources, has_stdin, open_file};

/// What grows.
#[derive(Debug, Default)]
pub struct Growing {
    feeds: Vec<Feed>,
    /// Paths that are followed: logs, folders, and what is not there yet.
    followed: Vec<PathBuf>,
    /// Whoever reads wants to be told at once: no source is waited for that is slow to show what it is.
    is_live: bool,
    /// Files in them that are read.
    known: HashSet<PathBuf>,
    /// When folders were looked at last.
    looked: Option<Instant>,
    /// Pipes that come while others are read.
    coming: Option<Receiver<NamedPipe>>,
    /// Rung where something came.
    bell: Arc<Bell>,
}

/// A pipe, and how its source is called.
pub type NamedPipe = (String, Box<dyn Read + Send>);

/// How far a source has grown.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// Its index.
    pub source: usize,
    /// Its whole lines, in bytes.
    pub size: u64,
    /// When it grew last.
    pub grew: Instant,
    /// It grows no more.
    pub is_over: bool,
}

#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        if let Ok(mut rung) = self.rung.lock() {
            *rung = true;
            self.rings.notify_one();
        }
    }

    fn wait(&self, most: Duration) {
        let Ok(rung) = self.rung.lock() else { return };
        if let Ok((mut rung, _)) = self.rings.wait_timeout_while(rung, most, |rung| !*rung) {
            *rung = false;
        }
    }
}

/// How often folders, and the paths of logs, are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Longest wait for something to come.
const WAIT: Duration = Duration::from_millis(20);

impl Growing {
    /// Nothing yet, to be told of at once.
    pub fn live() -> Self {
        Self { is_live: true, ..Self::default() }
    }

    /// Reads standard input, as the source `-`, where it is among the paths; the others.
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

    /// Takes in what a path led to.
    pub(super) fn add_opened(
        &mut self,
        path: &Path,
        opened: io::Result<Opened>,
        sources: &mut Sources,
    ) {
        match opened {
            Ok(Opened::Logs(found)) => sources.add(found),
            Ok(Opened::Pipe(pipe)) => self.add_pipe(&path.display().to_string(), pipe, sources),
            Err(error) => sources.refuse(path, &error),
        }
    }

    /// Reads a pipe on a thread of its own.
    pub fn add_pipe(
        &mut self,
        name: &str,
        pipe: impl Read + Send + 'static,
        sources: &mut Sources,
    ) {
        let carried = Arc::new(Carried::default());
        let (told, bell) = (Arc::clone(&carried), Arc::clone(&self.bell));
        let added = Feed::new(name, Origin::Pipe(carried)).and_then(|feed| {
            let spool = feed.spool.try_clone()?;
            thread::Builder::new()
                .name("pipe".to_owned())
                .spawn(move || carry(pipe, spool, &told, &bell))?;
            Ok(feed)
        });
        match added {
            Ok(feed) => self.feeds.push(feed),
            Err(error) => sources.refuse(Path::new(name), &error),
        }
    }

    /// Follows logs and folders.
    pub(super) fn follow(&mut self, paths: Vec<PathBuf>, sources: &mut Sources) {
        self.followed = paths;
        self.poll(sources);
    }

    /// Reads pipes that come later, until their sender is gone.
    pub fn expect(&mut self, pipes: Receiver<NamedPipe>) {
        self.coming = Some(pipes);
    }

    fn welcome(&mut self, sources: &mut Sources) {
        while let Some(coming) = &self.coming {
            match coming.try_recv() {
                Ok((name, pipe)) => self.add_pipe(&name, pipe, sources),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.coming = None,
            }
        }
    }

    /// Paths that are followed and not there yet.
    pub fn missing(&self) -> impl Iterator<Item = &Path> {
        self.followed.iter().map(PathBuf::as_path).filter(|path| !path.exists())
    }

    /// Waits a moment, or until something came through a pipe.
    pub fn wait(&self) {
        self.bell.wait(WAIT);
    }

    /// Waits for the end of everything.
    pub fn wait_for_all(&mut self, sources: &mut Sources) {
        while !self.is_over() {
            self.wait();
            self.poll(sources);
        }
        sources.sort();
    }

    /// Takes in what came since: sources grow, and there may be more of them.
    pub fn poll(&mut self, sources: &mut Sources) {
        self.welcome(sources);
        if !self.followed.is_empty() && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look(sources);
            for feed in &mut self.feeds {
                feed.turn_over(sources);
            }
        }
        for feed in &mut self.feeds {
            feed.take_in(sources, self.is_live);
        }
    }

    /// How far each source has grown that is read as it comes.
    pub fn growths(&self) -> impl Iterator<Item = Growth> {
        self.feeds.iter().filter_map(|feed| {
            let ReadsAs::Lines(source) = feed.reads_as else { return None };
            Some(Growth { source, size: feed.whole, grew: feed.grew, is_over: feed.is_over })
        })
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.followed.is_empty()
            && self.coming.is_none()
            && self.feeds.iter().all(|feed| {
                feed.is_over && !matches!(feed.reads_as, ReadsAs::Unknown | ReadsAs::Whole)
            })
    }

    /// Takes in what has come, and nothing that comes later.
    pub fn end(&mut self, sources: &mut Sources) {
        self.poll(sources);
        self.followed.clear();
        self.coming = None;
        for feed in &mut self.feeds {
            feed.is_over = true;
            feed.take_in(sources, false);
        }
    }

    /// Finds logs that came.
    fn look(&mut self, sources: &mut Sources) {
        let first = self.looked.replace(Instant::now()).is_none();
        let mut found = Vec::new();
        // What a folder holds that is no log is said once.
        let mut refused = Sources::default();
        for path in &self.followed {
            if path.is_dir() {
                refused.walk(path, &mut found);
            } else if path.exists() {
                found.push(path.clone());
            }
        }
        if first {
            sources.unread.append(&mut refused.unread);
        }
        found.sort();
        for path in found {
            if self.known.contains(&path)
                || !first && !self.followed.contains(&path) && self.is_rotated(&path)
            {
                continue;
            }
            self.known.insert(path.clone());
            match Feed::of_log(&path) {
                Ok(Some(feed)) => self.feeds.push(feed),
                // Packed logs do not grow, and pipes come by themselves.
                Ok(None) => self.add_opened(&path, open_file(&path), sources),
                Err(error) => sources.refuse(&path, &error),
            }
        }
    }

    /// Whether a file that came is what a log that is followed was before: `app.log.1`, `app.log-20251122.gz`.
    fn is_rotated(&self, path: &Path) -> bool {
        let name = path.as_os_str().as_encoded_bytes();
        let is_older = |log: &PathBuf| {
            let rest = name.strip_prefix(log.as_os_str().as_encoded_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'-')))
        };
        self.known.iter().any(is_older)
    }
}
