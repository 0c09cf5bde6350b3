//! The report does not depend on chunk size, threads, batches, closing or the order of the inputs;
//! its numbers add up, and it conforms to its JSON Schema.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::ingest::IngestOptions;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::Report;
use flowlog_simulator::{Cluster, Envelope, LogFormat, simulate, wrap};
use proptest::prelude::*;

fn report(cluster: &Cluster, ingest: IngestOptions, threads: usize) -> Report {
    let sources = Sources::from_texts(
        cluster.logs.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())),
    )
    .unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| analyze(&sources, &Options { ingest, ..Options::default() }, &|_| {}))
}

/// Merges the logs of a run into one, as `kubectl logs` returns those of several pods.
fn in_one_log(cluster: &Cluster) -> Cluster {
    let mut lines: Vec<&[u8]> =
        cluster.logs.iter().flat_map(|(_, bytes)| bytes.split_inclusive(|b| *b == b'\n')).collect();
    lines
        .sort_by_key(|line| line.windows(20).find(|w| w.starts_with(b"2025-")).map(<[u8]>::to_vec));
    Cluster { logs: vec![("all.log".to_owned(), lines.concat())], truth: cluster.truth.clone() }
}

fn adds_up(report: &Report) -> Result<(), TestCaseError> {
    let flows = &report.flows;
    prop_assert_eq!(
        flows.total,
        flows.ok
            + flows.failed
            + flows.recovered
            + flows.cancelled
            + flows.rejected
            + flows.unfinished
    );
    prop_assert_eq!(report.input.formats.values().sum::<u64>(), report.input.lines);
    prop_assert_eq!(report.flow_failures.len() as u64, flows.failed + flows.recovered);
    prop_assert_eq!(
        report.failures.iter().map(|failure| failure.flows).sum::<u64>(),
        flows.failed + flows.recovered
    );
    prop_assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.examples.len() <= 5 && failure.evidence.len() <= 10)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn report_does_not_depend_on_chunking_threads_or_order(
        seed in any::<u64>(),
        format in prop::sample::select(vec![LogFormat::Json, LogFormat::Mixed, LogFormat::Dynamo]),
        chunk in prop::sample::select(vec![700u64, 10_000, 100_000, 1 << 24]),
        batch in 1usize..9,
        threads in 1usize..4,
        linger_seconds in prop::sample::select(vec![15i64, 60, 1_000_000]),
        spill_threshold in prop::sample::select(vec![0u64, 50_000, 1 << 24]),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let cluster = simulate(&flowlog_simulator::Options { seed, flows: 80, format, prefills: 1, ..Default::default() });
        let expected = report(&cluster, IngestOptions { retain_closed: true, fast_path: false, ..IngestOptions::default() }, 1);
        adds_up(&expected)?;
        let mut moved = cluster.clone();
        let at = shuffle.index(moved.logs.len());
        moved.logs.rotate_left(at);
        let ingest_options = IngestOptions { chunk, batch, close_after: linger_seconds * 1_000_000_000, spill_threshold, ..IngestOptions::default() };
        prop_assert_eq!(report(&moved, ingest_options, threads), expected);
    }

    #[test]
    fn report_of_wrapped_logs_does_not_depend_on_chunking_or_threads(
        seed in any::<u64>(),
        format in prop::sample::select(vec![LogFormat::Mixed, LogFormat::Dynamo]),
        envelope in prop::sample::select(Envelope::ALL.to_vec()),
        chunk in prop::sample::select(vec![700u64, 10_000, 100_000]),
        threads in 1usize..4,
    ) {
        let cluster = wrap(&simulate(&flowlog_simulator::Options { seed, flows: 60, format, prefills: 1, ..Default::default() }), envelope);
        let expected = report(&cluster, IngestOptions { retain_closed: true, fast_path: false, ..IngestOptions::default() }, 1);
        adds_up(&expected)?;
        prop_assert_eq!(report(&cluster, IngestOptions { chunk, retain_closed: true, ..IngestOptions::default() }, threads), expected);
    }

    #[test]
    fn closing_flows_does_not_change_the_report_of_a_long_log(
        seed in any::<u64>(),
        chunk in prop::sample::select(vec![5_000u64, 50_000]),
        retain_closed in any::<bool>(),
        spill_threshold in prop::sample::select(vec![0u64, 1 << 24]),
    ) {
        let cluster = in_one_log(&simulate(&flowlog_simulator::Options { seed, flows: 600, format: LogFormat::Json, skew_ms: 100, ..Default::default() }));
        let expected = report(&cluster, IngestOptions { retain_closed: true, ..IngestOptions::default() }, 1);
        let closing = report(&cluster, IngestOptions { chunk, batch: 2, close_after: 12_000_000_000, retain_closed, spill_threshold, ..IngestOptions::default() }, 2);
        prop_assert_eq!(closing, expected);
    }

    #[test]
    fn arbitrary_bytes_do_not_make_the_analyzer_fail(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let cluster = simulate(&flowlog_simulator::Options { seed, flows: 5, ..Default::default() });
        let (name, log) = &cluster.logs[0];
        let at = cut.index(log.len());
        let torn = [&log[..at], &bytes[..], &log[at..]].concat();
        let torn = Cluster { logs: vec![(name.clone(), torn)], truth: Vec::new() };
        let whole = report(&torn, IngestOptions::default(), 2);
        adds_up(&whole)?;
        prop_assert_eq!(report(&torn, IngestOptions { chunk: 64, fast_path: false, ..IngestOptions::default() }, 2), whole);
    }

    #[test]
    fn a_time_window_gives_the_report_of_its_lines(seed in any::<u64>(), from in 0i64..8, length in 0i64..8, chunk in prop::sample::select(vec![900u64, 1 << 20])) {
        let cluster = simulate(&flowlog_simulator::Options { seed, flows: 200, format: LogFormat::Json, skew_ms: 100, ..Default::default() });
        let begin = 1_763_798_400_000_000_000 + from * 1_000_000_000;
        let end = begin + length * 1_000_000_000;
        let inside = |line: &&[u8]| {
            let time = line.get(9..36).and_then(|time| flowlog_schema::Time::parse(std::str::from_utf8(time).ok()?));
            time.is_some_and(|time| (begin..=end).contains(&time.0))
        };
        let cut = |(name, bytes): &(String, Vec<u8>)| {
            (name.clone(), bytes.split_inclusive(|byte| *byte == b'\n').filter(inside).collect::<Vec<_>>().concat())
        };
        let expected = report(&Cluster { logs: cluster.logs.iter().map(cut).collect(), truth: Vec::new() }, IngestOptions::default(), 1);
        let window = report(&cluster, IngestOptions { since: begin, until: end, chunk, ..IngestOptions::default() }, 2);
        adds_up(&window)?;
        prop_assert_eq!((window.input.lines, &window.flows), (expected.input.lines, &expected.flows));
        let found = |report: &Report| report.failures.iter().map(|failure| (failure.fingerprint.clone(), failure.flows)).collect::<Vec<_>>();
        prop_assert_eq!(found(&window), found(&expected));
    }

    #[test]
    fn fast_path_and_full_parser_agree_on_background_noise(
        seed in any::<u64>(),
        wrapping in 0usize..5,
        chunk in prop::sample::select(vec![900u64, 20_000, 1 << 20]),
        threads in 1usize..3,
    ) {
        let logs = noise(seed, wrapping);
        let cluster = Cluster { logs, truth: Vec::new() };
        let expected = report(&cluster, IngestOptions { fast_path: false, ..IngestOptions::default() }, 1);
        adds_up(&expected)?;
        prop_assert_eq!(report(&cluster, IngestOptions { chunk, ..IngestOptions::default() }, threads), expected);
    }
}

