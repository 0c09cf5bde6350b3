//! Rule matches outside flows, with their context: severity, time and component.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::confidence::Basis;
use super::topology::{ProcessIndex, RunModel};
use crate::component_names;
use crate::flow::{
    LineRef, LogPosition, MatchStats, ProcessActivity, ProducerActivity, ProducerId, Table,
};
use crate::format::error_of;
use crate::rules::{RuleClass, StackLayer};

/// Minimum number of reports that a dependency is unreachable: one may be a slow start.
const MIN_UNREACHABLE_REPORTS: u64 = 2;

/// Maximum distance of the last match from the end of the log for the condition to hold until the
/// end, in nanoseconds.
const UNRESOLVED_WINDOW_NS: i64 = 15 * SECOND_NS;

/// Time after the start of a shutdown in which errors are shutdown noise, in nanoseconds.
pub(super) const SHUTDOWN_NOISE_WINDOW_NS: i64 = 60 * SECOND_NS;

/// Minimum number of waiting messages that make a stall.
const MIN_STALL_REPEATS: u64 = 3;

pub(super) const SECOND_NS: i64 = 1_000_000_000;

/// Severity of a failure, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The failure ends a process or a run.
    Fatal,
    /// An error that a component reported or relayed.
    Reported,
    /// A test, a step of a job or a client reports that something failed.
    Observed,
    /// Waiting without progress.
    Stall,
    /// A stop without a signal.
    Stop,
}

/// A candidate for the first failure.
#[derive(Debug)]
pub(super) struct Candidate {
    pub severity: Severity,
    pub relay: bool,
    pub layer: StackLayer,
    /// Earliest time of the failure, by the common clock; `until` is the latest.
    pub from: i64,
    pub until: i64,
    pub failure: FirstFailure,
}

/// Rule matches with everything that their evaluation depends on.
pub(super) struct MatchContext<'t> {
    pub table: &'t Table,
    pub model: &'t RunModel,
    pub producer_id: ProducerId,
    pub activity: &'t ProducerActivity,
    pub class: RuleClass,
    pub component: &'t CompactString,
    pub layer: StackLayer,
    pub match_stats: &'t MatchStats,
}

impl<'t> MatchContext<'t> {
    /// Iterates over all rule matches, producer by producer.
    pub(super) fn every(table: &'t Table, model: &'t RunModel) -> impl Iterator<Item = Self> {
        table.producers_by_id.iter().flat_map(move |(producer_id, activity)| {
            let of = move |((class, component, layer), match_stats): (
                &'t (RuleClass, CompactString, StackLayer),
                &'t MatchStats,
            )| Self {
                table,
                model,
                producer_id: *producer_id,
                activity,
                class: *class,
                component,
                layer: *layer,
                match_stats,
            };
            activity.matches.iter().map(of)
        })
    }

    /// Returns the severity as a failure; `None` if the match is not a failure.
    pub(super) fn severity(
        &self,
        has_classified_flows: bool,
        signals: &[(Option<i64>, LineRef)],
    ) -> Option<Severity> {
        let (activity, match_stats) = (self.activity, self.match_stats);
        let ordered = || shut_down_before(activity, match_stats);
        let stops = || ordered() || self.follows_order(signals);
        let handled = || self.recovered_later(&[RuleClass::Healthy, RuleClass::Recovered]);
        // A service that became ready later did not lack what it looked for.
        let passed = || handled() || self.recovered_later(&[RuleClass::Ready]);
        let seen = |severity: Severity| {
            if self.layer >= StackLayer::Client { Severity::Observed } else { severity }
        };
        match self.class {
            RuleClass::Panic => (has_classified_flows || !handled()).then_some(Severity::Fatal),
            RuleClass::StartFailure => (!ordered()
                && (!has_classified_flows
                    || !served(activity)
                    || is_last_line(activity, match_stats)))
            .then_some(Severity::Fatal),
            RuleClass::Unreachable => (if has_classified_flows {
                match_stats.count >= MIN_UNREACHABLE_REPORTS
                    && goes_on_until_end(activity, match_stats)
                    && !self.works_again()
            } else {
                !ordered() && !passed()
            })
            .then_some(Severity::Fatal),
            RuleClass::Fatal | RuleClass::Killed => (!stops()
                && (!has_classified_flows || is_last_line(activity, match_stats)))
            .then_some(Severity::Fatal),
            // After an ordinary shutdown began, and in a process that goes on, an exception was
            // only printed.
            RuleClass::Traceback => (if has_classified_flows {
                is_last_line(activity, match_stats) && !ordered()
            } else {
                !stops() && !handled()
            })
            .then_some(seen(Severity::Fatal)),
            RuleClass::Infrastructure => {
                (!has_classified_flows && !passed()).then_some(Severity::Fatal)
            }
            RuleClass::Error | RuleClass::Relay => {
                (!has_classified_flows && !stops() && !handled())
                    .then_some(seen(Severity::Reported))
            }
            RuleClass::Waiting => (!has_classified_flows
                && is_stall(match_stats)
                && goes_on_until_end(activity, match_stats)
                && !self.recovered_later(&[RuleClass::Healthy, RuleClass::Ready]))
            .then_some(Severity::Stall),
            RuleClass::Recovered
            | RuleClass::Client
            | RuleClass::CallerGone
            | RuleClass::Handled
            | RuleClass::Teardown
            | RuleClass::StopRequested
            | RuleClass::Stop
            | RuleClass::WorkInFlight
            | RuleClass::Ready
            | RuleClass::Healthy => None,
        }
    }

