//! Python output that bypasses every logger: tracebacks, chains and groups of them, and the dumps
//! of `faulthandler`.

use flowlog_schema::Level;

use super::plain::leveled;
use super::{Example, LogFormat, stack};

/// A Python stack, complete or cut.
pub(super) const PYTHON_TRACEBACK: LogFormat = LogFormat {
    name: "python_traceback",
    classify_start: |line| stack::classify_start(line).filter(|_| is_own(line)),
    read: |text| is_own(text.as_bytes()).then(|| leveled(Level::Error, text)),
    examples: &[
        Example {
            text: "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad",
            expected: "ERROR Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad",
        },
        Example {
            text: "Process EngineCore_0:\nTraceback (most recent call last):\n  File \"a.py\", line 1",
            expected: "ERROR Process EngineCore_0:\nTraceback (most recent call last):\n  File \"a.py\", line 1",
        },
        Example {
            text: "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007fc2981bab80 (most recent call first):",
            expected: "ERROR Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007fc2981bab80 (most recent call first):",
        },
        Example {
            text: "  File \"uvloop/loop.pyx\", line 1516, in run\nRuntimeError: stopped",
            expected: "ERROR   File \"uvloop/loop.pyx\", line 1516, in run\nRuntimeError: stopped",
        },
        Example {
            text: "RuntimeError: NCCL error: unhandled system error",
            expected: "ERROR RuntimeError: NCCL error: unhandled system error",
        },
    ],
};

/// Returns whether a part of a stack is Python's rather than another runtime's.
fn is_own(text: &[u8]) -> bool {
    stack::classify_start(text.split(|b| *b == b'\n').next().unwrap_or_default()).is_some()
        && !stack::is_foreign(text)
}
