//! Simulated clusters with ground truth: the component that failed first is found, and no other is
//! accused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::collections::HashMap;

use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{FlowFailure, FlowOutcome, Report};
use flowlog_simulator::{Cluster, Damage, Envelope, LogFormat, Outcome, damage, simulate, wrap};

fn report(cluster: &Cluster) -> Report {
    let sources = Sources::from_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    analyze(&sources, &Options::default(), &|_| {})
}

#[derive(Default, Debug)]
struct Score {
    wrong: Vec<String>,
    accused: Vec<String>,
    faulty: usize,
    innocent: usize,
    confidence: f64,
    confident: usize,
}

impl Score {
    fn add(&mut self, cluster: &Cluster, seed: u64) {
        self.add_known(cluster, &vec![true; cluster.truth.len()], seed);
    }

    /// Adds the flows that are `known`; the others have an origin that left no line, and are not
    /// scored.
    fn add_known(&mut self, cluster: &Cluster, known: &[bool], seed: u64) {
        let report = report(cluster);
        let found: HashMap<&str, _> = report
            .flow_failures
            .iter()
            .map(|failure| (failure.flow_id.as_str(), failure))
            .collect();
        for truth in
            cluster.truth.iter().zip(known).filter(|(_, known)| **known).map(|(truth, _)| truth)
        {
            let id = truth.id.to_string();
            let found = found.get(id.as_str());
            let Some((component, instance)) = &truth.origin else {
                self.innocent += 1;
                if let Some(found) = found {
                    self.accused.push(format!(
                        "seed {seed} {id} ({}): {} {:?}",
                        truth.story, found.component, found.instance
                    ));
                }
                continue;
            };
            self.faulty += 1;
            let outcome = if truth.outcome == Outcome::Recovered {
                FlowOutcome::Recovered
            } else {
                FlowOutcome::Failed
            };
            let right = found.is_some_and(|found| {
                found.outcome == outcome
                    && found.component == *component
                    && found.instance.as_deref() == Some(instance)
            });
            if !right {
                let found = found.map(|found| {
                    (found.outcome, found.component.as_str(), found.instance.as_deref())
                });
                self.wrong.push(format!(
                    "seed {seed} {id} ({}): expected {outcome:?} {component} {instance}, found {found:?}",
                    truth.story
                ));
            }
        }
        for failure in &report.failures {
            self.confidence += failure.confidence * failure.flows as f64;
            self.confident += failure.flows as usize;
        }
    }
}

fn score(options: &flowlog_simulator::Options) -> Score {
    let mut score = Score::default();
    for seed in 1..=12 {
        score.add(&simulate(&flowlog_simulator::Options { seed, ..options.clone() }), seed);
    }
    score
}

/// Returns everything that the report contains about a cluster's flows.
fn answers(cluster: &Cluster) -> Vec<String> {
    let report = report(cluster);
    let counts = serde_json::to_string(&report.flows).unwrap();
    let found = report.flow_failures.iter().map(|failure| {
        let FlowFailure { flow_id, outcome, kind, component, instance, state, error_type, .. } =
            failure;
        format!("{flow_id} {outcome:?} {kind:?} {component} {instance:?} {state:?} {error_type:?}")
    });
    let mut found: Vec<String> = found.collect();
    found.sort();
    found.push(counts);
    found
}

/// Two runs of one cluster in the same logs, as after a pause: each process has another error of its
/// clock in each of them, so the correction of one is wrong for the other.
#[test]
fn a_pause_between_two_runs_is_no_freeze() {
    for seed in 1..=6 {
        let run = |seed, start_s| {
            simulate(&flowlog_simulator::Options {
                seed,
                start_s,
                flows: 2_000,
                format: LogFormat::Json,
                fault_percent: 2,
                kills: 0,
                silent_processes: true,
                ..Default::default()
            })
        };
        let mut cluster = run(2 * seed, 0);
        let second = run(2 * seed + 1, 160);
        for (name, log) in second.logs {
            match cluster.logs.iter_mut().find(|(known, _)| *known == name) {
                Some((_, first)) => first.extend(log),
                None => cluster.logs.push((name, log)),
            }
        }
        cluster.truth.extend(second.truth);
        let count =
            |outcome| cluster.truth.iter().filter(|truth| truth.outcome == outcome).count() as u64;
        let flows = report(&cluster).flows;
        assert_eq!(
            (flows.ok, flows.recovered, flows.failed),
            (count(Outcome::Ok), count(Outcome::Recovered), count(Outcome::Failed)),
            "seed {seed}"
        );
    }
}

