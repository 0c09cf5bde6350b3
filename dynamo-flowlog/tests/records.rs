//! What is written, read back by the schema's own decoders.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamo_flowlog::{
    Builder, Context, Emitter, Form, InstallError, Level, Rotation, Sink, current, in_flow, state,
};
use flowlog_schema::{Event, Record, json, text};

fn builder(folder: &Path) -> Builder {
    Emitter::builder("Router")
        .instance("router-0")
        .version("dynamo", "1.6.1")
        .sink(Sink::file(folder.join("run.log")))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("run.log")).unwrap()
}

/// Every record of a log, and that it is read without a problem.
fn records(log: &str) -> Vec<Record<'_>> {
    let read = |line: &'static str| {
        let (record, problems) = json::decode(line.as_bytes())
            .or_else(|_| text::decode(line.as_bytes()).map_err(|_| ()))
            .unwrap();
        assert!(problems.is_empty(), "{line}");
        record
    };
    // Tests are short, and records borrow from their lines.
    log.lines().map(|line| read(Box::leak(line.to_owned().into_boxed_str()))).collect()
}

/// The numbers of the records of one thread, without its own: counted from one.
fn numbers(records: &[Record<'_>]) -> Vec<u64> {
    records
        .iter()
        .map(|record| record.field("seq").unwrap().as_f64().unwrap() as u64 / 100)
        .collect()
}

#[test]
fn a_flow_from_start_to_end_in_both_forms() {
    for form in [Form::Json, Form::Text] {
        let folder = tempfile::tempdir().unwrap();
        let emitter = builder(folder.path()).form(form).build().unwrap();
        let flow = emitter.start("chat_completion");
        flow.state("tokenize");
        flow.late("model", "tiny".to_owned());
        state!(flow, "select_worker", candidates = 4, best = 0.5, cached = true);
        let call = flow.call("kv_transfer");
        call.state("transfer");
        call.end_with(&[("bytes", 1_048_576u64.into())]);
        flow.fail(&std::io::Error::other("Unavailable: no ready worker"));
        let log = log(folder.path());
        let records = records(&log);
        let said: Vec<(Event, &str)> = records
            .iter()
            .map(|record| (record.event, record.state.as_deref().unwrap_or("")))
            .collect();
        let expected = [
            (Event::Process, "start"),
            (Event::Start, ""),
            (Event::State, "tokenize"),
            (Event::State, "select_worker"),
            (Event::Start, ""),
            (Event::State, "transfer"),
            (Event::End, ""),
            (Event::Fail, "select_worker"),
        ];
        assert_eq!(said, expected);
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
        // Versions where the structure asks for them.
        let versions: Vec<bool> =
            records.iter().map(|record| !record.versions.is_empty()).collect();
        assert_eq!(versions, [true, true, false, false, true, false, false, true]);
        // The clock orders what happened, calls and answers included.
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
fn what_crosses_processes_is_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (
        builder(folder.path()).build().unwrap(),
        Emitter::builder("backend").sink(Sink::file(folder.path().join("run.log"))),
    );
    let there = there.build().unwrap();
    let caller = here.start("chat_completion");
    let context = caller.context().unwrap();
    let callee = there.join(context.clone(), "chat_completion");
    let answer = callee.context().unwrap();
    callee.end();
    caller.receive(answer.clock.unwrap());
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
    // A clock that is a day ahead is a broken one.
    let mad = Context { clock: Some(dynamo_flowlog::Clock(u64::MAX)), ..context };
    let joined = there.join(mad, "x");
    assert!(joined.context().unwrap().clock < Some(dynamo_flowlog::Clock(u64::MAX)));
    assert_eq!(there.health().refused_clocks, 1);
    joined.end();
}

#[test]
fn what_nobody_ends_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).build().unwrap();
    drop(emitter.start("dropped"));
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _flow = emitter.start("panicked");
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(panicked.is_err());
    emitter.start("cancelled").cancel("the client left");
    let handle = {
        let flow = emitter.start("ended");
        let handle = flow.handle();
        flow.end();
        handle
    };
    handle.state("too late");
    let log = log(folder.path());
    let records = records(&log);
    let told = |flow: &str| {
        let of: Vec<&Record<'_>> =
            records.iter().filter(|record| record.flow.as_deref() == Some(flow)).collect();
        (of.len(), of[1].event, of[1].error.as_ref().map(|error| error.kind.to_string()))
    };
    assert_eq!(told("dropped"), (2, Event::Cancel, Some("abandoned".into())));
    assert_eq!(told("panicked"), (2, Event::Fail, Some("panic".into())));
    assert_eq!(told("cancelled"), (2, Event::Cancel, Some("Cancelled".into())));
    assert_eq!(told("ended"), (2, Event::End, None));
    assert_eq!((emitter.health().after_end, emitter.open_flows()), (1, 0));
}

#[test]
fn levels_leave_out_what_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).level(Level::Error).build().unwrap();
    emitter.start("quiet").end();
    emitter.start("loud").fail_with("Internal", "boom");
    let log = log(folder.path());
    let records = records(&log);
    assert_eq!((records.len(), records[0].event, numbers(&records)), (1, Event::Fail, vec![1]));
}

#[test]
fn samples_tell_of_the_process_and_of_gauges() {
    let folder = tempfile::tempdir().unwrap();
    let emitter = builder(folder.path()).samples(Duration::from_millis(5)).build().unwrap();
    emitter.gauge("kv_blocks_used", || 17.0);
    emitter.gauge("broken", || std::panic::resume_unwind(Box::new(())));
    let _flow = emitter.start("x");
    emitter.sample();
    let log = log(folder.path());
    let sample =
        records(&log).into_iter().rev().find(|record| record.event == Event::Sample).unwrap();
    let value = |name: &str| sample.field(name).and_then(flowlog_schema::Scalar::as_f64);
    assert_eq!(
        (value("kv_blocks_used"), value("open_flows"), value("broken")),
        (Some(17.0), Some(1.0), None)
    );
    assert!(value("rss_bytes").unwrap() > 100_000.0);
}