/// The text before a zero byte does not belong to a line, nor to a record.
#[test]
fn fast_path_and_full_parser_agree_on_zero_bytes() {
    let noise = "2025-11-22T08:27:11.136Z  INFO worker.stop: [VllmWorker:1] Received\0 a signal\n";
    let record = "2025-11-22T08:27:15.705274Z  INFO router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start a {span=24b5dddcfdbbee4f x=\"\0\"} y\0z\n";
    for line in [noise, record] {
        let cluster = Cluster {
            logs: vec![("a.log".into(), line.repeat(5).into_bytes())],
            truth: Vec::new(),
        };
        let expected =
            report(&cluster, IngestOptions { fast_path: false, ..IngestOptions::default() }, 1);
        assert_eq!(report(&cluster, IngestOptions::default(), 1), expected, "{line}");
    }
}

/// A line whose date does not exist has no time; the next one of the same shape has.
#[test]
fn fast_path_and_full_parser_agree_on_dates_that_do_not_exist() {
    let line = |stamp| {
        format!("3 python_traceback {stamp} ERROR - worker-0/main - | ValueError: bad\n").repeat(4)
    };
    let stamps = ["3529-21-22T34:05:16.639060Z", "2011-01-12T08:27:16.650000Z"];
    let logs = ["a.log", "b.log"].into_iter().zip(stamps);
    let logs = logs.map(|(name, stamp)| (name.to_owned(), line(stamp).into_bytes())).collect();
    let cluster = Cluster { logs, truth: Vec::new() };
    let expected =
        report(&cluster, IngestOptions { fast_path: false, ..IngestOptions::default() }, 1);
    assert_eq!(report(&cluster, IngestOptions::default(), 1), expected);
}

