//! How well the logs of each component follow the structure: what its owner reads to see that logging is right and complete.
//!
//! What a fault took away is no gap: the spans of a process that was killed, or of a flow that hangs, have no end
//! because nothing ended.

use std::collections::BTreeMap;

use compact_str::CompactString;
use flowlog_schema::lint::{ComponentLint, Finding, LintReport, LintRule, SCHEMA};

use crate::diagnose::{self, Tree, World};
use crate::evidence::Lines;
use crate::flow::{Broken, Entry, Fate, Flow, Mark, Span};
use crate::ingest::Ingested;
use crate::owners::Owners;
use crate::source::Sources;

/// Of roots of one kind that ended well, so many in a hundred reach others: then those that reach nobody are odd.
const USUALLY: u64 = 90;

/// What is known of one component.
#[derive(Debug, Default)]
struct Account {
    entry: Entry,
    spans: u64,
    /// Spans told by records.
    recorded: u64,
    /// Starts and failures told by records.
    versioned: u64,
    failures: u64,
    broken: BTreeMap<LintRule, Broken>,
}

impl Account {
    fn broken(&mut self, rule: LintRule, mark: Mark) {
        self.broken.entry(rule).or_default().add(1, mark);
    }

    /// Judges what a span's lines hold.
    fn judge(&mut self, span: &Span) {
        let held = span.held;
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
            self.broken(rule, failure.mark);
        }
    }
}

/// Judges the logs. `threshold` is the least score that passes, 0 to 100.
pub fn lint(ingested: Ingested, sources: &Sources, owners: &Owners, threshold: f64) -> LintReport {
    let Ingested { mut table, ledger, index, .. } = ingested;
    let (groups, world) = diagnose::everything(&mut table, sources);
    let mut accounts: BTreeMap<CompactString, Account> = BTreeMap::new();
    for ((component, voice), entry) in ledger.entries {
        let component = if component.is_empty() {
            world.process(world.of_voice(voice)).component.clone()
        } else {
            component
        };
        accounts.entry(component).or_default().entry.merge(entry);
    }
    let mut reach: BTreeMap<(CompactString, CompactString), Reach> = BTreeMap::new();
    for flow in groups.iter().filter_map(|group| table.flow(group)) {
        judge(&flow, &world, &mut accounts, &mut reach);
    }
    let orphans: u64 = accounts
        .values()
        .filter_map(|account| account.broken.get(&LintRule::LonelyId))
        .map(|broken| broken.count)
        .sum();
    for ((component, _), reach) in reach {
        let all = reach.far + reach.alone.count;
        // A call that wears another id leaves its caller alone too, and is accused itself.
        if reach.alone.count > orphans && reach.far * 100 >= all * USUALLY {
            accounts
                .entry(component)
                .or_default()
                .broken
                .entry(LintRule::LonelyId)
                .or_default()
                .merge(reach.alone);
        }
    }
    for account in accounts.values_mut() {
        let Entry { loose, nameless, .. } = &mut account.entry;
        let of_lines = [
            (LintRule::UnstructuredLine, std::mem::take(loose)),
            (LintRule::MissingId, std::mem::take(nameless)),
        ];
        account.broken.extend(of_lines.into_iter().filter(|(_, broken)| broken.count > 0));
    }
    let places = accounts
        .values()
        .flat_map(|account| account.broken.values())
        .flat_map(|broken| broken.places.iter());
    let lines = Lines::read(sources, &index, places.map(|mark| mark.place));
    let mut components: Vec<ComponentLint> = accounts
        .into_iter()
        .map(|(component, account)| report(&component, account, &lines, owners))
        .collect();
    components
        .sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.component.cmp(&b.component)));
    let passed = components.iter().all(|component| component.score >= threshold);
    LintReport { schema: SCHEMA.to_owned(), threshold, passed, components }
}

/// How many flows of one kind reach more than their first process.
#[derive(Debug, Default)]
struct Reach {
    far: u64,
    alone: Broken,
}

fn judge(
    flow: &Flow,
    world: &World,
    accounts: &mut BTreeMap<CompactString, Account>,
    reach: &mut BTreeMap<(CompactString, CompactString), Reach>,
) {
    let tree = Tree::new(flow, world);
    if tree.spans.is_empty() {
        return;
    }
    for (at, node) in tree.spans.iter().enumerate() {
        let account = accounts.entry(node.component(world).clone()).or_default();
        account.judge(node.span);
        if diagnose::lacks_end(&tree, at, world) {
            account.broken(LintRule::MissingEnd, node.span.last);
        }
    }
    let root = tree.root();
    let alone = tree.spans.iter().all(|node| node.process == root.process);
    if root.span.parent.is_some() {
        // Somebody called it, and nobody knows of that.
        if alone {
            let component = root.component(world).clone();
            accounts.entry(component).or_default().broken(LintRule::LonelyId, root.span.first);
        }
    } else if root.fate == Fate::Ok {
        let reach =
            reach.entry((root.component(world).clone(), root.span.state().into())).or_default();
        if alone { reach.alone.add(1, root.span.first) } else { reach.far += 1 }
    }
}

fn report(component: &str, account: Account, lines: &Lines, owners: &Owners) -> ComponentLint {
    let Account { entry, spans, recorded, versioned, failures, broken } = account;
    let of = |rule: LintRule| match rule {
        LintRule::UnstructuredLine => entry.lines,
        LintRule::MissingId => entry.records,
        LintRule::MissingStart => recorded,
        LintRule::MissingEnd | LintRule::LonelyId => spans,
        LintRule::MissingVersions => versioned,
        LintRule::MissingState | LintRule::MissingErrorType => failures,
    };
    let share = |finding: &Finding| {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
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
                .places
                .iter()
                .filter_map(|mark| lines.get(mark.place).cloned())
                .collect(),
        })
        .collect();
    findings.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.rule.cmp(&b.rule)));
    let worst = findings.first().map_or(0.0, share);
    ComponentLint {
        component: component.to_owned(),
        owner: owners.of(component),
        // Rounded down: what is not perfect does not look so.
        score: ((1.0 - worst) * 10_000.0).floor() / 100.0,
        lines: entry.lines,
        structured: entry.structured,
        spans,
        failures,
        findings,
    }
}
