//! Standard output for data, standard error for messages.
#![expect(clippy::print_stderr, reason = "messages for the user go there")]

use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;

use anyhow::Context;

static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Sets the program name that starts each message.
pub(super) fn set_program(name: &'static str) {
    // A second call would be from a second command in this process: the first name stays.
    let _ = PROGRAM.set(name);
}

/// Writes a message for the user to standard error.
pub(super) fn message(text: &str) {
    eprintln!("{}: {text}", PROGRAM.get().copied().unwrap_or("flowlog-analyze"));
}

/// Writes data to standard output. A reader that closes the pipe early is not an error.
pub(super) fn write_stdout(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to standard output")
        }
        _ => Ok(()),
    }
}
