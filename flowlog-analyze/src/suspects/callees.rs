//! Errors that name another component: a lost call is the callee's, until it says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::{Finding, FindingKind};
use crate::flow::LineRef;
use crate::profile::{Profile, RunPattern, RunPatterns, Step, StepKey};
use crate::traces::FlowLines;

/// Phrases of errors about a call that got no answer.
const LOST_CALLS: [&str; 24] = [
    "connection refused",
    "econnrefused",
    "connect refused",
    "timeout",
    "timed out",
    "unreachable",
    "unavailable",
    "no such host",
    "could not resolve",
    "name or service not known",
    "enotfound",
    "econnreset",
    "connection reset",
    "socket hang up",
    "no route to host",
    "failed to connect",
    "could not connect",
    "cannot connect",
    "unable to connect",
    "connection closed",
    "broken pipe",
    "deadline exceeded",
    "no endpoints",
    "bad gateway",
];

/// Share of the score that stays with the component that reports the error.
const KEPT: f64 = 0.5;

/// Which components each one calls.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<CompactString, BTreeSet<CompactString>>);

impl Calls {
    /// Finds calls in the flows of the run and of the baselines, and in what components say.
    pub(super) fn of(
        steps: &BTreeMap<StepKey, Step>,
        baselines: &[Profile],
        patterns: &RunPatterns<'_>,
    ) -> Self {
        let mut calls = Self::default();
        let usual = baselines.iter().flat_map(|profile| profile.steps.iter().map(|(key, _)| key));
        for key in steps.keys().chain(usual) {
            if key.from.0 != key.to.0 && key.owner == key.to.0 {
                calls.add(&key.from.0, &key.to.0);
            }
        }
        // What components say of others is all that is known of calls without flows.
        let in_flows: BTreeSet<CompactString> = calls
            .0
            .iter()
            .flat_map(|(caller, callees)| callees.iter().chain([caller]))
            .cloned()
            .collect();
        let services = Services::of(patterns);
        for pattern in patterns.iter().filter(|pattern| !pattern.stats.is_error) {
            if in_flows.len() == services.count {
                break;
            }
            let message = pattern.stats.first.1.to_ascii_lowercase();
            if let Some(callee) = services.component_in(&message, &pattern.component) {
                calls.add(&pattern.component, callee);
            }
        }
        calls
    }

    fn add(&mut self, caller: &str, callee: &str) {
        self.0.entry(caller.into()).or_default().insert(callee.into());
    }
}

/// Which component logs next after a line, in flows.
pub(super) struct Successors<'s>(BTreeMap<&'s (String, u64), BTreeMap<&'s str, u64>>);

impl<'s> Successors<'s> {
    /// Counts what follows in the baselines, or in the run if there are none.
    pub(super) fn of(steps: &'s BTreeMap<StepKey, Step>, baselines: &'s [Profile]) -> Self {
        let mut next: BTreeMap<&(String, u64), BTreeMap<&str, u64>> = BTreeMap::new();
        let mut add = |key: &'s StepKey, count: u64| {
            *next.entry(&key.from).or_default().entry(&key.to.0).or_default() += count;
        };
        for (key, stats) in baselines.iter().flat_map(|profile| &profile.steps) {
            add(key, stats.count);
        }
        if baselines.is_empty() {
            steps.iter().for_each(|(key, step)| add(key, step.stats.count));
        }
        Self(next)
    }

    /// Returns the other component that usually logs next.
    fn usual(&self, component: &str, pattern: u64) -> Option<&'s str> {
        let next = self.0.get(&(component.to_owned(), pattern))?;
        let all: u64 = next.values().sum();
        let (name, count) = next.iter().max_by_key(|(_, count)| **count)?;
        (all >= 5 && count * 2 > all && *name != component).then_some(*name)
    }
}

/// Calls without an answer, by the component that reports them and the pattern of its report: the
/// callee that usually logs next, if it does for most of these flows.
pub(super) type Unanswered = BTreeMap<(CompactString, u64), CompactString>;

/// How often an error comes in flows, and which callees it may be about.
type Votes<'s> = (u64, BTreeMap<&'s str, u64>);

