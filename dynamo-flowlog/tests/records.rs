//! Records as written, read back with the schema's own decoders.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamo_flowlog::{
    Builder, Context, Emitter, Encoding, FlowFutureExt, InstallError, Level, Rotation, Sink,
    current, state,
};
use flowlog_schema::{EventKind, Record, json, text};

fn builder(folder: &Path) -> Builder {
    Emitter::builder("Router")
        .instance("router-0")
        .version("dynamo", "1.6.1")
        .sink(Sink::file(folder.join("run.log")))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("run.log")).unwrap()
}

/// Decodes every record of a log, and checks that there are no problems.
fn records(log: &str) -> Vec<Record<'_>> {
    let read = |line: &'static str| {
        let (record, problems) = json::decode(line.as_bytes())
            .or_else(|_| text::decode(line.as_bytes()).map_err(|_| ()))
            .unwrap();
        assert!(problems.is_empty(), "{line}");
        record
    };
    // Leaked, because records borrow from their lines and tests are short.
    log.lines().map(|line| read(Box::leak(line.to_owned().into_boxed_str()))).collect()
}

/// Returns the sequence numbers of one thread's records, counted from one, without the thread
/// number.
fn numbers(records: &[Record<'_>]) -> Vec<u64> {
    records
        .iter()
        .map(|record| record.field("seq").unwrap().as_f64().unwrap() as u64 / 100)
        .collect()
}

#[test]
fn a_flow_from_start_to_end_in_both_encodings() {
    for form in [Encoding::Json, Encoding::Text] {
        let folder = tempfile::tempdir().unwrap();
        let emitter = builder(folder.path()).encoding(form).build().unwrap();
        let flow = emitter.flow("chat_completion").start();
        flow.state("tokenize");
        flow.record("model", "tiny".to_owned());
        state!(flow, "select_worker", candidates = 4, best = 0.5, cached = true);
        let call = flow.child("kv_transfer");
        call.state("transfer");
        call.end_with(&[("bytes", 1_048_576u64.into())]);
        flow.fail(&std::io::Error::other("Unavailable: no ready worker"));
        let log = log(folder.path());
        let records = records(&log);
        let args: Vec<(EventKind, &str)> = records
            .iter()
            .map(|record| (record.event, record.state.as_deref().unwrap_or("")))
            .collect();
        let expected = [
            (EventKind::Process, "start"),
            (EventKind::Start, ""),
            (EventKind::State, "tokenize"),
            (EventKind::State, "select_worker"),
            (EventKind::Start, ""),
            (EventKind::State, "transfer"),
            (EventKind::End, ""),
            (EventKind::Fail, "select_worker"),
        ];
        assert_eq!(args, expected);
        assert_eq!(numbers(&records), (1..=8).collect::<Vec<u64>>());
        assert!(
            records.iter().all(|record| record.component == "router"
                && record.instance.as_deref() == Some("router-0"))
        );
        let flow_id = records[1].flow_id;
        assert!(flow_id.is_some() && records[1..].iter().all(|record| record.flow_id == flow_id));
        assert_eq!(
            (records[1].flow.as_deref(), records[4].flow.as_deref()),
            (Some("chat_completion"), Some("kv_transfer"))
        );
        assert_eq!((records[1].parent_id, records[4].parent_id), (None, records[1].span_id));
        assert_ne!(records[4].span_id, records[1].span_id);
        // Versions are only in records where the schema requires them.
        let versions: Vec<bool> =
            records.iter().map(|record| !record.versions.is_empty()).collect();
        assert_eq!(versions, [true, true, false, false, true, false, false, true]);
        // The clock is increasing across calls and responses.
        assert!(records[1..].windows(2).all(|pair| pair[0].clock < pair[1].clock), "{log}");
        assert_eq!(
            (records[3].field("model"), records[3].field("candidates")),
            (Some(&"tiny".into()), Some(&4.into()))
        );
        assert_eq!(records[6].field("bytes").unwrap().as_f64(), Some(1_048_576.0));
        let error = records[7].error.clone().unwrap();
        assert_eq!(
            (error.kind.as_ref(), error.message.as_ref()),
            ("Unavailable", "no ready worker")
        );
        assert_eq!(emitter.open_flows(), 0);
    }
}

#[test]
fn callee_joins_the_flow_of_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (
        builder(folder.path()).build().unwrap(),
        Emitter::builder("backend").sink(Sink::file(folder.path().join("run.log"))),
    );
    let there = there.build().unwrap();
    let caller = here.flow("chat_completion").start();
    let context = caller.context().unwrap();
    let callee = there.flow("chat_completion").join(context.clone());
    let answer = callee.context().unwrap();
    callee.end();
    caller.merge_clock(answer.clock.unwrap());
    caller.end();
    let log = log(folder.path());
    let records = records(&log);
    let of = |component: &str| {
        records
            .iter()
            .filter(|record| record.component == component && record.flow_id.is_some())
            .collect::<Vec<_>>()
    };
    let (caller, callee) = (of("router"), of("backend"));
    assert_eq!((callee[0].flow_id, callee[0].parent_id), (caller[0].flow_id, caller[0].span_id));
    assert!(callee[0].clock > caller[0].clock && caller[1].clock > callee[0].clock);
    // A clock more than a day ahead is refused.
    let mad = Context { clock: Some(dynamo_flowlog::Clock(u64::MAX)), ..context };
    let joined = there.flow("x").join(mad);
    assert!(joined.context().unwrap().clock < Some(dynamo_flowlog::Clock(u64::MAX)));
    assert_eq!(there.health().refused_clocks, 1);
    joined.end();
}

