//! Events do not depend on how a log is cut into chunks, and interleaved lines of several writers
//! are reassembled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::format;
use flowlog_analyze::lines::read_chunk;
use flowlog_analyze::multiline::{NeedsLookbehind, RawEvent, read_events};
use flowlog_analyze::source::Sources;
use proptest::prelude::*;

/// Offset, number of lines, and text of an event.
type Found = (u64, u64, String);

fn error(_: std::io::Error) -> NeedsLookbehind {
    NeedsLookbehind
}

/// Returns the events that begin in a range.
fn events_in(sources: &Sources, range: std::ops::Range<u64>) -> Vec<Found> {
    let source = &sources.read[0];
    let read = |past| {
        let mut found = Vec::new();
        let chunk = read_chunk(source, range.clone(), past, Vec::new()).map_err(error)?;
        let mut read_ahead = |from: u64| {
            if from < source.size {
                read_chunk(source, from..from + 1000, false, Vec::new()).map(Some).map_err(error)
            } else {
                Ok(None)
            }
        };
        read_events(&chunk, &mut read_ahead, &mut |event: &RawEvent<'_>| {
            if event.starts_in_chunk {
                found.push((
                    event.at,
                    event.lines,
                    String::from_utf8_lossy(&event.text).into_owned(),
                ));
            }
            Ok::<(), NeedsLookbehind>(())
        })?;
        Ok(found)
    };
    read(false).or_else(|NeedsLookbehind| read(true)).unwrap()
}

fn events(text: &[u8], chunk: u64) -> Vec<Found> {
    let sources = Sources::from_texts([("a", text)]).unwrap();
    let size = sources.read[0].size;
    (0..size.div_ceil(chunk))
        .flat_map(|at| events_in(&sources, at * chunk..((at + 1) * chunk).min(size)))
        .collect()
}

/// Lines that start an event, continue one, have an envelope, are fragments, or have no meaning.
const LINES: [&str; 31] = [
    "2025-11-22T08:27:15.705274Z ERROR handlers.generate: boom",
    "2025-11-22T08:27:15.705274Z DEBUG dynamo_run::subprocess:     raise e",
    "2025-11-22T08:27:15.705274Z DEBUG dynamo_run::subprocess: ValueError: bad",
    r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"t","message":"up"}"#,
    "Traceback (most recent call last):",
    "  File \"a.py\", line 1, in f",
    "    raise ValueError",
    "ValueError: bad",
    "During handling of the above exception, another exception occurred:",
    "",
    "plain words",
    "thread 'main' panicked at x.rs:1:1:",
    "Caused by:",
    "(EngineCore pid=7) ERROR 11-22 08:27:15 [core.py:7] Traceback (most recent call last):",
    "(EngineCore pid=7) ERROR 11-22 08:27:15 [core.py:7]   File \"b.py\", line 2, in g",
    "(Worker_TP0 pid=8) Traceback (most recent call last):",
    "(Worker_TP0 pid=8)   File \"c.py\", line 3, in h",
    "2025-11-22T08:27:15.123456789Z stdout P one",
    "2025-11-22T08:27:15.123456789Z stdout F two",
    "2025-11-22T08:27:15.123456789Z stderr F Traceback (most recent call last):",
    "2025-11-22T08:27:15.123456789Z stderr F   File \"d.py\", line 4, in i",
    "2025-11-22T08:27:15.123456Z 01O head",
    "2025-11-22T08:27:15.123456Z 01O+tail",
    "[rank1]: RuntimeError: x",
    "(EngineCore pid=7) INFO 11-22 08:27:15 [core.py:9] up",
    "(EngineCore pid=7) ERROR 11-22 08:27:15 [core.py:7] boom",
    "[rank1]: INFO 11-22 08:27:15 [core.py:7] up",
    "(Worker_TP0 pid=8) INFO 11-22 08:27:15 [core.py:7] up",
    "2025-11-22T08:27:15.123456789Z stderr F INFO 11-22 08:27:15 [core.py:7] up",
    "2025-11-22T08:27:59.1234567Z   File \"e.py\"",
    "goroutine 7 [running]:",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_do_not_depend_on_chunking(picks in prop::collection::vec((0..LINES.len(), 0usize..40), 1..120), chunk in 1u64..2000) {
        let text: String = picks.iter().map(|(pick, padding)| format!("{}{}\n", LINES[*pick], " x".repeat(*padding))).collect();
        let whole = events(text.as_bytes(), u64::MAX);
        prop_assert_eq!(whole.iter().map(|(_, lines, _)| lines).sum::<u64>(), picks.len() as u64);
        prop_assert_eq!(events(text.as_bytes(), chunk), whole);
    }

    /// Chunks that begin far into a log: the event that their first lines belong to is found with a
    /// bounded lookbehind.
    #[test]
    fn events_of_long_logs_do_not_depend_on_chunking(picks in prop::collection::vec((0..LINES.len(), 0usize..3_000), 400..500), chunk in 30_000u64..400_000) {
        let text: String = picks.iter().map(|(pick, padding)| format!("{}{}\n", LINES[*pick], " x".repeat(*padding))).collect();
        // The full texts would fill the screen.
        let short = |events: Vec<Found>| -> Vec<_> { events.into_iter().map(|(at, lines, text)| (at, lines, text.len(), text[..text.len().min(50)].to_owned())).collect() };
        prop_assert_eq!(short(events(text.as_bytes(), chunk)), short(events(text.as_bytes(), u64::MAX)));
    }

    #[test]
    fn arbitrary_bytes_form_events(bytes in prop::collection::vec(any::<u8>(), 0..3000), chunk in 1u64..500) {
        let whole = events(&bytes, u64::MAX);
        prop_assert_eq!(whole.iter().map(|(_, lines, _)| *lines as usize).sum::<usize>(), flowlog_analyze::lines::lines(&bytes).count());
        prop_assert_eq!(events(&bytes, chunk), whole);
    }
}

