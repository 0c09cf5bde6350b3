//! Runs the system, or one of its components.
#![expect(clippy::print_stdout, reason = "a command-line program prints to stdout")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use prime_path::component::{self, Identity};
use prime_path::fault::Switch;
use prime_path::run::{self, Logs, Plan, Skew};

/// Runs a small inference system of real processes, with a switch for each fault
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system, send requests, and leave logs to be analyzed
    Run {
        /// Fault and instance: `error@prefill-1`, `hang@decode-0`, `kill@prefill-1`, `slow@nixl-0`,
        /// `leak@kvbm-0`
        #[arg(long)]
        fault: Option<Switch>,
        /// Output of the processes; with `flight`, only flight files, and all processes are killed
        /// at the end
        #[arg(long, value_enum, default_value_t = Logs::Json)]
        logs: Logs,
        /// Instance with a wrong wall clock, and its offset in seconds: `prefill-1=3600`
        #[arg(long)]
        skew: Option<Skew>,
        /// Number of requests to send
        #[arg(long, default_value_t = 24)]
        requests: usize,
        /// Folder for the logs, created if missing
        #[arg(long)]
        out: PathBuf,
    },
    /// Run one component
    #[command(hide = true)]
    Component(Identity),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Component(identity) => component::be(&identity),
        Command::Run { fault, logs, skew, requests, out } => {
            run::run(&Plan { fault, logs, skew, requests, out, program: None }).map(|answers| {
                let ended_well = answers.iter().filter(|answer| answer.status == 200).count();
                println!("{ended_well} of {} requests succeeded", answers.len());
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "a command-line program prints its error to stderr"
            )]
            {
                eprintln!("prime-path: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
