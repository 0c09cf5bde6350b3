//! Processes of the run, how far their clocks are off, and how long their work takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;
use foldhash::fast::FixedState;

use super::availability::{self, DownKind, Downtime};
use super::clock_skew;
use super::identity::Identity;
use crate::component_names;
use crate::flow::{
    Activity, CallCounts, LogPosition, NamedStats, PeerStats, ProcessActivity, ProducerId,
    ServiceInstance, SkewBounds, Span, Table,
};
use crate::source::{Sources, cut_times};

/// One process of the run.
#[derive(Debug)]
pub struct Process {
    /// Component.
    pub component: CompactString,
    /// Instance; empty if unknown.
    pub instance: CompactString,
    /// Whether a line named the instance.
    pub named: bool,
    /// Whether the component is only the name of a file, which may be any.
    pub is_named_by_file: bool,
    /// Activity and lifecycle, by the process's own clock.
    pub activity: ProcessActivity,
    /// Whether the end of its log is missing, so that its last line is not its end.
    pub has_incomplete_log: bool,
    /// How far its wall clock is ahead, in nanoseconds.
    pub skew: i64,
    /// When it was dead or frozen, by the common clock, in order.
    pub downtimes: Vec<Downtime>,
}

impl Process {
    /// Returns why and since when the process was unavailable at a time, by the common clock.
    pub fn downtime_at(&self, time: i64) -> Option<Downtime> {
        self.downtimes.iter().rev().find(|down| down.covers(time)).copied()
    }

    /// Returns the last time within `from..=until`, by the common clock, in which the process was
    /// unavailable.
    pub fn downtime_within(&self, from: i64, until: i64) -> Option<Downtime> {
        self.downtimes.iter().rev().find(|down| down.since <= until && from < down.until).copied()
    }

    /// Returns whether the process logged anything within `from..until`, by the common clock.
    pub fn is_active_within(&self, from: i64, until: i64) -> bool {
        let own = |time: i64| time.saturating_add(self.skew);
        self.activity.activity.is_within(own(from), own(until))
    }
}

/// Index of a process of a [`RunModel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessIndex(usize);

/// Model of the run: processes, clocks, calls and usual durations.
#[derive(Debug)]
pub struct RunModel {
    /// All processes.
    pub processes: Vec<Process>,
    /// Time of the last line, in nanoseconds, corrected for clock skew.
    pub end: i64,
    /// Time of the last line of each process, by the common clock, in order.
    ends: Vec<i64>,
    /// Direct calls, as pairs of caller and callee component.
    pub calls: BTreeSet<(CompactString, CompactString)>,
    /// Direct calls whose responses carry no logical clock.
    pub without_response_clock: BTreeSet<(CompactString, CompactString)>,
    /// Whether spans have records, which show when a span starts.
    pub has_records: bool,
    /// Whether some of these spans lack their start, so that other lines may be missing, too.
    pub loses_lines: bool,
    /// Components with roots that seem to hang, although only their last line was lost.
    pub components_losing_lines: BTreeSet<CompactString>,
    /// Components of which a span ended well.
    ending_components: BTreeSet<CompactString>,
    /// Number of calls by the components of caller and callee.
    call_counts: HashMap<(CompactString, CompactString), CallCounts, FixedState>,
    /// When flows began that ended well, by the component of their root.
    served: HashMap<CompactString, Activity, FixedState>,
    peers: HashMap<(CompactString, CompactString), PeerStats, FixedState>,
    named: HashMap<(CompactString, CompactString), ProcessIndex>,
    by_producer: HashMap<ProducerId, ProcessIndex>,
    /// Process of each instance name; `None` if several have it.
    by_instance_name: HashMap<CompactString, Option<ProcessIndex>>,
}

