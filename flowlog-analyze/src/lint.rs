//! Lint: scores how well the logs of each component follow the structured format, so that its owner
//! can check that logging is correct and complete.
//!
//! Lines missing because of a fault are not findings: the spans of a killed process, or of a
//! hanging flow, have no end because nothing ended.

use std::collections::BTreeMap;

use compact_str::CompactString;
use flowlog_schema::lint::{ComponentLint, Finding, LintReport, LintRule, SCHEMA};

use crate::diagnose::{self, RunModel, Tree};
use crate::evidence::EvidenceLines;
use crate::flow::{Flow, LineCounts, LogPosition, Span, SpanStatus, Violations};
use crate::ingest::Ingested;
use crate::owners::Owners;
use crate::source::Sources;

/// Minimum percentage of successful roots of one kind that reach other processes, for the remaining
/// ones to be findings.
const USUAL_PERCENT: u64 = 90;

/// Statistics of one component.
#[derive(Debug, Default)]
struct ComponentStats {
    entry: LineCounts,
    spans: u64,
    /// Spans that have records.
    recorded: u64,
    /// Starts and failures that have records, and so should carry versions.
    versioned: u64,
    failures: u64,
    broken: BTreeMap<LintRule, Violations>,
}

impl ComponentStats {
    fn broken(&mut self, rule: LintRule, position: LogPosition) {
        self.broken.entry(rule).or_default().add(1, position);
    }

    /// Checks the fields of a span's lines.
    fn check_span(&mut self, span: &Span) {
        let held = span.coverage;
        self.spans += 1;
        self.recorded += u64::from(held.record);
        if held.record && !held.start {
            self.broken(LintRule::MissingStart, span.first);
        }
        if held.record && held.start {
            self.versioned += 1;
            if !held.start_versions {
                self.broken(LintRule::MissingVersions, span.first);
            }
        }
        let Some(failure) = &span.failed else { return };
        self.failures += 1;
        self.versioned += u64::from(held.record);
        let rules = [
            (LintRule::MissingVersions, held.record && !held.fail_versions),
            (LintRule::MissingState, !held.fail_state),
            (LintRule::MissingErrorType, !held.fail_type),
        ];
        for (rule, _) in rules.into_iter().filter(|(_, is)| *is) {
            self.broken(rule, failure.position);
        }
    }
}

/// Lints the logs. `threshold` is the minimum score to pass, from 0 to 100.
pub fn lint(ingested: Ingested, sources: &Sources, owners: &Owners, threshold: f64) -> LintReport {
    let Ingested { mut table, line_stats, index, .. } = ingested;
    let (merged_flows, model) = diagnose::build_run_model(&mut table, sources);
    let mut accounts: BTreeMap<CompactString, ComponentStats> = BTreeMap::new();
    for ((component, producer_id), entry) in line_stats.entries {
        let component = if component.is_empty() {
            model.process(model.of_producer(producer_id)).component.clone()
        } else {
            component
        };
        accounts.entry(component).or_default().entry.merge(entry);
    }
    let mut reach: BTreeMap<(CompactString, CompactString), Propagation> = BTreeMap::new();
    for flow in merged_flows.iter().filter_map(|merged| table.flow(merged)) {
        lint_flow(&flow, &model, &mut accounts, &mut reach);
    }
    let orphans: u64 = accounts
        .values()
        .filter_map(|account| account.broken.get(&LintRule::UnpropagatedId))
        .map(|broken| broken.count)
        .sum();
    for ((component, _), reach) in reach {
        let all = reach.far + reach.alone.count;
        // A call that carries a different ID also leaves its caller without callees, and is itself
        // a finding.
        if reach.alone.count > orphans && reach.far * 100 >= all * USUAL_PERCENT {
            accounts
                .entry(component)
                .or_default()
                .broken
                .entry(LintRule::UnpropagatedId)
                .or_default()
                .merge(reach.alone);
        }
    }
    for account in accounts.values_mut() {
        let LineCounts { unstructured, without_flow_id, .. } = &mut account.entry;
        let of_lines = [
            (LintRule::UnstructuredLine, std::mem::take(unstructured)),
            (LintRule::MissingId, std::mem::take(without_flow_id)),
        ];
        account.broken.extend(of_lines.into_iter().filter(|(_, broken)| broken.count > 0));
    }
    let places = accounts
        .values()
        .flat_map(|account| account.broken.values())
        .flat_map(|broken| broken.lines.iter());
    let lines = EvidenceLines::read(sources, &index, places.map(|position| position.line));
    let mut components: Vec<ComponentLint> = accounts
        .into_iter()
        .map(|(component, account)| report(&component, account, &lines, owners))
        .collect();
    components
        .sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.component.cmp(&b.component)));
    let passed = components.iter().all(|component| component.score >= threshold);
    LintReport { schema: SCHEMA.to_owned(), threshold, passed, components }
}

