//! What failed first, per flow and per run.
//!
//! The contract's section 3, in this order: `processes` says who spoke and how far their clocks are off, `tree`
//! gives a flow its structure, `silence` finds what hangs or crashed, `origin` names a flow's outcome and first
//! failure, `cause` joins failures, `run` finds failures that need no flow, and `verdict` sums up.

mod cause;
mod confidence;
mod fingerprint;
mod loss;
mod origin;
mod processes;
mod run;
mod silence;
mod spoken;
mod tree;
mod verdict;

use compact_str::CompactString;
use flowlog_schema::report::{FailureKind, FlowCounts, FlowOutcome, RunOutcome};
use rayon::prelude::*;

use crate::flow::{Flow, Group, Place, Settled, Table};
use crate::format::is_lost;
use crate::observation::FlowKey;
use crate::source::Sources;

pub use fingerprint::mask;
pub use origin::Outcome;
pub use processes::World;
pub use tree::Tree;

/// The first failure of one flow, or of the run.
#[derive(Debug, Clone)]
pub struct FirstFailure {
    /// How it failed.
    pub kind: FailureKind,
    /// The component.
    pub component: CompactString,
    /// Its instance.
    pub instance: Option<CompactString>,
    /// Index of its process.
    pub process: usize,
    /// Where in its work it was; empty where unknown.
    pub state: CompactString,
    /// The error's type; empty where unknown.
    pub error_type: CompactString,
    /// What it says; empty where unknown.
    pub message: Box<str>,
    /// What the failed one had said last before it failed; empty where nothing.
    pub told: Box<str>,
    /// When, in nanoseconds, corrected.
    pub time: Option<i64>,
    /// How much later it may have been, in nanoseconds: stamps have but so many digits.
    pub blur: i64,
    /// The HTTP status that went with it.
    pub status: Option<u16>,
    /// The instance that the failed one called; empty where unknown.
    pub callee: CompactString,
    /// Processes that answered the failed one in this flow.
    pub answered: Vec<usize>,
    /// The whole process is dead or silent, not this span alone.
    pub whole_process: bool,
    /// How it is known.
    pub basis: confidence::Basis,
    /// Components that failed because of it.
    pub victims: Vec<CompactString>,
    /// The lines that prove it, the first first.
    pub evidence: Vec<Place>,
}

impl FirstFailure {
    /// Whether it says, in words, type or status, that somebody else was lost; or does not say what went wrong, and so
    /// leaves it to what is known of others.
    fn is_lost(&self) -> bool {
        matches!(self.error_type.as_str(), "" | "Unknown" | "error")
            || is_lost(&self.error_type, &self.message, self.status)
            || is_lost("", &self.told, None)
    }
}

/// A failed or recovered flow.
#[derive(Debug, Clone)]
pub struct FailedFlow {
    /// The flow.
    pub id: FlowKey,
    /// What became of it.
    pub outcome: FlowOutcome,
    /// Its first failure.
    pub failure: Box<FirstFailure>,
    /// The failure that it belongs to.
    pub fingerprint: CompactString,
}

/// Failures with one fingerprint.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Its name.
    pub fingerprint: CompactString,
    /// The earliest of its failures.
    pub failure: FirstFailure,
    /// Instances, most flows first.
    pub instances: Vec<CompactString>,
    /// Failed flows.
    pub failed: u64,
    /// Recovered flows.
    pub recovered: u64,
    /// When it first happened.
    pub first: Option<i64>,
    /// When it last happened.
    pub last: Option<i64>,
    /// Flows that show it.
    pub examples: Vec<FlowKey>,
    /// Components that failed because of it.
    pub victims: Vec<CompactString>,
    /// The lines that prove it.
    pub evidence: Vec<Place>,
    /// How likely it is right.
    pub confidence: f64,
}

/// The whole diagnosis.
#[derive(Debug)]
pub struct Diagnosis {
    /// What became of the run.
    pub outcome: RunOutcome,
    /// How likely that is right.
    pub confidence: f64,
    /// How many flows came to which outcome.
    pub counts: FlowCounts,
    /// Causes; the verdict's first.
    pub causes: Vec<Cause>,
    /// Failed and recovered flows, by id.
    pub failed_flows: Vec<FailedFlow>,
    /// Flows that could not be kept, or not be read again.
    pub given_up: u64,
}

