//! Outages, and which failures follow from them.
//!
//! A failure that begins while a component it depends on is dead, hung or unreachable may follow
//! from that outage, or have happened at the same time. It is attributed to the outage only with
//! evidence beyond coincidence: the flow named or called the instance, or no instance of the
//! component was left, or only flows during the outage failed.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::availability::{DownKind, Downtime};
use super::confidence::Basis;
use super::names::{DEPENDENCIES, FailureText};
use super::topology::{Process, ProcessIndex, RunModel};
use super::{FailedFlow, FirstFailure};
use crate::flow::LineRef;
use crate::format::is_timeout;

/// Outage of a process or dependency, from `since` until `until`, by the common clock.
#[derive(Debug)]
pub(super) struct Outage {
    /// The failure that the outage consists of.
    pub failure: FirstFailure,
    pub since: i64,
    pub until: i64,
    /// Number of flows in which it is the first failure.
    pub flows: u64,
}

/// Why a failure follows from an outage, from the strongest evidence to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    /// The failure's message names the instance, or the only instance of its component.
    Named,
    /// The failed span called the instance, which did not respond.
    Called,
    /// No instance of the component was available.
    NoneLeft,
    /// The component was the only one called that was silent for the whole wait.
    SilentForTheWait,
    /// A shared dependency was unreachable, and no flow that began meanwhile ended well.
    SharedDependency,
}

impl Link {
    fn basis(self) -> Basis {
        match self {
            Self::Named | Self::Called => Basis::NamedOutage,
            Self::NoneLeft => Basis::NoneLeft,
            Self::SilentForTheWait => Basis::SilentCallee,
            Self::SharedDependency => Basis::SharedDependency,
        }
    }
}

/// Why an outage at the time of a failure does not explain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rejection {
    /// The failed component does not call it, directly or indirectly.
    NotCalled,
    /// The failed flow got a response from it.
    Responded,
    /// The failed flow called another instance.
    OtherInstance,
    /// Other instances of the component were available.
    PeersServed,
    /// The failure does not report that anything was lost.
    NotALoss,
    /// Flows that began during the outage ended well.
    OthersServed,
}

/// Process and component. For a shared dependency that is not a process of the run, only the name
/// counts; they come last.
type Instance = (bool, Option<ProcessIndex>, CompactString);

fn instance_key(process: Option<ProcessIndex>, component: &CompactString) -> Instance {
    (process.is_none(), process, component.clone())
}

/// Tolerance when comparing two corrected times, in nanoseconds.
const CLOCK_TOLERANCE_NS: i64 = 100_000_000;

/// Tolerance for a failure that names the lost process, in nanoseconds: an unknown clock error is
/// then likelier than a second cause.
const NAMED_CLOCK_TOLERANCE_NS: i64 = 1_000_000_000;

/// Maximum distance of a call from another one that had the same chance to succeed, in nanoseconds.
const CONCURRENT_NS: i64 = 5_000_000_000;

/// Minimum time for which a process must be silent to be considered gone without further evidence,
/// in nanoseconds.
const MIN_GONE_NS: i64 = 2_000_000_000;

/// All outages of a run.
#[derive(Debug, Default)]
pub(super) struct Outages {
    by_instance: BTreeMap<Instance, Vec<Outage>>,
}

impl Outages {
    /// Collects the outages that flows, the run and the activity of processes show.
    pub(super) fn find(
        flows: &[FailedFlow],
        run_failures: &[FirstFailure],
        model: &RunModel,
    ) -> Self {
        let mut outages = Self::default();
        for (index, process) in model.indexed() {
            for down in process.downtimes.iter().filter(|down| down.kind != DownKind::Stopped) {
                let failure = failure_of(index, process, *down);
                outages.add(Outage { failure, since: down.since, until: down.until, flows: 0 });
            }
        }
        for flow in flows {
            outages.add_named_dependency(&flow.failure, model);
        }
        for failure in run_failures {
            let since = failure.time.unwrap_or(i64::MIN);
            outages.add(Outage { failure: failure.clone(), since, until: i64::MAX, flows: 0 });
        }
        for flow in flows.iter().filter(|flow| flow.failure.whole_process) {
            outages.note(&flow.failure, model);
        }
        outages
    }

