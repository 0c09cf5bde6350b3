//! Unusual messages: errors, and messages that are new, missing or more frequent than usual.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::relatives::Relatives;
use super::{Finding, FindingKind};
use crate::diagnose::RunModel;
use crate::flow::LogPosition;
use crate::patterns::masked;
use crate::profile::{EarlierPart, Profile, RunPattern, RunPatterns};
use crate::traces::FlowLines;

/// Score of an error that the baseline does not have and that comes several times.
const NEW_ERROR: f64 = 0.78;

/// Factor for an error that comes once: rare ones come in good runs, too.
const ONCE: f64 = 0.75;

/// Factor for an error that comes twice.
const TWICE: f64 = 0.88;

/// Score of an error that is more frequent than in the baseline.
const MORE_ERRORS: f64 = 0.62;

/// Score of an error in a run without a baseline.
const ERROR: f64 = 0.5;

/// Score of an error that goes on steadily from the beginning to the end.
const STEADY_ERROR: f64 = 0.12;

/// Score of an error that came as often in the earlier part of the run.
const USUAL_EARLIER: f64 = 0.3;

/// Score of messages that are missing, at most.
const MISSING: f64 = 0.66;

/// Score of a warning that the baseline does not have.
const NEW_WARNING: f64 = 0.42;

/// Score of any other message that the baseline does not have.
const NEW_MESSAGE: f64 = 0.22;

/// Maximum number of findings of one kind and component.
const MAX_PER_COMPONENT: usize = 6;

/// The run whose messages are searched.
pub(super) struct Run<'r, 'p> {
    pub patterns: &'r RunPatterns<'p>,
    pub model: &'r RunModel,
    pub flows: &'r FlowLines,
    /// Its earlier part, if there is no baseline.
    pub earlier: Option<&'r EarlierPart>,
    /// Its duration.
    pub seconds: f64,
}

/// Finds unusual messages.
pub(super) fn find(run: &Run<'_, '_>, baselines: &[Profile]) -> Vec<Finding> {
    let Run { patterns, flows, seconds, .. } = *run;
    let mut findings = Vec::new();
    let totals = totals(patterns);
    let messages = Message::of_all(patterns);
    let usual = Usual::of(&messages, patterns, baselines, seconds);
    let origins = Origins::of(patterns, flows, &usual);
    for ((component, hash), message) in &messages {
        let (main, count) = (message.main, message.count);
        let lines = totals.get(component).copied().unwrap_or(0);
        let verdict = if !message.is_error {
            new_message(main, component, *hash, count, &usual)
        } else if baselines.is_empty() {
            Some(error_without_baseline(message, lines, run))
        } else {
            Some(error(main, component, *hash, count, lines, &usual))
        };
        let Some((mut score, reason)) = verdict else { continue };
        if message.is_error {
            score *= origins.factor(component);
        }
        let evidence = message.patterns.iter().map(|pattern| pattern.stats.first.0.line);
        let last = main.stats.last.line;
        let mut evidence: Vec<_> = evidence.take(3).collect();
        if !evidence.contains(&last) {
            evidence.push(last);
        }
        findings.push(Finding {
            kind: FindingKind::Message,
            component: CompactString::from(*component),
            instance: main.instance.clone(),
            score,
            reason,
            template: Some(masked(&main.stats.first.1)),
            root_cause: main.stats.root_cause.to_string(),
            count,
            first: main.stats.first.0.time(),
            evidence,
        });
    }
    findings.extend(missing(&messages, &totals, baselines, patterns));
    strongest(findings)
}

/// A message of a component: the same pattern in all of its pods.
struct Message<'r, 'p> {
    patterns: Vec<&'r RunPattern<'p>>,
    /// The pattern with the earliest line.
    main: &'r RunPattern<'p>,
    /// Number of lines.
    count: u64,
    /// Whether the lines of any pod are errors.
    is_error: bool,
}

