//! What survives a process that dies. The processes are real, hence the feature `integration`.
#![cfg(feature = "integration")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    reason = "a test panics on an unexpected result, and its child processes die on purpose"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dynamo_flowlog::{Builder, Emitter, Rotation, Sink};
use flowlog_schema::{EventKind, flight, json};

/// Environment variable with the order for a child process.
const ORDER: &str = "FLOWLOG_TEST_ORDER";

const RECORDS: u64 = 1_000;

/// Runs this program again, to carry out `order` in `folder`.
fn child(order: &str, folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let stderr = fs::File::create(folder.join("stderr.log")).unwrap();
    command
        .args(["--exact", "child_process", "--nocapture"])
        .env(ORDER, format!("{order} {}", folder.display()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
}

/// Body of the child process; not a test.
#[test]
fn child_process() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let [what, how, folder] = order.splitn(3, ' ').collect::<Vec<_>>()[..] else {
        panic!("{order}")
    };
    let folder = Path::new(folder);
    let sink = match what {
        "stderr" => Sink::Stderr,
        "mapped" => Sink::mapped(folder.join("run")),
        _ => Sink::file(folder.join("run.log")),
    };
    let emitter = Emitter::builder("worker").instance("w-0").version("dynamo", "1.6.1").sink(sink);
    match what {
        "soak" => soak(&Emitter::builder("worker"), folder),
        "fork" => fork(emitter.flight(folder.join("flight")), folder),
        "open" => {
            let emitter = emitter.flight(folder.join("flight")).build().unwrap();
            let flow = emitter.flow("model_load").start();
            flow.state("weights");
            die(how);
        }
        _ => {
            let installed = emitter.install().unwrap();
            let flow = installed.flow("chat_completion").start();
            (0..RECORDS).for_each(|n| flow.state_with("decode", &[("n", n.into())]));
            die(how);
            flow.end();
        }
    }
}

fn die(how: &str) {
    match how {
        "return" => {}
        "panic" => panic!("panic on purpose"),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        signal => {
            let signal = if signal == "SIGKILL" {
                rustix::process::Signal::KILL
            } else {
                rustix::process::Signal::TERM
            };
            rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
            std::thread::sleep(Duration::from_secs(10));
        }
    }
}

/// Returns all lines of the logs in a folder.
fn lines(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        String::from_utf8_lossy(&fs::read(path).unwrap()).trim_end_matches('\0').to_owned()
    };
    files.iter().map(read).collect::<Vec<String>>().concat().lines().map(str::to_owned).collect()
}

#[test]
fn every_record_survives_every_death() {
    for what in ["stderr", "write", "mapped"] {
        for how in ["return", "panic", "exit", "SIGTERM", "abort", "SIGKILL"] {
            let folder = tempfile::tempdir().unwrap();
            let status = child(&format!("{what} {how}"), folder.path()).wait().unwrap();
            assert_eq!(
                status.success(),
                matches!(how, "return" | "exit"),
                "{what} {how}: {status}"
            );
            let lines = lines(folder.path());
            let args: BTreeSet<u64> = lines
                .iter()
                .filter_map(|line| json::decode(line.as_bytes()).ok())
                .filter_map(|(record, _)| Some(record.field("n")?.as_f64()? as u64))
                .collect();
            assert_eq!(args.len() as u64, RECORDS, "{what} {how}");
        }
    }
}

#[test]
fn next_process_closes_flows_of_a_dead_one() {
    for (how, killed) in [("SIGKILL", true), ("abort", true), ("return", false)] {
        let folder = tempfile::tempdir().unwrap();
        let flights = folder.path().join("flight");
        child(&format!("open {how}"), folder.path()).wait().unwrap();
        // A living process keeps its flight file.
        let living = Emitter::builder("other")
            .sink(Sink::Discard)
            .flight(folder.path().join("own"))
            .build()
            .unwrap();
        let kept = living.flow("x").start();
        let emitter = Emitter::builder("worker")
            .instance("w-1")
            .sink(Sink::file(folder.path().join("next.log")))
            .flight(&flights)
            .build()
            .unwrap();
        assert_eq!(
            dynamo_flowlog::recover(&folder.path().join("own"), &emitter).unwrap(),
            dynamo_flowlog::Recovered::default()
        );
        kept.end();
        let text = fs::read_to_string(folder.path().join("next.log")).unwrap();
        let closed: Vec<_> = text
            .lines()
            .map(|line| json::decode(line.as_bytes()).unwrap().0)
            .filter(|record| record.event == EventKind::Fail)
            .collect();
        assert_eq!(closed.len(), usize::from(killed), "{how}: {text}");
        if let Some(record) = closed.first() {
            assert_eq!(
                (record.instance.as_deref(), record.state.as_deref(), record.flow.as_deref()),
                (Some("w-0"), Some("weights"), Some("model_load"))
            );
            assert_eq!(record.error.as_ref().unwrap().kind, "process_killed");
            assert_eq!(record.versions.len(), 1);
            let own: Vec<String> = lines(folder.path());
            let start = own
                .iter()
                .filter_map(|line| json::decode(line.as_bytes()).ok())
                .find(|(record, _)| record.event == EventKind::Start)
                .unwrap()
                .0;
            assert_eq!((start.flow_id, start.span_id), (record.flow_id, record.span_id));
            assert!(start.clock < record.clock);
        }
        let left: Vec<PathBuf> =
            fs::read_dir(&flights).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), 1, "only the new process's file is left: {left:?}");
    }
}

