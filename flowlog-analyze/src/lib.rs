//! Finds the component that failed first in the logs of a distributed inference run.
//!
//! [`source::open`] opens logs, [`analyze`] reads them and returns a report, and [`render`] writes it.
//!
//! Data flows in one direction, from bytes to the report: `source` -> `lines` -> `format` -> `flow`
//! -> `ingest` -> `diagnose` -> `report` -> `render` -> `cli`. A module uses only the modules above
//! it in the list in `lib.rs`, which a test enforces. Modules without documentation here are public
//! only for the tests, benchmarks and fuzz targets.

#[doc(hidden)]
pub mod timestamp;
#[doc(hidden)]
pub mod component_names;
pub mod component_filter;
#[doc(hidden)]
pub mod ansi;
#[doc(hidden)]
pub mod secrets;
#[doc(hidden)]
pub mod envelope;
pub mod source;
#[doc(hidden)]
pub mod lines;
pub mod event;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod multiline;
#[doc(hidden)]
pub mod timestamp_inference;
#[doc(hidden)]
pub mod rules;
#[doc(hidden)]
pub mod flow;
#[doc(hidden)]
pub mod patterns;
#[doc(hidden)]
pub mod traces;
#[doc(hidden)]
pub mod templates;
pub mod ingest;
#[doc(hidden)]
pub mod diagnose;
#[doc(hidden)]
pub mod profile;
#[doc(hidden)]
pub mod suspects;
#[doc(hidden)]
pub mod kubernetes;
#[doc(hidden)]
pub mod conclusion;
#[doc(hidden)]
pub mod evidence;
pub mod owners;
#[doc(hidden)]
pub mod lint;
#[doc(hidden)]
pub mod report;
pub mod render;
#[cfg(feature = "cli")]
pub mod cli;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use flowlog_schema::lint::LintReport;
use flowlog_schema::report::Report;

use conclusion::Known;
use diagnose::Diagnosis;
use event::FlowKey;
use ingest::{
    EventRow, FollowObserver, IngestOptions, Ingested, Progress, flow_window, ingest,
    ingest_growing, stream_events,
};
use owners::Owners;
use profile::{Profile, RunPatterns};
use render::{FlowTree, Style};
use source::{Follower, Sources};
use suspects::Suspects;

/// Options of an analysis.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How the input is read, and which part of it.
    pub ingest: IngestOptions,
    /// Owners of components, areas and paths.
    pub owners: Owners,
    /// Whether the run is known to have failed, so that the best suspect is named if nothing is
    /// proven.
    pub has_failed: bool,
    /// Profiles of good runs to compare with.
    pub baselines: Vec<Profile>,
}

/// Reads every source once and reports what failed, where it failed first, and who owns it.
/// `progress` is called after each chunk with what the chunk added, from any thread.
pub fn analyze(
    sources: &Sources,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Report {
    let scope = restrict_to_flow_window(sources, &options.ingest);
    conclude(ingest(sources, &scope, progress), sources, options)
}

/// Restricts the options to the time around the requested flows.
fn restrict_to_flow_window<'o>(
    sources: &Sources,
    options: &'o IngestOptions,
) -> Cow<'o, IngestOptions> {
    if options.flows.is_empty() {
        return Cow::Borrowed(options);
    }
    // An empty window if no line names the flows.
    let (first, last) = flow_window(sources, &options.flows)
        .map_or((i64::MAX, i64::MIN), RangeInclusive::into_inner);
    Cow::Owned(IngestOptions {
        since: options.since.max(first),
        until: options.until.min(last),
        ..options.clone()
    })
}

/// Like [`analyze`], for sources that grow: reads until all have ended or `observer` stops it.
pub fn analyze_growing(
    sources: &mut Sources,
    follower: &mut Follower,
    options: &Options,
    observer: &mut dyn FollowObserver,
) -> Report {
    let ingested = ingest_growing(sources, follower, &options.ingest, observer);
    conclude(ingested, sources, options)
}