    /// Returns whether the line is of a program that nobody taught: it logs with levels, in formats
    /// that any program may use. Its good runs may have the same errors.
    pub(super) fn is_of_unknown_program(&self) -> bool {
        let activity = self.activity;
        let process = self.model.process(self.model.of_producer(self.producer_id));
        let is_of_inference = |name: &str| component_names::is_of_inference(name);
        activity.has_any_logger
            && !activity.has_known_format
            && !is_of_inference(&process.component)
            && !is_of_inference(self.component)
            && !activity
                .libraries
                .iter()
                .chain(&activity.components)
                .any(|name| is_of_inference(name))
    }

    /// Returns whether the line shows that a process ended, whatever program it runs.
    pub(super) fn is_of_ended_process(&self) -> bool {
        matches!(self.class, RuleClass::Panic | RuleClass::Killed | RuleClass::Fatal)
    }

    /// Returns whether the line is the verdict of a CI job, of its test runner or of an image's build,
    /// which counts whatever programs the job runs.
    pub(super) fn is_of_job(&self) -> bool {
        self.component == "docker_build"
            || matches!(self.match_stats.first.2, "job_failed" | "test_failed" | "test_setup")
    }

    /// Returns whether the producer matched one of the `better` classes after the last of these
    /// matches.
    pub(super) fn recovered_later(&self, better: &[RuleClass]) -> bool {
        let later = |match_stats: &MatchStats| {
            (match_stats.last.time, match_stats.last.line)
                > (self.match_stats.last.time, self.match_stats.last.line)
        };
        self.activity
            .matches
            .iter()
            .any(|((class, ..), match_stats)| better.contains(class) && later(match_stats))
    }

    /// Returns whether a dependency that had worked was lost, and worked again before the run was
    /// stopped.
    pub(super) fn healed(&self) -> bool {
        let end = end_of(self.activity, self.match_stats.first.0);
        let began_before_stop = self
            .match_stats
            .first
            .0
            .time()
            .is_some_and(|first| first < end.saturating_sub(STOP_LEAD_NS));
        self.class == RuleClass::Unreachable
            && self.match_stats.count >= MIN_UNREACHABLE_REPORTS
            && began_before_stop
            && self.healthy().any(|healthy| healthy.first.0 < self.match_stats.first.0)
            && self.works_again()
    }

    /// Returns whether the dependency worked after the last report of its loss that does not belong
    /// to the stop of the run.
    fn works_again(&self) -> bool {
        let end = end_of(self.activity, self.match_stats.first.0);
        let Some(last) = last_before_stop(self.match_stats, end) else { return false };
        self.healthy().any(|healthy| {
            healthy.activity.intervals().any(|(_, healthy)| last <= healthy && healthy <= end)
        })
    }