#[test]
fn dropped_flows_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).build().unwrap();
    drop(emitter.flow("dropped").start());
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _flow = emitter.flow("panicked").start();
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(panicked.is_err());
    emitter.flow("cancelled").start().cancel("the client left");
    let handle = {
        let flow = emitter.flow("ended").start();
        let handle = flow.handle();
        flow.end();
        handle
    };
    handle.state("too late");
    let log = log(folder.path());
    let records = records(&log);
    let ended_records = |flow: &str| {
        let of: Vec<&Record<'_>> =
            records.iter().filter(|record| record.flow.as_deref() == Some(flow)).collect();
        (of.len(), of[1].event, of[1].error.as_ref().map(|error| error.kind.to_string()))
    };
    assert_eq!(ended_records("dropped"), (2, EventKind::Cancel, Some("abandoned".into())));
    assert_eq!(ended_records("panicked"), (2, EventKind::Fail, Some("panic".into())));
    assert_eq!(ended_records("cancelled"), (2, EventKind::Cancel, Some("Cancelled".into())));
    assert_eq!(ended_records("ended"), (2, EventKind::End, None));
    assert_eq!((emitter.health().after_end, emitter.open_flows()), (1, 0));
}

#[test]
fn level_filters_records() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).level(Level::Error).build().unwrap();
    emitter.flow("quiet").start().end();
    emitter.flow("loud").start().fail_with("Internal", "boom");
    let log = log(folder.path());
    let records = records(&log);
    assert_eq!((records.len(), records[0].event, numbers(&records)), (1, EventKind::Fail, vec![1]));
}

#[test]
fn samples_include_process_metrics_and_gauges() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).sample_interval(Duration::from_millis(5)).build().unwrap();
    emitter.gauge("kv_blocks_used", || 17.0);
    emitter.gauge("broken", || std::panic::resume_unwind(Box::new(())));
    let _flow = emitter.flow("x").start();
    emitter.sample();
    let log = log(folder.path());
    let sample =
        records(&log).into_iter().rev().find(|record| record.event == EventKind::Sample).unwrap();
    let value = |name: &str| sample.field(name).and_then(flowlog_schema::Scalar::as_f64);
    assert_eq!(
        (value("kv_blocks_used"), value("open_flows"), value("broken")),
        (Some(17.0), Some(1.0), None)
    );
    assert!(value("rss_bytes").unwrap() > 100_000.0);
}