    /// Adds the outage of a shared dependency that is not a process of the run, if a failure names it.
    fn add_named_dependency(&mut self, failure: &FirstFailure, model: &RunModel) {
        let Some(time) = failure.time.filter(|_| may_follow(failure) && failure.is_lost()) else {
            return;
        };
        let text = FailureText::of(failure, model);
        for dependency in DEPENDENCIES.into_iter().filter(|name| text.names_component(name)) {
            let since = failure.called_at.unwrap_or(time).min(time);
            let known = self.by_instance.entry(instance_key(None, &dependency.into())).or_default();
            if let Some(outage) = known.first_mut() {
                outage.since = outage.since.min(since);
                outage.until = outage.until.max(time);
                continue;
            }
            let unreachable = FirstFailure {
                message: failure.text().into(),
                error_type: failure.error_type.clone(),
                time: Some(since),
                basis: Basis::NamedOutage,
                evidence: failure.evidence.clone(),
                ..FirstFailure::new(
                    FailureKind::Run,
                    dependency.into(),
                    CompactString::default(),
                    None,
                )
            };
            known.push(Outage { failure: unreachable, since, until: time, flows: 0 });
        }
    }

    fn add(&mut self, outage: Outage) {
        let key = instance_key(outage.failure.process, &outage.failure.component);
        self.by_instance.entry(key).or_default().push(outage);
    }

    /// Adds a flow in which the outage is the first failure.
    fn note(&mut self, failure: &FirstFailure, model: &RunModel) {
        let process = model.process(failure.process);
        // A dead process is down from its last line on; a hung one until it logs again.
        let since = failure.time.unwrap_or(i64::MIN);
        let until = process
            .activity
            .activity
            .first_after(since.saturating_add(process.skew).saturating_add(CLOCK_TOLERANCE_NS))
            .filter(|_| failure.kind == FailureKind::Hang)
            .map_or(i64::MAX, |until| until.saturating_sub(process.skew));
        let key = instance_key(failure.process, &failure.component);
        let known = self.by_instance.entry(key).or_default();
        let same = known.iter_mut().find(|outage| {
            outage.since <= since.saturating_add(CLOCK_TOLERANCE_NS) && since <= outage.until
        });
        let Some(outage) = same else {
            known.push(Outage { failure: failure.clone(), since, until, flows: 1 });
            return;
        };
        if outage.flows == 0 || failure.time < outage.failure.time {
            outage.failure = failure.clone();
        }
        outage.flows += 1;
    }

    /// Iterates over all outages.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Outage> {
        self.by_instance.values().flatten()
    }

    /// Returns the outage that a failure follows from, with the evidence.
    pub(super) fn behind(
        &self,
        failure: &FirstFailure,
        model: &RunModel,
    ) -> Option<(&Outage, Link)> {
        let query = Query::new(failure, model)?;
        self.iter().filter_map(|outage| Some((outage, query.link(outage, self).ok()?))).min_by_key(
            |(outage, link)| {
                // Of several, the one that the call names last, that broke most flows, and the
                // earliest.
                let is_latest = !failure.callee.is_empty()
                    && outage.failure.instance.as_ref() == Some(&failure.callee);
                (*link, !is_latest, std::cmp::Reverse(outage.flows), outage.since)
            },
        )
    }

    /// Returns the outages at the time of a failure that do not explain it, and why.
    pub(super) fn rejected(
        &self,
        failure: &FirstFailure,
        model: &RunModel,
    ) -> Vec<(&Outage, Rejection)> {
        let Some(query) = Query::new(failure, model) else { return Vec::new() };
        let covers = |outage: &&Outage| query.overlaps(outage, CLOCK_TOLERANCE_NS);
        self.iter()
            .filter(covers)
            .filter_map(|outage| query.link(outage, self).err()?.map(|reason| (outage, reason)))
            .collect()
    }
}

/// Attributes every failure that follows from an outage to the component that was down.
pub(super) fn join(flows: &mut [FailedFlow], outages: &Outages, model: &RunModel) {
    for flow in flows.iter_mut().filter(|flow| may_follow(&flow.failure)) {
        let failure = &flow.failure;
        let Some((outage, link)) = outages.behind(failure, model) else { continue };
        *flow.failure = joined(failure, outage, link);
    }
}

/// Returns whether a failure may follow from another one.
pub(super) fn may_follow(failure: &FirstFailure) -> bool {
    !failure.whole_process && failure.kind != FailureKind::Run
}

/// Returns the failure of a flow as part of an outage.
fn joined(failure: &FirstFailure, outage: &Outage, link: Link) -> FirstFailure {
    let mut affected = failure.affected.clone();
    affected.push(failure.component.clone());
    affected.retain(|victim| *victim != outage.failure.component);
    affected.sort();
    affected.dedup();
    let mut evidence: Vec<LineRef> = Vec::new();
    let lines = [failure.evidence.first(), outage.failure.evidence.first()];
    for line in lines.into_iter().flatten() {
        if !evidence.contains(line) {
            evidence.push(*line);
        }
    }
    FirstFailure {
        basis: link.basis(),
        time: failure.time,
        affected,
        evidence,
        ..outage.failure.clone()
    }
}

