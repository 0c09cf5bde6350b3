//! All outages of a run, and the failures that follow from them.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::availability::{DownKind, Downtime};
use super::confidence::Basis;
use super::names::{DEPENDENCIES, FailureText};
use super::outage_evidence::{
    ByInstance, CLOCK_TOLERANCE_NS, Link, Outage, Query, Rejection, instance_key,
};
use super::topology::{Process, ProcessIndex, RunModel};
use super::{FailedFlow, FirstFailure};
use crate::flow::LineRef;

/// All outages of a run.
#[derive(Debug, Default)]
pub(super) struct Outages {
    by_instance: ByInstance,
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
        self.iter()
            .filter_map(|outage| Some((outage, query.link(outage, &self.by_instance).ok()?)))
            .min_by_key(|(outage, link)| {
                // Of several, the one that the call names last, that broke most flows, and the
                // earliest.
                let is_latest = !failure.callee.is_empty()
                    && outage.failure.instance.as_ref() == Some(&failure.callee);
                (*link, !is_latest, std::cmp::Reverse(outage.flows), outage.since)
            })
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
            .filter_map(|outage| {
                query.link(outage, &self.by_instance).err()?.map(|reason| (outage, reason))
            })
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
