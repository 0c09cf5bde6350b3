//! Stacks: their first lines, their parts, how they chain, and the error that they report.
//!
//! CPython's `traceback` and `faulthandler`, Rust's panics and `anyhow`, Go's `runtime`, C++ frames
//! of glibc, UCX, c10 and TensorRT-LLM.

use super::EventStart;
use super::chain;
use super::error::is_typed;

/// Prefixes of a stack that bypassed every logger.
const STARTS: [&str; 8] = [
    "Traceback (most recent call last):",
    "Exception in thread ",
    "Exception ignored in",
    "Exception in callback ",
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Fatal Python error: ",
    "  + Exception Group Traceback",
];

/// Prefixes of lines that occur only inside or after a stack.
const PARTS: [&str; 26] = [
    "  File \"",
    "During handling of the above exception",
    "The above exception was the direct cause",
    "Caused by:",
    "Stack backtrace:",
    "stack backtrace:",
    "note: run with `RUST_BACKTRACE",
    "note: Some details are omitted",
    "Thread 0x",
    "Current thread 0x",
    "Extension modules: ",
    "  what():  ",
    "frame #",
    "Exception raised from ",
    "goroutine ",
    "created by ",
    "[signal SIG",
    "exit status ",
    "CUDA kernel errors might be asynchronously",
    "For debugging consider passing CUDA_LAUNCH",
    "Compile with `TORCH_USE_CUDA_DSA`",
    "Last error:",
    "future: <Task ",
    "    @     0x",
    "==== backtrace (tid:",
    "panic({",
];

/// Sentences after which the next stack belongs to the same failure.
const CHAINS: [&str; 2] =
    ["During handling of the above exception", "The above exception was the direct cause"];

/// Classifies a line without a header as the start or a part of a stack, or as neither.
pub(super) fn classify_start(line: &[u8]) -> Option<EventStart> {
    if starts(line, &STARTS) || is_child(line) || chain::begins(line) {
        return Some(EventStart::Stack);
    }
    (starts(line, &PARTS)
        || chain::is_part(line)
        || is_frame(line)
        || is_call(line)
        || is_location_line(line)
        || is_end(line)
        || is_exception(line))
    .then_some(EventStart::Part)
}

fn starts(line: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| line.starts_with(word.as_bytes()))
}

/// Returns whether a line is `Process EngineCore_0:`, before the traceback of a `multiprocessing`
/// child.
fn is_child(line: &[u8]) -> bool {
    line.strip_prefix(b"Process ").and_then(|rest| rest.strip_suffix(b":")).is_some_and(|name| {
        !name.is_empty()
            && name.len() < 80
            && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    })
}

/// Returns whether a line is a frame: `12  0x7f00 symbol + 76` of TensorRT-LLM,
/// `#0 0x7f00 in symbol` of gdb and the sanitizers.
fn is_frame(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"#").unwrap_or(line);
    let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = line.get(digits..).unwrap_or_default();
    (1..=3).contains(&digits)
        && rest.starts_with(b" ")
        && rest.trim_ascii_start().starts_with(b"0x")
}

/// Returns whether a line is a call in Go, a package with arguments:
/// `net/http.(*conn).serve(0xc000, …)`.
fn is_call(line: &[u8]) -> bool {
    let Some(open) = memchr::memrchr(b'(', line) else { return false };
    let name = line.get(..open).unwrap_or_default();
    let is_path = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-' | b'*' | b'(' | b')')
    };
    line.last() == Some(&b')') && name.contains(&b'.') && name.iter().all(is_path)
}

/// Returns whether a line is the location in a frame that lost its indentation:
/// `File "a.py", line 3, in f`, `/app/main.go:7 +0x1d`.
fn is_location_line(line: &[u8]) -> bool {
    let go = line.first() == Some(&b'/') && memchr::memmem::find(line, b".go:").is_some();
    go || line.starts_with(b"File \"") && memchr::memmem::find(line, b"\", line ").is_some()
}

/// Returns whether the next line is the source of a frame, in a stack that lost its indentation.
pub fn shows_source(line: &[u8]) -> bool {
    line.starts_with(b"File \"") && is_location_line(line)
}

