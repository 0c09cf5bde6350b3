//! Components that stopped logging while others went on, log far less than in the baseline, or
//! started again.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::{Finding, FindingKind};
use crate::diagnose::RunModel;
use crate::flow::LogPosition;
use crate::patterns::masked;
use crate::profile::{Profile, RunPatterns};
use crate::source::{Incomplete, cut_times};

/// Score of a component that stopped logging.
const SILENT: f64 = 0.58;

/// Score of a component that logs far less than in the baseline.
const LESS: f64 = 0.36;

/// Score of a component that started again.
const STARTED_AGAIN: f64 = 0.6;

/// Minimum silence in nanoseconds.
const MIN_SILENCE_NS: i64 = 10_000_000_000;

/// Minimum number of lines of a component that is expected to go on.
const MIN_LINES: u64 = 12;

/// Phrases of programs that start.
const STARTS: [&str; 14] = [
    "listening on",
    "listening at",
    "server started",
    "started server",
    "starting server",
    "service started",
    "application started",
    "starting application",
    "server running",
    "startup complete",
    "now listening",
    "booting",
    "ready to accept",
    "serving on",
];

/// Lines of a component.
struct Lines {
    count: u64,
    first: LogPosition,
    last: LogPosition,
    /// Lines in the second half of the run.
    late: u64,
}

/// Finds components that stopped logging, log far less, or started again.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
pub(super) fn find(
    model: &RunModel,
    baselines: &[Profile],
    patterns: &RunPatterns<'_>,
    incomplete: &BTreeMap<u32, Incomplete>,
    seconds: f64,
) -> Vec<Finding> {
    let end = model.end;
    let begin = end.saturating_sub((seconds * 1e9) as i64);
    let middle = begin.midpoint(end);
    let mut by_component: BTreeMap<&str, Lines> = BTreeMap::new();
    for pattern in patterns.iter().filter(|pattern| pattern.stats.first.0.time().is_some()) {
        let (first, last) = (pattern.stats.first.0, pattern.stats.last);
        let known = by_component.entry(&pattern.component).or_insert(Lines {
            count: 0,
            first,
            last,
            late: 0,
        });
        known.count += pattern.stats.count;
        known.late += pattern.stats.rate.within(middle, i64::MAX);
        if first.time < known.first.time {
            known.first = first;
        }
        if last.time > known.last.time {
            known.last = last;
        }
    }
    if by_component.len() < 3 {
        return Vec::new();
    }
    let last_lines = by_component.values().map(|lines| (lines.last.line.source, lines.last.time));
    let cut_at = cut_times(incomplete, last_lines);
    let mut findings = Vec::new();
    let goes_on = |component: &str, time: i64| {
        let others = by_component
            .iter()
            .filter(|(name, lines)| **name != component && lines.last.time > time.midpoint(end))
            .count();
        others * 2 > by_component.len() - 1
    };
    // How much the whole run logs, compared with the baselines.
    let per_second = |lines: u64, seconds: f64| lines as f64 / seconds.max(1.0);
    let load = |component: &str| {
        let others = |name: &str| name != component;
        let own: u64 =
            by_component.iter().filter(|(name, _)| others(name)).map(|(_, lines)| lines.late).sum();
        let usual: f64 = baselines
            .iter()
            .map(|profile| {
                let lines = profile.components.iter().filter(|(name, _)| others(name));
                per_second(lines.map(|(_, component)| component.lines).sum(), profile.seconds)
            })
            .sum::<f64>()
            / baselines.len().max(1) as f64;
        per_second(own, seconds / 2.0) / usual.max(1e-9)
    };
    for (component, lines) in &by_component {
        let silence = end.saturating_sub(lines.last.time);
        let active = lines.last.time.saturating_sub(lines.first.time);
        let finding = |kind, score: f64, reason: String, line: LogPosition| Finding {
            kind,
            component: CompactString::from(*component),
            instance: None,
            score,
            reason,
            template: None,
            root_cause: String::new(),
            count: lines.count,
            first: line.time(),
            evidence: vec![line.line],
        };
        // The usual pause between its lines.
        let pause = active / i64::try_from(lines.count.max(1)).unwrap_or(i64::MAX);
        let usual = baselines
            .iter()
            .map(|profile| per_second(profile.lines(component), profile.seconds))
            .min_by(f64::total_cmp);
        let is_expected = usual.is_none_or(|usual| usual * silence as f64 / 1e9 >= 15.0);
        // What it logged after its log was cut is unknown.
        let is_incomplete = cut_at
            .get(&lines.last.line.source)
            .is_some_and(|cut| cut.saturating_sub(lines.last.time) <= MIN_SILENCE_NS);
        if lines.count >= MIN_LINES
            && !is_incomplete
            && silence > MIN_SILENCE_NS
            && silence > pause.saturating_mul(20)
            && is_expected
            && goes_on(component, lines.last.time)
        {
            let seconds = (silence / 1_000_000_000).max(0);
            let reason = format!("it stopped logging {seconds} s before the others did");
            findings.push(finding(FindingKind::Stopped, SILENT, reason, lines.last));
            continue;
        }
        if let Some(usual) = usual.filter(|_| !is_incomplete) {
            let late = per_second(lines.late, seconds / 2.0);
            let expected = usual * load(component).min(1.5);
            if expected * seconds / 2.0 >= 12.0 && late < 0.4 * expected {
                let reason = format!(
                    "it logs {late:.1} lines a second, about {expected:.1} by the baseline"
                );
                let score = LESS * (1.0 - late / expected);
                findings.push(finding(FindingKind::Less, score, reason, lines.last));
            }
        }
    }
    findings.extend(started_again(patterns, baselines, begin, end));
    findings
}

/// Finds components with lines of a start in the middle of the run.
fn started_again(
    patterns: &RunPatterns<'_>,
    baselines: &[Profile],
    begin: i64,
    end: i64,
) -> Vec<Finding> {
    let margin = end.saturating_sub(begin) / 12;
    let mut findings = Vec::new();
    for pattern in patterns.iter() {
        let stats = pattern.stats;
        let (Some(time), false) = (stats.last.time(), stats.is_error) else { continue };
        if time < begin.saturating_add(margin) || stats.count > 12 {
            continue;
        }
        let message = stats.first.1.to_ascii_lowercase();
        if !STARTS.iter().any(|phrase| message.contains(phrase)) {
            continue;
        }
        let usual = baselines
            .iter()
            .map(|profile| profile.count(&pattern.component, pattern.key.1))
            .max()
            .unwrap_or(u64::MAX);
        // Without a baseline, only the same line before shows that this is not the first start.
        let is_again = if baselines.is_empty() {
            stats.count >= 2 && stats.first.0.time() != Some(time)
        } else {
            stats.count > usual
        };
        if !is_again || findings.iter().any(|known: &Finding| known.component == pattern.component)
        {
            continue;
        }
        findings.push(Finding {
            kind: FindingKind::Stopped,
            component: pattern.component.clone(),
            instance: pattern.instance.clone(),
            score: if baselines.is_empty() { STARTED_AGAIN * 0.8 } else { STARTED_AGAIN },
            reason: "it started again in the middle of the run".to_owned(),
            template: Some(masked(&stats.first.1)),
            root_cause: String::new(),
            count: stats.count,
            first: Some(time),
            evidence: vec![stats.last.line],
        });
    }
    findings
}
