//! Finds the first failing component of a distributed inference run in its logs.
//!
//! One direction, bytes to answer:
//! [`source`] -> [`lines`] -> [`mod@format`] -> [`flow`] -> [`mod@ingest`] -> [`diagnose`] -> [`report`] -> [`render`] -> [`cli`].
//! A module uses only those above it in the list below; a test holds that.

pub mod stamp;
pub mod names;
pub mod ansi;
pub mod envelope;
pub mod source;
pub mod lines;
pub mod observation;
pub mod format;
pub mod events;
pub mod timeline;
pub mod sign;
pub mod shapes;
pub mod flow;
pub mod ingest;
pub mod diagnose;
pub mod evidence;
pub mod owners;
pub mod lint;
pub mod report;
pub mod render;
pub mod cli;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use flowlog_schema::lint::LintReport;
use flowlog_schema::report::Report;

use ingest::{
    Ingested, LoggedEvent, Plan, Progress, Watcher, around, hand_on, ingest, ingest_growing,
};
use observation::FlowKey;
use owners::Owners;
use render::{FlowPicture, Paint};
use source::{Growing, Sources};

/// How to analyze.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How the input is read. The report does not depend on it.
    pub plan: Plan,
    /// Whose what is.
    pub owners: Owners,
}

/// Reads every source once and says what failed, where first, and whose it is.
///
/// `progress` is told of what each chunk added, from any thread.
pub fn analyze(
    sources: &Sources,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Report {
    let plan = narrow(sources, &options.plan);
    conclude(ingest(sources, &plan, progress), sources, options)
}

/// Leaves out what was logged long before or after the flows that are asked for.
fn narrow<'p>(sources: &Sources, plan: &'p Plan) -> Cow<'p, Plan> {
    if plan.flows.is_empty() {
        return Cow::Borrowed(plan);
    }
    // Where no line names them there is nothing to read.
    let (first, last) =
        around(sources, &plan.flows).map_or((i64::MAX, i64::MIN), RangeInclusive::into_inner);
    Cow::Owned(Plan { since: plan.since.max(first), until: plan.until.min(last), ..plan.clone() })
}

/// The same of sources that grow: read until all have ended, or `watcher` wants no more.
pub fn analyze_growing(
    sources: &mut Sources,
    growing: &mut Growing,
    options: &Options,
    watcher: &mut dyn Watcher,
) -> Report {
    let ingested = ingest_growing(sources, growing, &options.plan, watcher);
    conclude(ingested, sources, options)
}

fn conclude(mut ingested: Ingested, sources: &Sources, options: &Options) -> Report {
    let diagnosis = diagnose::diagnose(&mut ingested.table, sources, &options.plan.flows);
    ingested.input.problems.late_records = ingested.table.late;
    ingested.input.problems.given_up_flows = diagnosis.given_up;
    report::build(ingested.input, diagnosis, sources, &ingested.index, &options.owners)
}

/// Hands on the events of all sources, as rows, as long as `take` wants more.
pub fn events(
    sources: &Sources,
    options: &Options,
    take: &mut dyn FnMut(Vec<LoggedEvent>) -> bool,
) {
    hand_on(sources, &narrow(sources, &options.plan), take);
}

/// Says how well the logs of each component follow the structure. `threshold` is the least score that passes.
pub fn check(
    sources: &Sources,
    options: &Options,
    threshold: f64,
    progress: &(dyn Fn(Progress) + Sync),
) -> LintReport {
    // What ended well is to be judged too, so no flow is closed.
    let plan = Plan { keeps_all: true, keeps_ledger: true, ..options.plan.clone() };
    let ingested = ingest(sources, &plan, progress);
    lint::lint(ingested, sources, &options.owners, threshold)
}

/// Draws one flow as a tree; `None` where no line names it, by whichever of its ids.
pub fn draw_flow(
    sources: &Sources,
    id: &str,
    options: &Options,
    paint: Paint,
    progress: &(dyn Fn(Progress) + Sync),
) -> Option<String> {
    let wanted = FlowKey::parse(id)?;
    let asked = Plan { flows: vec![wanted.clone()], ..options.plan.clone() };
    let mut ingested = ingest(sources, &narrow(sources, &asked), progress);
    let (groups, world) = diagnose::everything(&mut ingested.table, sources);
    let group = groups.iter().find(|group| group.keys.contains(&wanted))?;
    let flow = ingested.table.flow(group)?;
    let (tree, outcome, failure) = diagnose::judge(&flow, &world);
    let picture = FlowPicture { id: group.id.to_string(), tree, outcome, failure };
    Some(render::picture(&picture, &world, sources, &ingested.index, paint))
}
