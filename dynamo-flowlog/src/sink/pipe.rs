//! Standard error, whatever stands behind it: a terminal, a file, a pipe whose reader may be slow.

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

use super::{PATIENCE, held};

/// A pipe that can be written to takes so many bytes at once (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Standard error.
#[derive(Debug)]
pub(crate) struct PipeSink {
    /// A pipe or terminal opened once more, for this sink alone: a write to it does not wait, whoever else fills it up at that moment.
    /// Standard error itself is shared with other processes, which would find that it no longer waits.
    own: Option<File>,
    /// A reader may let it fill up.
    may_fill: bool,
    /// The last line was cut short.
    torn: AtomicBool,
    /// Nobody read for as long as anybody waits: records wait no more until it takes one.
    stuck: AtomicBool,
    /// Held while a record that goes in several pieces is written.
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
            torn: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            pieces: ArcSwap::default(),
        }
    }

    pub(crate) fn write(&self, line: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        self.write_to(self.own.as_ref().map_or_else(|| stderr.as_fd(), |own| own.as_fd()), line)
    }

    /// Whatever another thread held when the process was forked nobody gives back.
    pub(crate) fn after_fork(&self) {
        self.pieces.store(Arc::default());
    }

    fn write_to(&self, fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
        let patience = if self.stuck.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let until = Instant::now() + patience;
        if !self.may_fill || (line.len() <= AT_ONCE && !self.torn.load(Ordering::Relaxed)) {
            return self.pieces(fd, line, until);
        }
        let pieces = self.pieces.load();
        let _held = held(&pieces, PATIENCE)?;
        // What is left of a line that was cut short becomes a line of its own.
        if self.torn.load(Ordering::Relaxed) {
            self.pieces(fd, b"\n", until)?;
            self.torn.store(false, Ordering::Relaxed);
        }
        self.pieces(fd, line, until)
    }

    fn pieces(&self, fd: BorrowedFd<'_>, line: &[u8], until: Instant) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            // Of a pipe that waits only so much is sure not to.
            let piece = if self.may_fill && self.own.is_none() {
                rest.get(..AT_ONCE).unwrap_or(rest)
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

    fn cut(&self, torn: bool, error: io::Error) -> io::Error {
        self.torn.fetch_or(torn, Ordering::Relaxed);
        error
    }

    /// Waits until it takes bytes, not longer than anybody has patience.
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
                        "nobody reads standard error",
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

    /// A pipe's reader, its writer, and a sink that writes to it: by a descriptor of its own, or by the shared one.
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
    fn a_reader_that_does_not_read_is_waited_for_once() {
        for own in [true, false] {
            let (mut reader, writer, sink) = pipe(own);
            let line = [b"x".repeat(999), b"\n".to_vec()].concat();
            let began = Instant::now();
            let taken = (0..1_000).filter(|_| write(&sink, &writer, &line).is_ok()).count();
            assert!(taken > 10 && taken < 1_000, "{taken}");
            assert!(began.elapsed() < 50 * PATIENCE, "{:?}", began.elapsed());
            let mut room = vec![0; 1 << 20];
            let mut read = reader.read(&mut room).unwrap();
            // As soon as somebody reads it goes on, and no line is lost inside another.
            write(&sink, &writer, b"on\n").unwrap();
            drop((writer, sink));
            read += reader.read(&mut room[read..]).unwrap();
            let text = String::from_utf8_lossy(&room[..read]);
            assert!(
                text.ends_with("\non\n")
                    && text.lines().filter(|line| line.len() == 999).count() == taken,
                "{taken}"
            );
        }
    }

    #[test]
    fn a_line_longer_than_a_pipe_is_cut_and_ended() {
        for own in [true, false] {
            let (mut reader, writer, sink) = pipe(own);
            assert!(write(&sink, &writer, &b"x".repeat(1 << 20)).is_err());
            let mut room = vec![0; 1 << 20];
            let read = reader.read(&mut room).unwrap();
            assert!(room[..read].iter().all(|byte| *byte == b'x'));
            write(&sink, &writer, b"on\n").unwrap();
            drop((writer, sink));
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            assert!(rest.ends_with("x\non\n") || rest == "\non\n", "{rest:.40}");
        }
    }

    #[test]
    fn long_lines_of_many_threads_do_not_mix() {
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
