//! End-to-end runs with each fault: the analyzer must name the instance that has it.
#![cfg(feature = "integration")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::path::Path;

use flowlog_analyze::source::open;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{Report, RunOutcome, Verdict};
use prime_path::run::{Answered, Logs, Plan, run};

/// Runs the system, and returns the report and the outcomes of the requests.
fn left(fault: Option<&str>, logs: Logs, skew: Option<&str>) -> (Report, Vec<Answered>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_owned();
    let plan = Plan {
        fault: fault.map(|fault| fault.parse().unwrap()),
        logs,
        skew: skew.map(|skew| skew.parse().unwrap()),
        requests: 24,
        out: out.clone(),
        program: Some(env!("CARGO_BIN_EXE_prime-path").into()),
    };
    let answers = run(&plan).unwrap();
    (report(&out.join(if logs == Logs::Flight { "flight" } else { "logs" })), answers)
}

fn report(folder: &Path) -> Report {
    analyze(&open(&[folder.to_owned()]), &Options::default(), &|_| {})
}

fn named(verdict: &Verdict) -> (Option<&str>, Option<&str>) {
    (verdict.component.as_deref(), verdict.instance.as_deref())
}

/// Checks the verdict on a fault for every kind of output.
fn check(fault: &str, skew: Option<&str>) {
    let (_, instance) = fault.split_once('@').unwrap();
    let (component, _) = instance.rsplit_once('-').unwrap();
    for logs in [Logs::Json, Logs::Text, Logs::Flight] {
        let (report, answers) = left(Some(fault), logs, skew);
        let verdict = &report.verdict;
        let what = format!("{fault} {logs:?} {skew:?}: {:?}, {}", named(verdict), verdict.summary);
        assert_eq!(
            (verdict.outcome, named(verdict)),
            (RunOutcome::Failed, (Some(component), Some(instance))),
            "{what}"
        );
        // The client's view of a request matches the outcome of its flow.
        let failed = answers.iter().filter(|answer| answer.status != 200).count();
        assert!(failed > 0 && report.flows.failed >= failed as u64, "{what}");
    }
}

#[test]
fn no_fault() {
    for logs in [Logs::Json, Logs::Text, Logs::Flight] {
        let (report, answers) = left(None, logs, None);
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        assert_eq!(
            (report.verdict.outcome, report.flows.failed, report.flows.ok >= 24),
            (RunOutcome::Healthy, 0, true),
            "{logs:?}"
        );
    }
}

#[test]
fn an_error() {
    check("error@prefill-1", None);
}

#[test]
fn a_hang() {
    check("hang@decode-0", None);
}

#[test]
fn a_kill() {
    check("kill@prefill-1", None);
}

#[test]
fn slowness() {
    check("slow@nixl-0", None);
}

#[test]
fn a_leak_of_blocks() {
    check("leak@kvbm-0", None);
}

/// The clock of a flow orders its records, however wrong the wall clocks are.
#[test]
fn a_wall_clock_an_hour_ahead_or_behind() {
    check("error@prefill-1", Some("prefill-1=3600"));
    check("hang@decode-0", Some("decode-0=-3600"));
    check("error@kvbm-0", Some("frontend-0=3600"));
}