impl<'r, 'p> Message<'r, 'p> {
    /// Returns the messages of a run, by component and pattern.
    fn of_all(patterns: &'r RunPatterns<'p>) -> BTreeMap<(&'r str, u64), Self> {
        let mut messages: BTreeMap<(&str, u64), Self> = BTreeMap::new();
        for pattern in patterns.iter() {
            let message = messages.entry((&pattern.component, pattern.key.1)).or_insert(Self {
                patterns: Vec::new(),
                main: pattern,
                count: 0,
                is_error: false,
            });
            if pattern.stats.first.0 < message.main.stats.first.0 {
                message.main = pattern;
            }
            message.patterns.push(pattern);
            message.count += pattern.stats.count;
            message.is_error |= pattern.stats.is_error;
        }
        messages
    }
}

/// Keeps the strongest findings of each component.
fn strongest(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.first.cmp(&b.first)));
    let mut counts: BTreeMap<CompactString, usize> = BTreeMap::new();
    findings.retain(|finding| {
        let count = counts.entry(finding.component.clone()).or_default();
        *count += 1;
        *count <= MAX_PER_COMPONENT
    });
    findings
}

/// Returns the number of lines of each component.
fn totals<'p>(patterns: &'p RunPatterns<'_>) -> BTreeMap<&'p str, u64> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for pattern in patterns.iter() {
        *totals.entry(&pattern.component).or_default() += pattern.stats.count;
    }
    totals
}

/// What the baselines have of each message.
struct Usual<'b> {
    baselines: &'b [Profile],
    /// Duration of the run.
    seconds: f64,
    /// By component and pattern: the patterns of the baselines that differ from a new one only in
    /// values, and how many lines of the run are like it.
    relatives: BTreeMap<(&'b str, u64), (Vec<u64>, u64)>,
}

impl<'b> Usual<'b> {
    fn of(
        messages: &BTreeMap<(&'b str, u64), Message<'_, '_>>,
        patterns: &'b RunPatterns<'_>,
        baselines: &'b [Profile],
        seconds: f64,
    ) -> Self {
        let search = Relatives::of(baselines, patterns);
        let mut relatives: BTreeMap<(&str, u64), (Vec<u64>, u64)> = BTreeMap::new();
        // Lines of the run that are like a pattern of the baselines.
        let mut alike: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for ((component, hash), message) in messages {
            *alike.entry((component, *hash)).or_default() += message.count;
            if baselines.iter().any(|profile| profile.count(component, *hash) > 0) {
                continue;
            }
            let found = search.find(component, &message.main.stats.first.1, message.is_error);
            for known in &found {
                *alike.entry((component, *known)).or_default() += message.count;
            }
            if !found.is_empty() {
                relatives.insert((component, *hash), (found, 0));
            }
        }
        for ((component, _), (found, lines)) in &mut relatives {
            let most = found.iter().filter_map(|known| alike.get(&(*component, *known)));
            *lines = most.copied().max().unwrap_or(0);
        }
        Self { baselines, seconds, relatives }
    }

    /// Returns whether a baseline has a message, or one that differs only in values.
    fn is_known(&self, component: &str, hash: u64) -> bool {
        self.baselines.iter().any(|profile| profile.count(component, hash) > 0)
            || self.relatives.contains_key(&(component, hash))
    }

    /// Returns how many lines of the run are like a message, and how many the baseline with the most
    /// has, scaled to the run.
    #[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
    fn compare(&self, component: &str, hash: u64, count: u64, lines: u64) -> (u64, f64) {
        let own = (vec![hash], count);
        let (hashes, count) = self.relatives.get(&(component, hash)).unwrap_or(&own);
        let of = |profile: &Profile| {
            let usual: u64 = hashes.iter().map(|hash| profile.count(component, *hash)).sum();
            let by_lines = lines as f64 / (profile.lines(component) as f64).max(1.0);
            let by_time = if profile.seconds > 1.0 { self.seconds / profile.seconds } else { 1.0 };
            usual as f64 * by_lines.max(by_time)
        };
        (*count, self.baselines.iter().map(of).max_by(f64::total_cmp).unwrap_or(0.0))
    }
}

/// Returns the score of an error and the reason, by how often the baselines have it.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn error(
    main: &RunPattern<'_>,
    component: &str,
    hash: u64,
    count: u64,
    lines: u64,
    usual: &Usual<'_>,
) -> (f64, String) {
    let stack = if main.stats.has_stack { 0.05 } else { 0.0 };
    let (alike, expected) = usual.compare(component, hash, count, lines);
    if expected == 0.0 {
        let rarity = match count {
            _ if main.stats.has_stack => 1.0,
            1 => ONCE,
            2 => TWICE,
            _ => 1.0,
        };
        let repeated = ((count as f64).ln() / 60.0).min(0.08);
        return (
            NEW_ERROR * rarity + stack + repeated,
            format!("an error that the baseline does not have, {}", times(count)),
        );
    }
    if alike as f64 > 3.0 * expected + 4.0 {
        let reason = format!(
            "an error that the baseline has about {expected:.0} times, here {}",
            times(alike)
        );
        return (MORE_ERRORS + stack, reason);
    }
    (STEADY_ERROR, format!("an error that the baseline has as well, {}", times(count)))
}