/// Describes the outage of a process that its own activity shows.
fn failure_of(index: ProcessIndex, process: &Process, down: Downtime) -> FirstFailure {
    let (kind, message) = match down.kind {
        DownKind::Frozen => (FailureKind::Hang, "process stopped logging while others continued"),
        DownKind::Died | DownKind::Stopped => {
            (FailureKind::Crash, "process exited without a shutdown")
        }
    };
    let (component, instance) = (process.component.clone(), process.instance.clone());
    let last_line = process.activity.last.filter(|_| down.until == i64::MAX);
    FirstFailure {
        message: message.into(),
        time: Some(down.since),
        whole_process: true,
        evidence: last_line.map(|position| position.line).into_iter().collect(),
        ..FirstFailure::new(kind, component, instance, Some(index))
    }
}

/// A failure whose cause is looked for.
struct Query<'a> {
    failure: &'a FirstFailure,
    model: &'a RunModel,
    time: i64,
    /// When the failed component began to wait.
    waited_since: i64,
    text: FailureText,
    reachable: BTreeSet<CompactString>,
    is_lost: bool,
}

impl<'a> Query<'a> {
    fn new(failure: &'a FirstFailure, model: &'a RunModel) -> Option<Self> {
        let time = failure.time?;
        Some(Self {
            failure,
            model,
            time,
            waited_since: failure.called_at.unwrap_or(time).min(time),
            text: FailureText::of(failure, model),
            reachable: reachable(&failure.component, model),
            is_lost: failure.kind != FailureKind::Error || failure.is_lost(),
        })
    }

    /// Returns whether an outage overlaps the time from the call to the failure.
    fn overlaps(&self, outage: &Outage, tolerance: i64) -> bool {
        let resolution = self.failure.resolution_ns;
        outage.since <= self.time.saturating_add(tolerance + resolution)
            && self.waited_since < outage.until.saturating_add(tolerance)
    }

    /// Returns the evidence that the failure follows from an outage, or why it does not: `None` if
    /// the outage has nothing to do with it.
    fn link(&self, outage: &Outage, all: &Outages) -> Result<Link, Option<Rejection>> {
        let (failure, other) = (self.failure, &outage.failure);
        let is_own = other.process.is_some() && other.process == failure.process;
        // A process that was frozen for a small part of the wait was available.
        let wait = self.time.saturating_sub(self.waited_since);
        let shared =
            self.time.min(outage.until).saturating_sub(self.waited_since.max(outage.since));
        let was_back = other.kind == FailureKind::Hang && shared < wait / 2;
        if is_own || was_back || !self.overlaps(outage, NAMED_CLOCK_TOLERANCE_NS) {
            return Err(None);
        }
        if other.process.is_some_and(|process| failure.healthy_callees.contains(&process)) {
            return Err(Some(Rejection::Responded));
        }
        if self.is_named(outage) {
            return Ok(Link::Named);
        }
        let instance = other.instance.as_deref().unwrap_or_default();
        let is_callee = !instance.is_empty()
            && failure.callees.iter().any(|callee| callee.as_str() == instance);
        if is_callee && self.is_lost {
            return Ok(Link::Called);
        }
        // Without a name, only a failure that reports a loss can follow from an outage.
        if !self.is_lost {
            return Err(Some(Rejection::NotALoss));
        }
        if !self.overlaps(outage, CLOCK_TOLERANCE_NS) {
            return Err(None);
        }
        if other.process.is_none() {
            return self.link_to_dependency(outage);
        }
        if !self.reachable.contains(&other.component) {
            return Err(Some(Rejection::NotCalled));
        }
        if is_callee || failure.callees.is_empty() {
            if self.is_none_left(&other.component, all) {
                return Ok(Link::NoneLeft);
            }
            if self.is_silent_for_the_wait(outage) {
                return Ok(Link::SilentForTheWait);
            }
            return Err(Some(Rejection::PeersServed));
        }
        Err(Some(Rejection::OtherInstance))
    }