/// Returns whether a line is the ruler below a UCX backtrace.
fn is_end(line: &[u8]) -> bool {
    line.len() >= 20 && line.iter().all(|b| *b == b'=')
}

/// Returns whether a line is the last one of a traceback: a dotted name with the suffix of an
/// exception, with or without a message.
fn is_exception(line: &[u8]) -> bool {
    let name =
        line.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')).count();
    let Some(kind) = line.get(..name).and_then(|kind| std::str::from_utf8(kind).ok()) else {
        return false;
    };
    let rest = line.get(name..).unwrap_or_default();
    (rest.is_empty() || rest.starts_with(b": ") || rest == b":") && is_typed(kind) && !is_word(kind)
}

/// Returns whether a line after a frame may be the exception, whatever its name: `SystemExit: 1`.
pub fn is_last(line: &[u8]) -> bool {
    let end = memchr::memmem::find(line, b": ").unwrap_or(line.len());
    let name = line.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
}

/// Returns whether a type is too generic for an exception: `Timeout: ` may be a label.
fn is_word(kind: &str) -> bool {
    !kind.contains('.')
        && matches!(kind, "Error" | "Exception" | "Timeout" | "Failure" | "Interrupt")
}

/// Returns whether a line that no format accepts nevertheless comes from a logger or a shell, and
/// continues no event.
pub fn is_new(line: &[u8]) -> bool {
    const WORDS: [&str; 9] =
        ["level=", "[ERROR]", "[error]", "[INFO]", "[info]", "[WARN", "[warn", " ERROR ", " INFO "];
    let head = line.get(..line.len().min(96)).unwrap_or_default();
    let date = line.strip_prefix(b"[").unwrap_or(line);
    let named = line.first() == Some(&b'[') && memchr::memchr(b']', head).is_some();
    let warned = memchr::memmem::find(head, b".py:").is_some()
        && memchr::memmem::find(line, b"Warning: ").is_some();
    let drawn = memchr::memmem::find(line, b"%|").is_some()
        || memchr::memmem::find(line, b"it/s]").is_some();
    let dated = date.get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit))
        && matches!(date.get(4), Some(b'-' | b'/'));
    let shell = line.starts_with(b"+ ") || line.starts_with(b"$ ");
    dated
        || shell
        || named
        || warned
        || drawn
        || WORDS.iter().any(|word| memchr::memmem::find(head, word.as_bytes()).is_some())
}

/// Returns whether a frame is native code's.
pub(super) fn is_native(line: &[u8]) -> bool {
    is_frame(line)
        || is_end(line)
        || line.starts_with(b"==== backtrace (tid:")
        || line.starts_with(b"frame #")
        || line.starts_with(b"Exception raised from ")
        || line.starts_with(b"  what():  ")
        || line.starts_with(b"    @     0x")
}

/// Returns whether a stack is not Python's, but has a format of its own.
pub(super) fn is_foreign(text: &[u8]) -> bool {
    const OTHERS: [&str; 10] = [
        "Caused by:",
        "Stack backtrace:",
        "stack backtrace:",
        "note: run with `RUST_BACKTRACE",
        "note: Some details are omitted",
        "goroutine ",
        "created by ",
        "[signal SIG",
        "exit status ",
        "panic({",
    ];
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    is_native(text)
        || chain::begins(first)
        || chain::is_part(first)
        || starts(text, &OTHERS)
        || is_call(first)
}

/// Returns whether a message after the same header continues the event before it: as more of a
/// stack, or as another line of a message, which is indented or empty.
pub fn goes_on(words: &[u8], in_stack: bool) -> bool {
    words.is_empty()
        || words.first().is_some_and(u8::is_ascii_whitespace)
        || starts(words, &STARTS)
        || starts(words, &PARTS)
        || in_stack && is_exception(words)
}

/// Returns whether a line is inside a stack, so that the name of an exception may follow.
pub fn is_inside(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_whitespace)
        || is_location_line(line)
        || starts(line, &STARTS)
        || chain::begins(line)
        || chain::is_part(line)
        || memchr::memmem::find(line, b"Traceback (most recent").is_some()
}

