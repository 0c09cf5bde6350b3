//! How far long work is: one line on standard error, where that is a terminal.
#![expect(clippy::print_stderr, reason = "progress is shown there")]

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Common;
use crate::ingest::{Alert, Moment, Progress, Watcher};
use crate::source::Sources;

/// Shows a line in place of the last.
pub(super) fn show(line: &str) {
    eprint!("\r\u{1b}[K{line}");
}

/// Takes the line away.
pub(super) fn clear() {
    eprint!("\r\u{1b}[K");
}

/// How many spans failed, where any did.
pub(super) fn failed(spans: u64) -> String {
    if spans > 0 { format!(", {spans} failed spans so far") } else { String::new() }
}

/// Runs `work` with a line on standard error that tells how far it is, where that is a terminal.
pub(super) fn with_progress<T>(common: &Common, sources: &Sources, work: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> T) -> T {
    let total: u64 = sources.read.iter().map(|source| source.size).sum();
    let shown = !common.no_progress && io::stderr().is_terminal() && total > (64 << 20);
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
            let left = Duration::from_millis(now.saturating_mul(total.saturating_sub(read)) / read.max(1));
            show(&format!("{} of {} MB, {rate} MB/s, {} s left{}", read >> 20, total >> 20, left.as_secs(), failed(failures)));
        }
    };
    let result = work(&tell);
    if shown {
        clear();
    }
    result
}

/// How often progress is shown.
pub(super) const PROGRESS_PAUSE_MS: u64 = 200;

/// Watches a pipe that is read to its end.
pub(super) struct Pipe {
    shown: bool,
    began: Instant,
    last: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(common: &Common) -> Self {
        Self { shown: !common.no_progress && io::stderr().is_terminal(), began: Instant::now(), last: None }
    }
}

impl Watcher for Pipe {
    fn goes_on(&self) -> bool {
        true
    }

    fn alert(&mut self, _alert: &Alert, _source: &str) {}

    fn moved(&mut self, moment: Moment) {
        let since = self.last.map_or_else(|| self.began.elapsed(), |last| last.elapsed());
        if self.shown && since >= Duration::from_millis(PROGRESS_PAUSE_MS) {
            self.last = Some(Instant::now());
            let rate = moment.bytes / u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1) / 1_000;
            show(&format!("{} MB, {rate} MB/s{}", moment.bytes >> 20, failed(moment.failures)));
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.last.is_some() {
            clear();
        }
    }
}
