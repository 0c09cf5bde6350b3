//! The diagnosis equals a brute-force implementation of `docs/how-it-decides.md`.
//!
//! The oracle reads flowlog records with the schema's decoders, and uses nothing else of this
//! project: no table, no tree, no skew. It is slow and naive on purpose; if it and the diagnosis
//! differ, one of them misinterprets the rules.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::collections::{BTreeMap, BTreeSet};

use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::FlowOutcome;
use flowlog_schema::{EventKind, Record, json, text};
use flowlog_simulator::{Cluster, LogFormat, simulate};
use proptest::prelude::*;

/// Outcome, component, instance.
type Answer = (FlowOutcome, String, String);

#[derive(Clone)]
struct Line {
    event: EventKind,
    who: (String, String),
    span: u64,
    parent: Option<u64>,
    clock: u64,
    wall: i64,
    state: String,
    error: (String, String),
    status: Option<i64>,
    callee: Option<String>,
}

struct Reading {
    flows: BTreeMap<String, Vec<Line>>,
    /// First and last wall-clock time of each process, and whether it stopped in order.
    processes: BTreeMap<(String, String), (i64, i64, bool)>,
}

fn read(cluster: &Cluster) -> Reading {
    let mut reading = Reading { flows: BTreeMap::new(), processes: BTreeMap::new() };
    for (_, bytes) in &cluster.logs {
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let record: Record<'_> = json::decode(line)
                .map(|(record, _)| record)
                .or_else(|_| text::decode(line).map(|(record, _)| record))
                .unwrap();
            let who = (
                record.component.to_string(),
                record.instance.clone().unwrap_or_default().to_string(),
            );
            let wall = record.time.unwrap().0;
            let process = reading.processes.entry(who.clone()).or_insert((wall, wall, false));
            process.0 = process.0.min(wall);
            process.1 = process.1.max(wall);
            process.2 |=
                record.event == EventKind::Process && record.state.as_deref() == Some("stop");
            let (Some(flow), Some(span)) = (record.flow_id, record.span_id) else { continue };
            let error = record.error.as_ref().map_or_else(Default::default, |error| {
                (error.kind.to_string(), error.message.to_string())
            });
            reading.flows.entry(flow.to_string()).or_default().push(Line {
                event: record.event,
                who,
                span: span.as_u64(),
                parent: record.parent_id.map(flowlog_schema::SpanId::as_u64),
                clock: record.clock.unwrap().0,
                wall,
                state: record.state.as_deref().unwrap_or_default().to_owned(),
                error,
                status: record.field("status").and_then(|status| status.to_text().parse().ok()),
                callee: record.field("worker_id").map(|callee| callee.to_text().into_owned()),
            });
        }
    }
    reading
}

const TERMINAL: [EventKind; 3] = [EventKind::End, EventKind::Fail, EventKind::Cancel];

/// A candidate for the first failure.
#[derive(Clone)]
struct Failure {
    span: u64,
    clock: u64,
    /// `None` if the span fell silent.
    error: Option<(String, String)>,
}

impl Reading {
    fn last_of_all(&self) -> i64 {
        self.processes.values().map(|(_, last, _)| *last).max().unwrap()
    }

    /// Returns whether a process ended without stopping, while others went on for more than five
    /// seconds (clocks are off by less than one).
    fn is_dead(&self, who: &(String, String)) -> bool {
        self.processes
            .get(who)
            .is_some_and(|(_, last, stopped)| !stopped && self.last_of_all() - last > 5_000_000_000)
    }

    /// Returns the duration of the longest complete span of a component that entered a state, if
    /// there are at least three.
    fn longest(&self, component: &str, state: &str) -> Option<i64> {
        let mut durations = Vec::new();
        for lines in self.flows.values() {
            for span in spans(lines) {
                let own: Vec<&Line> = lines.iter().filter(|line| line.span == span).collect();
                let complete = own.iter().find(|line| line.event == EventKind::End);
                if let Some(end) = complete.filter(|end| {
                    end.who.0 == component && own.iter().any(|line| line.state == state)
                }) {
                    durations.push(end.wall - own.iter().map(|line| line.wall).min().unwrap());
                }
            }
        }
        (durations.len() >= 3).then(|| durations.into_iter().max().unwrap())
    }

    fn is_silent(&self, lines: &[Line], span: u64) -> bool {
        let own: Vec<&Line> = lines.iter().filter(|line| line.span == span).collect();
        if own.iter().any(|line| TERMINAL.contains(&line.event)) {
            return false;
        }
        let children: BTreeSet<u64> =
            lines.iter().filter(|line| line.parent == Some(span)).map(|line| line.span).collect();
        let open: Vec<u64> = children
            .into_iter()
            .filter(|child| {
                !lines.iter().any(|line| line.span == *child && TERMINAL.contains(&line.event))
            })
            .collect();
        if !open.is_empty() {
            return open.iter().all(|child| self.is_silent(lines, *child));
        }
        let last = own.iter().max_by_key(|line| line.clock).unwrap();
        if self.is_dead(&last.who) {
            return true;
        }
        // A live process logs until the logs end, up to its clock error.
        self.longest(&last.who.0, &last.state)
            .is_some_and(|longest| self.last_of_all() - last.wall > longest + 1_000_000_000)
    }

