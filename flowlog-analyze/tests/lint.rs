//! Gaps that are planted in complete logs are found, each with its rule and component, and nothing
//! else is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::collections::BTreeSet;
use std::path::Path;

use flowlog_analyze::owners::Owners;
use flowlog_analyze::render::{self, Output, Style};
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::{Options, lint_logs};
use flowlog_schema::lint::LintReport;
use flowlog_simulator::{LogFormat, simulate};

type Logs = Vec<(String, String)>;

fn logs(seed: u64) -> Logs {
    // Every process stops in order, except for the one that is killed, so that no beginning or end
    // of a log hides a gap.
    let cluster = simulate(&flowlog_simulator::Options {
        flows: 300,
        format: LogFormat::Json,
        seed,
        ..Default::default()
    });
    cluster
        .logs
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
        .collect()
}

fn lint(logs: &Logs) -> LintReport {
    let sources =
        Sources::from_texts(logs.iter().map(|(name, text)| (name.as_str(), text.as_bytes())))
            .unwrap();
    lint_logs(&sources, &Options::default(), 100.0, &|_| {})
}

/// Returns `component rule count` for every finding.
fn found(report: &LintReport) -> BTreeSet<String> {
    let findings = report
        .components
        .iter()
        .flat_map(|one| one.findings.iter().map(|finding| (&one.component, finding)));
    findings
        .map(|(component, finding)| format!("{component} {:?} {}", finding.rule, finding.count))
        .collect()
}

fn field<'l>(line: &'l str, key: &str) -> &'l str {
    let start = line.find(&format!("\"{key}\":\"")).map_or(line.len(), |at| at + key.len() + 4);
    line[start..].split('"').next().unwrap_or_default()
}

/// Returns all lines of a span in a log that ended well, in a flow without failures or
/// cancellations; `skip` is the number of such spans to skip.
fn whole_span(logs: &Logs, log: usize, skip: usize) -> Vec<String> {
    let all: Vec<&str> = logs.iter().flat_map(|(_, text)| text.lines()).collect();
    let failed: BTreeSet<&str> = all
        .iter()
        .filter(|line| ["fail", "cancel"].contains(&field(line, "event")))
        .map(|line| field(line, "flow_id"))
        .collect();
    let ends = logs[log]
        .1
        .lines()
        .filter(|line| field(line, "event") == "end" && !failed.contains(field(line, "flow_id")));
    let span = field(ends.clone().nth(skip).unwrap(), "span_id");
    logs[log]
        .1
        .lines()
        .filter(|line| field(line, "span_id") == span)
        .map(ToOwned::to_owned)
        .collect()
}

/// Replaces a line that occurs exactly once.
fn replace(logs: &mut Logs, log: usize, line: &str, by: &str) {
    let whole = format!("{line}\n");
    assert_eq!(logs[log].1.matches(&whole).count(), 1);
    logs[log].1 = logs[log].1.replace(&whole, by);
}

fn index(logs: &Logs, name: &str) -> usize {
    logs.iter().position(|(log, _)| log == name).unwrap()
}

