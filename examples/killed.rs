//! A component that is killed in the middle of its work, and what is known of it all the same.
//!
//! `cargo run -p dynamo-flowlog --example killed -- FOLDER; flowlog-analyze FOLDER` tells from the flight file alone which component
//! broke, in which state. The next process that keeps its flight file in FOLDER would close the flow in the log, too.
#![allow(clippy::print_stderr, reason = "this is a program that says how it is used")]

use std::process::ExitCode;

use dynamo_flowlog::{Emitter, Sink, state};
use rustix::process::{Signal, getpid, kill_process};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: killed FOLDER");
        return ExitCode::from(2);
    };
    // No log at all: what the kernel keeps of the flight file is enough.
    let emitter = Emitter::builder("prefill")
        .instance("prefill-0")
        .version("dynamo", "1.6.1")
        .sink(Sink::Nothing)
        .flight(folder);
    let emitter = match emitter.install() {
        Ok(installed) => installed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let flow = emitter.start("kv_transfer");
    state!(flow, "register", blocks = 128);
    flow.state("transfer");
    // As the kernel does with a process that takes too much memory.
    let _ = kill_process(getpid(), Signal::KILL);
    flow.end();
    ExitCode::SUCCESS
}
