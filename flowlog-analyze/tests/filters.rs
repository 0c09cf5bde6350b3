//! The filters `--flow` and `--component`: one flow is classified as it is among all, and the lines
//! of some components are read as if the others had written none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::component_filter::ComponentFilter;
use flowlog_analyze::event::FlowKey;
use flowlog_analyze::ingest::IngestOptions;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{FlowOutcome, Report};
use flowlog_simulator::{Cluster, Envelope, LogFormat, simulate, wrap};

fn report(cluster: &Cluster, ingest: IngestOptions) -> Report {
    let sources = Sources::from_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    analyze(&sources, &Options { ingest, ..Options::default() }, &|_| {})
}

/// Returns a cluster that is busy twice, an hour apart: half of it is far from any single flow.
fn cluster(format: LogFormat) -> Cluster {
    let busy = |seed, begin| {
        simulate(&flowlog_simulator::Options {
            seed,
            start_s: begin,
            flows: 600,
            format,
            silent_processes: true,
            kills: 0,
            ..Default::default()
        })
    };
    let (mut cluster, later) = (busy(5, 0), busy(6, 3_600));
    for ((name, log), (later_name, more)) in cluster.logs.iter_mut().zip(&later.logs) {
        assert_eq!(name, later_name);
        log.extend_from_slice(more);
    }
    cluster.truth.extend(later.truth);
    cluster
}

#[test]
fn one_flow_is_classified_as_it_is_among_all() {
    for format in [LogFormat::Json, LogFormat::Mixed] {
        let cluster = cluster(format);
        let all = report(&cluster, IngestOptions::default());
        let mut narrow = 0;
        for failure in all.flow_failures.iter().step_by(all.flow_failures.len() / 12) {
            let simple = failure.flow_id.replace('-', "");
            for id in [failure.flow_id.clone(), simple.to_ascii_uppercase(), simple] {
                let flows = vec![FlowKey::parse(&id).unwrap()];
                let one = report(
                    &cluster,
                    IngestOptions { flows, chunk: 50_000, batch: 2, ..IngestOptions::default() },
                );
                assert_eq!(
                    (one.flows.total, one.flow_failures.len()),
                    (1, 1),
                    "{id}: {failure:?} {one:?}"
                );
                let [one_failure] = &one.flow_failures[..] else { panic!("{id}") };
                let key = |failure: &flowlog_schema::report::FlowFailure| {
                    (
                        failure.flow_id.clone(),
                        failure.outcome,
                        failure.component.clone(),
                        failure.instance.clone(),
                        failure.error_type.clone(),
                    )
                };
                assert_eq!(key(one_failure), key(failure));
                assert_eq!(one.verdict.component.as_ref(), Some(&failure.component));
                narrow += u64::from(one.input.lines < all.input.lines * 2 / 3);
            }
        }
        assert!(narrow > 0, "no lines were skipped");
        assert!(all.flow_failures.iter().any(|failure| failure.outcome == FlowOutcome::Recovered));
        let good = cluster
            .truth
            .iter()
            .find(|truth| {
                !all.flow_failures.iter().any(|failure| failure.flow_id == truth.id.to_string())
            })
            .unwrap();
        let one = report(
            &cluster,
            IngestOptions { flows: vec![FlowKey::Id(good.id)], ..IngestOptions::default() },
        );
        assert_eq!((one.flows.total, one.flow_failures.len(), one.failures.len()), (1, 0, 0));
        let none = report(
            &cluster,
            IngestOptions {
                flows: vec![FlowKey::parse("nobody's").unwrap()],
                ..IngestOptions::default()
            },
        );
        assert_eq!((none.flows.total, none.input.lines), (0, 0));
    }
}

#[test]
fn component_filter_ignores_the_lines_of_other_components() {
    let cluster = cluster(LogFormat::Mixed);
    let chosen = ["router", "backend"];
    let ingest =
        || IngestOptions { components: ComponentFilter::of(chosen), ..IngestOptions::default() };
    let of_chosen = |name: &str| chosen.iter().any(|component| name.contains(component));
    let logs = |is: &dyn Fn(&str) -> bool| {
        cluster.logs.iter().filter(|(name, _)| is(name)).cloned().collect()
    };
    let alone = Cluster { logs: logs(&|name| of_chosen(name)), truth: Vec::new() };
    let (expected, found) = (report(&alone, IngestOptions::default()), report(&cluster, ingest()));
    let key = |report: &Report| {
        (
            report.flows,
            report.flow_failures.clone(),
            report.input.lines,
            report.input.records,
            report.input.formats.clone(),
        )
    };
    assert_eq!(key(&found), key(&expected));
    assert_eq!(found.input.bytes, expected.input.bytes, "the others' files are not read");
    // If no file name identifies the component, each line does, with the fast path or without.
    let mixed = |cluster: &Cluster| Cluster {
        logs: vec![("run.log".to_owned(), interleaved(cluster))],
        truth: Vec::new(),
    };
    let expected = report(&mixed(&alone), IngestOptions::default());
    for fast_path in [true, false] {
        let found = report(&mixed(&cluster), IngestOptions { fast_path, ..ingest() });
        assert_eq!(key(&found), key(&expected), "fast path: {fast_path}");
        assert!(found.input.bytes > expected.input.bytes);
    }
    // The envelope identifies the component if the line does not.
    let pods = wrap(
        &simulate(&flowlog_simulator::Options { format: LogFormat::Dynamo, ..Default::default() }),
        Envelope::KubectlPrefix,
    );
    let (all, some) = (report(&pods, IngestOptions::default()), report(&pods, ingest()));
    assert!(
        some.input.lines > 0 && some.input.lines < all.input.lines,
        "{} of {}",
        some.input.lines,
        all.input.lines
    );
    assert_eq!(some.input.formats.values().sum::<u64>(), some.input.lines);
}

/// Merges all logs into one, line by line in the order of their times.
fn interleaved(cluster: &Cluster) -> Vec<u8> {
    let lines = cluster.logs.iter().flat_map(|(_, bytes)| bytes.split_inclusive(|b| *b == b'\n'));
    let mut lines: Vec<&[u8]> = lines.collect();
    lines.sort_by_key(|line| {
        line.windows(28).find(|window| window.starts_with(b"2025-")).map(<[u8]>::to_vec)
    });
    lines.concat()
}