/// Number of flows of one kind that do and do not reach more than their first process.
#[derive(Debug, Default)]
struct Propagation {
    far: u64,
    alone: Violations,
}

fn lint_flow(
    flow: &Flow,
    model: &RunModel,
    accounts: &mut BTreeMap<CompactString, ComponentStats>,
    reach: &mut BTreeMap<(CompactString, CompactString), Propagation>,
) {
    let tree = Tree::new(flow, model);
    if tree.spans.is_empty() {
        return;
    }
    for (at, node) in tree.spans.iter().enumerate() {
        let account = accounts.entry(node.component(model).clone()).or_default();
        account.check_span(node.span);
        if diagnose::lacks_end(&tree, at, model) {
            account.broken(LintRule::MissingEnd, node.span.last);
        }
    }
    let root = tree.root();
    let alone = tree.spans.iter().all(|node| node.process == root.process);
    if root.span.parent.is_some() {
        // The root has a caller, but no line of another process mentions the flow.
        if alone {
            let component = root.component(model).clone();
            accounts
                .entry(component)
                .or_default()
                .broken(LintRule::UnpropagatedId, root.span.first);
        }
    } else if root.status == SpanStatus::Ok {
        let reach =
            reach.entry((root.component(model).clone(), root.span.state().into())).or_default();
        if alone { reach.alone.add(1, root.span.first) } else { reach.far += 1 }
    }
}

fn report(
    component: &str,
    account: ComponentStats,
    lines: &EvidenceLines,
    owners: &Owners,
) -> ComponentLint {
    let ComponentStats { entry, spans, recorded, versioned, failures, broken } = account;
    let of = |rule: LintRule| match rule {
        LintRule::UnstructuredLine => entry.lines,
        LintRule::MissingId => entry.records,
        LintRule::MissingStart => recorded,
        LintRule::MissingEnd | LintRule::UnpropagatedId => spans,
        LintRule::MissingVersions => versioned,
        LintRule::MissingState | LintRule::MissingErrorType => failures,
    };
    let share = |finding: &Finding| {
        #[expect(clippy::cast_precision_loss, reason = "the ratio does not need full precision")]
        let share = finding.count as f64 / finding.of.max(1) as f64;
        share
    };
    let mut findings: Vec<Finding> = broken
        .iter()
        .map(|(rule, broken)| Finding {
            rule: *rule,
            count: broken.count,
            of: of(*rule).max(broken.count),
            evidence: broken
                .lines
                .iter()
                .filter_map(|position| lines.get(position.line).cloned())
                .collect(),
        })
        .collect();
    findings.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.rule.cmp(&b.rule)));
    let worst = findings.first().map_or(0.0, share);
    ComponentLint {
        component: component.to_owned(),
        owner: owners.of(component),
        // Round down, so that only a perfect score is shown as 100.
        score: ((1.0 - worst) * 10_000.0).floor() / 100.0,
        lines: entry.lines,
        structured: entry.structured,
        spans,
        failures,
        findings,
    }
}