/// Finds calls without an answer: before a component's error comes a line of its own, after which
/// the callee usually logs.
pub(super) fn unanswered(
    flows: &FlowLines,
    patterns: &RunPatterns<'_>,
    successors: &Successors<'_>,
) -> Unanswered {
    let mut votes: BTreeMap<(CompactString, u64), Votes<'_>> = BTreeMap::new();
    for flow in flows {
        let mut before: BTreeMap<&str, u64> = BTreeMap::new();
        let mut latest: Option<&str> = None;
        for row in flow {
            let Some(pattern) = patterns.of_line(row.line, row.pattern) else { continue };
            let component = pattern.component.as_str();
            if pattern.stats.is_error {
                let vote = votes.entry((pattern.component.clone(), row.pattern)).or_default();
                vote.0 += 1;
                // The line before is its own, too: nobody logged meanwhile.
                if latest == Some(component)
                    && let Some(own) = before.get(component)
                    && let Some(callee) = successors.usual(component, *own)
                {
                    *vote.1.entry(callee).or_default() += 1;
                }
            } else {
                before.insert(component, row.pattern);
            }
            latest = Some(component);
        }
    }
    votes
        .into_iter()
        .filter_map(|(key, (all, votes))| {
            let (callee, count) = votes.into_iter().max_by_key(|(_, count)| *count)?;
            (count * 2 > all).then(|| (key, CompactString::from(callee)))
        })
        .collect()
}

/// Adds a finding for each component that another one reports as lost, and lowers the score of the
/// report.
pub(super) fn move_to_callees(
    findings: &mut Vec<Finding>,
    patterns: &RunPatterns<'_>,
    calls: &Calls,
    unanswered: &Unanswered,
) {
    let services = Services::of(patterns);
    let by_line: BTreeMap<(&str, LineRef), &RunPattern<'_>> = patterns
        .iter()
        .map(|pattern| ((pattern.component.as_str(), pattern.stats.first.0.line), pattern))
        .collect();
    // Components that stopped or started, became slow, or whose work ended early.
    let own: BTreeMap<CompactString, f64> = findings
        .iter()
        .filter(|finding| finding.score >= finding.kind.least_of_callee())
        .fold(BTreeMap::new(), |mut own, finding| {
            let score: &mut f64 = own.entry(finding.component.clone()).or_default();
            *score = score.max(finding.score);
            own
        });
    let mut moved = Vec::new();
    let mut explained: BTreeSet<CompactString> = BTreeSet::new();
    for finding in findings.iter_mut() {
        let Some(line) = finding.evidence.first() else { continue };
        let Some(pattern) = by_line.get(&(finding.component.as_str(), *line)) else { continue };
        if !pattern.stats.is_error {
            continue;
        }
        let message = pattern.stats.first.1.to_ascii_lowercase();
        let is_lost = LOST_CALLS.iter().any(|phrase| message.contains(phrase));
        let named = services.named(&message, &finding.component);
        if named.is_none() && !is_lost {
            continue;
        }
        let is_named = named.is_some();
        let callees: Vec<CompactString> = match named {
            Some(callee) => {
                if !is_lost && !services.is_known(&callee) {
                    continue;
                }
                vec![callee]
            }
            None if unanswered.contains_key(&(finding.component.clone(), pattern.key.1)) => {
                let key = (finding.component.clone(), pattern.key.1);
                unanswered.get(&key).into_iter().cloned().collect()
            }
            None => {
                let known = calls.0.get(&finding.component);
                let is_callee = |name: &&CompactString| {
                    **name != finding.component && known.is_none_or(|known| known.contains(*name))
                };
                let found: Vec<CompactString> = own.keys().filter(is_callee).cloned().collect();
                // If nothing is known of its calls, only one component may be meant.
                if known.is_none() && found.len() > 1 { Vec::new() } else { found }
            }
        };
        if callees.is_empty() {
            continue;
        }
        explained.insert(finding.component.clone());
        let score = finding.score;
        let mut is_explained = false;
        for callee in callees {
            let is_unusual = own.contains_key(&callee);
            is_explained |= is_unusual;
            let factor = match (is_lost, is_named, is_unusual) {
                (true, _, true) => 1.0,
                (true, true, false) => 0.94,
                (true, false, false) => 0.95,
                (false, _, true) => 0.9,
                (false, _, false) => 0.7,
            };
            moved.push(Finding {
                kind: FindingKind::Reported,
                component: callee,
                instance: None,
                score: score * factor,
                reason: format!(
                    "{} reports that its call failed, {} lines",
                    finding.component, finding.count
                ),
                ..finding.clone()
            });
        }
        finding.score *= match (is_lost, is_explained) {
            (true, true) => KEPT,
            (true, false) => 0.7,
            (false, true) => 0.62,
            (false, false) => 0.85,
        };
    }
    // Other errors of a component that blames another one are most likely the same failure.
    let reported: BTreeSet<&[LineRef]> =
        moved.iter().map(|other: &Finding| other.evidence.as_slice()).collect();
    for finding in findings.iter_mut().filter(|finding| explained.contains(&finding.component)) {
        if finding.kind == FindingKind::Message && !reported.contains(finding.evidence.as_slice()) {
            finding.score *= 0.8;
        }
    }
    findings.extend(moved);
}