/// Lines with significant numbers, lines that continue and lines that report a failure, as they
/// occur between others; `{}` is a number.
const ODD: [&str; 14] = [
    "INFO:     10.0.0.{}:1 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
    "INFO:     10.0.0.{}:1 - \"POST /v1/chat/completions HTTP/1.1\" 499 Client Closed Request",
    "INFO:     10.0.0.{}:1 - \"POST /v1/chat/completions HTTP/1.1\" 404 Not Found",
    "INFO 11-22 08:27:{} [core.py:7] worker ended: exit code 137",
    "INFO 11-22 08:27:{} [core.py:7] worker ended: exit code 143",
    "INFO 11-22 08:27:{} [core.py:7] worker ended: exit code 100",
    "INFO 11-22 08:27:{} [config.py:12] the configuration is:\n  width: {}\n  depth: 4",
    "(EngineCore_DP{} pid=17) INFO 11-22 08:27:15 [core.py:9] step {} took 12 ms",
    "(APIServer pid=9) INFO 11-22 08:27:15 [core.py:9] step {} took 12 ms",
    "ERROR 11-22 08:27:{} [core.py:99] EngineCore hit an exception.\nTraceback (most recent call last):\n  File \"a.py\", line {}, in f\nRuntimeError: CUDA error",
    "2025-11-22T08:27:{}.5Z  INFO dynamo_runtime::worker: request_id=req-{} took 5 ms",
    "2025-11-22T08:27:{}.5Z  INFO dynamo_runtime::worker: instance {} is here",
    "[2025-11-22 08:27:{} TP1] Decode batch, #running-req: {}",
    "step {} of 9 done, nobody knows this line",
];

/// Returns the routine lines of several processes, mixed with odd lines; bare or wrapped, in one
/// log or in two.
fn noise(seed: u64, wrapping: usize) -> Vec<(String, Vec<u8>)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut logs: Vec<(String, Vec<u8>)> =
        vec![("pods.log".to_owned(), Vec::new()), ("other.log".to_owned(), Vec::new())];
    let mut micros = 1_763_800_000_000_000i64;
    for _ in 0..400 {
        micros += random.i64(0..400_000);
        let pod = random.usize(0..4);
        let mut text = String::new();
        if random.u32(0..12) == 0 {
            let number = random.u32(10..60).to_string();
            text = ODD[random.usize(0..ODD.len())].replace("{}", &number) + "\n";
        } else {
            flowlog_simulator::write_noise(
                &mut random,
                flowlog_simulator::NoiseSource::ALL[pod],
                micros,
                &mut text,
            );
        }
        let time = flowlog_schema::Time(micros * 1_000).to_string();
        let time = time.trim_end_matches('Z');
        for line in text.lines() {
            let (log, wrapped) = match wrapping {
                0 => (pod % 2, line.to_owned()),
                1 => (0, format!("[pod/worker-{pod}/main] {time}123Z {line}")),
                2 => (0, format!("[pod/worker-{pod}/main] {line}")),
                3 => (
                    pod % 2,
                    format!(
                        "{time}123Z std{} {} {line}",
                        ["out", "err"][pod / 2],
                        ["F", "F", "P"][random.usize(0..3)]
                    ),
                ),
                _ => (0, line.to_owned()),
            };
            logs[log].1.extend_from_slice(wrapped.as_bytes());
            logs[log].1.push(b'\n');
        }
    }
    logs.retain(|(_, bytes)| !bytes.is_empty());
    logs
}

#[test]
fn evicted_flows_are_counted_and_reported() {
    let cluster = simulate(&flowlog_simulator::Options {
        flows: 2_000,
        format: LogFormat::Json,
        fault_percent: 40,
        ..Default::default()
    });
    let all = report(&cluster, IngestOptions::default(), 2);
    let ingest_options = |memory| IngestOptions {
        chunk: 20_000,
        batch: 4,
        memory: Some(memory),
        ..IngestOptions::default()
    };
    let little = report(&cluster, ingest_options(100_000), 2);
    let evicted = little.input.problems.evicted_flows;
    assert!(evicted > 300, "{evicted}");
    // Every flow is counted once, and nine of ten listed failures have the same component as
    // without a limit.
    assert_eq!(little.flows.total, all.flows.total);
    assert!(little.flow_failures.len() as u64 + evicted >= all.flow_failures.len() as u64);
    let known = |id: &str| all.flow_failures.iter().find(|failure| failure.flow_id == id);
    let same = little.flow_failures.iter().filter(|failure| {
        known(&failure.flow_id).is_some_and(|known| known.component == failure.component)
    });
    assert!(same.count() * 10 >= little.flow_failures.len() * 9);
    assert_eq!(
        (&little.verdict.outcome, report(&cluster, ingest_options(100_000), 1)),
        (&all.verdict.outcome, little.clone())
    );
    // With enough memory nothing changes.
    assert_eq!(report(&cluster, ingest_options(1 << 30), 2), all);
}

#[test]
fn the_json_report_conforms_to_its_schema() {
    let schema: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../schema/report.schema.json"
        ))
        .unwrap(),
    )
    .unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for format in [LogFormat::Mixed, LogFormat::Dynamo] {
        let cluster = simulate(&flowlog_simulator::Options { format, ..Default::default() });
        let report = serde_json::to_value(report(&cluster, IngestOptions::default(), 2)).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!validator.is_valid(&serde_json::json!({"schema": "flowlog.report.v1"})));
    }
}

#[test]
fn records_conform_to_their_schema() {
    let schema: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../schema/record.schema.json"
        ))
        .unwrap(),
    )
    .unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let cluster = simulate(&flowlog_simulator::Options {
        format: LogFormat::Json,
        flows: 50,
        ..Default::default()
    });
    for (_, bytes) in &cluster.logs {
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let record: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(validator.is_valid(&record), "{record}");
        }
    }
}