#[test]
fn a_forked_process_writes_to_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let status = child("fork -", folder.path()).wait().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(folder.path().join("stderr.log")).unwrap());
    let lines = lines(folder.path());
    let records: Vec<_> = lines
        .iter()
        .filter_map(|line| json::decode(line.as_bytes()).ok())
        .map(|(record, _)| record)
        .collect();
    let count = |event: EventKind| records.iter().filter(|record| record.event == event).count();
    // Only the parent ends its flow: no child abandons it.
    assert_eq!((count(EventKind::Cancel), count(EventKind::End)), (0, 9));
    assert_eq!(
        records.iter().filter(|record| record.state.as_deref() == Some("work")).count(),
        8 * 100
    );
    assert_eq!(records.iter().filter(|record| record.state.as_deref() == Some("fork")).count(), 8);
}

/// Runs eight children that write beside their parent.
#[expect(unsafe_code, reason = "the standard library cannot fork")]
fn fork(emitter: Builder, folder: &Path) {
    let emitter = emitter.build().unwrap();
    let flow = emitter.flow("parent").start();
    let mut children = Vec::new();
    for _ in 0..8 {
        // SAFETY: the child only writes records and exits; the test is about whether that is safe
        // beside other threads.
        match unsafe { libc::fork() } {
            0 => {
                let own = emitter.flow("child").start();
                (0..100).for_each(|_| own.state("work"));
                own.end();
                drop(flow);
                // SAFETY: it ends the process, and does nothing else.
                unsafe { libc::_exit(0) };
            }
            process => children.push(process),
        }
    }
    for child in children {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0, "{}", folder.display());
    }
    flow.end();
}

/// Writes until it is killed.
fn soak(emitter: &Builder, folder: &Path) {
    let rotation = Rotation { size: Some(256 << 10), ..Rotation::default() };
    let sink = Sink::Mapped { path: folder.join("run"), rotation };
    let emitter = emitter.clone().sink(sink).flight(folder.join("flight")).build().unwrap();
    println!("ready");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let flow = emitter.flow("soak").start();
                    (0..20u64).for_each(|n| flow.state_with("s", &[("n", n.into())]));
                    flow.end();
                }
            });
        }
    });
}

fn number_of(record: &flowlog_schema::Record<'_>) -> Option<u64> {
    record.field("seq").and_then(flowlog_schema::Scalar::as_f64).map(|number| number as u64)
}

/// Kills a child in each of `FLOWLOG_SOAK_ROUNDS` rounds; the default is 20.
#[test]
fn no_unreported_gap_after_a_kill() {
    let mut random = 1u64;
    let (mut records, mut gaps) = (0, 0);
    let rounds = std::env::var("FLOWLOG_SOAK_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20);
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let mut child = child("soak -", folder.path());
        let mut ready = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        while !ready.contains("ready") && out.read_line(&mut ready).unwrap() > 0 {}
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 100));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut seen = BTreeSet::new();
        let mut announced = 0;
        // A line that was not written whole ends in zeros, followed by the next line.
        for line in lines(folder.path()) {
            if let Ok((record, _)) = json::decode(line.rsplit('\0').next().unwrap().as_bytes()) {
                seen.extend(number_of(&record));
                announced +=
                    record.field("count").and_then(flowlog_schema::Scalar::as_f64).unwrap_or(0.0)
                        as u64;
            }
        }
        let path =
            fs::read_dir(folder.path().join("flight")).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(path).unwrap();
        let flight = flight::read(&bytes).unwrap();
        let numbers = flight
            .records
            .iter()
            .filter_map(|line| json::decode(line).ok())
            .filter_map(|(record, _)| number_of(&record));
        seen.extend(numbers.collect::<Vec<u64>>());
        let of_stripe = |last: u64| (1..=last / 100).map(move |count| count * 100 + last % 100);
        let missing: Vec<u64> = flight
            .last
            .iter()
            .copied()
            .flat_map(of_stripe)
            .filter(|number| !seen.contains(number))
            .collect();
        // Only the last record of each thread may be missing: it was being written at the kill.
        let unreported_lost = missing.iter().filter(|number| !flight.last.contains(number)).count();
        assert_eq!(unreported_lost, 0, "round {round}: {missing:?} of {:?}", flight.last);
        assert_eq!((announced, flight.unreported_lost), (0, 0), "a working disk loses nothing");
        records += flight.last.iter().map(|last| last / 100).sum::<u64>();
        gaps += missing.len();
    }
    println!("{rounds} kills, {records} records, {gaps} of them incomplete");
    assert!(records > 10_000);
}
