//! What `--flow` and `--component` leave: one flow judged as it is among all, and the lines of some components as if the others had
//! written none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it did not expect")]

use flowlog_analyze::ingest::Plan;
use flowlog_analyze::names::Components;
use flowlog_analyze::observation::FlowKey;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{FlowOutcome, Report};
use flowlog_simulator::{Cluster, Envelope, Form, simulate, wrap};

fn report(cluster: &Cluster, plan: Plan) -> Report {
    let sources = Sources::of_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    analyze(&sources, &Options { plan, ..Options::default() }, &|_| {})
}

/// A cluster that is busy twice, an hour apart: half of it is far from any one flow.
fn cluster(form: Form) -> Cluster {
    let busy = |seed, begin| {
        simulate(&flowlog_simulator::Options {
            seed,
            begin,
            flows: 600,
            form,
            quiet: true,
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
fn one_flow_is_judged_as_it_is_among_all() {
    for form in [Form::Json, Form::Mixed] {
        let cluster = cluster(form);
        let all = report(&cluster, Plan::default());
        let mut narrow = 0;
        for failure in all.flow_failures.iter().step_by(all.flow_failures.len() / 12) {
            let simple = failure.flow_id.replace('-', "");
            for id in [failure.flow_id.clone(), simple.to_ascii_uppercase(), simple] {
                let flows = vec![FlowKey::parse(&id).unwrap()];
                let one =
                    report(&cluster, Plan { flows, chunk: 50_000, batch: 2, ..Plan::default() });
                assert_eq!(
                    (one.flows.total, one.flow_failures.len()),
                    (1, 1),
                    "{id}: {failure:?} {one:?}"
                );
                let [one_failure] = &one.flow_failures[..] else { panic!("{id}") };
                let told = |failure: &flowlog_schema::report::FlowFailure| {
                    (
                        failure.flow_id.clone(),
                        failure.outcome,
                        failure.component.clone(),
                        failure.instance.clone(),
                        failure.error_type.clone(),
                    )
                };
                assert_eq!(told(one_failure), told(failure));
                assert_eq!(one.verdict.component.as_ref(), Some(&failure.component));
                narrow += u64::from(one.input.lines < all.input.lines * 2 / 3);
            }
        }
        assert!(narrow > 0, "nothing was left out");
        assert!(all.flow_failures.iter().any(|failure| failure.outcome == FlowOutcome::Recovered));
        let good = cluster
            .truth
            .iter()
            .find(|truth| {
                !all.flow_failures.iter().any(|failure| failure.flow_id == truth.id.to_string())
            })
            .unwrap();
        let one = report(&cluster, Plan { flows: vec![FlowKey::Id(good.id)], ..Plan::default() });
        assert_eq!((one.flows.total, one.flow_failures.len(), one.failures.len()), (1, 0, 0));
        let none = report(
            &cluster,
            Plan { flows: vec![FlowKey::parse("nobody's").unwrap()], ..Plan::default() },
        );
        assert_eq!((none.flows.total, none.input.lines), (0, 0));
    }
}

#[test]
fn components_count_as_if_the_others_had_written_nothing() {
    let cluster = cluster(Form::Mixed);
    let chosen = ["router", "backend"];
    let plan = || Plan { components: Components::of(chosen), ..Plan::default() };
    let of_chosen = |name: &str| chosen.iter().any(|component| name.contains(component));
    let logs = |is: &dyn Fn(&str) -> bool| {
        cluster.logs.iter().filter(|(name, _)| is(name)).cloned().collect()
    };
    let alone = Cluster { logs: logs(&|name| of_chosen(name)), truth: Vec::new() };
    let (expected, found) = (report(&alone, Plan::default()), report(&cluster, plan()));
    let told = |report: &Report| {
        (
            report.flows,
            report.flow_failures.clone(),
            report.input.lines,
            report.input.records,
            report.input.formats.clone(),
        )
    };
    assert_eq!(told(&found), told(&expected));
    assert_eq!(found.input.bytes, expected.input.bytes, "the others' files are not read");
    // Where no file's name tells, each line does; at sight or not.
    let mixed = |cluster: &Cluster| Cluster {
        logs: vec![("run.log".to_owned(), interleaved(cluster))],
        truth: Vec::new(),
    };
    let expected = report(&mixed(&alone), Plan::default());
    for by_sight in [true, false] {
        let found = report(&mixed(&cluster), Plan { by_sight, ..plan() });
        assert_eq!(told(&found), told(&expected), "by sight: {by_sight}");
        assert!(found.input.bytes > expected.input.bytes);
    }
    // What its envelope tells counts where the line does not.
    let pods = wrap(
        &simulate(&flowlog_simulator::Options { form: Form::Dynamo, ..Default::default() }),
        Envelope::KubectlPrefix,
    );
    let (all, some) = (report(&pods, Plan::default()), report(&pods, plan()));
    assert!(
        some.input.lines > 0 && some.input.lines < all.input.lines,
        "{} of {}",
        some.input.lines,
        all.input.lines
    );
    assert_eq!(some.input.formats.values().sum::<u64>(), some.input.lines);
}

/// All logs in one, line by line in the order of their times.
fn interleaved(cluster: &Cluster) -> Vec<u8> {
    let lines = cluster.logs.iter().flat_map(|(_, bytes)| bytes.split_inclusive(|b| *b == b'\n'));
    let mut lines: Vec<&[u8]> = lines.collect();
    lines.sort_by_key(|line| {
        line.windows(28).find(|window| window.starts_with(b"2025-")).map(<[u8]>::to_vec)
    });
    lines.concat()
}