#[test]
fn what_the_sink_does_not_take_is_counted_kept_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let rotation = Rotation { size: Some(64 << 10), ..Rotation::default() };
    let path = folder.path().join("logs/run");
    let emitter = Emitter::builder("router")
        .sink(Sink::Mapped { path, rotation })
        .flight(folder.path().join("flight"))
        .build()
        .unwrap();
    let flow = emitter.start("x");
    let long = "x".repeat(900);
    // No folder, no next file.
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
        (flight.records.len() as u64, flight.open.len(), flight.unsaid),
        (flight.last.iter().map(|last| last / 100).sum(), 0, 0)
    );
    let text: String = files(&folder.path().join("logs"))
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let said: Vec<Record<'_>> = records(text.trim_end_matches('\0'));
    let announced = said
        .iter()
        .find(|record| record.event == Event::Lost)
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
fn what_cannot_be_set_up_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let inside = folder.path().join("file/inside");
    let told = |builder: Builder| builder.build().unwrap_err().to_string();
    assert!(told(Emitter::builder("9")).contains("`9` is no component"));
    assert!(
        told(Emitter::builder("a").sink(Sink::file(&inside)))
            .starts_with("failed to open the sink")
    );
    assert!(
        told(Emitter::builder("a").sink(Sink::Nothing).flight(&inside))
            .starts_with("failed to make a flight file")
    );
}

#[test]
fn a_process_has_one_emitter() {
    // Not a panic, and nothing: no emitter is installed.
    let flow = dynamo_flowlog::Flow::start("x");
    flow.state("y");
    assert!(
        !flow.is_enabled()
            && flow.context().is_none()
            && flow.flow_id().is_none()
            && !flow.call("z").is_enabled()
    );
    flow.late("a", 1);
    flow.fail(&std::io::Error::other("z"));
    assert!(current().is_none());
    let folder = tempfile::tempdir().unwrap();
    let installed = builder(folder.path()).install().unwrap();
    assert!(matches!(builder(folder.path()).install(), Err(InstallError::Installed)));
    let flow = dynamo_flowlog::Flow::start("x");
    let seen = flow.run(|| current().unwrap().flow_id());
    assert_eq!(seen, flow.flow_id());
    let mut work = std::pin::pin!(in_flow(&flow, async { current().is_some() }));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert_eq!(Future::poll(work.as_mut(), &mut context), std::task::Poll::Ready(true));
    flow.end();
    drop(installed);
    dynamo_flowlog::Flow::start("late").end();
    let log = log(folder.path());
    let last = records(&log).pop().unwrap();
    assert_eq!((last.event, last.state.as_deref()), (Event::Process, Some("stop")));
}

#[test]
fn emitters_of_one_name_do_not_take_each_others_files() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, flights) = (folder.path().join("run"), folder.path().join("flight"));
    let build =
        || Emitter::builder("worker").sink(Sink::mapped(&logs)).flight(&flights).build().unwrap();
    let (one, two) = (build(), build());
    let (first, second) = (one.start("first"), two.start("second"));
    first.state("a");
    second.state("b");
    // A third finds both alive, and closes nothing.
    let third = build();
    assert_eq!(files(&flights).len(), 3);
    first.end();
    second.end();
    drop((one, two, third));
    assert_eq!(files(&flights).len(), 0, "nothing was left open");
    // The file that was made ready for later, zeros throughout, goes when its thread sees that there is no later.
    let logs = files(folder.path())
        .into_iter()
        .filter(|path| path.is_file())
        .filter_map(|path| fs::read_to_string(path).ok());
    let text: String = logs.map(|text| text.trim_matches('\0').to_owned()).collect();
    let said = records(&text);
    let count = |event: Event| said.iter().filter(|record| record.event == event).count();
    assert_eq!(
        (count(Event::Start), count(Event::State), count(Event::End), count(Event::Fail)),
        (2, 2, 2, 0)
    );
}

#[test]
fn what_a_dead_process_lost_is_said_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let flights = folder.path().join("flight");
    // Every write fails, as on a full disk.
    let dead = Emitter::builder("worker")
        .instance("w-0")
        .sink(Sink::file("/dev/full"))
        .flight(&flights)
        .build()
        .unwrap();
    dead.start("x").end();
    assert_eq!(dead.health().lost, 3);
    drop(dead);
    // As long as nobody takes what is to be said of it, its file stays.
    for sink in [Sink::file("/dev/full"), Sink::file(folder.path().join("run.log"))] {
        drop(Emitter::builder("next").sink(sink).flight(&flights).build().unwrap());
    }
    let log = log(folder.path());
    let lost: Vec<Record<'_>> =
        records(&log).into_iter().filter(|record| record.event == Event::Lost).collect();
    let told: Vec<(&str, Option<f64>)> = lost
        .iter()
        .map(|record| {
            (
                record.component.as_ref(),
                record.field("count").and_then(flowlog_schema::Scalar::as_f64),
            )
        })
        .collect();
    // Its start, its flow's two, its stop; and all that the second one could not write.
    assert_eq!(
        told.iter().find(|(component, _)| *component == "worker"),
        Some(&("worker", Some(4.0)))
    );
    assert!(told.iter().any(|(component, _)| *component == "next"));
    assert_eq!(files(&flights).len(), 0);
}
