//! A component that is killed while it works, and the flight file that it leaves behind.
//!
//! After `cargo run -p dynamo-flowlog --example killed -- FOLDER`, `flowlog-analyze FOLDER` reads
//! from the flight file which component failed, and in which state. The next process with its
//! flight file in FOLDER would also close the flow in the log.
#![allow(clippy::print_stderr, reason = "a command-line program prints its usage")]

use std::process::ExitCode;

use dynamo_flowlog::{Emitter, Sink, state};
use rustix::process::{Signal, getpid, kill_process};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: killed FOLDER");
        return ExitCode::from(2);
    };
    // Without a log: the flight file, whose pages the kernel keeps, is enough.
    let emitter = Emitter::builder("prefill")
        .instance("prefill-0")
        .version("dynamo", "1.6.1")
        .sink(Sink::Discard)
        .flight(folder);
    let emitter = match emitter.install() {
        Ok(installed) => installed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let flow = emitter.flow("kv_transfer").start();
    state!(flow, "register", blocks = 128);
    flow.state("transfer");
    // Like the kernel's out-of-memory killer.
    let _ = kill_process(getpid(), Signal::KILL);
    flow.end();
    ExitCode::SUCCESS
}