/// Returns the score of an error and the reason, by its place in the run.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn error_without_baseline(
    message: &Message<'_, '_>,
    lines: u64,
    run: &Run<'_, '_>,
) -> (f64, String) {
    let model = run.model;
    let Message { main, count, .. } = *message;
    let stats = main.stats;
    let stack = if stats.has_stack { 0.05 } else { 0.0 };
    let process = model.process(model.of_producer(main.key.0));
    let begins = process.activity.first.and_then(LogPosition::time);
    let ends = process.activity.activity.last();
    let span = begins.zip(ends).map_or(0, |(begins, ends)| ends.saturating_sub(begins));
    let (first, last) = (stats.first.0.time(), stats.last.time());
    let at = |time: Option<i64>| {
        time.zip(begins)
            .filter(|_| span > 0)
            .map(|(time, begins)| time.saturating_sub(begins) as f64 / span as f64)
    };
    let is_early = at(first).is_some_and(|at| at < 0.2);
    let is_late = at(last).is_some_and(|at| at > 0.8);
    if is_early && is_late && count >= 4 && span > 20_000_000_000 && !grows(main) {
        // The more of its lines are errors, the less it is background noise.
        let share = (count as f64 / lines.max(1) as f64).min(0.9);
        let reason = format!("an error from the beginning to the end, {}", times(count));
        return (STEADY_ERROR + 0.4 * share, reason);
    }
    // What comes at the same rate as before is background noise; what does not come again may be
    // what everything else follows from.
    let early = run.earlier.map(|earlier| {
        let rates = message.patterns.iter().map(|pattern| &pattern.stats.rate);
        let lines = rates.map(|rate| rate.within(i64::MIN, earlier.until));
        (earlier, lines.sum::<u64>())
    });
    if let Some((earlier, early)) = early
        && early > 0
    {
        let later = count.saturating_sub(early) as f64;
        let expected = earlier.expected_later(early);
        if later >= 0.3 * expected && later < 3.0 * expected + 4.0 {
            let reason = format!("an error that came earlier in the run, too, {}", times(count));
            return (USUAL_EARLIER + stack, reason);
        }
    }
    let since = if early.is_some_and(|(_, early)| early == 0) { 0.1 } else { 0.0 };
    // A process whose last words are an error ended by it.
    let is_end = ends.zip(last).is_some_and(|(ends, last)| {
        ends.saturating_sub(last) < 2_000_000_000 && span > 0 && count <= 3
    });
    let late = if is_end { 0.12 } else { 0.0 };
    let reason = if is_end {
        format!("the log ends with an error, {}", times(count))
    } else if stats.has_stack {
        format!("an exception with its stack, {}", times(count))
    } else {
        format!("an error, {}", times(count))
    };
    (ERROR + 2.0 * stack + late + since, reason)
}

/// Returns whether most lines of a pattern come in one half of its time.
fn grows(main: &RunPattern<'_>) -> bool {
    let (Some(first), Some(last)) = (main.stats.first.0.time(), main.stats.last.time()) else {
        return false;
    };
    let middle = first.midpoint(last);
    let late = main.stats.rate.within(middle, i64::MAX);
    late * 4 > main.stats.count * 3
}

