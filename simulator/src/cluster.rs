//! Processes with their clocks, and the order in which they log.

use std::collections::HashMap;

use flowlog_schema::{Clock, HybridClock};

use crate::process::{Process, pick};
use crate::request::Request;
use crate::script::{Entry, Step, What};
use crate::state::State;
use crate::write;
use crate::{Cluster, LogFormat, Options};

/// Start of the run, 2025-11-22T08:00:00Z, in microseconds since the Unix epoch.
pub(crate) const BEGIN: i64 = 1_763_798_400_000_000;

/// Time that the run continues after its last request, in microseconds: long enough to recognize a
/// hang.
const TAIL_US: i64 = 30_000_000;

pub(crate) fn run(options: &Options) -> Cluster {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let dynamo = options.format == LogFormat::Dynamo;
    let skew = i64::try_from(options.skew_ms * 1_000).unwrap_or(0);
    let mut processes = Vec::new();
    for (component, count) in
        [("frontend", 2), ("router", 2), ("prefill", options.prefills), ("backend", 3)]
    {
        for index in 0..count {
            let log = format!("{component}-{index}");
            let decimal = dynamo && matches!(component, "prefill" | "backend");
            let instance = if decimal {
                random.u64(1_000_000_000_000_000_000..).to_string()
            } else {
                log.clone()
            };
            processes.push(Process {
                component,
                instance,
                log,
                skew: random.i64(-skew..=skew),
                killed: None,
            });
        }
    }
    let span = 50_000 * i64::try_from(options.flows).unwrap_or(0);
    if options.kills > 0 {
        let victim = pick(&mut random, &processes, |process| {
            matches!(process.component, "prefill" | "backend")
        });
        if let Some(process) = processes.get_mut(victim) {
            process.killed = Some(random.i64(span / 3..=span / 3 * 2 + 1));
        }
    }
    let mut state = State { options, random, processes, steps: Vec::new(), next_span: 1 };
    let mut truth = Vec::with_capacity(options.flows);
    for index in 0..options.flows {
        let at = i64::try_from(index).unwrap_or(0) * 50_000 + state.random.i64(0..40_000);
        truth.push(Request::play(&mut state, at));
    }
    if options.silent_processes {
        // A process must log last; otherwise a hang is indistinguishable from the end of the logs.
        for late in 0..3 {
            truth.push(Request::play_well(&mut state, span + TAIL_US + late * 1_000_000));
        }
    } else {
        state.chatter(span + TAIL_US);
    }
    let mut logs: Vec<(String, Vec<u8>)> = state
        .processes
        .iter()
        .map(|process| (format!("{}.log", process.log), Vec::new()))
        .collect();
    state.write(&mut logs);
    // Dynamo's router runs in the frontend, so it has no log of its own.
    logs.retain(|(_, bytes)| !bytes.is_empty());
    Cluster { logs, truth }
}

impl State<'_> {
    /// Adds occasional output outside of flows to every process, and an orderly stop at the end.
    fn chatter(&mut self, end: i64) {
        for process in 0..self.processes.len() {
            let mut at = self.random.i64(0..700_000);
            self.steps.push(Step::of_process(process, 0, "start"));
            while at < end {
                self.steps.push(Step::write_noise(process, at, self.random.bool()));
                at += self.random.i64(300_000..900_000);
            }
            self.steps.push(Step::of_process(process, end + self.random.i64(0..50_000), "stop"));
        }
    }

    /// Sorts all steps by true time, advances the clocks, and writes the lines.
    pub(crate) fn write(&mut self, logs: &mut [(String, Vec<u8>)]) {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|at| (self.steps[*at].at, *at));
        let clocks: Vec<HybridClock> = self.processes.iter().map(|_| HybridClock::new()).collect();
        let begin = BEGIN + i64::try_from(self.options.start_s * 1_000_000).unwrap_or(0);
        // Last reported state of each span.
        let mut states: HashMap<u64, &'static str> = HashMap::new();
        let mut read: Vec<Clock> = vec![Clock(0); self.steps.len()];
        for at in order {
            let step = &self.steps[at];
            let process = &self.processes[step.process];
            if process.killed.is_some_and(|killed| step.at >= killed) {
                continue;
            }
            let wall = begin + step.at + process.skew;
            let now_ms = u64::try_from(wall / 1_000).unwrap_or(0);
            let clock = match step.receives {
                Some(said) if !(self.options.omit_response_clocks && step.is_answer()) => {
                    clocks[step.process].receive(read[said], now_ms)
                }
                _ => clocks[step.process].tick(now_ms),
            };
            read[at] = clock;
            let state = match &step.entries {
                Entry::Span { span, what: What::State(state) } => {
                    states.insert(span.id, state);
                    state
                }
                Entry::Span { span, .. } => states.get(&span.id).copied().unwrap_or("receive"),
                Entry::Process { .. } | Entry::Noise { .. } | Entry::Text { .. } => "",
            };
            let log = if self.options.format == LogFormat::Dynamo {
                write::dynamo_home(process, &self.processes)
            } else {
                step.process
            };
            if let Some((_, bytes)) = logs.get_mut(log) {
                write::step(
                    step,
                    process,
                    wall,
                    clock,
                    state,
                    self.options,
                    &mut self.random,
                    bytes,
                );
            }
        }
    }
}
