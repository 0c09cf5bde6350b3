//! Standard error: a terminal, a file, or a pipe with a reader that may be slow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

use super::{WRITE_TIMEOUT, lock_timeout};

/// Number of bytes that a writable pipe accepts at once (`PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// Standard error.
#[derive(Debug)]
pub(crate) struct PipeSink {
    /// Descriptor of the pipe or terminal that was opened for this sink only. Writes to it do not
    /// block, even if another process fills the pipe at that moment. Standard error itself is
    /// shared with other processes, for which it must stay blocking.
    own: Option<File>,
    /// Whether a slow reader may let it fill up.
    may_fill: bool,
    /// Whether the last line was cut short.
    partial_line: AtomicBool,
    /// Whether the last write timed out: writes no longer wait until the reader accepts one.
    stuck: AtomicBool,
    /// Held while a record is written in several pieces.
    pieces: ArcSwap<Mutex<()>>,
}

impl PipeSink {
    pub(crate) fn stderr() -> Self {
        let kind = rustix::fs::fstat(rustix::stdio::stderr())
            .map(|stat| FileType::from_raw_mode(stat.st_mode));
        let may_fill =
            matches!(kind, Ok(FileType::Fifo | FileType::Socket | FileType::CharacterDevice));
        let again = || {
            OpenOptions::new()
                .append(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open("/proc/self/fd/2")
                .ok()
        };
        Self::of(if may_fill { again() } else { None }, may_fill)
    }

    fn of(own: Option<File>, may_fill: bool) -> Self {
        Self {
            own,
            may_fill,
            partial_line: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            pieces: ArcSwap::default(),
        }
    }

    pub(crate) fn write(&self, line: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        self.write_to(self.own.as_ref().map_or_else(|| stderr.as_fd(), |own| own.as_fd()), line)
    }

    /// Replaces the lock: if another thread held it during the fork, it is never released.
    pub(crate) fn after_fork(&self) {
        self.pieces.store(Arc::default());
    }

    fn write_to(&self, fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
        let timeout =
            if self.stuck.load(Ordering::Relaxed) { Duration::ZERO } else { WRITE_TIMEOUT };
        let until = Instant::now() + timeout;
        if !self.may_fill || (line.len() <= PIPE_BUF && !self.partial_line.load(Ordering::Relaxed))
        {
            return self.pieces(fd, line, until);
        }
        let pieces = self.pieces.load();
        let _held = lock_timeout(&pieces, WRITE_TIMEOUT)?;
        // Terminate a line that was cut short, so that its remains form a line of their own.
        if self.partial_line.load(Ordering::Relaxed) {
            self.pieces(fd, b"\n", until)?;
            self.partial_line.store(false, Ordering::Relaxed);
        }
        self.pieces(fd, line, until)
    }

    fn pieces(&self, fd: BorrowedFd<'_>, line: &[u8], until: Instant) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // On a blocking pipe, only this much is sure not to block.
            let piece = if self.may_fill && self.own.is_none() {
                rest.get(..PIPE_BUF).unwrap_or(rest)
            } else {
                rest
            };
            let wrote = if self.own.is_some() { Ok(()) } else { self.ready(fd, until) };
            match wrote.and_then(|()| rustix::io::write(fd, piece).map_err(io::Error::from)) {
                Ok(count) => rest = rest.get(count.max(1)..).unwrap_or_default(),
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted
                        && (!self.may_fill || Instant::now() < until) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.ready(fd, until) {
                        return Err(self.cut(rest.len() < line.len(), error));
                    }
                }
                Err(error) => return Err(self.cut(rest.len() < line.len(), error)),
            }
        }
        self.stuck.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn cut(&self, partial_line: bool, error: io::Error) -> io::Error {
        self.partial_line.fetch_or(partial_line, Ordering::Relaxed);
        error
    }

