//! The work grows linearly with the length of a line, with the nesting of envelopes, with the number
//! of lines in one event and with the number of components, counted in instructions by valgrind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::process::Command;

/// Length of the shorter input.
const SHORT: usize = 24 * 1024;

/// How many times as long the longer input is.
const FACTOR: usize = 4;

/// Maximum ratio of the work. Quadratic work would have a ratio of 16.
const MAX_RATIO: f64 = 5.5;

/// Texts that are repeated, and what each of them strains.
static SHAPES: [(&str, &str); 30] = [
    ("plain text", "a"),
    ("blanks", " "),
    ("open braces", "{"),
    ("open brackets", "["),
    ("quotes", "\""),
    ("backslashes", "\\"),
    ("pairs", "a=b "),
    ("colons", "a: "),
    ("levels", "ERROR "),
    ("timestamps", "2025-11-22T08:27:15Z "),
    ("nested objects", "{\"a\":"),
    ("keys", "\"a\":1,"),
    ("CRI in CRI", "2025-11-22T08:27:15.123456789Z stdout F "),
    ("Docker's JSON in itself", "{\"log\":\""),
    ("process prefixes", "(pid=7, ip=10.0.0.1) "),
    ("bracketed prefixes", "[pod/a/b] "),
    ("Compose prefixes", "worker-1  | "),
    ("color codes", "\u{1b}[31m"),
    ("secret keys", "token="),
    ("token prefixes in the wrong case", "SK-"),
    ("headers inside of words", "xcookie:"),
    ("addresses", "http://"),
    ("private keys", "-----BEGIN "),
    ("IDs", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736 "),
    ("arrows", "E: x ---> "),
    ("causes in one line", "[cause]: E: x "),
    ("frames", "\tat a.b(C.java:1)\n"),
    ("causes", "Caused by: a.BException: x\n"),
    ("tracebacks", "  File \"a.py\", line 1, in f\n"),
    ("empty lines", "\n"),
];

/// Returns the number of instructions that reading a text takes.
fn instructions(text: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.log");
    fs::write(&file, text).unwrap();
    // scripts/setup installs valgrind.
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_flowlog-analyze"))
        .args(["--threads", "1", "--format", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let (_, count) = text.split_once("refs:").unwrap();
    let line = count.lines().next().unwrap();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Returns a line with a text repeated up to a length.
fn repeated(shape: &str, bytes: usize) -> String {
    format!("ERROR {}\n", shape.repeat(bytes / shape.len()))
}

/// Returns lines of a length in all, each of another service, and with the name of yet another one.
fn services(bytes: usize) -> String {
    let name = |at: usize| {
        let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
        [at, at / 26, at / 676, at / 17_576].map(letter).iter().collect::<String>()
    };
    let mut text = String::new();
    for at in 0.. {
        if text.len() >= bytes {
            break;
        }
        let (own, other) = (name(at), name(at * 7 + 3));
        text += &format!(
            "{{\"time\":\"2025-11-22T08:27:15Z\",\"service\":\"{own}\",\"msg\":\"an order of {other} was passed on\"}}\n"
        );
    }
    text
}

/// Returns lines of eight times a length in all, each of another process, in which an event may go
/// on.
fn processes(bytes: usize) -> String {
    (0..8 * bytes / 100)
        .map(|pid| {
            format!(
                "(Worker pid={pid}) ERROR 11-22 08:27:15 [core.py:99] the engine lost its connection to a peer.\n"
            )
        })
        .collect()
}

/// Returns a message if the work for a text grows faster than its length.
fn excess(name: &str, text: impl Fn(usize) -> String, startup: f64) -> Option<String> {
    let work = |bytes: usize| (instructions(&text(bytes)) - startup).max(1e6);
    let (short, long) = (work(SHORT), work(SHORT * FACTOR));
    (long / short > MAX_RATIO).then(|| format!("{name}: {short} instructions, then {long}"))
}

#[test]
fn work_is_linear() {
    let startup = instructions("\n");
    let failed: Vec<String> = std::thread::scope(|scope| {
        let start = |shapes: &'static [(&str, &str)]| {
            let excess_of = move |(name, shape): &(&str, &str)| {
                excess(name, |bytes| repeated(shape, bytes), startup)
            };
            scope.spawn(move || shapes.iter().filter_map(excess_of).collect())
        };
        let (first, second) = SHAPES.split_at(SHAPES.len() / 2);
        let halves: [std::thread::ScopedJoinHandle<'_, Vec<String>>; 2] =
            [start(first), start(second)];
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    let failed: Vec<String> = failed
        .into_iter()
        .chain(excess("services", services, startup))
        .chain(excess("processes", processes, startup))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