/// The components of a run, by their names without the usual suffixes of services.
struct Services<'c> {
    by_name: BTreeMap<String, Vec<&'c str>>,
    /// Number of components.
    count: usize,
}

impl<'c> Services<'c> {
    fn of(patterns: &'c RunPatterns<'_>) -> Self {
        let components: BTreeSet<&str> =
            patterns.iter().map(|pattern| pattern.component.as_str()).collect();
        let mut by_name: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for component in &components {
            by_name.entry(plain(component)).or_default().push(component);
        }
        Self { by_name, count: components.len() }
    }

    /// Returns the first component, other than `own`, of the service that a word names.
    fn other(&self, word: &str, own: &str) -> Option<&'c str> {
        let name = Some(plain(word)).filter(|name| !name.is_empty())?;
        self.by_name.get(&name)?.iter().find(|component| **component != own).copied()
    }

    fn is_known(&self, component: &str) -> bool {
        self.by_name.get(&plain(component)).is_some_and(|known| known.contains(&component))
    }

    /// Returns the component that a message names: the host of a URL or an address, or else another
    /// component of the run.
    fn named(&self, message: &str, own: &str) -> Option<CompactString> {
        if let Some(name) = self.component_in(message, own) {
            return Some(CompactString::from(name));
        }
        let host = host_in(message)?;
        let short = host.split('.').next().unwrap_or(host);
        if let Some(name) = self.other(short, own) {
            return Some(CompactString::from(name));
        }
        let is_name = short.bytes().any(|byte| byte.is_ascii_alphabetic())
            && !short.starts_with("localhost")
            && short.len() > 1;
        let is_own = plain(own) == plain(short);
        (is_name && !is_own).then(|| CompactString::from(short))
    }

    /// Returns the other component that a message names last: in `call to a failed: call to b failed`,
    /// it is the deepest.
    fn component_in(&self, message: &str, own: &str) -> Option<&'c str> {
        let head = message.lines().next().unwrap_or_default();
        let head = head.get(..head.floor_char_boundary(MAX_HEAD_BYTES)).unwrap_or(head);
        head.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
            .rev()
            .filter(|word| word.len() >= 3)
            .find_map(|word| self.other(word.strip_suffix("-client").unwrap_or(word), own))
    }
}

/// Bytes of a message in which other components are looked for.
const MAX_HEAD_BYTES: usize = 400;

/// Returns a name without case and without the usual suffixes of services.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_suffix("-service").unwrap_or(&name);
    let name = name.strip_suffix("service").unwrap_or(name);
    name.strip_suffix("-svc").unwrap_or(name).trim_end_matches('-').to_owned()
}

/// Returns the host of the first URL or `host:port` in a message.
fn host_in(message: &str) -> Option<&str> {
    if let Some((_, rest)) = message.split_once("://") {
        let authority = rest.split(['/', ' ', '"', '\'', '?', ')', ',']).next()?;
        let host = authority.rsplit('@').next()?.split(':').next()?;
        if !host.is_empty() && !host.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(host);
        }
    }
    message.split([' ', '"', '\'', '(', '[', '/', ',', '=']).find_map(|word| {
        let (host, port) = word.split_once(':')?;
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        let is_host = host.len() > 1
            && host.starts_with(|c: char| c.is_ascii_alphabetic())
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
            && !host.ends_with(".py")
            && !host.ends_with(".go")
            && !host.ends_with(".js")
            && !host.ends_with(".java");
        ((2..=5).contains(&digits) && is_host && port.len() <= digits + 2).then_some(host)
    })
}