    /// Iterates over the reports that the same dependency works.
    fn healthy(&self) -> impl Iterator<Item = &'t MatchStats> {
        self.activity
            .matches
            .iter()
            .filter(|((class, component, _), _)| {
                *class == RuleClass::Healthy && component == self.component
            })
            .map(|(_, healthy)| healthy)
    }

    /// Returns whether the match came shortly after the run or the process was asked to stop.
    fn follows_order(&self, signals: &[(Option<i64>, LineRef)]) -> bool {
        let own = self.match_stats.first.0.line;
        signals.iter().any(|(stop, line)| {
            match (stop, self.match_stats.first.0.time().and(self.time())) {
                (Some(stop), Some(time)) if *stop != time => {
                    (*stop..stop + SHUTDOWN_NOISE_WINDOW_NS).contains(&time)
                }
                // Without times, or at the same time, the order in the log decides.
                _ => line.source == own.source && line.offset < own.offset,
            }
        })
    }

    /// Returns the time of the first match, by the common clock. A match without a time has that of
    /// its producer's first line.
    pub(super) fn time(&self) -> Option<i64> {
        let process = self.model.of_producer(self.producer_id);
        let first = self.activity.all_lines.first.filter(|first| first.time().is_some());
        self.model
            .time(self.match_stats.first.0, process)
            .or_else(|| self.model.time(first?, process))
    }

    pub(super) fn candidate(&self, severity: Severity) -> Candidate {
        let failure = self.failure();
        let from = failure.time.unwrap_or(i64::MIN);
        let relay = self.class == RuleClass::Relay;
        Candidate {
            severity,
            relay,
            layer: self.layer,
            from,
            until: from.saturating_add(failure.resolution_ns.max(1)),
            failure,
        }
    }

    /// Returns the component, instance and process that the match is attributed to.
    pub(super) fn producer_process(
        &self,
    ) -> (CompactString, Option<CompactString>, Option<ProcessIndex>) {
        let known = |instance: &CompactString| (!instance.is_empty()).then(|| instance.clone());
        let shared = matches!(self.component.as_str(), "etcd" | "nats")
            || self.class == RuleClass::Infrastructure;
        if shared {
            return (self.component.clone(), None, None);
        }
        let process = self.model.of_producer(self.producer_id);
        let producer = self.model.process(process);
        if !self.component.is_empty() {
            return (self.component.clone(), known(&producer.instance), process);
        }
        // A stack trace in any line of the process shows which code it runs.
        let own = self.activity.named_instances.len() <= 1 && producer.component != "unknown";
        let stack = self.activity.matches.keys().find(|(class, component, _)| {
            own && *class == RuleClass::Traceback && !component.is_empty()
        });
        if let Some((_, component, _)) = stack {
            return (component.clone(), known(&producer.instance), process);
        }
        let words = self.match_stats.first.1.lines().next().unwrap_or_default();
        // The component that the message names. An out-of-memory kill without a name belongs to the
        // cluster.
        let named = || {
            component_names::component_in(words)
                .or(words.to_ascii_lowercase().contains("oom").then_some("k8s"))
        };
        // A job's log is named after the job, which is not a component.
        let of_job =
            matches!(self.class, RuleClass::Error | RuleClass::Relay | RuleClass::StartFailure);
        if of_job
            && self.layer == StackLayer::Step
            && component_names::component_in(&producer.component).is_none()
        {
            return (CompactString::from(named().unwrap_or("test_fail")), None, process);
        }
        // The process that started it reports its end, and names it.
        if let Some(named) = component_names::component_in(words)
            .filter(|_| self.layer == StackLayer::Step && self.class == RuleClass::Killed)
        {
            return (CompactString::from(named), None, process);
        }
        // The source file of a panic says more than the name of the log's file.
        let panicked = Some(words)
            .filter(|_| self.class == RuleClass::Panic && producer.is_named_by_file)
            .and_then(place_of_panic)
            .and_then(component_names::component_in);
        if let Some(component) = panicked {
            return (CompactString::from(component), known(&producer.instance), process);
        }
        if producer.component != "unknown" {
            return (producer.component.clone(), known(&producer.instance), process);
        }
        // In a log of many processes, use the one that logs nearest.
        if let Some((component, instance)) = self.nearest_producer() {
            return (component.clone(), known(instance), process);
        }
        (
            named().map_or_else(|| producer.component.clone(), CompactString::from),
            known(&producer.instance),
            process,
        )
    }

    /// Returns the component and instance that log nearest to the match in the same source, among
    /// those that are known.
    fn nearest_producer(&self) -> Option<(&CompactString, &CompactString)> {
        let line = self.match_stats.first.0.line;
        let distance = |activity: &ProcessActivity| {
            let own = |position: Option<LogPosition>| {
                position.map(|position| position.line).filter(|own| own.source == line.source)
            };
            let (first, last) = (own(activity.first)?.offset, own(activity.last)?.offset);
            Some(if (first..=last).contains(&line.offset) {
                0
            } else {
                first.abs_diff(line.offset).min(last.abs_diff(line.offset))
            })
        };
        let named = self.activity.named_instances.iter().filter_map(|name| {
            Some((distance(self.table.processes.get(name)?)?, &name.0, &name.1))
        });
        let producers_by_id =
            self.table.producers_by_id.iter().filter_map(|(producer_id, activity)| {
                let process = self.model.process(self.model.of_producer(*producer_id));
                (process.component != "unknown").then_some((
                    distance(&activity.all_lines)?,
                    &process.component,
                    &process.instance,
                ))
            });
        named.chain(producers_by_id).min().map(|(_, component, instance)| (component, instance))
    }

    pub(super) fn failure(&self) -> FirstFailure {
        let error = error_of(&self.match_stats.first.1);
        let (component, instance, process) = self.producer_process();
        let message = match self.class {
            RuleClass::Waiting => {
                format!("no progress, repeated {} times: {}", self.match_stats.count, error.message)
            }
            RuleClass::Stop => {
                format!("stopped unexpectedly with work in flight: {}", error.message)
            }
            _ => error.message.into_owned(),
        };
        FirstFailure {
            error_type: error.kind.into(),
            message: message.into(),
            time: self.time(),
            resolution_ns: i64::from(self.match_stats.first.0.resolution_ns),
            basis: match self.class {
                RuleClass::Error => Basis::ErrorText,
                RuleClass::Relay => Basis::Relay,
                RuleClass::Waiting | RuleClass::Stop => Basis::Pattern,
                _ => Basis::RuleMatch,
            },
            line_rule: Some(self.match_stats.first.2),
            evidence: vec![self.match_stats.first.0.line],
            ..FirstFailure::new(FailureKind::Run, component, instance.unwrap_or_default(), process)
        }
    }
}

