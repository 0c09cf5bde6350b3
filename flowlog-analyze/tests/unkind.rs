//! Clusters as unkind as production, with ground truth: deaths, freezes, components without spans,
//! retries, and unrelated errors at the same time, whole and with lost lines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]
#![allow(clippy::print_stdout, reason = "a test prints its scores")]

use std::collections::{BTreeSet, HashMap};

use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{FlowOutcome, Report};
use flowlog_simulator::{Cluster, Damage, Kind, Outcome, damage, simulate_unkind};
use rayon::prelude::*;

const SEEDS: u64 = 20;

const FLOWS: usize = 300;

fn report(cluster: &Cluster) -> Report {
    let sources = Sources::from_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    analyze(&sources, &Options::default(), &|_| {})
}

#[derive(Default)]
struct Score {
    faulty: usize,
    innocent: usize,
    wrong: Vec<String>,
    accused: Vec<String>,
    /// Confidence of each answer, the rule that decided, and whether the answer was right.
    answers: Vec<(f64, String, bool)>,
}

impl Score {
    fn merge(mut self, other: Self) -> Self {
        self.faulty += other.faulty;
        self.innocent += other.innocent;
        self.wrong.extend(other.wrong);
        self.accused.extend(other.accused);
        self.answers.extend(other.answers);
        self
    }

    fn of(cluster: &Cluster, known: &[bool], seed: u64) -> Self {
        let mut score = Self::default();
        let report = report(cluster);
        let found: HashMap<&str, _> =
            report.flow_failures.iter().map(|flow| (flow.flow_id.as_str(), flow)).collect();
        let causes: HashMap<&str, _> =
            report.failures.iter().map(|failure| (failure.fingerprint.as_str(), failure)).collect();
        for (truth, known) in cluster.truth.iter().zip(known) {
            let id = truth.id.to_string();
            let cause =
                found.get(id.as_str()).and_then(|flow| causes.get(flow.fingerprint.as_str()));
            let found = found.get(id.as_str()).map(|flow| {
                (flow.outcome, flow.component.as_str(), flow.instance.as_deref().unwrap_or("-"))
            });
            let Some((component, instance)) = &truth.origin else {
                score.innocent += 1;
                score
                    .answers
                    .extend(cause.map(|cause| (cause.confidence, cause.why.rule.clone(), false)));
                if let Some(found) = found {
                    score.accused.push(format!("seed {seed} {id}: {found:?}"));
                }
                continue;
            };
            if !known || !truth.is_shown {
                continue;
            }
            score.faulty += 1;
            let outcome = match truth.outcome {
                Outcome::Recovered => FlowOutcome::Recovered,
                _ => FlowOutcome::Failed,
            };
            let expected = Some((outcome, component.as_str(), instance.as_str()));
            score.answers.extend(
                cause.map(|cause| (cause.confidence, cause.why.rule.clone(), found == expected)),
            );
            if found != expected {
                score.wrong.push(format!(
                    "seed {seed} {id} ({}): expected {expected:?}, found {found:?}",
                    truth.story
                ));
            }
        }
        score
    }
}

/// Returns the score of a kind of cluster over all seeds.
fn score(kind: Kind, is_damaged: bool) -> Score {
    (1..=SEEDS)
        .into_par_iter()
        .map(|seed| {
            let whole = simulate_unkind(kind, seed, FLOWS);
            let (cluster, known) = if is_damaged {
                damage(
                    &whole,
                    Damage { seed, lost_per_mille: 5, cut_percent: 20, names_suffice: true },
                )
            } else {
                let known = vec![true; whole.truth.len()];
                (whole, known)
            };
            Score::of(&cluster, &known, seed)
        })
        .reduce(Score::default, Score::merge)
}

fn check(is_damaged: bool, least_right: f64, most_accused: f64) {
    let mut failures = String::new();
    let mut answers = Vec::new();
    for kind in Kind::ALL {
        let score = score(kind, is_damaged);
        let right = 1.0 - score.wrong.len() as f64 / score.faulty.max(1) as f64;
        let accused = score.accused.len() as f64 / score.innocent.max(1) as f64;
        println!(
            "{kind:?}: {:.1} % of {} right, {} of {} accused",
            100.0 * right,
            score.faulty,
            score.accused.len(),
            score.innocent
        );
        assert!(score.faulty > 100, "{kind:?}: only {} faulty flows", score.faulty);
        if right < least_right || accused > most_accused {
            failures.push_str(&format!(
                "{kind:?}: {right}\n{}\naccused {accused}\n{}\n",
                score.wrong.join("\n"),
                score.accused.join("\n")
            ));
        }
        answers.extend(score.answers);
    }
    assert!(failures.is_empty(), "{failures}");
    assert_reliable(&answers);
}

/// Lower bounds of the confidences that are judged together.
const BINS: [f64; 6] = [0.0, 0.7, 0.8, 0.9, 0.95, 0.98];

/// Minimum number of answers for a meaningful share.
const MIN_ANSWERS: usize = 50;

/// Prints how often answers of each confidence and each rule were right, and asserts that at least
/// as many are as the confidence says, and that more confident answers are not more often wrong.
fn assert_reliable(answers: &[(f64, String, bool)]) {
    let share = |answers: &[&(f64, String, bool)]| {
        let right = answers.iter().filter(|(_, _, right)| *right).count();
        right as f64 / answers.len().max(1) as f64
    };
    let rules: BTreeSet<&str> = answers.iter().map(|(_, rule, _)| rule.as_str()).collect();
    for rule in rules {
        let of_rule: Vec<_> = answers.iter().filter(|(_, own, _)| own == rule).collect();
        println!("{rule}: {:.3} of {} right", share(&of_rule), of_rule.len());
    }
    let mut before = 0.0;
    for (at, lower) in BINS.into_iter().enumerate() {
        let upper = BINS.get(at + 1).copied().unwrap_or(f64::INFINITY);
        let within: Vec<_> =
            answers.iter().filter(|(confidence, ..)| (lower..upper).contains(confidence)).collect();
        if within.len() < MIN_ANSWERS {
            continue;
        }
        let confidence =
            within.iter().map(|(confidence, ..)| confidence).sum::<f64>() / within.len() as f64;
        let right = share(&within);
        println!("confidence {confidence:.2}: {right:.3} of {} right", within.len());
        assert!(right >= confidence - 0.01, "confidence {confidence}: only {right} are right");
        assert!(right >= before - 0.02, "confidence {confidence}: {right}, after {before}");
        before = right;
    }
}

#[test]
fn whole_logs() {
    check(false, 0.99, 0.0);
}

#[test]
fn lost_lines_and_cut_logs() {
    check(true, 0.98, 0.002);
}