/// Returns whether a text has the frames of a stack, in any language, below its first line.
pub fn has_frames(text: &str) -> bool {
    if memchr::memchr(b'\n', text.as_bytes()).is_none() {
        return false;
    }
    text.lines().skip(1).take(MAX_LINES_TO_FRAME).any(|line| {
        let bare = line.trim_start();
        bare.starts_with("File \"")
            || bare.starts_with("Traceback (most recent call last)")
            || bare.starts_with("goroutine ")
            || bare.starts_with("stack backtrace:")
            || bare.len() < line.len()
                && (bare.starts_with("at ")
                    || bare.starts_with("from ")
                    || bare.starts_with("... "))
            || bare.starts_with("#0 ")
            || bare.starts_with("Caused by: ")
    })
}

/// Lines of an event in which its first frame is looked for.
const MAX_LINES_TO_FRAME: usize = 30;

/// Returns whether a line after a stack belongs to the same chain of exceptions.
pub fn continues_chain(line: &[u8]) -> bool {
    chain::goes_on(line)
}

/// Returns whether the next stack belongs to the same failure.
pub fn is_chain(line: &[u8]) -> bool {
    starts(line, &CHAINS) || is_child(line) || starts(line, &STARTS[1..6])
}

/// Returns whether a traceback starts.
pub fn is_start(line: &[u8]) -> bool {
    line.starts_with(STARTS[0].as_bytes())
}

/// Summary of a stack.
#[derive(Debug, PartialEq, Eq)]
pub struct Stack<'a> {
    /// Type of the exception.
    pub kind: &'a str,
    /// Message of the exception; empty if there is none.
    pub message: &'a str,
    /// Innermost frame outside of libraries, or else inside one, as `file:function`; empty if there
    /// is none.
    pub frame: String,
}

/// Returns the first block of a chain, the origin, or the thread that failed in a `faulthandler`
/// dump.
pub fn first_of_chain(text: &str) -> &str {
    if let Some(at) = text.find("Current thread 0x") {
        return text.get(at..).unwrap_or(text);
    }
    let end = CHAINS.iter().filter_map(|sentence| text.find(sentence)).min().unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// Returns the exception at the end of the first traceback in a text, and the frame that it came
/// from. The first block of a chain is the origin: any exception raised while it was handled is a
/// consequence.
pub fn of(text: &str) -> Option<Stack<'_>> {
    // Most messages are a single line, and not a frame.
    let begins_in_frame = text.trim_start().starts_with("File \"");
    if memchr::memchr(b'\n', text.as_bytes()).is_none()
        && !begins_in_frame
        && !text.starts_with("Fatal Python")
    {
        return None;
    }
    if let Some((_, fatal)) = text.split_once("Fatal Python error: ") {
        // The most recent call comes first, and of several threads the one that failed counts.
        let current = fatal.split_once("Current thread ").map_or("", |(_, stack)| stack);
        let frame = current.lines().find_map(|line| frame_of(line.trim_start()));
        let frame = frame.map(|(file, function)| short(file, function)).unwrap_or_default();
        return Some(Stack {
            kind: "Fatal Python error",
            message: fatal.lines().next().unwrap_or_default(),
            frame,
        });
    }
    let stack = match text.split_once("Traceback (most recent call last):") {
        Some((_, stack)) => stack,
        None if begins_in_frame => text,
        None => text.get(text.find("  File \"")?..)?,
    };
    let mut frame = String::new();
    let mut library = String::new();
    for line in stack.lines() {
        // An exception group draws its branches with bars.
        let bare = line.trim_start_matches([' ', '|', '+', '-']);
        if let Some((file, function)) = frame_of(bare) {
            let place = if is_library(file) { &mut library } else { &mut frame };
            *place = short(file, function);
            continue;
        }
        let outside = line.starts_with(|c: char| c.is_ascii_alphabetic())
            || line.starts_with("  | ") && bare.starts_with(|c: char| c.is_ascii_uppercase());
        if outside {
            // The first line after the frames is the exception, whatever its name.
            let (kind, message) = bare.split_once(": ").unwrap_or((bare, ""));
            let (kind, message) =
                if flowlog_schema::is_error_type(kind) { (kind, message) } else { ("", bare) };
            return Some(Stack {
                kind,
                message,
                frame: if frame.is_empty() { library } else { frame },
            });
        }
    }
    Some(Stack { kind: "", message: "", frame: if frame.is_empty() { library } else { frame } })
        .filter(|stack| !stack.frame.is_empty())
}