/// Diagnoses everything that the table holds; of these flows alone, by whichever of their ids, where any are asked for.
pub fn diagnose(table: &mut Table, sources: &Sources, only: &[FlowKey]) -> Diagnosis {
    let (mut groups, world) = everything(table, sources);
    let table = &*table;
    let [given_up, unknown] = table.given_up;
    let mut counts = FlowCounts::default();
    if only.is_empty() {
        counts = FlowCounts {
            total: table.settled.ok + given_up + unknown,
            ok: table.settled.ok,
            failed: given_up,
            unfinished: unknown,
            ..counts
        };
    } else {
        groups.retain(|group| group.keys.iter().any(|key| only.contains(key)));
    }
    let mut failed_flows = Vec::new();
    let (mut left, mut unreadable) = (0u64, 0u64);
    let judge_group = |group| {
        let flow = table.flow(group)?;
        let (_, outcome, failure) = judge(&flow, &world);
        Some((outcome, failure.map(Box::new)))
    };
    let judged: Vec<Option<(Outcome, Option<Box<FirstFailure>>)>> =
        groups.par_iter().map(judge_group).collect();
    for (group, judged) in groups.iter().zip(judged) {
        counts.total += 1;
        let Some((outcome, failure)) = judged else {
            counts.unfinished += 1;
            unreadable += 1;
            continue;
        };
        match outcome {
            Outcome::Ok => counts.ok += 1,
            Outcome::Recovered => counts.recovered += 1,
            Outcome::Cancelled { by_signal } => {
                counts.cancelled += 1;
                left += u64::from(by_signal);
            }
            Outcome::Rejected => counts.rejected += 1,
            Outcome::Failed => counts.failed += 1,
            Outcome::Unfinished => counts.unfinished += 1,
        }
        let outcome = match outcome {
            Outcome::Failed => FlowOutcome::Failed,
            Outcome::Recovered => FlowOutcome::Recovered,
            _ => continue,
        };
        if let Some(failure) = failure {
            failed_flows.push(FailedFlow {
                id: group.id.clone(),
                outcome,
                failure,
                fingerprint: CompactString::default(),
            });
        }
    }
    let is_judged = counts.total > counts.unfinished;
    // What else went wrong in the run is not what was asked for.
    let told =
        if only.is_empty() { run::told(table, &world, is_judged) } else { run::Told::default() };
    cause::join(&mut failed_flows, &told.failures, &world);
    let run_failures: Vec<FirstFailure> = told.failures.into_iter().chain(told.recovered).collect();
    let causes = cause::group(&mut failed_flows, &run_failures);
    let (outcome, confidence) = verdict::of(&causes, &counts, left + u64::from(told.left));
    Diagnosis {
        outcome,
        confidence,
        counts,
        causes,
        failed_flows,
        given_up: given_up + unknown + unreadable,
    }
}

/// What complete spans tell, of closed flows and of those still here alike.
fn settle(table: &Table, groups: &[Group]) -> Settled {
    let here = groups
        .par_iter()
        .fold(Settled::default, |mut settled, group| {
            table.flow(group).iter().for_each(|flow| settled.keep(flow));
            settled
        })
        .reduce(Settled::default, |mut joined, settled| {
            joined.merge(settled);
            joined
        });
    let mut settled = table.settled.clone();
    settled.merge(here);
    settled
}

/// Every flow, and what holds for all of them: for whoever shows one.
pub fn everything(table: &mut Table, sources: &Sources) -> (Vec<Group>, World) {
    let groups = table.groups();
    let mut world = World::new(table, settle(table, &groups), sources);
    world.lossy = loss::of(table, &groups, &world);
    (groups, world)
}

/// Whether a span's last line is missing, rather than still to come: its caller ended well, or it is the root and all that
/// it called ended.
pub fn lacks_end(tree: &Tree<'_>, at: usize, world: &World) -> bool {
    loss::is_answered(tree, at) || (at == tree.root && loss::is_alone(tree, world))
}

/// One flow's structure, outcome and first failure.
pub fn judge<'a>(flow: &'a Flow, world: &World) -> (Tree<'a>, Outcome, Option<FirstFailure>) {
    let tree = Tree::new(flow, world);
    let (outcome, failure) = origin::judge(&tree, world);
    (tree, outcome, failure)
}
