//! Progress of long-running work: one line on standard error, if that is a terminal.
#![expect(clippy::print_stderr, reason = "progress is shown on standard error")]

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::arguments::RuntimeArgs;
use crate::ingest::{Alert, FollowObserver, FollowStatus, Progress};
use crate::source::Sources;

/// Whether progress is shown.
fn is_shown(runtime: &RuntimeArgs) -> bool {
    !runtime.no_progress && io::stderr().is_terminal()
}

/// Replaces the progress line.
fn show(line: &str) {
    eprint!("\r\u{1b}[K{line}");
}

/// Clears the progress line.
fn clear() {
    eprint!("\r\u{1b}[K");
}

/// A line that is redrawn periodically, and cleared when dropped.
pub(super) struct Line {
    shown: bool,
    /// Time when the line was last drawn, or created.
    since: Instant,
    is_drawn: bool,
}

impl Line {
    pub(super) fn new(runtime: &RuntimeArgs) -> Self {
        Self { shown: is_shown(runtime), since: Instant::now(), is_drawn: false }
    }

    /// Whether the line is due to be redrawn.
    pub(super) fn is_due(&self) -> bool {
        self.shown && self.since.elapsed() >= Duration::from_millis(PROGRESS_INTERVAL_MS)
    }

    pub(super) fn draw(&mut self, line: &str) {
        (self.since, self.is_drawn) = (Instant::now(), true);
        show(line);
    }

    /// Clears the line, to make room for other output.
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

/// Formats the number of failed spans; empty if there are none.
pub(super) fn failed(spans: u64) -> String {
    if spans > 0 { format!(", {spans} failed spans so far") } else { String::new() }
}

/// Calls `run` with a callback that shows progress on standard error.
///
/// Progress is shown only on a terminal, and only for more than 64 MiB of sources.
pub(super) fn with_progress<T>(
    runtime: &RuntimeArgs,
    sources: &Sources,
    run: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> T,
) -> T {
    let total: u64 = sources.read.iter().map(|source| source.size).sum();
    let shown = is_shown(runtime) && total > (64 << 20);
    let read = AtomicU64::new(0);
    let began = Instant::now();
    let last = AtomicU64::new(0);
    let failures = AtomicU64::new(0);
    let on_chunk = |progress: Progress| {
        let read = read.fetch_add(progress.bytes, Ordering::Relaxed) + progress.bytes;
        let failures = failures.fetch_add(progress.failures, Ordering::Relaxed) + progress.failures;
        let now = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if shown && now.saturating_sub(last.load(Ordering::Relaxed)) >= PROGRESS_INTERVAL_MS {
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
    let result = run(&on_chunk);
    if shown {
        clear();
    }
    result
}

/// Minimum interval between progress updates, in milliseconds.
const PROGRESS_INTERVAL_MS: u64 = 200;

/// Observer that shows progress for pipes that are read to their end.
pub(super) struct PipeObserver {
    line: Line,
    began: Instant,
}

impl PipeObserver {
    pub(super) fn new(runtime: &RuntimeArgs) -> Self {
        Self { line: Line::new(runtime), began: Instant::now() }
    }
}

impl FollowObserver for PipeObserver {
    fn should_continue(&self) -> bool {
        true
    }

    fn alert(&mut self, _alert: &Alert, _source: &str) {}

    fn on_progress(&mut self, status: FollowStatus) {
        if self.line.is_due() {
            let rate = status.bytes
                / u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
                / 1_000;
            self.line.draw(&format!(
                "{} MB, {rate} MB/s{}",
                status.bytes >> 20,
                failed(status.failures)
            ));
        }
    }
}
