//! The command `kubectl flowlog`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowlog_analyze::cli::kubectl()
}
