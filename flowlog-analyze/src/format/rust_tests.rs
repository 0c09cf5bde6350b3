//! `cargo test` (libtest) and cargo-nextest.

use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Results of Rust tests.
pub(super) const RUST_TESTS: LogFormat = LogFormat {
    name: "rust_tests",
    classify_start: |line| read(beginning(line, 512)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example { text: "running 4 tests", expected: "INFO running 4 tests" },
        Example {
            text: "test tests::bad ... FAILED",
            expected: "ERROR test tests::bad ... FAILED",
        },
        Example { text: "test tests::good ... ok", expected: "INFO test tests::good ... ok" },
        Example {
            text: "---- tests::bad stdout ----",
            expected: "INFO ---- tests::bad stdout ----",
        },
        Example {
            text: "test result: FAILED. 1 passed; 2 failed; 0 ignored; finished in 0.08s",
            expected: "ERROR test result: FAILED. 1 passed; 2 failed; 0 ignored; finished in 0.08s",
        },
        Example {
            text: "        PASS [   0.006s] router::integration routes",
            expected: "INFO         PASS [   0.006s] router::integration routes",
        },
        Example {
            text: "     SIGSEGV [   0.006s] (2/9) router::integration routes",
            expected: "ERROR      SIGSEGV [   0.006s] (2/9) router::integration routes",
        },
        Example {
            text: "     Summary [   1.134s] 308 tests run: 305 passed, 3 failed, 22 skipped",
            expected: "ERROR      Summary [   1.134s] 308 tests run: 305 passed, 3 failed, 22 skipped",
        },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let level = level_of(text.lines().next()?)?;
    Some(leveled(level, text))
}

fn level_of(line: &str) -> Option<Level> {
    let bad = |bad: bool| Some(if bad { Level::Error } else { Level::Info });
    if let Some(rest) = line.strip_prefix("test result: ") {
        return bad(!rest.starts_with("ok"));
    }
    if let Some((_, result)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
    {
        return (result == "ok" || result == "FAILED" || result.starts_with("ignored"))
            .then(|| bad(result == "FAILED"))
            .flatten();
    }
    if let Some(count) = line
        .strip_prefix("running ")
        .and_then(|rest| rest.strip_suffix(" tests").or(rest.strip_suffix(" test")))
    {
        return count.parse::<u64>().ok().and_then(|_| bad(false));
    }
    if line.strip_prefix("---- ").is_some_and(|rest| rest.ends_with(" stdout ----")) {
        return bad(false);
    }
    // nextest: a word right-aligned to twelve columns, and a duration.
    let (word, rest) = line.split_once(" [")?;
    let padded = line.starts_with(' ') && word.len() >= 12;
    let (time, rest) = rest.split_once("] ")?;
    if !padded || !time.trim_start_matches([' ', '>']).ends_with('s') {
        return None;
    }
    match word.trim() {
        "PASS" | "SLOW" | "LEAK" | "SKIP" => bad(false),
        "Summary" => bad(rest.contains(" failed") || rest.contains(" timed out")),
        word => {
            let failed = word.ends_with("FAIL")
                || word.starts_with("SIG")
                || matches!(word, "ABORT" | "TIMEOUT" | "TERMINATING" | "LEAK-FAIL");
            failed.then_some(Level::Error)
        }
    }
}