/// Returns whether the same message repeats at a steady interval.
fn is_stall(match_stats: &MatchStats) -> bool {
    let mut gaps: Vec<i64> = match_stats.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let at = |index: usize| gaps.get(index).copied().unwrap_or(0);
    let (median, longest) =
        (at(gaps.len().saturating_sub(1) / 2), at(gaps.len().saturating_sub(1)));
    // Two alternating lines repeat in pairs, so that only the longer half of the intervals counts.
    let pairs = if gaps.len() >= 4 { at(gaps.len() - gaps.len() / 2) } else { 0 };
    match_stats.count >= MIN_STALL_REPEATS && longest <= median.max(pairs).saturating_mul(3)
}

fn served(activity: &ProducerActivity) -> bool {
    activity.matches.keys().any(|(class, ..)| *class == RuleClass::Ready)
        || !activity.named_instances.is_empty()
}

fn is_last_line(activity: &ProducerActivity, match_stats: &MatchStats) -> bool {
    let last = activity.all_lines.activity.last().unwrap_or(i64::MIN);
    match_stats.last.time().is_none_or(|time| last <= time.saturating_add(2 * SECOND_NS))
}

fn shut_down_before(activity: &ProducerActivity, match_stats: &MatchStats) -> bool {
    activity
        .all_lines
        .shutdowns
        .first()
        .is_some_and(|stop| match_stats.first.0.time().is_some_and(|time| stop < time))
}

/// Returns the source file of a Rust panic, if it is one of the program's own.
fn place_of_panic(words: &str) -> Option<&str> {
    let (_, place) = words.split_once("panicked at ")?;
    let file = place.split(".rs:").next()?;
    (!file.starts_with('/') && !file.contains(' ')).then_some(file)
}

/// Returns when the producer began to stop in order, or else when its log ends.
fn end_of(activity: &ProducerActivity, after: LogPosition) -> i64 {
    let stops = activity
        .matches
        .iter()
        .filter(|((class, ..), stop)| *class == RuleClass::Stop && stop.first.0 > after);
    let stop = stops
        .filter_map(|(_, stop)| stop.first.0.time())
        .chain(activity.all_lines.shutdowns.first())
        .min();
    stop.or(activity.all_lines.activity.last()).unwrap_or(i64::MAX)
}

/// Returns whether the condition still held when the log ended or an ordinary shutdown began.
fn goes_on_until_end(activity: &ProducerActivity, match_stats: &MatchStats) -> bool {
    let end = end_of(activity, match_stats.first.0);
    last_before_stop(match_stats, end)
        .is_none_or(|last| end <= last.saturating_add(UNRESOLVED_WINDOW_NS))
}

/// Time by which the stop of a dependency may precede that of the process that reports it, in
/// nanoseconds: a whole run is stopped at once.
const STOP_LEAD_NS: i64 = SECOND_NS;

/// Returns the time of the last match that does not belong to the stop of the run; `None` if no
/// match has a time.
fn last_before_stop(match_stats: &MatchStats, end: i64) -> Option<i64> {
    let before = |(first, _): &(i64, i64)| *first < end.saturating_sub(STOP_LEAD_NS);
    let intervals = || match_stats.activity.intervals();
    intervals().rev().find(before).or_else(|| intervals().next()).map(|(_, last)| last.min(end))
}
