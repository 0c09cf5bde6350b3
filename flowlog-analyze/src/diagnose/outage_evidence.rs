//! Evidence that a failure follows from an outage.
//!
//! A failure that begins while a component it depends on is dead, hung or unreachable may follow
//! from that outage, or have happened at the same time. It is attributed to the outage only with
//! evidence beyond coincidence: the flow named or called the instance, or no instance of the
//! component was left, or only flows during the outage failed.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::availability::{DownKind, Downtime};
use super::confidence::Basis;
use super::names::{DEPENDENCIES, FailureText};
use super::topology::{Process, ProcessIndex, RunModel};
use crate::format::{is_refused, is_timeout};

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
    /// The connection was refused, and this was the only dead process that the component calls.
    ConnectionRefused,
    /// The component was the only one called that was silent for the whole wait.
    SilentForTheWait,
    /// A shared dependency was unreachable, and no flow that began meanwhile ended well.
    SharedDependency,
}

impl Link {
    pub(super) fn basis(self) -> Basis {
        match self {
            Self::Named | Self::Called => Basis::NamedOutage,
            Self::NoneLeft => Basis::NoneLeft,
            Self::ConnectionRefused => Basis::ConnectionRefused,
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

/// The outages of a run.
pub(super) type ByInstance = BTreeMap<Instance, Vec<Outage>>;

pub(super) fn instance_key(process: Option<ProcessIndex>, component: &CompactString) -> Instance {
    (process.is_none(), process, component.clone())
}

/// Tolerance when comparing two corrected times, in nanoseconds.
pub(super) const CLOCK_TOLERANCE_NS: i64 = 100_000_000;

/// Tolerance for a failure that names the lost process, in nanoseconds: an unknown clock error is
/// then likelier than a second cause.
const NAMED_CLOCK_TOLERANCE_NS: i64 = 1_000_000_000;

/// Maximum distance of a call from another one that had the same chance to succeed, in nanoseconds.
const CONCURRENT_NS: i64 = 5_000_000_000;

/// Minimum time for which a process must be silent to be considered gone without further evidence,
/// in nanoseconds.
const MIN_GONE_NS: i64 = 2_000_000_000;

/// A failure whose cause is looked for.
pub(super) struct Query<'a> {
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
    pub(super) fn new(failure: &'a FirstFailure, model: &'a RunModel) -> Option<Self> {
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
    pub(super) fn overlaps(&self, outage: &Outage, tolerance: i64) -> bool {
        let resolution = self.failure.resolution_ns;
        outage.since <= self.time.saturating_add(tolerance + resolution)
            && self.waited_since < outage.until.saturating_add(tolerance)
    }

    /// Returns the evidence that the failure follows from an outage, or why it does not: `None` if
    /// the outage has nothing to do with it.
    pub(super) fn link(
        &self,
        outage: &Outage,
        all: &ByInstance,
    ) -> Result<Link, Option<Rejection>> {
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
            if self.is_only_one_dead(outage) {
                return Ok(Link::ConnectionRefused);
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
    fn is_none_left(&self, component: &CompactString, all: &ByInstance) -> bool {
        let failing = |index: ProcessIndex| {
            let own = all.get(&instance_key(Some(index), component));
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

    /// Returns whether the failed component calls another one directly.
    fn calls(&self, component: &CompactString) -> bool {
        self.model.calls.contains(&(self.failure.component.clone(), component.clone()))
    }

    /// Iterates over the instances of a component.
    fn of_component(&self, component: &CompactString) -> impl Iterator<Item = &'a Process> {
        self.model.processes.iter().filter(move |process| process.component == *component)
    }

    /// Returns whether each instance of a component was gone for at least that long.
    fn is_each_gone(&self, component: &CompactString, least: i64) -> bool {
        self.of_component(component).all(|process| is_gone(process, self.time, least, self.model))
    }

    /// Returns whether a connection was refused that the only dead process would have accepted, of
    /// those that the failed component calls directly. Living processes accept connections.
    fn is_only_one_dead(&self, outage: &Outage) -> bool {
        let (failure, other) = (self.failure, &outage.failure);
        let names_another = || {
            let components = self.model.processes.iter().map(|process| process.component.as_str());
            components
                .chain(DEPENDENCIES)
                .any(|name| name != other.component && self.text.names_component(name))
        };
        let is_dead = |process: &Process| {
            self.calls(&process.component) && is_gone(process, self.time, 0, self.model)
        };
        other.kind == FailureKind::Crash
            && is_refused(&failure.error_type, &failure.message)
            && is_dead(self.model.process(other.process))
            && self.model.processes.iter().filter(|process| is_dead(process)).count() == 1
            && !names_another()
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
        let responded = failure
            .healthy_callees
            .iter()
            .any(|process| self.model.process(Some(*process)).component == other.component);
        is_timeout
            && self.calls(&other.component)
            && !responded
            && silent(self.model.process(other.process))
            && self.of_component(&other.component).filter(|process| silent(process)).count() == 1
    }
}

/// Returns whether a process was down at a time, for at least that long in all.
fn is_gone(process: &Process, time: i64, least: i64, model: &RunModel) -> bool {
    process
        .downtime_at(time.saturating_add(CLOCK_TOLERANCE_NS))
        .is_some_and(|down| down.until.min(model.end).saturating_sub(down.since) >= least)
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
