//! Crashes of C and C++ programs: glibc's checks, uncaught exceptions, signals, native stacks, and
//! the shell's report of them.

use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat};

/// Abnormal end of a native program.
pub(super) const NATIVE_ABORT: LogFormat = LogFormat {
    name: "native_abort",
    classify_start: |line| {
        if is_start(line) {
            return Some(if line.starts_with(b"terminate called ") || line.ends_with(b"***") {
                EventStart::Panic
            } else {
                EventStart::Whole
            });
        }
        is_part(line).then_some(EventStart::Part)
    },
    read: |text| {
        let first = text.lines().next()?.as_bytes();
        (is_start(first) || is_part(first)).then(|| leveled(Level::Error, text))
    },
    examples: &[
        Example {
            text: "terminate called after throwing an instance of 'std::runtime_error'\n  what():  boom",
            expected: "ERROR terminate called after throwing an instance of 'std::runtime_error'\n  what():  boom",
        },
        Example {
            text: "double free or corruption (out)",
            expected: "ERROR double free or corruption (out)",
        },
        Example {
            text: "==== backtrace (tid: 594797) ====\n 0  /lib/libucs.so.0(ucs_handle_error+0x294) [0x7a84380adba4]",
            expected: "ERROR ==== backtrace (tid: 594797) ====\n 0  /lib/libucs.so.0(ucs_handle_error+0x294) [0x7a84380adba4]",
        },
        Example {
            text: "bash: line 21:   332 Segmentation fault      (core dumped) python3 -m x",
            expected: "ERROR bash: line 21:   332 Segmentation fault      (core dumped) python3 -m x",
        },
        Example {
            text: "[node-1:1447852] *** Process received signal ***",
            expected: "ERROR [node-1:1447852] *** Process received signal ***",
        },
        Example {
            text: "42      0x7f3ac0d15e2b __libc_start_main + 139",
            expected: "ERROR 42      0x7f3ac0d15e2b __libc_start_main + 139",
        },
    ],
};

fn is_start(line: &[u8]) -> bool {
    const STARTS: [&str; 14] = [
        "terminate called ",
        "double free or corruption (",
        "free(): invalid ",
        "free(): double free ",
        "malloc(): ",
        "malloc_consolidate(): ",
        "corrupted size vs. prev_size",
        "corrupted double-linked list",
        "munmap_chunk(): ",
        "*** stack smashing detected ***",
        "*** buffer overflow detected ***",
        "Fatal glibc error: ",
        "Segmentation fault (core dumped)",
        "Bus error (core dumped)",
    ];
    const WORDS: [&[u8]; 4] =
        [b"Aborted (core dumped)", b"Killed", b"Segmentation fault", b"Terminated"];
    if STARTS.iter().any(|start| line.starts_with(start.as_bytes())) || WORDS.contains(&line) {
        return true;
    }
    let line = beginning(line, 256);
    // Open MPI's signal handler, or a shell that reports how its child ended.
    line.starts_with('[') && line.ends_with("*** Process received signal ***") || is_job(line)
}

/// Returns whether a line is `bash: line 21:   332 Killed   command`: script, line, PID, and how it
/// ended.
fn is_job(line: &str) -> bool {
    const HOW: [&str; 6] = [
        "Segmentation fault",
        "Aborted",
        "Killed",
        "Bus error",
        "Terminated",
        "Illegal instruction",
    ];
    let Some((script, rest)) = line.split_once(": line ") else { return false };
    let Some((number, rest)) = rest.split_once(':') else { return false };
    let rest = rest.trim_start();
    let pid = rest.bytes().take_while(u8::is_ascii_digit).count();
    let how = rest.get(pid..).unwrap_or_default().trim_start();
    !script.contains(' ')
        && number.bytes().all(|b| b.is_ascii_digit())
        && pid > 0
        && HOW.iter().any(|word| how.starts_with(word))
}

/// Returns whether a line is a frame of TensorRT-LLM, gdb or c10, cut off from the head of its
/// stack.
fn is_part(line: &[u8]) -> bool {
    super::stack::is_native(line)
}