fn short(file: &str, function: &str) -> String {
    format!("{}:{function}", file.rsplit('/').next().unwrap_or(file))
}

/// Parses file and function of `File "x.py", line 3, in f`; `faulthandler` writes no comma before
/// `in`.
fn frame_of(line: &str) -> Option<(&str, &str)> {
    let (file, rest) = line.strip_prefix("File \"")?.split_once('"')?;
    let function = rest.split_once(" in ").map_or("", |(_, function)| function.trim());
    Some((file, function))
}

/// Returns whether a file only runs code of others: the interpreter's own and general frameworks.
fn is_library(file: &str) -> bool {
    const LIBRARIES: [&str; 14] = [
        "<frozen",
        "uvloop/",
        "/asyncio/",
        "/concurrent/",
        "/multiprocessing/",
        "/contextlib.py",
        "/runpy.py",
        "/threading.py",
        "/uvicorn/",
        "/starlette/",
        "/fastapi/",
        "/torch/",
        "/pluggy/",
        "/_pytest/",
    ];
    file.starts_with("/usr/lib/python") || LIBRARIES.iter().any(|part| file.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_stacks() {
        use EventStart::{Part, Stack};
        for (line, expected) in [
            ("Traceback (most recent call last):", Some(Stack)),
            ("Process EngineCore_0:", Some(Stack)),
            ("Process completed with exit code 1", None),
            ("  File \"a.py\", line 3, in f", Some(Part)),
            ("RuntimeError: boom", Some(Part)),
            ("RuntimeError", Some(Part)),
            ("vllm.v1.engine.exceptions.EngineDeadError: x", Some(Part)),
            ("Error: no such model", None),
            ("Timeout: 3", None),
            ("42      0x7f3ac0d15e2b __libc_start_main + 139", Some(Part)),
            ("42 tests", None),
            ("frame #4: <unknown function> + 0x145c0 (0x7f)", Some(Part)),
            ("hello", None),
        ] {
            assert_eq!(classify_start(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn stacks_are_summarized() {
        let chain = "boom\nTraceback (most recent call last):\n  File \"/app/dynamo/vllm/handlers.py\", line 3, in generate\n    x\n  \
                     File \"/usr/lib/python3.12/asyncio/tasks.py\", line 1, in wait_for\nAssertionError\n\n\
                     During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\nKeyError: 'y'";
        assert_eq!(
            of(chain),
            Some(Stack {
                kind: "AssertionError",
                message: "",
                frame: "handlers.py:generate".to_owned()
            })
        );
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"/app/m.py\", line 9, in m\n  | ExceptionGroup: two (2 sub-exceptions)";
        assert_eq!(
            of(group),
            Some(Stack {
                kind: "ExceptionGroup",
                message: "two (2 sub-exceptions)",
                frame: "m.py:m".to_owned()
            })
        );
        let cut = "    raise e\n  File \"/app/vllm/engine.py\", line 586, in run\n    engine = x(";
        assert_eq!(
            of(cut),
            Some(Stack { kind: "", message: "", frame: "engine.py:run".to_owned() })
        );
        let fatal = "Fatal Python error: Aborted\n\nThread 0x01 (most recent call first):\n  File \"/a/other.py\", line 1 in wait\n\nCurrent thread 0x02 (most recent call first):\n  File \"/a/inner.py\", line 2 in call\n  File \"/a/outer.py\", line 3 in main\n\nExtension modules: x (total: 1)";
        assert_eq!(
            of(fatal),
            Some(Stack {
                kind: "Fatal Python error",
                message: "Aborted",
                frame: "inner.py:call".to_owned()
            })
        );
        assert_eq!(of("no stack"), None);
    }
}
