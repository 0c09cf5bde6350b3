//! Standard error, whatever stands behind it: a terminal, a file, a pipe whose reader may be slow.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

use super::PATIENCE;

/// A pipe that can be written to takes so many bytes at once (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Standard error.
#[derive(Debug)]
pub(crate) struct PipeSink {
    /// A reader may let it fill up.
    may_fill: bool,
    /// The last line was cut short.
    torn: AtomicBool,
    /// Nobody read for as long as anybody waits: records wait no more until it takes one.
    stuck: AtomicBool,
}

impl PipeSink {
    pub(crate) fn stderr() -> Self {
        let kind = rustix::fs::fstat(rustix::stdio::stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let may_fill = matches!(kind, Ok(FileType::Fifo | FileType::Socket | FileType::CharacterDevice));
        Self { may_fill, torn: AtomicBool::new(false), stuck: AtomicBool::new(false) }
    }

    pub(crate) fn write(&self, line: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        self.write_to(stderr.as_fd(), line)
    }

    fn write_to(&self, fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
        // What is left of a line that was cut short becomes a line of its own.
        if self.torn.load(Ordering::Relaxed) {
            self.pieces(fd, b"\n")?;
            self.torn.store(false, Ordering::Relaxed);
        }
        self.pieces(fd, line)
    }

    fn pieces(&self, fd: BorrowedFd<'_>, line: &[u8]) -> io::Result<()> {
        let mut rest = line;
        while !rest.is_empty() {
            let wrote = self.ready(fd).and_then(|()| {
                let piece = if self.may_fill { rest.get(..AT_ONCE).unwrap_or(rest) } else { rest };
                rustix::io::write(fd, piece).map_err(io::Error::from)
            });
            match wrote {
                Ok(count) => rest = rest.get(count.max(1)..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) && !self.stuck() => {}
                Err(error) => {
                    self.torn.fetch_or(rest.len() < line.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        self.stuck.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Waits until it takes bytes, not longer than anybody has patience.
    fn ready(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.may_fill {
            return Ok(());
        }
        let patience = if self.stuck() { 0 } else { i64::from(PATIENCE.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: patience }))? == 0 {
            self.stuck.store(true, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads standard error"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_is_waited_for_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = PipeSink { may_fill: true, torn: AtomicBool::new(false), stuck: AtomicBool::new(false) };
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let began = Instant::now();
        let taken = (0..1_000).filter(|_| sink.write_to(writer.as_fd(), &line).is_ok()).count();
        assert!(taken > 10 && taken < 1_000, "{taken}");
        assert!(began.elapsed() < 50 * PATIENCE, "{:?}", began.elapsed());
        let mut room = vec![0; 1 << 20];
        let mut read = reader.read(&mut room).unwrap();
        // As soon as somebody reads it goes on, and no line is lost inside another.
        sink.write_to(writer.as_fd(), b"on\n").unwrap();
        drop(writer);
        read += reader.read(&mut room[read..]).unwrap();
        let text = String::from_utf8_lossy(&room[..read]);
        assert!(text.ends_with("\non\n") && text.lines().filter(|line| line.len() == 999).count() == taken, "{taken}");
    }

    #[test]
    fn a_line_longer_than_a_pipe_is_cut_and_ended() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = PipeSink { may_fill: true, torn: AtomicBool::new(false), stuck: AtomicBool::new(false) };
        assert!(sink.write_to(writer.as_fd(), &b"x".repeat(1 << 20)).is_err());
        let mut room = vec![0; 1 << 20];
        let read = reader.read(&mut room).unwrap();
        assert!(room[..read].iter().all(|byte| *byte == b'x'));
        sink.write_to(writer.as_fd(), b"on\n").unwrap();
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("x\non\n") || rest == "\non\n", "{rest:.40}");
    }
}
