//! Kubernetes objects with trouble: one folder each, as someone collects it after a failure. The
//! workload, node or object that failed first is named, and healthy clusters do not fail.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::path::{Path, PathBuf};

use flowlog_analyze::{Options, analyze, source};
use flowlog_schema::report::{Report, RunOutcome};
use serde_json::Value;

/// Smallest number of cases in which the right object is named. It only rises.
const MIN_RIGHT: usize = 65;

fn report(folder: &Path, has_failed: bool) -> Report {
    let is_data = |path: &PathBuf| path.file_name().is_some_and(|name| name != "expect.json");
    let paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(is_data).collect();
    let options = Options { has_failed, ..Options::default() };
    analyze(&source::open(&paths), &options, &|_| ())
}

fn names(expected: &Value) -> Vec<String> {
    let also = expected["also_ok"].as_array().unwrap().iter();
    std::iter::once(&expected["component"])
        .chain(also)
        .filter_map(Value::as_str)
        .map(str::to_lowercase)
        .collect()
}

#[test]
fn the_object_that_failed_first_is_named() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut failures, mut right, mut wrong) = (0, 0, Vec::new());
    for folder in &folders {
        let text = fs::read_to_string(folder.join("expect.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if expected["good"] == true {
            let report = report(folder, false);
            assert_ne!(report.verdict.outcome, RunOutcome::Failed, "{name}: {:?}", report.verdict);
            continue;
        }
        failures += 1;
        let report = report(folder, true);
        assert_eq!(report.verdict.outcome, RunOutcome::Failed, "{name}");
        let component = report.verdict.component.unwrap_or_default().to_lowercase();
        if names(&expected).contains(&component) {
            right += 1;
        } else {
            wrong.push(format!("{name}: {component}, not {}", expected["component"]));
        }
    }
    println!("{right} of {failures} right\n{}", wrong.join("\n"));
    assert!(failures >= 60, "only {failures} cases");
    assert!(right >= MIN_RIGHT, "{right} of {failures} right:\n{}", wrong.join("\n"));
}

#[test]
fn a_proven_state_needs_no_hint() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes");
    for (case, component) in [
        ("image-wrong-tag", "landing"),
        ("quota-exceeded", "feeds-backfill"),
        ("pvc-unbound", ""),
        ("oom-137", ""),
    ] {
        let report = report(&cases.join(case), false);
        assert_eq!(report.verdict.outcome, RunOutcome::Failed, "{case}");
        assert_eq!(report.failures[0].why.rule, "kubernetes_state", "{case}");
        assert!(report.verdict.component.unwrap().contains(component), "{case}");
        assert!(!report.verdict.evidence.is_empty(), "{case}");
    }
}
