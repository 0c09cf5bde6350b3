//! Go's panics and fatal errors, with their goroutine stacks.

use flowlog_schema::Level;

use super::plain::leveled;
use super::{EventStart, Example, LogFormat};

/// A panic or fatal error of the Go runtime.
pub(super) const GO_PANIC: LogFormat = LogFormat {
    name: "go_panic",
    classify_start: |line| {
        if is_panic(line) || line.starts_with(b"panic: ") {
            return Some(EventStart::Panic);
        }
        is_part(line).then_some(EventStart::Part)
    },
    read: |text| {
        (is_panic(text.as_bytes()) || has_stack(text) || is_part(text.as_bytes()))
            .then(|| leveled(Level::Error, text))
    },
    examples: &[
        Example {
            text: "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
            expected: "ERROR panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
        },
        Example {
            text: "fatal error: all goroutines are asleep - deadlock!",
            expected: "ERROR fatal error: all goroutines are asleep - deadlock!",
        },
        Example {
            text: "panic: no leader\n\ngoroutine 1 [running]:\nmain.main()",
            expected: "ERROR panic: no leader\n\ngoroutine 1 [running]:\nmain.main()",
        },
        Example {
            text: "goroutine 7 [chan receive]:\nmain.wait()",
            expected: "ERROR goroutine 7 [chan receive]:\nmain.wait()",
        },
    ],
};

fn is_panic(line: &[u8]) -> bool {
    const FATAL: [&str; 9] = [
        "panic: runtime error: ",
        "fatal error: all goroutines ",
        "fatal error: concurrent map ",
        "fatal error: stack overflow",
        "fatal error: runtime: ",
        "fatal error: unexpected signal",
        "fatal error: sync: ",
        "fatal error: out of memory",
        "fatal error: found bad pointer",
    ];
    FATAL.iter().any(|fatal| line.starts_with(fatal.as_bytes()))
}

/// Returns whether the text is a panic with a custom message, which is followed by a stack.
fn has_stack(text: &str) -> bool {
    text.starts_with("panic: ") && (text.contains("\ngoroutine ") || text.contains("\n[signal "))
}

fn is_part(line: &[u8]) -> bool {
    line.starts_with(b"panic({")
        || line.starts_with(b"goroutine ") && line.iter().take(64).any(|b| *b == b'[')
        || line.starts_with(b"[signal SIG")
}