    fn judge(&self, lines: &[Line]) -> Option<Answer> {
        let present: BTreeSet<u64> = spans(lines);
        let root = lines
            .iter()
            .filter(|line| line.parent.is_none_or(|parent| !present.contains(&parent)))
            .min_by_key(|line| line.clock)
            .unwrap()
            .span;
        let terminal = lines
            .iter()
            .filter(|line| line.span == root && TERMINAL.contains(&line.event))
            .min_by_key(|line| line.clock);
        let left = terminal
            .filter(|line| line.event == EventKind::Cancel)
            .map_or(u64::MAX, |line| line.clock);
        let callers_fault = |line: &Line| {
            line.error.0 == "InvalidArgument"
                || line.status.is_some_and(|status| {
                    (400..499).contains(&status) && status != 408 && status != 429
                })
        };
        let mut failures: Vec<Failure> = Vec::new();
        for span in present {
            let failed = lines
                .iter()
                .filter(|line| line.span == span && line.event == EventKind::Fail)
                .min_by_key(|line| line.clock);
            if let Some(line) = failed {
                let teardown =
                    line.error.0 == "Cancelled" || line.error.1.contains("client disconnected");
                if line.clock < left && !callers_fault(line) && !teardown {
                    failures.push(Failure {
                        span,
                        clock: line.clock,
                        error: Some(line.error.clone()),
                    });
                }
            } else if left == u64::MAX && self.is_silent(lines, span) {
                let last = lines
                    .iter()
                    .filter(|line| line.span == span)
                    .map(|line| line.clock)
                    .max()
                    .unwrap();
                failures.push(Failure { span, clock: last, error: None });
            }
        }
        let outcome = match terminal.map(|line| line.event) {
            Some(EventKind::End) => FlowOutcome::Recovered,
            Some(EventKind::Fail | EventKind::Cancel) => FlowOutcome::Failed,
            _ if self.is_silent(lines, root) => FlowOutcome::Failed,
            _ => return None,
        };
        let above = |upper: u64, mut span: u64| {
            while let Some(parent) =
                lines.iter().find(|line| line.span == span).and_then(|line| line.parent)
            {
                if parent == upper {
                    return true;
                }
                span = parent;
            }
            false
        };
        // An affected span failed because a span below it failed before, or fell silent.
        let victim = |failure: &Failure| {
            failures.iter().any(|below| {
                above(failure.span, below.span)
                    && (below.error.is_none()
                        || failure.error.is_none()
                        || below.clock < failure.clock)
            })
        };
        let first = failures
            .iter()
            .filter(|failure| !victim(failure))
            .min_by_key(|failure| failure.clock)?;
        let line = lines.iter().find(|line| line.span == first.span).unwrap();
        let mut who = line.who.clone();
        // A failure for lack of a dead component belongs to that component.
        if let Some((kind, message)) = &first.error
            && ["Unavailable", "CannotConnect", "Disconnected"].contains(&kind.as_str())
        {
            let named = |dead: &(String, String)| {
                Some(&dead.1) == line.callee.as_ref()
                    || message.contains(&format!("no {} worker", dead.0))
            };
            if let Some(dead) =
                self.processes.keys().find(|process| self.is_dead(process) && named(process))
            {
                who = dead.clone();
            }
        }
        Some((outcome, who.0, who.1))
    }
}

fn spans(lines: &[Line]) -> BTreeSet<u64> {
    lines.iter().map(|line| line.span).collect()
}

fn diagnosis(cluster: &Cluster) -> BTreeMap<String, Answer> {
    let sources = Sources::from_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    analyze(&sources, &Options::default(), &|_| {})
        .flow_failures
        .into_iter()
        .map(|failure| {
            (
                failure.flow_id,
                (failure.outcome, failure.component, failure.instance.unwrap_or_default()),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_diagnosis_equals_the_oracle(
        seed in any::<u64>(),
        format in prop::sample::select(vec![LogFormat::Json, LogFormat::Text, LogFormat::Mixed]),
        prefills in 1usize..3,
        kills in 0usize..2,
        fault_percent in 0u64..80,
        skew_ms in 0u64..500,
        silent_processes in any::<bool>(),
    ) {
        let cluster = simulate(&flowlog_simulator::Options { seed, flows: 60, skew_ms, format, fault_percent, kills, prefills, silent_processes, ..Default::default() });
        let reading = read(&cluster);
        let oracle: BTreeMap<String, Answer> =
            reading.flows.iter().filter_map(|(flow, lines)| Some((flow.clone(), reading.judge(lines)?))).collect();
        let found = diagnosis(&cluster);
        prop_assert!(fault_percent < 30 || !oracle.is_empty());
        let differing: Vec<_> = oracle
            .keys()
            .chain(found.keys())
            .filter(|flow| oracle.get(*flow) != found.get(*flow))
            .map(|flow| (flow, found.get(flow), oracle.get(flow)))
            .collect();
        prop_assert!(differing.is_empty(), "(flow, found, oracle): {differing:?}");
    }
}