#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn new_message(
    main: &RunPattern<'_>,
    component: &str,
    hash: u64,
    count: u64,
    usual: &Usual<'_>,
) -> Option<(f64, String)> {
    use flowlog_schema::Level;
    // A component that the baseline does not know has nothing but new messages.
    let is_known_component = usual.baselines.iter().any(|profile| profile.lines(component) > 0);
    if usual.is_known(component, hash) || !is_known_component {
        return None;
    }
    match main.stats.level {
        // A warning that comes once may be one of many that are rare.
        Some(Level::Warn) => Some((
            NEW_WARNING * (0.45 + 0.55 * ((count as f64).min(6.0) - 1.0) / 5.0),
            format!("a warning that the baseline does not have, {}", times(count)),
        )),
        Some(Level::Debug | Level::Trace) => None,
        _ if count >= 2 => Some((
            NEW_MESSAGE,
            format!("a message that the baseline does not have, {}", times(count)),
        )),
        _ => None,
    }
}

/// Finds messages that a component logs far less often than in the baseline, relative to its other
/// messages: its work ended early.
#[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
fn missing(
    messages: &BTreeMap<(&str, u64), Message<'_, '_>>,
    totals: &BTreeMap<&str, u64>,
    baselines: &[Profile],
    patterns: &RunPatterns<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(first) = baselines.first() else { return findings };
    for (component, usual) in &first.components {
        let Some(lines) = totals.get(component.as_str()).copied() else { continue };
        for (hash, pattern) in &usual.patterns {
            let found =
                messages.get(&(component.as_str(), *hash)).map_or(0, |message| message.count);
            // The least share of all baselines, so that a message that varies by itself is none.
            let share = baselines
                .iter()
                .map(|profile| {
                    profile.count(component, *hash) as f64
                        / (profile.lines(component) as f64).max(1.0)
                })
                .min_by(f64::total_cmp)
                .unwrap_or(0.0);
            let expected = share * lines as f64;
            let drop = 1.0 - found as f64 / expected.max(1e-9);
            let deviations = (expected - found as f64) / expected.max(1.0).sqrt();
            if expected < 8.0 || drop < 0.3 || deviations < 4.0 {
                continue;
            }
            let places = patterns.iter().filter(|other| *other.component == **component);
            let main = places.min_by_key(|other| other.stats.first.0);
            findings.push(Finding {
                kind: FindingKind::EndsEarly,
                component: CompactString::from(component.as_str()),
                instance: None,
                score: MISSING * (0.55 + 0.45 * drop) * (1.0 - 4.0 / (4.0 + deviations)).sqrt(),
                reason: format!(
                    "a message that is missing: {found} lines, about {expected:.0} by the baseline"
                ),
                template: Some(pattern.text.clone()),
                root_cause: String::new(),
                count: found,
                first: main.and_then(|main| main.stats.first.0.time()),
                evidence: main.map(|main| main.stats.first.0.line).into_iter().collect(),
            });
        }
    }
    findings
}

/// In which component the first error of each flow was logged.
struct Origins {
    first: BTreeMap<CompactString, u64>,
    later: BTreeMap<CompactString, u64>,
}

impl Origins {
    fn of(patterns: &RunPatterns<'_>, flows: &FlowLines, usual: &Usual<'_>) -> Self {
        let mut origins = Self { first: BTreeMap::new(), later: BTreeMap::new() };
        for flow in flows {
            let mut seen: Vec<&CompactString> = Vec::new();
            for row in flow {
                let Some(pattern) = patterns.of_line(row.line, row.pattern) else { continue };
                let is_usual = usual.is_known(&pattern.component, row.pattern);
                if pattern.stats.is_error && !is_usual && !seen.contains(&&pattern.component) {
                    let side =
                        if seen.is_empty() { &mut origins.first } else { &mut origins.later };
                    *side.entry(pattern.component.clone()).or_default() += 1;
                    seen.push(&pattern.component);
                }
            }
        }
        origins
    }

    /// Returns the factor for the errors of a component: smaller if others had errors before it in
    /// the same flows.
    #[expect(clippy::cast_precision_loss, reason = "statistics tolerate rounding")]
    fn factor(&self, component: &str) -> f64 {
        let of =
            |side: &BTreeMap<CompactString, u64>| side.get(component).copied().unwrap_or(0) as f64;
        let (first, later) = (of(&self.first), of(&self.later));
        if first + later < 2.0 { 1.0 } else { 0.6 + 0.4 * first / (first + later) }
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}