    /// Waits until the descriptor is writable, at most until the deadline.
    fn ready(&self, fd: BorrowedFd<'_>, until: Instant) -> io::Result<()> {
        if !self.may_fill {
            return Ok(());
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            match poll(
                &mut fds,
                Some(&Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) }),
            ) {
                Ok(0) => {
                    self.stuck.store(true, Ordering::Relaxed);
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the reader of standard error does not read",
                    ));
                }
                Err(rustix::io::Errno::INTR) if !left.is_zero() => {}
                other => return other.map(|_| ()).map_err(io::Error::from),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Creates a pipe and a sink that writes to it through a descriptor of its own or the shared
    /// one.
    fn pipe(own: bool) -> (io::PipeReader, io::PipeWriter, PipeSink) {
        use std::os::fd::AsRawFd;
        let (reader, writer) = io::pipe().unwrap();
        let again = || {
            OpenOptions::new()
                .append(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
                .unwrap()
        };
        let sink = PipeSink::of(own.then(again), true);
        (reader, writer, sink)
    }

    fn write(sink: &PipeSink, writer: &io::PipeWriter, line: &[u8]) -> io::Result<()> {
        sink.write_to(sink.own.as_ref().map_or_else(|| writer.as_fd(), |own| own.as_fd()), line)
    }

    #[test]
    fn stalled_reader_is_waited_for_once() {
        for own in [true, false] {
            let (mut reader, writer, sink) = pipe(own);
            let line = [b"x".repeat(999), b"\n".to_vec()].concat();
            let began = Instant::now();
            let taken = (0..1_000).filter(|_| write(&sink, &writer, &line).is_ok()).count();
            assert!(taken > 10 && taken < 1_000, "{taken}");
            assert!(began.elapsed() < 400 * WRITE_TIMEOUT, "{:?}", began.elapsed());
            let mut capacity = vec![0; 1 << 20];
            let mut read = reader.read(&mut capacity).unwrap();
            // Writing resumes as soon as the pipe is read, and no line is lost inside another.
            write(&sink, &writer, b"on\n").unwrap();
            drop((writer, sink));
            read += reader.read(&mut capacity[read..]).unwrap();
            let text = String::from_utf8_lossy(&capacity[..read]);
            assert!(
                text.ends_with("\non\n")
                    && text.lines().filter(|line| line.len() == 999).count() == taken,
                "{taken}"
            );
        }
    }

    #[test]
    fn line_longer_than_the_pipe_is_cut_and_terminated() {
        for own in [true, false] {
            let (mut reader, writer, sink) = pipe(own);
            assert!(write(&sink, &writer, &b"x".repeat(1 << 20)).is_err());
            let mut capacity = vec![0; 1 << 20];
            let read = reader.read(&mut capacity).unwrap();
            assert!(capacity[..read].iter().all(|byte| *byte == b'x'));
            write(&sink, &writer, b"on\n").unwrap();
            drop((writer, sink));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            assert!(rest.ends_with("x\non\n") || rest == "\non\n", "{rest:.40}");
        }
    }

    #[test]
    fn long_lines_of_concurrent_threads_do_not_mix() {
        for own in [true, false] {
            let (reader, writer, sink) = pipe(own);
            let read = std::thread::spawn(move || io::read_to_string(reader).unwrap());
            std::thread::scope(|scope| {
                for thread in b'a'..b'e' {
                    let (sink, writer) = (&sink, &writer);
                    scope.spawn(move || {
                        let line = [vec![thread; 20_000], b"\n".to_vec()].concat();
                        (0..20).for_each(|_| write(sink, writer, &line).unwrap());
                    });
                }
            });
            drop((writer, sink));
            let text = read.join().unwrap();
            assert!(
                text.lines().all(|line| line.len() == 20_000
                    && line.bytes().all(|byte| byte == line.as_bytes()[0]))
            );
            assert_eq!(text.lines().count(), 80);
        }
    }
}
