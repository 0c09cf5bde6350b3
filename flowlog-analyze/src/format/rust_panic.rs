//! Rust's panics, before 1.73, since 1.73, and with thread IDs since 1.91; and errors that `main`
//! returns, with the causes of `anyhow`.

use flowlog_schema::Level;

use super::plain::leveled;
use super::{EventStart, Example, LogFormat};

/// A panic, or an error returned from `main`.
pub(super) const RUST_PANIC: LogFormat = LogFormat {
    name: "rust_panic",
    classify_start: |line| {
        // An error returned from `main` bypasses every logger too; on its own, `Error: ` may come
        // from any program.
        if is_panic(line) || line.starts_with(b"Error: ") {
            return Some(EventStart::Panic);
        }
        is_part(line).then_some(EventStart::Part)
    },
    read: |text| {
        let bytes = text.as_bytes();
        let returned = text.starts_with("Error: ")
            && (text.contains("\n\nCaused by:") || text.contains(" panicked with message "));
        let own = is_panic(bytes.split(|b| *b == b'\n').next()?) || returned || is_part(bytes);
        own.then(|| leveled(Level::Error, text))
    },
    examples: &[
        Example {
            text: "thread 'main' panicked at src/main.rs:69:33:\ncould not bind to address: 0.0.0.0:8000\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            expected: "ERROR thread 'main' panicked at src/main.rs:69:33:\ncould not bind to address: 0.0.0.0:8000\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        },
        Example {
            text: "thread 'tokio-runtime-worker' (8229) panicked at p.rs:1:138:\nboom",
            expected: "ERROR thread 'tokio-runtime-worker' (8229) panicked at p.rs:1:138:\nboom",
        },
        Example {
            text: "thread '<unnamed>' panicked at 'called `unwrap()` on a `None`', src/x.rs:1:2",
            expected: "ERROR thread '<unnamed>' panicked at 'called `unwrap()` on a `None`', src/x.rs:1:2",
        },
        Example {
            text: "Error: starting worker\n\nCaused by:\n    0: reading config\n    1: No such file (os error 2)",
            expected: "ERROR Error: starting worker\n\nCaused by:\n    0: reading config\n    1: No such file (os error 2)",
        },
        Example {
            text: "Error: task 20 panicked with message \"could not bind\"",
            expected: "ERROR Error: task 20 panicked with message \"could not bind\"",
        },
        Example {
            text: "Caused by:\n    Broken pipe (os error 32)",
            expected: "ERROR Caused by:\n    Broken pipe (os error 32)",
        },
    ],
};

fn is_panic(line: &[u8]) -> bool {
    line.starts_with(b"thread '") && memchr::memmem::find(line, b" panicked at ").is_some()
        || line.starts_with(b"fatal runtime error: ")
}

/// Returns whether the text is a part that occurs only after a panic or a returned error.
fn is_part(text: &[u8]) -> bool {
    const PARTS: [&str; 5] = [
        "Caused by:",
        "Stack backtrace:",
        "stack backtrace:",
        "note: run with `RUST_BACKTRACE",
        "note: Some details are omitted",
    ];
    PARTS.iter().any(|part| text.starts_with(part.as_bytes()))
}
