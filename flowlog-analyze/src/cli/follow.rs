//! What a person sees of logs that are followed: what goes wrong as it does, each kind once, and a line that tells how things
//! stand.
#![expect(clippy::print_stderr, reason = "messages for the person who runs the command go there")]

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::progress::{self, Line};
use super::{Common, Work, paint};
use crate::diagnose::mask;
use crate::evidence::printable;
use crate::ingest::{Alert, Moment, Watcher};
use crate::observation::FlowKey;
use crate::render::{self, Output, Paint};
use crate::source::{self, Growing, Sources};

/// Opens what the arguments name, to be followed.
pub(super) fn start(common: &Common) -> anyhow::Result<(Sources, Growing)> {
    common.begin()?;
    let (sources, growing) = source::follow(&common.paths);
    for path in growing.missing() {
        eprintln!("flowlog-analyze: waiting for `{}`", printable(&path.display().to_string(), 500));
    }
    super::say_unread(&sources.unread);
    Ok((sources, growing))
}

/// Kinds of alerts that are told apart.
const MOST_KINDS: usize = 10_000;

/// Flows whose first alert is known, so that others are known to follow from it.
const MOST_FLOWS: usize = 50_000;

/// How often one kind of alert is told again.
const AGAIN: Duration = Duration::from_secs(10);

/// Shows what goes wrong, and how things stand.
pub(super) struct Screen {
    /// Alerts go to standard output, which is a person's; else to standard error, for the report alone is data.
    is_text: bool,
    paint: Paint,
    /// The line that tells how things stand.
    line: Line,
    /// A signal came, or nobody reads any more.
    stops: Arc<AtomicBool>,
    kinds: HashMap<[String; 3], Kind>,
    flows: HashSet<FlowKey>,
    began: Instant,
    rate: Rate,
}

/// Alerts of one kind.
struct Kind {
    told: Instant,
    /// How many came since.
    since: u64,
}

/// Lines a second, over the last moments.
struct Rate {
    from: (Instant, u64),
    per_second: f64,
}

impl Screen {
    /// A screen that stops at Ctrl-C, or when it is told to end; the second ends the process at once.
    ///
    /// # Errors
    /// Where no signal can be caught.
    pub(super) fn new(output: Output, work: &Work) -> anyhow::Result<Self> {
        let stops = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let status = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&stops))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stops)))
                .context("failed to catch signals")?;
        }
        let is_text = output == Output::Text;
        let now = Instant::now();
        Ok(Self {
            is_text,
            paint: if is_text { paint() } else { Paint::Never },
            line: Line::new(work),
            stops,
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
        // Nobody reads any more: what would be the use of going on?
        if written.is_err() {
            self.stops.store(true, Ordering::Relaxed);
        }
    }

    fn status(&self, moment: Moment) -> String {
        let Moment { bytes, lines, flows, failures } = moment;
        let minutes = self.began.elapsed().as_secs() / 60;
        let (rate, failed) = (self.rate.per_second, progress::failed(failures));
        let causes = if self.kinds.is_empty() {
            String::new()
        } else {
            format!(", {} kinds of errors", self.kinds.len())
        };
        format!(
            "{minutes} min, {lines} lines, {} MB, {rate:.0} lines/s, {flows} flows kept{failed}{causes}",
            bytes >> 20
        )
    }
}

impl Watcher for Screen {
    fn goes_on(&self) -> bool {
        !self.stops.load(Ordering::Relaxed)
    }

    fn alert(&mut self, alert: &Alert, source: &str) {
        let follows = alert.flow.as_ref().is_some_and(|flow| self.flows.contains(flow));
        if let Some(flow) = &alert.flow {
            if self.flows.len() >= MOST_FLOWS {
                self.flows.clear();
            }
            self.flows.insert(flow.clone());
        }
        let words =
            if alert.kind.is_empty() { mask(&alert.message) } else { alert.kind.to_string() };
        let mut key = [alert.component.to_string(), alert.state.to_string(), words];
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&key) {
            key = [key[0].clone(), String::new(), "others".to_owned()];
        }
        let count = match self.kinds.get_mut(&key) {
            Some(kind) if kind.told.elapsed() < AGAIN => {
                kind.since += 1;
                return;
            }
            Some(kind) => {
                std::mem::replace(kind, Kind { told: Instant::now(), since: 0 }).since + 1
            }
            None => {
                self.kinds.insert(key, Kind { told: Instant::now(), since: 0 });
                1
            }
        };
        self.write(&render::alert(alert, source, count, follows, self.paint));
    }

    fn moved(&mut self, moment: Moment) {
        let now = Instant::now();
        let over = now.duration_since(self.rate.from.0);
        if over >= Duration::from_secs(2) {
            #[expect(clippy::cast_precision_loss, reason = "it is shown in whole lines")]
            let lines = moment.lines.saturating_sub(self.rate.from.1) as f64;
            self.rate = Rate { from: (now, moment.lines), per_second: lines / over.as_secs_f64() };
        }
        if self.line.is_due() {
            self.line.draw(&self.status(moment));
        }
    }
}