fn conclude(mut ingested: Ingested, sources: &Sources, options: &Options) -> Report {
    let mut diagnosis =
        diagnose::diagnose(&mut ingested.table, sources, &options.ingest.flows, None);
    ingested.input.problems.late_records = ingested.table.late_lines;
    ingested.input.problems.evicted_flows = diagnosis.evicted;
    let (suspects, unproven) = if options.ingest.flows.is_empty() {
        judge_unproven(&ingested, &mut diagnosis, sources, options)
    } else {
        (Suspects::default(), None)
    };
    let findings = report::Findings { diagnosis, suspects, unproven };
    report::build(ingested.input, findings, sources, &ingested.index, &options.owners)
}

/// Judges what neither flows nor rules prove, by the state of objects and by what is unusual. Returns
/// the suspects, and why nothing is proven, if nothing is.
fn judge_unproven(
    ingested: &Ingested,
    diagnosis: &mut Diagnosis,
    sources: &Sources,
    options: &Options,
) -> (Suspects, Option<String>) {
    let patterns = RunPatterns::new(&ingested.patterns, &diagnosis.model);
    let cluster = kubernetes::examine(sources, &ingested.objects, &patterns);
    let suspects =
        suspects::rank(ingested, &patterns, &diagnosis.model, &options.baselines, cluster.findings);
    diagnosis.shows_success |= cluster.is_well;
    let known =
        Known { has_failed: options.has_failed, has_baseline: !options.baselines.is_empty() };
    let unproven = conclusion::conclude(diagnosis, &suspects, cluster.failure, ingested, known);
    (suspects, unproven)
}

/// Reads every source once and returns the profile of the run, to compare others with.
pub fn profile_run(
    sources: &Sources,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Profile {
    let mut ingested = ingest(sources, &options.ingest, progress);
    let (_, model) = diagnose::build_run_model(&mut ingested.table, sources);
    let patterns = RunPatterns::new(&ingested.patterns, &model);
    Profile::of(&ingested, &patterns, profile::seconds(&model))
}

/// Passes the events of all sources to `take` as rows, until it returns `false`.
pub fn events(sources: &Sources, options: &Options, take: &mut dyn FnMut(Vec<EventRow>) -> bool) {
    stream_events(sources, &restrict_to_flow_window(sources, &options.ingest), take);
}

/// Scores how well the logs of each component follow the structured format. `threshold` is the
/// minimum score to pass.
pub fn lint_logs(
    sources: &Sources,
    options: &Options,
    threshold: f64,
    progress: &(dyn Fn(Progress) + Sync),
) -> LintReport {
    // Flows that ended well are scored too, so none is closed.
    let scope =
        IngestOptions { retain_closed: true, collect_line_stats: true, ..options.ingest.clone() };
    lint::lint(ingest(sources, &scope, progress), sources, &options.owners, threshold)
}

/// Explains a failure, by its fingerprint, or a flow, by any of its IDs. Returns `None` if there is
/// neither.
pub fn explain(
    sources: &Sources,
    id: &str,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Option<report::Explained> {
    let wanted = FlowKey::parse(id)?;
    // Everything is read: a flow is judged by the whole run.
    let scope = IngestOptions { flows: vec![wanted.clone()], ..options.ingest.clone() };
    let mut ingested = ingest(sources, &scope, progress);
    let mut diagnosis = diagnose::diagnose(&mut ingested.table, sources, &[], Some(&wanted));
    judge_unproven(&ingested, &mut diagnosis, sources, options);
    report::explained(&diagnosis, id, sources, &ingested.index)
}

/// Renders one flow as a tree. Returns `None` if no line has one of its IDs.
pub fn show_flow(
    sources: &Sources,
    id: &str,
    options: &Options,
    style: Style,
    progress: &(dyn Fn(Progress) + Sync),
) -> Option<String> {
    let wanted = FlowKey::parse(id)?;
    let asked = IngestOptions { flows: vec![wanted.clone()], ..options.ingest.clone() };
    let mut ingested = ingest(sources, &restrict_to_flow_window(sources, &asked), progress);
    let (merged_flows, model) = diagnose::build_run_model(&mut ingested.table, sources);
    let merged = merged_flows.iter().find(|merged| merged.keys.contains(&wanted))?;
    let flow = diagnose::flow_with_callees(&ingested.table, merged, &model)?;
    let (tree, outcome, failure) = diagnose::classify_flow(&flow, &model);
    let flow_tree = FlowTree { id: merged.id.to_string(), tree, outcome, failure };
    Some(render::render_flow_tree(&flow_tree, &model, sources, &ingested.index, style))
}
