//! What Python prints past every logger: tracebacks, chains and groups of them, and `faulthandler`'s last words.

use flowlog_schema::Level;

use super::words::told;
use super::{Example, Recogniser, stack};

/// A stack of Python's, whole or cut.
pub(super) const PYTHON_TRACEBACK: Recogniser = Recogniser {
    name: "python_traceback",
    begins: |line| stack::begins(line).filter(|_| is_own(line)),
    read: |text| is_own(text.as_bytes()).then(|| told(Level::Error, text)),
    examples: &[
        Example {
            text: "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad",
            tells: "ERROR Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: bad",
        },
        Example {
            text: "Process EngineCore_0:\nTraceback (most recent call last):\n  File \"a.py\", line 1",
            tells: "ERROR Process EngineCore_0:\nTraceback (most recent call last):\n  File \"a.py\", line 1",
        },
        Example {
            text: "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007fc2981bab80 (most recent call first):",
            tells: "ERROR Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007fc2981bab80 (most recent call first):",
        },
        Example {
            text: "  File \"uvloop/loop.pyx\", line 1516, in run\nRuntimeError: stopped",
            tells: "ERROR   File \"uvloop/loop.pyx\", line 1516, in run\nRuntimeError: stopped",
        },
        Example {
            text: "RuntimeError: NCCL error: unhandled system error",
            tells: "ERROR RuntimeError: NCCL error: unhandled system error",
        },
    ],
};

/// A part that Python writes, not another runtime.
fn is_own(text: &[u8]) -> bool {
    stack::begins(text.split(|b| *b == b'\n').next().unwrap_or_default()).is_some()
        && !stack::is_foreign(text)
}
