//! Terminal output while logs are followed: alerts as failures are detected, throttled by kind, and
//! a status line.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::arguments::{InputArgs, RuntimeArgs, TextArgs};
use super::output::message;
use super::progress::{self, Line};
use super::{prepare, quoted, report_read_errors};
use crate::diagnose::mask;
use crate::event::FlowKey;
use crate::ingest::{Alert, FollowObserver, FollowStatus};
use crate::render::{self, Style};
use crate::source::{self, Follower, Sources};

/// Opens the paths of the arguments, to follow them.
pub(super) fn start(input: &InputArgs) -> anyhow::Result<(Sources, Follower)> {
    prepare(input)?;
    let (sources, follower) = source::follow(&input.paths);
    for path in follower.missing() {
        message(&format!("waiting for {}", quoted(&path.display().to_string())));
    }
    report_read_errors(&sources.read_errors);
    Ok((sources, follower))
}

/// Maximum number of kinds of alerts that are distinguished.
const MAX_ALERT_KINDS: usize = 10_000;

/// Maximum number of flows remembered as failed, so that their later alerts are marked as
/// follow-ups.
const MAX_ALERTED_FLOWS: usize = 50_000;

/// Minimum interval between printed alerts of one kind.
const ALERT_REPEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Prints alerts and the status line.
pub(super) struct TerminalObserver {
    /// Whether alerts go to standard output, as for a text report. Otherwise they go to standard
    /// error, so that standard output contains only the report.
    is_text: bool,
    style: Style,
    /// The status line.
    line: Line,
    /// Set when a signal arrives or the output is closed.
    cancel: Arc<AtomicBool>,
    kinds: HashMap<[String; 3], AlertThrottle>,
    flows: HashSet<FlowKey>,
    began: Instant,
    rate: Rate,
}

/// State of one kind of alerts.
struct AlertThrottle {
    reported_at: Instant,
    /// Number of alerts suppressed since the last printed one.
    since: u64,
}

/// Lines per second, over the last few seconds.
struct Rate {
    from: (Instant, u64),
    per_second: f64,
}

impl TerminalObserver {
    /// Returns an observer that stops on SIGINT (Ctrl-C) or SIGTERM; a second signal ends the process
    /// at once.
    ///
    /// # Errors
    /// Returns an error if the signal handlers cannot be registered.
    pub(super) fn new(
        is_text: bool,
        text_args: TextArgs,
        runtime: &RuntimeArgs,
    ) -> anyhow::Result<Self> {
        let cancel = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let status = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&cancel))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&cancel)))
                .context("failed to catch signals")?;
        }
        let now = Instant::now();
        Ok(Self {
            is_text,
            style: text_args.style(),
            line: Line::new(runtime),
            cancel,
            kinds: HashMap::new(),
            flows: HashSet::new(),
            began: now,
            rate: Rate { from: (now, 0), per_second: 0.0 },
        })
    }

    fn write(&mut self, line: &str) {
        self.line.wipe();
        let line = format!("{line}\n");
        let written = if self.is_text {
            io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush())
        } else {
            io::stderr().write_all(line.as_bytes())
        };
        // The reader is gone, so there is no use in continuing.
        if written.is_err() {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn status(&self, status: FollowStatus) -> String {
        let FollowStatus { bytes, lines, flows, failures } = status;
        let minutes = self.began.elapsed().as_secs() / 60;
        let (rate, failed) = (self.rate.per_second, progress::failed(failures));
        let causes = if self.kinds.is_empty() {
            String::new()
        } else {
            format!(", {} kinds of failures", self.kinds.len())
        };
        format!(
            "{minutes} min, {lines} lines, {} MB, {rate:.0} lines/s, {flows} flows in memory{failed}{causes}",
            bytes >> 20
        )
    }
}

impl FollowObserver for TerminalObserver {
    fn should_continue(&self) -> bool {
        !self.cancel.load(Ordering::Relaxed)
    }

    fn alert(&mut self, alert: &Alert, source: &str) {
        let is_consequence = alert.flow.as_ref().is_some_and(|flow| self.flows.contains(flow));
        if let Some(flow) = &alert.flow {
            if self.flows.len() >= MAX_ALERTED_FLOWS {
                self.flows.clear();
            }
            self.flows.insert(flow.clone());
        }
        let text =
            if alert.kind.is_empty() { mask(&alert.message) } else { alert.kind.to_string() };
        let mut key = [alert.component.to_string(), alert.state.to_string(), text];
        if self.kinds.len() >= MAX_ALERT_KINDS && !self.kinds.contains_key(&key) {
            key = [key[0].clone(), String::new(), "others".to_owned()];
        }
        let count = match self.kinds.get_mut(&key) {
            Some(kind) if kind.reported_at.elapsed() < ALERT_REPEAT_INTERVAL => {
                kind.since += 1;
                return;
            }
            Some(kind) => {
                std::mem::replace(kind, AlertThrottle { reported_at: Instant::now(), since: 0 })
                    .since
                    + 1
            }
            None => {
                self.kinds.insert(key, AlertThrottle { reported_at: Instant::now(), since: 0 });
                1
            }
        };
        self.write(&render::alert(alert, source, count, is_consequence, self.style));
    }

    fn on_progress(&mut self, status: FollowStatus) {
        let now = Instant::now();
        let over = now.duration_since(self.rate.from.0);
        if over >= Duration::from_secs(2) {
            #[expect(clippy::cast_precision_loss, reason = "the rate is shown in whole lines")]
            let lines = status.lines.saturating_sub(self.rate.from.1) as f64;
            self.rate = Rate { from: (now, status.lines), per_second: lines / over.as_secs_f64() };
        }
        if self.line.is_due() {
            self.line.draw(&self.status(status));
        }
    }
}