    /// Returns whether the message names the instance; or its component, if no other instance was
    /// available. A shared dependency that logs little always seems to be gone, so no other flow may
    /// have got a response.
    fn is_named(&self, outage: &Outage) -> bool {
        let other = &outage.failure;
        if self.text.names_instance(other.instance.as_deref().unwrap_or_default()) {
            return true;
        }
        self.is_lost
            && self.text.names_component(&other.component)
            && (other.process.is_none() || self.is_each_gone(&other.component, 0))
            && !(DEPENDENCIES.contains(&other.component.as_str()) && self.others_served(outage))
    }

    fn link_to_dependency(&self, outage: &Outage) -> Result<Link, Option<Rejection>> {
        if self.failure.kind != FailureKind::Error || outage.failure.kind != FailureKind::Run {
            return Err(Some(Rejection::NotCalled));
        }
        if self.others_served(outage) {
            return Err(Some(Rejection::OthersServed));
        }
        Ok(Link::SharedDependency)
    }

    /// Returns whether flows that began during the outage, at about the time of the failed call, ended
    /// well.
    fn others_served(&self, outage: &Outage) -> bool {
        let began = outage.since.saturating_add(NAMED_CLOCK_TOLERANCE_NS);
        let from = self.waited_since.saturating_sub(CONCURRENT_NS).max(began);
        self.model.served_within(from, self.time.saturating_add(CONCURRENT_NS))
    }

    /// Returns whether no instance of a component was available: each was certainly gone, or is the
    /// first failure of other flows.
    fn is_none_left(&self, component: &CompactString, all: &Outages) -> bool {
        let failing = |index: ProcessIndex| {
            let own = all.by_instance.get(&instance_key(Some(index), component));
            own.into_iter()
                .flatten()
                .any(|outage| outage.flows > 0 && self.overlaps(outage, CLOCK_TOLERANCE_NS))
        };
        let mut of_component =
            self.model.indexed().filter(|(_, process)| process.component == *component).peekable();
        of_component.peek().is_some()
            && of_component.all(|(index, process)| {
                failing(index) || is_gone(process, self.time, MIN_GONE_NS, self.model)
            })
    }

    /// Returns whether each instance of a component was gone for at least that long.
    fn is_each_gone(&self, component: &CompactString, least: i64) -> bool {
        self.model
            .processes
            .iter()
            .filter(|process| process.component == *component)
            .all(|process| is_gone(process, self.time, least, self.model))
    }

    /// Returns whether the failed component waited in vain for a component that it calls directly,
    /// of which this instance alone was silent for the whole wait: frozen, or dead since it was
    /// called.
    fn is_silent_for_the_wait(&self, outage: &Outage) -> bool {
        let (failure, other) = (self.failure, &outage.failure);
        let is_timeout = failure.kind == FailureKind::Error
            && is_timeout(&failure.error_type, &failure.message, failure.status);
        let covers = |down: &Downtime| {
            down.is_certain
                && down.kind != DownKind::Stopped
                && down.since <= self.waited_since.saturating_add(NAMED_CLOCK_TOLERANCE_NS)
                && (down.kind == DownKind::Frozen
                    || down.since.saturating_add(NAMED_CLOCK_TOLERANCE_NS) >= self.waited_since)
                && self.time <= down.until.saturating_add(CLOCK_TOLERANCE_NS)
        };
        let silent = |process: &Process| process.downtimes.iter().any(covers);
        let is_called =
            self.model.calls.contains(&(failure.component.clone(), other.component.clone()));
        let responded = failure
            .healthy_callees
            .iter()
            .any(|process| self.model.process(Some(*process)).component == other.component);
        let of_component =
            || self.model.processes.iter().filter(|process| process.component == other.component);
        is_timeout
            && is_called
            && !responded
            && silent(self.model.process(other.process))
            && of_component().filter(|process| silent(process)).count() == 1
    }
}

/// Returns whether a process was down at a time, for at least that long in all.
fn is_gone(process: &Process, time: i64, least: i64, model: &RunModel) -> bool {
    process.downtime_at(time.saturating_add(CLOCK_TOLERANCE_NS)).is_some_and(|down| {
        let length = down.until.min(model.end).saturating_sub(down.since);
        length >= least.max(if down.is_certain { 0 } else { least })
    })
}

/// Returns the components that a component depends on, directly or indirectly.
fn reachable(component: &CompactString, model: &RunModel) -> BTreeSet<CompactString> {
    let mut found = BTreeSet::new();
    let mut open = vec![component.clone()];
    while let Some(caller) = open.pop() {
        for (_, callee) in model.calls.iter().filter(|(from, _)| *from == caller) {
            if found.insert(callee.clone()) {
                open.push(callee.clone());
            }
        }
    }
    found
}