impl RunModel {
    /// Maps every producer to a process.
    pub fn new(table: &Table, closed: NamedStats, sources: &Sources) -> Self {
        let mut model = Self {
            processes: Vec::new(),
            end: i64::MIN,
            ends: Vec::new(),
            calls: BTreeSet::new(),
            without_response_clock: BTreeSet::new(),
            has_records: closed.has_records,
            loses_lines: closed.without_start > 0,
            components_losing_lines: BTreeSet::new(),
            ending_components: closed
                .peers
                .keys()
                .map(|(component, _)| component.clone())
                .collect(),
            call_counts: closed.call_counts.clone(),
            served: HashMap::default(),
            peers: closed.peers.clone(),
            named: HashMap::new(),
            by_producer: HashMap::new(),
            by_instance_name: HashMap::new(),
        };
        for ((component, instance), activity) in &table.processes {
            let index = model.add(Process {
                component: component.clone(),
                instance: instance.clone(),
                named: true,
                is_named_by_file: false,
                activity: activity.clone(),
                has_incomplete_log: false,
                skew: 0,
                downtimes: Vec::new(),
            });
            model.named.insert((component.clone(), instance.clone()), index);
        }
        model.add_producers(table, sources);
        model.correct_clocks(&closed);
        let last = |process: &Process| {
            process.activity.activity.last().map(|last| last.saturating_sub(process.skew))
        };
        model.end = model.processes.iter().filter_map(last).max().unwrap_or(i64::MIN);
        let last_lines = model.processes.iter().filter_map(|process| process.activity.last);
        let last_lines = last_lines.map(|last| (last.line.source, last.time));
        let cut_at = cut_times(sources.incomplete(), last_lines);
        for process in &mut model.processes {
            process.has_incomplete_log = process.activity.last.is_some_and(|last| {
                let cut = cut_at.get(&last.line.source);
                cut.is_some_and(|cut| availability::may_pause(&process.activity, *cut))
            });
            let mut own =
                availability::of(&process.activity, model.end.saturating_add(process.skew));
            own.retain(|down| down.until < i64::MAX || !process.has_incomplete_log);
            let common = |time: i64| match time {
                i64::MAX => time,
                _ => time.saturating_sub(process.skew),
            };
            process.downtimes = own
                .into_iter()
                .map(|down| Downtime {
                    since: common(down.since),
                    until: common(down.until),
                    ..down
                })
                .collect();
        }
        model.ends = model.last_lines();
        model.correct_last_downtimes();
        model.remove_common_pauses();
        model.served = closed.served.clone();
        model.without_response_clock = closed
            .calls
            .iter()
            .filter(|(_, bounds)| bounds.without_response_clock)
            .map(|((caller, callee), _)| (model.component_of(caller), model.component_of(callee)))
            .collect();
        model.calls = closed
            .calls
            .keys()
            .map(|(caller, callee)| (model.component_of(caller), model.component_of(callee)))
            .filter(|(caller, callee)| caller != callee)
            .collect();
        model
    }

    /// Marks the last downtime of each process as uncertain if most other processes fell silent, too:
    /// the run ended.
    fn correct_last_downtimes(&mut self) {
        for process in &mut self.processes {
            if let Some(down) = process.downtimes.last_mut().filter(|down| down.until == i64::MAX) {
                down.is_certain &= goes_on_after(&self.ends, down.since, self.end);
            }
        }
    }

    /// Removes freezes during which most other processes logged nothing, either: the run was idle.
    fn remove_common_pauses(&mut self) {
        let is_common = |own: usize, down: &Downtime| {
            let from = down.since.saturating_add(Activity::GAP_NS / 2);
            let until = down.until.saturating_sub(Activity::GAP_NS / 2);
            let others = || self.processes.iter().enumerate().filter(|(at, _)| *at != own);
            let active = others().filter(|(_, other)| other.is_active_within(from, until)).count();
            active * 3 < others().count() || active == 0
        };
        let kept: Vec<Vec<Downtime>> = self
            .processes
            .iter()
            .enumerate()
            .map(|(at, process)| {
                let is_kept =
                    |down: &&Downtime| down.kind != DownKind::Frozen || !is_common(at, down);
                process.downtimes.iter().filter(is_kept).copied().collect()
            })
            .collect();
        for (process, downtimes) in self.processes.iter_mut().zip(kept) {
            process.downtimes = downtimes;
        }
    }

    /// Returns the time of the last line of each process, by the common clock, in order.
    fn last_lines(&self) -> Vec<i64> {
        let last = |process: &Process| {
            process.activity.activity.last().map(|last| last.saturating_sub(process.skew))
        };
        let mut ends: Vec<i64> = self.processes.iter().filter_map(last).collect();
        ends.sort_unstable();
        ends
    }

    /// Returns whether half of the other processes went on logging for a while after a time.
    pub fn goes_on_after(&self, time: i64) -> bool {
        goes_on_after(&self.ends, time, self.end)
    }

    fn add(&mut self, process: Process) -> ProcessIndex {
        let index = ProcessIndex(self.processes.len());
        self.by_instance_name
            .entry(process.instance.clone())
            .and_modify(|known| *known = None)
            .or_insert(Some(index));
        self.processes.push(process);
        index
    }

    fn process_mut(&mut self, index: ProcessIndex) -> Option<&mut Process> {
        self.processes.get_mut(index.0)
    }