/// Returns format, number of lines and text of every event.
fn read(text: &str) -> Vec<(&'static str, u64, String)> {
    let found = events(text.as_bytes(), u64::MAX);
    found
        .into_iter()
        .map(|(_, lines, text)| (format::read(text.trim_end()).0.name(), lines, text))
        .collect()
}

#[test]
fn interleaved_tracebacks_of_two_processes() {
    let text = "\
(Worker_TP0 pid=588) ERROR 11-22 08:27:15 [executor.py:7] WorkerProc hit an exception.
(EngineCore pid=309) ERROR 11-22 08:27:15 [core.py:9] EngineCore failed.
(Worker_TP0 pid=588) ERROR 11-22 08:27:15 [executor.py:7] Traceback (most recent call last):
(EngineCore pid=309) ERROR 11-22 08:27:15 [core.py:9] Traceback (most recent call last):
(Worker_TP0 pid=588) ERROR 11-22 08:27:15 [executor.py:7]   File \"w.py\", line 1, in run
(EngineCore pid=309) ERROR 11-22 08:27:15 [core.py:9]   File \"e.py\", line 2, in step
(EngineCore pid=309) ERROR 11-22 08:27:15 [core.py:9] RuntimeError: worker died
(Worker_TP0 pid=588) ERROR 11-22 08:27:15 [executor.py:7] ValueError: bad
(Worker_TP0 pid=588) ERROR 11-22 08:27:15 [executor.py:7] WorkerProc shuts down.
";
    let worker = "ERROR 11-22 08:27:15 [executor.py:7] WorkerProc hit an exception.\nTraceback (most recent call last):\n  File \"w.py\", line 1, in run\nValueError: bad";
    let engine = "ERROR 11-22 08:27:15 [core.py:9] EngineCore failed.\nTraceback (most recent call last):\n  File \"e.py\", line 2, in step\nRuntimeError: worker died";
    let after = "ERROR 11-22 08:27:15 [executor.py:7] WorkerProc shuts down.";
    assert_eq!(
        read(text),
        [
            ("vllm", 4, worker.to_owned()),
            ("vllm", 4, engine.to_owned()),
            ("vllm", 1, after.to_owned())
        ]
    );
}

