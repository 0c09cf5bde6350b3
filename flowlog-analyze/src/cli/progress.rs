//! How far long work is: one line on standard error, where that is a terminal.
#![expect(clippy::print_stderr, reason = "progress is shown there")]

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Work;
use crate::ingest::{Alert, Moment, Progress, Watcher};
use crate::source::Sources;

/// Whether progress is shown.
fn is_shown(work: &Work) -> bool {
    !work.no_progress && io::stderr().is_terminal()
}

/// Shows a line in place of the last.
fn show(line: &str) {
    eprint!("\r\u{1b}[K{line}");
}

/// Takes the line away.
fn clear() {
    eprint!("\r\u{1b}[K");
}

/// A line that is drawn anew now and then, and taken away at the end.
pub(super) struct Line {
    shown: bool,
    /// When it was drawn last, or began.
    since: Instant,
    is_drawn: bool,
}

impl Line {
    pub(super) fn new(work: &Work) -> Self {
        Self { shown: is_shown(work), since: Instant::now(), is_drawn: false }
    }

    /// Whether it is time to draw it.
    pub(super) fn is_due(&self) -> bool {
        self.shown && self.since.elapsed() >= Duration::from_millis(PROGRESS_PAUSE_MS)
    }

    pub(super) fn draw(&mut self, line: &str) {
        (self.since, self.is_drawn) = (Instant::now(), true);
        show(line);
    }

    /// Takes it away, for something else to stand there.
    pub(super) fn wipe(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            clear();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// How many spans failed, where any did.
pub(super) fn failed(spans: u64) -> String {
    if spans > 0 { format!(", {spans} failed spans so far") } else { String::new() }
}

/// Calls `run` with a line on standard error that tells how far it is, where that is a terminal.
pub(super) fn with_progress<T>(
    work: &Work,
    sources: &Sources,
    run: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> T,
) -> T {
    let total: u64 = sources.read.iter().map(|source| source.size).sum();
    let shown = is_shown(work) && total > (64 << 20);
    let read = AtomicU64::new(0);
    let began = Instant::now();
    let last = AtomicU64::new(0);
    let failures = AtomicU64::new(0);
    let tell = |step: Progress| {
        let read = read.fetch_add(step.bytes, Ordering::Relaxed) + step.bytes;
        let failures = failures.fetch_add(step.failures, Ordering::Relaxed) + step.failures;
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if shown && now.saturating_sub(last.load(Ordering::Relaxed)) >= PROGRESS_PAUSE_MS {
            last.store(now, Ordering::Relaxed);
            let rate = read / now.max(1) / 1_000;
            let left =
                Duration::from_millis(now.saturating_mul(total.saturating_sub(read)) / read.max(1));
            show(&format!(
                "{} of {} MB, {rate} MB/s, {} s left{}",
                read >> 20,
                total >> 20,
                left.as_secs(),
                failed(failures)
            ));
        }
    };
    let result = run(&tell);
    if shown {
        clear();
    }
    result
}

/// How often progress is shown.
const PROGRESS_PAUSE_MS: u64 = 200;

/// Watches a pipe that is read to its end.
pub(super) struct Pipe {
    line: Line,
    began: Instant,
}

impl Pipe {
    pub(super) fn new(work: &Work) -> Self {
        Self { line: Line::new(work), began: Instant::now() }
    }
}

impl Watcher for Pipe {
    fn goes_on(&self) -> bool {
        true
    }

    fn alert(&mut self, _alert: &Alert, _source: &str) {}

    fn moved(&mut self, moment: Moment) {
        if self.line.is_due() {
            let rate = moment.bytes
                / u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
                / 1_000;
            self.line.draw(&format!(
                "{} MB, {rate} MB/s{}",
                moment.bytes >> 20,
                failed(moment.failures)
            ));
        }
    }
}