    /// Returns every process with its index.
    pub fn indexed(&self) -> impl Iterator<Item = (ProcessIndex, &Process)> {
        self.processes.iter().enumerate().map(|(index, process)| (ProcessIndex(index), process))
    }

    /// Finds the process of every producer: the one that its lines name, or else the one that its
    /// envelopes or the file name identify.
    fn add_producers(&mut self, table: &Table, sources: &Sources) {
        let mut pods: BTreeMap<(CompactString, CompactString), ProcessIndex> = BTreeMap::new();
        for (producer_id, activity) in &table.producers_by_id {
            let instances: BTreeSet<&CompactString> =
                activity.named_instances.iter().map(|(_, instance)| instance).collect();
            let components: BTreeSet<&CompactString> =
                activity.named_instances.iter().map(|(component, _)| component).collect();
            // A producer that names only one instance is that process, even in lines that do not
            // name it.
            if instances.len() == 1
                && activity.components.iter().all(|component| components.contains(component))
            {
                for name in &activity.named_instances {
                    if let Some(index) = self.named.get(name).copied()
                        && let Some(process) = self.process_mut(index)
                    {
                        process.activity.merge(&activity.all_lines);
                        self.by_producer.insert(*producer_id, index);
                    }
                }
                continue;
            }
            let file = sources
                .read
                .get(producer_id.source as usize)
                .map(|source| component_names::of_file(&source.name))
                .unwrap_or_default();
            let identity = Identity::of(activity, &file);
            let Identity { component, instance, pod, is_named_by_file } = identity;
            // One pod may be in several files.
            let key = (component.clone(), instance.clone());
            if let Some(index) = pods.get(&key).copied().filter(|_| pod)
                && let Some(process) = self.process_mut(index)
            {
                process.activity.merge(&activity.unnamed_lines);
                self.by_producer.insert(*producer_id, index);
                continue;
            }
            let index = self.add(Process {
                component,
                instance,
                named: false,
                is_named_by_file,
                activity: activity.unnamed_lines.clone(),
                has_incomplete_log: false,
                skew: 0,
                downtimes: Vec::new(),
            });
            self.by_producer.insert(*producer_id, index);
            if pod {
                pods.insert(key, index);
            }
        }
    }

    /// Determines how far the clock of each process is ahead.
    fn correct_clocks(&mut self, closed: &NamedStats) {
        let mut calls: BTreeMap<(usize, usize), SkewBounds> = BTreeMap::new();
        for ((caller, callee), bounds) in &closed.calls {
            // The lines of a span may name a component and an instance that no process has
            // together.
            let (Some(caller), Some(callee)) = (self.of_instance(caller), self.of_instance(callee))
            else {
                continue;
            };
            if caller != callee {
                calls.entry((caller.0, callee.0)).or_default().add(*bounds);
            }
        }
        let skews = clock_skew::of(self.processes.len(), calls);
        for (process, skew) in self.processes.iter_mut().zip(skews) {
            process.skew = skew;
        }
    }

    /// Returns the process that a span runs in, if it is known.
    pub fn of_span(&self, span: &Span) -> Option<ProcessIndex> {
        if span.instance.is_empty() {
            return self.of_producer(span.first.line.producer_id());
        }
        self.named.get(&(span.component.clone(), span.instance.clone())).copied()
    }

    fn component_of(&self, service_instance: &ServiceInstance) -> CompactString {
        if service_instance.0.is_empty() {
            self.process(self.of_instance(service_instance)).component.clone()
        } else {
            service_instance.0.clone()
        }
    }

    fn of_instance(
        &self,
        (component, instance, producer_id): &ServiceInstance,
    ) -> Option<ProcessIndex> {
        let named = self.named.get(&(component.clone(), instance.clone())).copied();
        named.or_else(|| self.of_producer(*producer_id))
    }

    /// Returns the only process with an instance name.
    pub fn of_instance_name(&self, instance: &str) -> Option<(ProcessIndex, &Process)> {
        let index = (*self.by_instance_name.get(instance)?)?;
        Some((index, self.process(Some(index))))
    }

    /// Returns the process at an index, or an empty one named `unknown` if it is not known.
    pub fn process(&self, index: Option<ProcessIndex>) -> &Process {
        static UNKNOWN_PROCESS: Process = Process {
            component: CompactString::const_new("unknown"),
            instance: CompactString::const_new(""),
            named: false,
            is_named_by_file: false,
            activity: ProcessActivity::EMPTY,
            has_incomplete_log: false,
            skew: 0,
            downtimes: Vec::new(),
        };
        index.and_then(|index| self.processes.get(index.0)).unwrap_or(&UNKNOWN_PROCESS)
    }