#[test]
fn event_boundaries() {
    for (text, expected) in [
        // A stack trace belongs to the logger's line above it; a panic does not.
        (
            "2025-11-22T08:27:15.705274Z ERROR x.y: boom\nTraceback (most recent call last):\n  File \"a.py\", line 1\nValueError: bad\nthread 'main' panicked at x.rs:1:1:\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            vec![("dynamo_readable", 4), ("rust_panic", 3)],
        ),
        // A chain of exceptions is one event; a second traceback is another.
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b.py\", line 1\nValueError: bad\nTraceback (most recent call last):\n  File \"c.py\", line 1\nValueError: worse\n",
            vec![("python_traceback", 9), ("python_traceback", 3)],
        ),
        // The line with a child process's name belongs to its traceback.
        (
            "Process EngineCore_0:\nTraceback (most recent call last):\n  File \"a.py\", line 1\nValueError: bad\n",
            vec![("python_traceback", 4)],
        ),
        // A JSON object ends with its line.
        (
            "{\"time\":\"2025-11-22T08:27:15.705274Z\",\"level\":\"INFO\",\"target\":\"t\",\"message\":\"up\"}\nplain\n",
            vec![("dynamo_json", 1), ("unrecognised", 1)],
        ),
        // A message with line feeds.
        (
            "2025-11-22T08:27:15.705274Z  INFO x.y: config:\n{'a': 1,\n 'b': 2}\n",
            vec![("dynamo_readable", 3)],
        ),
        // A blank line ends a message.
        (
            "2025-11-22T08:27:15.705274Z  INFO x.y: up\n\nDownloading model\n",
            vec![("dynamo_readable", 2), ("unrecognised", 1)],
        ),
        // Plain text does not belong to a message that announces no continuation.
        (
            "2025-11-22T08:27:15.705274Z  INFO x.y: up\nDownloading model\n",
            vec![("dynamo_readable", 1), ("unrecognised", 1)],
        ),
        // A stack trace does not belong to the message before it, unless that announces it.
        (
            "INFO 11-22 08:00:00 [core.py:331] Application startup complete.\nTraceback (most recent call last):\n  File \"a.py\", line 1\nValueError: bad\n",
            vec![("vllm", 1), ("python_traceback", 3)],
        ),
        // A final message like `Killed` ends with its line, and a stack trace ends with its
        // exception.
        ("Killed\nall done\n", vec![("native_abort", 1), ("unrecognised", 1)]),
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: bad\nall tests passed\n",
            vec![("python_traceback", 3), ("unrecognised", 1)],
        ),
        // A logger's line in an unrecognized format starts an event.
        (
            "ERROR:root:boom\ntime=\"2025\" level=fatal msg=\"x\"\n",
            vec![("python_logging", 1), ("generic", 1)],
        ),
        // Native code writes without the prefix that its process puts before lines.
        (
            "[rank1]:[E1122 08:27:15.705274881 ProcessGroupNCCL.cpp:616] watchdog: CUDA error\nException raised from check at x.cpp:1\nframe #0: c10::Error + 0x96 (0x7f)\n",
            vec![("torch", 3)],
        ),
        (
            "[gpu-1:594314:0:594797] Caught signal 11 (Segmentation fault)\n==== backtrace (tid: 594797) ====\n 0  /lib/libucs.so.0(x+0x294) [0x7a]\n=================================\n",
            vec![("ucx", 4)],
        ),
        (
            "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.(*server).run(0xc0001)\n\t/app/main.go:7 +0x1d\nexit status 2\n",
            vec![("go_panic", 6)],
        ),
        // Collected much later, so not written together.
        (
            "2025-11-22T08:27:15.1234567Z 2025-11-22T08:27:15.705274Z  INFO x.y: up\n2025-11-22T08:27:59.1234567Z plain\n",
            vec![("dynamo_readable", 1), ("unrecognised", 1)],
        ),
        // Fragments of one line, joined by stream.
        (
            "2025-11-22T08:27:15.123456789Z stdout P {\"component\":\"router\",\n2025-11-22T08:27:15.123456789Z stderr F plain\n2025-11-22T08:27:15.123456789Z stdout F \"event\":\"start\"}\n",
            vec![("flowlog_json", 2), ("unrecognised", 1)],
        ),
        // Fragments are joined before inner envelopes are parsed.
        (
            "2025-11-22T08:27:15.123456789Z stdout P (EngineCore pid=1) ERROR 11-22 08:\n2025-11-22T08:27:15.123456789Z stdout F 27:15 [core.py:1] boom\n2025-11-22T08:27:15.123456789Z stdout F (EngineCore pid=1) INFO 11-22 08:27:15 [core.py:2] up\n",
            vec![("vllm", 2), ("vllm", 1)],
        ),
        // A fragment that is never continued.
        (
            "{\"log\":\"cut\",\"stream\":\"stdout\",\"time\":\"2025-11-22T08:27:15Z\"}\n{\"log\":\"ERROR:root:x\\n\",\"stream\":\"stdout\",\"time\":\"2025-11-22T09:27:15Z\"}\n",
            vec![("unrecognised", 1), ("python_logging", 1)],
        ),
        // The runner's lines do not belong to the script's events.
        (
            "2025-11-22T08:27:15.123456Z 01O Traceback (most recent call last):\n2025-11-22T08:27:15.123456Z 00O Cleaning up\n2025-11-22T08:27:15.123456Z 01O   File \"a.py\", line 1\n",
            vec![("python_traceback", 2), ("unrecognised", 1)],
        ),
        (
            "2025-11-22T08:27:15.123456Z 01O {\"component\":\"router\",\n2025-11-22T08:27:15.123456Z 01O+\"event\":\"start\"}\n",
            vec![("flowlog_json", 2)],
        ),
    ] {
        let found: Vec<(&str, u64)> =
            read(text).into_iter().map(|(format, lines, _)| (format, lines)).collect();
        assert_eq!(found, expected, "{text}");
    }
}
