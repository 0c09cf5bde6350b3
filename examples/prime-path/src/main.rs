//! Runs the system, or one of its components.
#![expect(clippy::print_stdout, reason = "this is a program that prints")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use prime_path::component::{self, Identity};
use prime_path::fault::Switch;
use prime_path::run::{self, Logs, Plan, Skew};

/// A small inference system of real processes, and a switch for each fault
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all of it, send requests, and leave logs to be analyzed
    Run {
        /// What goes wrong where: `error@prefill-1`, `hang@decode-0`, `kill@prefill-1`, `slow@nixl-0`, `leak@kvbm-0`
        #[arg(long)]
        fault: Option<Switch>,
        /// What the processes write; `flight`: nothing but flight files, and all are killed in the end
        #[arg(long, value_enum, default_value_t = Logs::Json)]
        logs: Logs,
        /// A wall clock that is wrong, by how many seconds: `prefill-1=3600`
        #[arg(long)]
        skew: Option<Skew>,
        /// Requests to send
        #[arg(long, default_value_t = 24)]
        requests: usize,
        /// Folder for the logs, to be made
        #[arg(long)]
        out: PathBuf,
    },
    /// Be one component
    #[command(hide = true)]
    Component(Identity),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Component(identity) => component::be(&identity),
        Command::Run { fault, logs, skew, requests, out } => {
            run::run(&Plan { fault, logs, skew, requests, out, program: None }).map(|answers| {
                let ended_well = answers.iter().filter(|answer| answer.status == 200).count();
                println!("{ended_well} of {} requests ended well", answers.len());
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is where a program says why it failed")]
            {
                eprintln!("prime-path: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