    /// Returns a producer's process, if it is known.
    pub fn of_producer(&self, producer_id: ProducerId) -> Option<ProcessIndex> {
        self.by_producer.get(&producer_id).copied()
    }

    /// Returns the time of a log position by the common clock, in nanoseconds.
    pub fn time(&self, position: LogPosition, process: Option<ProcessIndex>) -> Option<i64> {
        position.time().map(|time| time.saturating_sub(self.process(process).skew))
    }

    /// Returns the duration of the longest complete span of a component in a state, if there are at
    /// least three.
    pub fn longest_peer(&self, component: &str, state: &str) -> Option<i64> {
        let stats =
            self.peers.get(&(CompactString::from(component), CompactString::from(state)))?;
        (stats.count >= 3).then_some(stats.longest)
    }

    /// Returns whether any span of a component ended well.
    pub fn has_ends(&self, component: &str) -> bool {
        self.ending_components.contains(component)
    }

    /// Returns whether spans of a component usually call another component several times.
    pub fn calls_repeatedly(&self, caller: &CompactString, callee: &CompactString) -> bool {
        let counts = self.call_counts.get(&(caller.clone(), callee.clone()));
        counts.is_some_and(|counts| counts.are_repeated())
    }

    /// Returns the number of complete spans.
    pub fn complete(&self) -> u64 {
        self.peers.values().map(|stats| stats.ended).sum()
    }

    /// Returns the number of complete spans of a component that ended in a state.
    pub fn ended_in(&self, component: &str, state: &str) -> u64 {
        self.peers
            .get(&(CompactString::from(component), CompactString::from(state)))
            .map_or(0, |stats| stats.ended)
    }

    /// Returns whether most spans of a component that enter a state end in it.
    pub fn ends_in(&self, component: &str, state: &str) -> bool {
        let stats = self.peers.get(&(CompactString::from(component), CompactString::from(state)));
        stats.is_some_and(|stats| stats.ended * 2 > stats.count)
    }

    /// Returns the duration of the longest complete span of a component, or else of any component,
    /// if there are at least three.
    pub fn longest_of_any(&self, component: &str) -> Option<i64> {
        let longest = |same_component: bool| {
            let all = self
                .peers
                .iter()
                .filter(|((name, _), _)| !same_component || name == component)
                .map(|(_, stats)| *stats);
            let (count, longest) = all.fold((0, 0), |(count, longest), stats| {
                (count + stats.count, longest.max(stats.longest))
            });
            (count >= 3).then_some(longest)
        };
        longest(true).or_else(|| longest(false))
    }

    /// Returns whether flows that ended well had a root of a component.
    pub fn is_root_component(&self, component: &str) -> bool {
        self.served.contains_key(component)
    }

    /// Returns whether any flow that began within `from..until`, by the common clock, ended well.
    pub fn served_within(&self, from: i64, until: i64) -> bool {
        from < until && self.served.values().any(|times| times.is_within(from, until))
    }

    /// Returns when a process that was running at `from` was asked to stop or began to, by the
    /// common clock.
    ///
    /// A whole run is stopped within a short time, process by process. A stop of another process up
    /// to two seconds earlier belongs to the same shutdown; the earliest one is returned.
    pub fn stop_after(&self, process: Option<ProcessIndex>, from: i64) -> Option<i64> {
        let shutdown = |process: &Process| {
            let after = process
                .activity
                .shutdowns
                .first_after(from.saturating_add(process.skew).saturating_sub(1))?;
            Some(after.saturating_sub(process.skew))
        };
        let own = shutdown(self.process(process))?;
        let earlier = self
            .processes
            .iter()
            .filter_map(shutdown)
            .filter(|stop| (own - STOP_WINDOW_NS..=own).contains(stop));
        earlier.min().or(Some(own))
    }
}

/// Maximum time that the shutdown of a whole run takes to reach every process, in nanoseconds.
const STOP_WINDOW_NS: i64 = 2_000_000_000;

/// Returns whether half of the other processes have their last line, of all those in `ends`, in the
/// second half of the time that is left of the run.
fn goes_on_after(ends: &[i64], time: i64, end: i64) -> bool {
    let middle = time.midpoint(end);
    let later = ends.len() - ends.partition_point(|last| *last <= middle);
    time < end && later > 0 && later * 2 + 1 >= ends.len()
}