#[test]
fn wrapped_logs_are_read_as_well_as_bare_ones() {
    for format in [LogFormat::Json, LogFormat::Text, LogFormat::Mixed, LogFormat::Dynamo] {
        for envelope in Envelope::ALL {
            // Dynamo's lines do not name the frontend that wrote them; only the log's name does.
            if format == LogFormat::Dynamo && envelope.loses_names() {
                continue;
            }
            for seed in 1..=2 {
                let bare = simulate(&flowlog_simulator::Options {
                    seed,
                    format,
                    flows: 120,
                    ..Default::default()
                });
                assert_eq!(
                    answers(&wrap(&bare, envelope)),
                    answers(&bare),
                    "{format:?} in {envelope:?}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn wrapped_logs_with_different_envelopes_in_one_folder() {
    for seed in 1..=3 {
        let bare = simulate(&flowlog_simulator::Options { seed, flows: 250, ..Default::default() });
        let mut mixed = Cluster { logs: Vec::new(), truth: bare.truth.clone() };
        for (at, log) in bare.logs.iter().enumerate() {
            let one = Cluster { logs: vec![log.clone()], truth: Vec::new() };
            let envelope = [Envelope::KubectlPrefix, Envelope::Cri, Envelope::Github][at % 3];
            let name = log.0.clone();
            mixed.logs.extend(
                wrap(&one, envelope).logs.into_iter().map(|(_, bytes)| (name.clone(), bytes)),
            );
        }
        assert_eq!(answers(&mixed), answers(&bare), "seed {seed}");
    }
}

/// A run with logs that were collected more than once, from different sinks: the lines of a span
/// may name a component and an instance that no line names together.
#[test]
fn the_same_run_in_three_forms_at_once() {
    for seed in 1..=4 {
        let mut all = Cluster { logs: Vec::new(), truth: Vec::new() };
        for format in [LogFormat::Json, LogFormat::Text, LogFormat::Dynamo] {
            let one = simulate(&flowlog_simulator::Options {
                seed,
                format,
                flows: 120,
                ..Default::default()
            });
            all.logs.extend(
                one.logs.into_iter().map(|(name, bytes)| (format!("{format:?}/{name}"), bytes)),
            );
            all.truth.extend(one.truth);
        }
        let flows = report(&all).flows;
        assert_eq!(
            flows.total,
            flows.ok
                + flows.failed
                + flows.recovered
                + flows.cancelled
                + flows.rejected
                + flows.unfinished
        );
        assert!(flows.total >= 120 && flows.failed > 0, "seed {seed}");
    }
}

#[test]
fn the_first_failing_component_is_found() {
    for format in [LogFormat::Json, LogFormat::Text, LogFormat::Mixed, LogFormat::Dynamo] {
        for (prefills, silent_processes, omit_response_clocks) in [
            (1, false, false),
            (2, false, false),
            (1, true, false),
            (2, false, true),
            (2, true, true),
        ] {
            let options = flowlog_simulator::Options {
                flows: 250,
                format,
                prefills,
                silent_processes,
                omit_response_clocks,
                ..Default::default()
            };
            let score = score(&options);
            let what = format!(
                "{format:?}, {prefills} prefill workers, quiet {silent_processes}, mute {omit_response_clocks}"
            );
            assert!(
                score.faulty > 300 && score.innocent > 1000,
                "{what}: too few flows for a meaningful share"
            );
            let share = 1.0 - score.wrong.len() as f64 / score.faulty as f64;
            println!(
                "{what}: {share:.4} of {} correct, {} of {} wrongly accused",
                score.faulty,
                score.accused.len(),
                score.innocent
            );
            assert!(share >= 0.99, "{what}: {share}\n{}", score.wrong.join("\n"));
            assert!(score.accused.is_empty(), "{what}\n{}", score.accused.join("\n"));
            // The guarantee of `diagnose::confidence`.
            let confidence = score.confidence / score.confident as f64;
            assert!(
                (0.8..=share).contains(&confidence),
                "{what}: mean confidence {confidence}, accuracy {share}"
            );
        }
    }
}

#[test]
fn lost_lines_and_truncated_beginnings() {
    for format in [LogFormat::Json, LogFormat::Text, LogFormat::Mixed, LogFormat::Dynamo] {
        for (lost_per_mille, cut_percent) in [(5, 0), (0, 20), (5, 20)] {
            let mut score = Score::default();
            for seed in 1..=12 {
                let whole = simulate(&flowlog_simulator::Options {
                    flows: 250,
                    format,
                    seed,
                    ..Default::default()
                });
                let (cluster, known) = damage(
                    &whole,
                    Damage { seed, lost_per_mille, cut_percent, names_suffice: false },
                );
                score.add_known(&cluster, &known, seed);
            }
            let what = format!(
                "{format:?}, {lost_per_mille} of a thousand lines lost, up to {cut_percent} % cut"
            );
            let (right, accused) = (
                1.0 - score.wrong.len() as f64 / score.faulty as f64,
                score.accused.len() as f64 / score.innocent as f64,
            );
            println!(
                "{what}: {right:.4} of {} correct, {accused:.4} of {} wrongly accused",
                score.faulty, score.innocent
            );
            assert!(
                score.faulty > 300 && score.innocent > 1000,
                "{what}: too few flows for a meaningful share"
            );
            assert!(right >= 0.98, "{what}\n{}", score.wrong.join("\n"));
            assert!(accused < 0.005, "{what}\n{}", score.accused.join("\n"));
        }
    }
}
