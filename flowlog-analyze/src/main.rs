//! The command `flowlog-analyze`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowlog_analyze::cli::main()
}
