//! Real runs of Dynamo 1.6.1 with one fault each, made by `examples/dynamo/make_run.py`: the
//! analyzer finds the injected fault.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::path::{Path, PathBuf};

use flowlog_analyze::source;
use flowlog_analyze::{Options, analyze, show_flow};
use flowlog_schema::report::{FlowCounts, Report, RunOutcome};

struct Case {
    folder: &'static str,
    outcome: RunOutcome,
    component: Option<&'static str>,
    instance: Option<&'static str>,
    /// Number of failed flows, as the clients saw them; health checks are flows, too.
    failed: u64,
    cancelled: u64,
    rejected: u64,
}

const fn case(folder: &'static str, outcome: RunOutcome) -> Case {
    Case { folder, outcome, component: None, instance: None, failed: 0, cancelled: 0, rejected: 0 }
}

const CASES: [Case; 11] = [
    // SIGKILL to the only prefill worker: it had four flows, three were refused, and three more
    // failed after it had expired.
    Case {
        component: Some("prefill"),
        instance: Some("7532250978119109882"),
        failed: 10,
        ..case("../examples/failed-run", RunOutcome::Failed)
    },
    // SIGSTOP to a worker: three clients timed out after 15 s, two requests timed out on
    // connecting. No trace IDs.
    Case {
        component: Some("backend"),
        instance: Some("6101233546512230032"),
        failed: 5,
        ..case("tests/runs/worker-stop-readable", RunOutcome::Failed)
    },
    // SIGKILL to an idle worker: one request was still sent to it.
    Case {
        component: Some("backend"),
        instance: Some("793917152538552143"),
        failed: 1,
        ..case("tests/runs/worker-kill-idle", RunOutcome::Failed)
    },
    // SIGKILL to the frontend: its workers close their spans as if nothing had failed.
    Case {
        component: Some("frontend"),
        instance: Some("frontend"),
        failed: 6,
        ..case("tests/runs/frontend-kill", RunOutcome::Failed)
    },
    // SIGKILL to etcd: the other processes shut down half a minute later.
    Case { component: Some("etcd"), failed: 2, ..case("tests/runs/etcd-lost", RunOutcome::Failed) },
    // No flows, an ordinary shutdown after the error, and a traceback interrupted by a JSON line.
    Case {
        component: Some("frontend"),
        instance: Some("frontend"),
        ..case("tests/runs/port-in-use", RunOutcome::Failed)
    },
    // A worker that cannot start outranks the requests that are rejected because of it.
    Case {
        component: Some("mocker"),
        instance: Some("worker-1"),
        rejected: 4,
        ..case("tests/runs/wrong-model-path-alone", RunOutcome::Failed)
    },
    // SIGTERM to everything with six requests in flight, SIGKILL three seconds later.
    Case { cancelled: 6, ..case("tests/runs/sigterm-all-inflight-grace3", RunOutcome::Cancelled) },
    // Four clients that disconnect in the middle of long streams, which log no progress.
    Case { cancelled: 4, ..case("tests/runs/client-abort", RunOutcome::Cancelled) },
    // A worker in Python that writes flowlog records among Dynamo's lines, under the same IDs: its
    // long requests fail.
    Case {
        component: Some("backend"),
        instance: Some("14958789042134741166"),
        failed: 4,
        ..case("tests/runs/python-worker-fails", RunOutcome::Failed)
    },
    // SIGTERM to one worker, which completes its requests: many errors, but healthy.
    case("tests/runs/graceful-worker-term", RunOutcome::Healthy),
];

fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn report(folder: &str) -> Report {
    analyze(&source::open(&[path(folder)]), &Options::default(), &|_| {})
}

#[test]
fn injected_faults_are_found() {
    for case in &CASES {
        let report = report(case.folder);
        let (verdict, flows) = (&report.verdict, &report.flows);
        assert_eq!(verdict.outcome, case.outcome, "{}: {}", case.folder, verdict.summary);
        assert_eq!(verdict.component.as_deref(), case.component, "{}", case.folder);
        assert_eq!(verdict.instance.as_deref(), case.instance, "{}", case.folder);
        let FlowCounts { failed, cancelled, rejected, recovered, unfinished, .. } = *flows;
        assert_eq!(
            (failed, cancelled, rejected, recovered, unfinished),
            (case.failed, case.cancelled, case.rejected, 0, 0),
            "{}",
            case.folder
        );
        assert_eq!(verdict.evidence.is_empty(), case.component.is_none(), "{}", case.folder);
        assert!(
            report.input.read_errors.is_empty() && report.input.problems.duplicate_keys == 0,
            "{}",
            case.folder
        );
        assert_eq!(
            report.input.formats.values().sum::<u64>(),
            report.input.lines,
            "{}",
            case.folder
        );
    }
}

#[test]
fn evidence_lines_exist_in_their_source() {
    let report = report("../examples/failed-run");
    for line in &report.verdict.evidence {
        let text = std::fs::read_to_string(&line.source).unwrap();
        let found = text.lines().nth(usize::try_from(line.line).unwrap() - 1).unwrap();
        assert!(
            found.starts_with(line.text.trim_end_matches('…')),
            "{}:{}",
            line.source,
            line.line
        );
    }
}

#[test]
fn the_flow_tree_marks_the_first_failure() {
    let sources = source::open(&[path("../examples/failed-run")]);
    let report = analyze(&sources, &Options::default(), &|_| {});
    let id = &report.failures[0].examples[0];
    let paint = flowlog_analyze::render::Style::Never;
    let picture = show_flow(&sources, id, &Options::default(), paint, &|_| {}).unwrap();
    assert!(picture.starts_with(&format!("{id} failed")), "{picture}");
    let broke: Vec<&str> =
        picture.lines().filter(|line| line.contains("<-- first failure")).collect();
    assert_eq!(broke.len(), 1, "{picture}");
    assert!(
        broke[0].contains("prefill/7532250978119109882") && broke[0].contains("prefill-0.log:"),
        "{picture}"
    );
    assert!(show_flow(&sources, "no-such-flow", &Options::default(), paint, &|_| {}).is_none());
    // A trace ID selects the flow, too.
    assert_eq!(
        show_flow(&sources, &id.replace('-', ""), &Options::default(), paint, &|_| {}),
        Some(picture)
    );
}
