//! Go's panics and fatal errors, with the stacks of their goroutines.

use flowlog_schema::Level;

use super::words::told;
use super::{Begin, Example, Recogniser};

/// A panic or fatal error of the runtime.
pub(super) const GO_PANIC: Recogniser = Recogniser {
    name: "go_panic",
    begins: |line| {
        if is_panic(line) || line.starts_with(b"panic: ") {
            return Some(Begin::Panic);
        }
        is_part(line).then_some(Begin::Part)
    },
    read: |text| {
        (is_panic(text.as_bytes()) || has_stack(text) || is_part(text.as_bytes()))
            .then(|| told(Level::Error, text))
    },
    examples: &[
        Example {
            text: "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
            tells: "ERROR panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:7 +0x1d\nexit status 2",
        },
        Example {
            text: "fatal error: all goroutines are asleep - deadlock!",
            tells: "ERROR fatal error: all goroutines are asleep - deadlock!",
        },
        Example {
            text: "panic: no leader\n\ngoroutine 1 [running]:\nmain.main()",
            tells: "ERROR panic: no leader\n\ngoroutine 1 [running]:\nmain.main()",
        },
        Example {
            text: "goroutine 7 [chan receive]:\nmain.wait()",
            tells: "ERROR goroutine 7 [chan receive]:\nmain.wait()",
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

/// A panic with words of its own has a stack behind it.
fn has_stack(text: &str) -> bool {
    text.starts_with("panic: ") && (text.contains("\ngoroutine ") || text.contains("\n[signal "))
}

fn is_part(line: &[u8]) -> bool {
    line.starts_with(b"panic({")
        || line.starts_with(b"goroutine ") && line.iter().take(64).any(|b| *b == b'[')
        || line.starts_with(b"[signal SIG")
}
