//! Rust's panics, before 1.73, since, and with thread ids since 1.91; and errors that `main` returns, with `anyhow`'s causes.

use flowlog_schema::Level;

use super::words::told;
use super::{Begin, Example, Recogniser};

/// A panic or a returned error.
pub(super) const RUST_PANIC: Recogniser = Recogniser {
    name: "rust_panic",
    begins: |line| {
        // What `main` returns is printed past every logger too; alone it may be anybody's.
        if is_panic(line) || line.starts_with(b"Error: ") {
            return Some(Begin::Panic);
        }
        is_part(line).then_some(Begin::Part)
    },
    read: |text| {
        let bytes = text.as_bytes();
        let returned = text.starts_with("Error: ")
            && (text.contains("\n\nCaused by:") || text.contains(" panicked with message "));
        let own = is_panic(bytes.split(|b| *b == b'\n').next()?) || returned || is_part(bytes);
        own.then(|| told(Level::Error, text))
    },
    examples: &[
        Example {
            text: "thread 'main' panicked at src/main.rs:69:33:\ncould not bind to address: 0.0.0.0:8000\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
            tells: "ERROR thread 'main' panicked at src/main.rs:69:33:\ncould not bind to address: 0.0.0.0:8000\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        },
        Example {
            text: "thread 'tokio-runtime-worker' (8229) panicked at p.rs:1:138:\nboom",
            tells: "ERROR thread 'tokio-runtime-worker' (8229) panicked at p.rs:1:138:\nboom",
        },
        Example {
            text: "thread '<unnamed>' panicked at 'called `unwrap()` on a `None`', src/x.rs:1:2",
            tells: "ERROR thread '<unnamed>' panicked at 'called `unwrap()` on a `None`', src/x.rs:1:2",
        },
        Example {
            text: "Error: starting worker\n\nCaused by:\n    0: reading config\n    1: No such file (os error 2)",
            tells: "ERROR Error: starting worker\n\nCaused by:\n    0: reading config\n    1: No such file (os error 2)",
        },
        Example {
            text: "Error: task 20 panicked with message \"could not bind\"",
            tells: "ERROR Error: task 20 panicked with message \"could not bind\"",
        },
        Example {
            text: "Caused by:\n    Broken pipe (os error 32)",
            tells: "ERROR Caused by:\n    Broken pipe (os error 32)",
        },
    ],
};

fn is_panic(line: &[u8]) -> bool {
    line.starts_with(b"thread '") && memchr::memmem::find(line, b" panicked at ").is_some()
        || line.starts_with(b"fatal runtime error: ")
}

/// Lines that only stand behind a panic or a returned error.
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
