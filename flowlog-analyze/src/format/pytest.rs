//! pytest: sections, results, the short summary, xdist workers, timeouts.

use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Lines of pytest's output.
pub(super) const PYTEST: LogFormat = LogFormat {
    name: "pytest",
    classify_start: |line| read(beginning(line, 512)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example {
            text: "=================================== FAILURES ===================================",
            expected: "INFO =================================== FAILURES ===================================",
        },
        Example {
            text: "________________________________ test_bad[a-1] _________________________________",
            expected: "INFO ________________________________ test_bad[a-1] _________________________________",
        },
        Example {
            text: "----------------------------- Captured stdout call -----------------------------",
            expected: "INFO ----------------------------- Captured stdout call -----------------------------",
        },
        Example {
            text: "== 12 passed, 1 failed in 1.0s ==",
            expected: "ERROR == 12 passed, 1 failed in 1.0s ==",
        },
        Example {
            text: "3 passed in 75.30s (0:01:15)",
            expected: "INFO 3 passed in 75.30s (0:01:15)",
        },
        Example {
            text: "E       AssertionError: why",
            expected: "ERROR E       AssertionError: why",
        },
        Example { text: ">       assert x == 1", expected: "INFO >       assert x == 1" },
        Example {
            text: "FAILED tests/test_a.py::TestC::test_slow - Failed: Timeout (>1.0s)",
            expected: "ERROR FAILED tests/test_a.py::TestC::test_slow - Failed: Timeout (>1.0s)",
        },
        Example {
            text: "tests/test_a.py::test_bad[a-1] PASSED                                    [ 28%]",
            expected: "INFO tests/test_a.py::test_bad[a-1] PASSED                                    [ 28%]",
        },
        Example {
            text: "[gw1] node down: Not properly terminated",
            expected: "ERROR [gw1] node down: Not properly terminated",
        },
        Example {
            text: "[gw0] [ 20%] FAILED tests/test_x.py::test_fail0",
            expected: "ERROR [gw0] [ 20%] FAILED tests/test_x.py::test_fail0",
        },
        Example {
            text: "+++++++++++++++++++++++++++++++++++ Timeout ++++++++++++++++++++++++++++++++++++",
            expected: "ERROR +++++++++++++++++++++++++++++++++++ Timeout ++++++++++++++++++++++++++++++++++++",
        },
        Example {
            text: "INTERNALERROR> RuntimeError: x",
            expected: "ERROR INTERNALERROR> RuntimeError: x",
        },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let level = level_of(text.lines().next()?)?;
    Some(leveled(level, text))
}

fn level_of(line: &str) -> Option<Level> {
    match line.as_bytes().first()? {
        b'=' => section(line).or_else(|| summary(line.trim_matches(['=', ' ']))),
        b'_' => (wide(line) && ruled(line, '_', 1)).then_some(Level::Info),
        b'-' => (wide(line)
            && ruled(line, '-', 3)
            && (line.contains(" Captured ") || line.contains(" live log ")))
        .then_some(Level::Info),
        b'!' => (wide(line) && ruled(line, '!', 3)).then_some(Level::Error),
        b'+' => (ruled(line, '+', 10) && line.contains(" Timeout ")).then_some(Level::Error),
        b'~' => (ruled(line, '~', 5) && line.contains(" Stack of ")).then_some(Level::Error),
        b'0'..=b'9' => summary(line),
        // Details of the assertion in the line before.
        b'E' if line.starts_with("E     ") && line.get(1..)?.trim_start().starts_with("+ ") => {
            Some(Level::Info)
        }
        b'E' if line.starts_with("E    ") && !line.starts_with("E     ")
            || line.starts_with("E       ") =>
        {
            Some(Level::Error)
        }
        b'>' if line.starts_with(">    ") => Some(Level::Info),
        b'w' | b'r'
            if line.starts_with("worker 'gw")
                || line.starts_with("replacing crashed worker gw") =>
        {
            Some(Level::Error)
        }
        b'[' => {
            let (worker, rest) = line.strip_prefix("[gw")?.split_once("] ")?;
            worker.parse::<u32>().ok()?;
            let rest = rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once("] "))
                .map_or(rest, |(_, rest)| rest);
            if rest.starts_with("node down") {
                return Some(Level::Error);
            }
            result(rest).or(Some(Level::Info))
        }
        _ if line.starts_with("INTERNALERROR> ") => Some(Level::Error),
        _ => result(line),
    }
}

/// Classifies the headline of a section.
fn section(line: &str) -> Option<Level> {
    const NAMES: [&str; 9] = [
        "test session starts",
        "ERRORS",
        "FAILURES",
        "PASSES",
        "warnings summary",
        "short test summary info",
        "slowest ",
        "XPASSES",
        "tests coverage",
    ];
    let name = line.trim_matches(['=', ' ']);
    (ruled(line, '=', 3) && NAMES.iter().any(|known| name.starts_with(known)))
        .then_some(Level::Info)
}

/// Classifies the last line: `3 failed, 1 passed in 75.3s`.
fn summary(line: &str) -> Option<Level> {
    let (counts, time) = line.rsplit_once(" in ")?;
    let seconds = time.split(' ').next()?.strip_suffix('s')?;
    seconds.parse::<f64>().ok()?;
    if counts == "no tests ran" {
        return Some(Level::Error);
    }
    let known = |count: &str| {
        let (number, what) = count.trim().split_once(' ')?;
        number.parse::<u64>().ok()?;
        let what = what.trim_end_matches('s');
        matches!(
            what,
            "passed"
                | "failed"
                | "error"
                | "skipped"
                | "xfailed"
                | "xpassed"
                | "warning"
                | "deselected"
                | "rerun"
                | "pas"
        )
        .then(|| what == "failed" || what == "error")
    };
    let bad: Option<Vec<bool>> = counts.split(',').map(known).collect();
    Some(if bad?.contains(&true) { Level::Error } else { Level::Info })
}

/// Returns whether a line is at least as wide as pytest's rulers.
fn wide(line: &str) -> bool {
    line.trim_end().len() >= 60
}

/// Returns whether a line is text between two rulers, each at least `least` times the same
/// character.
fn ruled(line: &str, ruler: char, least: usize) -> bool {
    let line = line.trim_end();
    let before = line.len() - line.trim_start_matches(ruler).len();
    let after = line.len() - line.trim_end_matches(ruler).len();
    before >= least
        && after >= least
        && line
            .get(before..line.len().saturating_sub(after))
            .is_some_and(|word| word.starts_with(' ') && word.ends_with(' ') && word.len() > 2)
}

/// Classifies `FAILED tests/a.py::test`, in either order.
fn result(line: &str) -> Option<Level> {
    let of = |word: &str| match word {
        "FAILED" | "ERROR" => Some(Level::Error),
        "PASSED" | "SKIPPED" | "XFAIL" | "XPASS" | "RERUN" => Some(Level::Info),
        _ => None,
    };
    let mut words = line.split(' ');
    let (first, second) = (words.next()?, words.next().unwrap_or_default());
    let is_node =
        |word: &str| word.contains(".py::") || word.ends_with(".py") && line.contains(".py - ");
    of(first).filter(|_| is_node(second)).or_else(|| of(second).filter(|_| first.contains(".py::")))
}