#[test]
fn complete_logs_have_no_findings() {
    for seed in 1..=4 {
        assert_eq!(found(&lint(&logs(seed))), BTreeSet::new(), "seed {seed}");
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/failed-run");
    let report = lint_logs(&source::open(&[example]), &Options::default(), 100.0, &|_| {});
    assert_eq!(found(&report), BTreeSet::new());
    assert!(report.passed && report.components.len() == 4);
}

#[test]
fn every_planted_gap_is_found_and_no_other() {
    for seed in 1..=4 {
        let mut logs = logs(seed);
        let (frontend, router) = (index(&logs, "frontend-0.log"), index(&logs, "router-0.log"));
        let mut planted = BTreeSet::new();
        let mut plant = |what: &str| assert!(planted.insert(what.to_owned()), "{what} twice");

        let start = whole_span(&logs, router, 3)[0].clone();
        assert_eq!(field(&start, "event"), "start");
        replace(&mut logs, router, &start, "");
        plant("router MissingStart 1");

        let end = whole_span(&logs, router, 20).last().unwrap().clone();
        replace(&mut logs, router, &end, "");
        plant("router MissingEnd 1");

        // In another flow: if a caller and its call both lack their ends, either may hang.
        let flow = field(&end, "flow_id").to_owned();
        let ends = (8..).map(|skip| whole_span(&logs, frontend, skip).last().unwrap().clone());
        let end = ends.into_iter().find(|end| field(end, "flow_id") != flow).unwrap();
        replace(&mut logs, frontend, &end, "");
        plant("frontend MissingEnd 1");

        let start = whole_span(&logs, frontend, 30)[0].clone();
        let bare = start.replace(r#""versions":{"frontend":"0.7.0"},"#, "");
        assert_ne!(bare, start);
        replace(&mut logs, frontend, &start, &format!("{bare}\n"));
        plant("frontend MissingVersions 1");

        let worker = logs
            .iter()
            .position(|(name, text)| {
                name.starts_with("backend") && text.matches(r#""event":"fail""#).count() > 1
            })
            .unwrap();
        let fails: Vec<String> = logs[worker]
            .1
            .lines()
            .filter(|line| field(line, "event") == "fail")
            .take(2)
            .map(ToOwned::to_owned)
            .collect();
        let state = format!(r#""state":"{}","#, field(&fails[0], "state"));
        replace(&mut logs, worker, &fails[0], &format!("{}\n", fails[0].replace(&state, "")));
        plant("backend MissingState 1");
        let (head, tail) = fails[1].split_once(r#""error":{"#).unwrap();
        let rest = tail.split_once('}').unwrap().1;
        replace(&mut logs, worker, &fails[1], &format!("{head}\"note\":1{rest}\n"));
        plant("backend MissingErrorType 1");

        logs[worker].1.push_str("loading weights: 50 %\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError\n");
        plant("backend UnstructuredLine 4");

        // One call has an ID of its own.
        let prefill = index(&logs, "prefill-0.log");
        let span = whole_span(&logs, prefill, 2);
        for line in &span {
            let other = format!(
                "{}\n",
                line.replace(field(line, "flow_id"), "ffffffff-0000-7000-8000-000000000001")
            );
            let other = other.replace(field(line, "trace_id"), "ffffffff000070008000000000000001");
            replace(&mut logs, prefill, line, &other);
        }
        plant("prefill UnpropagatedId 1");

        let report = lint(&logs);
        assert_eq!(found(&report), planted, "seed {seed}");
        assert!(!report.passed);
        assert!(
            report
                .components
                .iter()
                .flat_map(|one| &one.findings)
                .all(|finding| !finding.evidence.is_empty())
        );
    }
}

#[test]
fn the_report_in_every_format() {
    let mut logs = logs(1);
    logs[0].1.push_str("bare words <b> | x\n");
    let sources =
        Sources::from_texts(logs.iter().map(|(name, text)| (name.as_str(), text.as_bytes())))
            .unwrap();
    let owners = Owners::read(
        "owners.toml",
        "[component.frontend]\npic = \"Ann\"\n[area.test_fail]\npic = \"Bo\"\n",
    )
    .unwrap();
    let report = lint_logs(&sources, &Options { owners, ..Options::default() }, 99.9, &|_| {});
    assert_eq!(
        (report.passed, report.components[0].component.as_str()),
        (report.components[0].score >= 99.9, "frontend")
    );
    let pics: BTreeSet<&str> =
        report.components.iter().filter_map(|one| one.owner.pic.as_deref()).collect();
    assert_eq!(pics, BTreeSet::from(["Ann", "Bo"]));
    let shown = |output| {
        let mut shown = Vec::new();
        render::lint_report(&report, output, Style::Never, &mut shown).unwrap();
        String::from_utf8(shown).unwrap()
    };
    let text = shown(Output::Text);
    assert!(
        text.contains("lines without structure")
            && text.contains("frontend-0.log:")
            && text.contains("bare words <b> | x"),
        "{text}"
    );
    let markdown = shown(Output::Markdown);
    assert!(
        markdown.contains("| frontend | Ann |")
            && markdown.contains("lines without structure (frontend-0.log:"),
        "{markdown}"
    );
    let json: LintReport = serde_json::from_str(&shown(Output::Json)).unwrap();
    assert_eq!(json, report);
    let schema = serde_json::to_value(schemars::schema_for!(LintReport)).unwrap();
    jsonschema::validate(&schema, &serde_json::to_value(&report).unwrap()).unwrap();
}

#[test]
fn gaps_in_handwritten_records() {
    let text = "router/r - - - start - {router@1 span=00000000000000aa}\nrouter/r - - - end - {span=00000000000000aa}\n\
                2025-11-22T08:27:15Z ERROR router/r - 019aaaac-a5da-7347-bb80-1089c1876100 - fail parse {router@1 span=00000000000000ab} it is broken\n\
                {\"time\":\"2025-11-22T08:27:16Z\",\"component\":\"router\",\"event\":\"fail\",\"state\":\"-\",\"versions\":{\"router\":\"1\"},\"flow_id\":\"019aaaac-a5da-7347-bb80-1089c1876101\",\"span_id\":\"00000000000000ac\",\"error\":\"Internal: x\"}\n";
    let report = lint(&vec![("router.log".to_owned(), text.to_owned())]);
    let expected = [
        "router MissingErrorType 1",
        "router MissingId 2",
        "router MissingStart 2",
        "router MissingState 1",
    ];
    assert_eq!(found(&report), expected.map(ToOwned::to_owned).into());
}