#[test]
fn lost_records_are_counted_kept_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { size: Some(64 << 10), ..Rotation::default() };
    let path = folder.path().join("logs/run");
    let emitter = Emitter::builder("router")
        .sink(Sink::Mapped { path, rotation })
        .flight(folder.path().join("flight"))
        .build()
        .unwrap();
    let flow = emitter.flow("x").start();
    let long = "x".repeat(900);
    // Without the folder, the next file cannot be made.
    std::thread::sleep(Duration::from_millis(50));
    fs::remove_dir_all(folder.path().join("logs")).unwrap();
    (0..300).for_each(|_| flow.state_with("s", &[("long", long.as_str().into())]));
    let lost = emitter.health().lost;
    assert!(lost > 0 && lost < 300, "{lost}");
    assert!(!emitter.health().reason.is_empty());
    fs::create_dir_all(folder.path().join("logs")).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    flow.state("on");
    flow.end();
    let flights = files(&folder.path().join("flight"));
    let bytes = fs::read(&flights[0]).unwrap();
    let flight = flowlog_schema::flight::read(&bytes).unwrap();
    assert_eq!(
        (flight.records.len() as u64, flight.open.len(), flight.unreported_lost),
        (flight.last.iter().map(|last| last / 100).sum(), 0, 0)
    );
    let text: String = files(&folder.path().join("logs"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let args: Vec<Record<'_>> = records(text.trim_end_matches('\0'));
    let announced = args
        .iter()
        .find(|record| record.event == EventKind::Lost)
        .and_then(|record| record.field("count"))
        .unwrap();
    assert_eq!(announced.as_f64().unwrap() as u64, emitter.health().lost);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn failed_setup_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let inside = folder.path().join("file/inside");
    let ended_records = |builder: Builder| builder.build().unwrap_err().to_string();
    assert!(ended_records(Emitter::builder("9")).contains("invalid component `9`"));
    assert!(
        ended_records(Emitter::builder("a").sink(Sink::file(&inside)))
            .starts_with("failed to open sink")
    );
    assert!(
        ended_records(Emitter::builder("a").sink(Sink::Discard).flight(&inside))
            .starts_with("failed to create a flight file")
    );
}

#[test]
fn a_process_has_one_emitter() {
    // Without an installed emitter, a flow does nothing and does not panic.
    let flow = dynamo_flowlog::Flow::start("x");
    flow.state("y");
    assert!(
        !flow.is_enabled()
            && flow.context().is_none()
            && flow.flow_id().is_none()
            && !flow.child("z").is_enabled()
    );
    flow.record("a", 1);
    flow.fail(&std::io::Error::other("z"));
    assert!(current().is_none());
    let folder = tempfile::tempdir().unwrap();
    let installed = builder(folder.path()).install().unwrap();
    assert!(matches!(builder(folder.path()).install(), Err(InstallError::Installed)));
    let flow = dynamo_flowlog::Flow::start("x");
    let seen = flow.run(|| current().unwrap().flow_id());
    assert_eq!(seen, flow.flow_id());
    let mut work = std::pin::pin!(async { current().is_some() }.in_flow(&flow));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(Future::poll(work.as_mut(), &mut context), std::task::Poll::Ready(true));
    flow.end();
    drop(installed);
    dynamo_flowlog::Flow::start("late").end();
    let log = log(folder.path());
    let last = records(&log).pop().unwrap();
    assert_eq!((last.event, last.state.as_deref()), (EventKind::Process, Some("stop")));
}

#[test]
fn emitters_with_equal_names_use_separate_files() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, flights) = (folder.path().join("run"), folder.path().join("flight"));
    let build =
        || Emitter::builder("worker").sink(Sink::mapped(&logs)).flight(&flights).build().unwrap();
    let (one, two) = (build(), build());
    let (first, second) = (one.flow("first").start(), two.flow("second").start());
    first.state("a");
    second.state("b");
    // A third emitter finds both alive, and closes nothing.
    let third = build();
    assert_eq!(files(&flights).len(), 3);
    first.end();
    second.end();
    drop((one, two, third));
    assert_eq!(files(&flights).len(), 0, "no flow was left open");
    // The next file, prepared ahead of time and full of zeros, is removed once its thread sees that
    // the sink is closed.
    let logs = files(folder.path())
        .into_iter()
        .filter(|path| path.is_file())
        .filter_map(|path| fs::read_to_string(path).ok());
    let text: String = logs.map(|text| text.trim_matches('\0').to_owned()).collect();
    let args = records(&text);
    let count = |event: EventKind| args.iter().filter(|record| record.event == event).count();
    assert_eq!(
        (
            count(EventKind::Start),
            count(EventKind::State),
            count(EventKind::End),
            count(EventKind::Fail)
        ),
        (2, 2, 2, 0)
    );
}

#[test]
fn losses_of_a_dead_process_are_reported_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let flights = folder.path().join("flight");
    // Every write fails, as on a full disk.
    let dead = Emitter::builder("worker")
        .instance("w-0")
        .sink(Sink::file("/dev/full"))
        .flight(&flights)
        .build()
        .unwrap();
    dead.flow("x").start().end();
    assert_eq!(dead.health().lost, 3);
    drop(dead);
    // The dead process's file stays until its losses were reported.
    for sink in [Sink::file("/dev/full"), Sink::file(folder.path().join("run.log"))] {
        drop(Emitter::builder("next").sink(sink).flight(&flights).build().unwrap());
    }
    let log = log(folder.path());
    let lost: Vec<Record<'_>> =
        records(&log).into_iter().filter(|record| record.event == EventKind::Lost).collect();
    let lost_counts: Vec<(&str, Option<f64>)> = lost
        .iter()
        .map(|record| {
            (
                record.component.as_ref(),
                record.field("count").and_then(flowlog_schema::Scalar::as_f64),
            )
        })
        .collect();
    // The process's start, the flow's two records, the process's stop; and all that the second
    // emitter could not write.
    assert_eq!(
        lost_counts.iter().find(|(component, _)| *component == "worker"),
        Some(&("worker", Some(4.0)))
    );
    assert!(lost_counts.iter().any(|(component, _)| *component == "next"));
    assert_eq!(files(&flights).len(), 0);
}
