//! Number of records that can be read after a process died, for our sinks and for others, in one
//! run.
//!
//! For each sink, a new process writes a thousand records and then ends in one of six ways. Then
//! its files are read.
#![expect(clippy::print_stdout, reason = "a command-line program prints to stdout")]
#![expect(clippy::exit, reason = "one of the measured ways to die")]
#![expect(clippy::panic, reason = "one of the measured ways to die")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use dynamo_flowlog::{Emitter, Sink, state};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use rustix::process::Signal;
use serde_json::json;

/// Counts the readable records of processes that died.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON object per row instead of a Markdown table
    #[arg(long)]
    json: bool,
    /// Write records to this sink in this folder, and die this way
    #[arg(long, hide = true, num_args = 3)]
    child: Option<Vec<String>>,
}

/// Number of records that each process writes.
const RECORDS: u32 = 1_000;

const SINKS: [&str; 6] = [
    "flowlog stderr",
    "flowlog write",
    "flowlog mapped",
    "tracing-appender non-blocking",
    "OTel batch",
    "ftlog",
];

const DEATHS: [&str; 6] = ["return", "panic", "exit", "SIGTERM", "abort", "SIGKILL"];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some([sink, death, folder]) = arguments.child.as_deref() {
        return child(sink, death, Path::new(folder));
    }
    if !arguments.json {
        println!("| sink | {} |\n|---|{}", DEATHS.join(" | "), "---:|".repeat(DEATHS.len()));
    }
    for sink in SINKS {
        let mut row = Vec::new();
        for death in DEATHS {
            let readable = readable_after(sink, death)?;
            if arguments.json {
                println!("{}", json!({"sink": sink, "death": death, "readable": readable}));
            }
            row.push(readable.to_string());
        }
        if !arguments.json {
            println!("| {sink} | {} |", row.join(" | "));
        }
    }
    Ok(())
}

/// Returns how many of a process's records can be read after its death.
fn readable_after(sink: &str, death: &str) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir()?;
    let stderr = File::create(folder.path().join("stderr.log"))?;
    let own = std::env::current_exe()?;
    let mut command = Command::new(own);
    command.args(["--child", sink, death]).arg(folder.path()).stdout(Stdio::null()).stderr(stderr);
    command.status().with_context(|| format!("failed to start a process that writes to {sink}"))?;
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder.path())? {
        let bytes = std::fs::read(entry?.path())?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            // Every sink writes the record's number in this form, whatever else it writes.
            let number = line
                .split("number=")
                .nth(1)
                .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            seen.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
    }
    Ok(seen.len())
}

/// Writes the records, and dies.
fn child(sink: &str, death: &str, folder: &Path) -> anyhow::Result<()> {
    // Values that are dropped when `main` returns.
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    match sink {
        "flowlog stderr" => held.push(of_flowlog(Sink::Stderr)?),
        "flowlog write" => held.push(of_flowlog(Sink::file(folder.join("run.log")))?),
        "flowlog mapped" => held.push(of_flowlog(Sink::mapped(folder.join("run")))?),
        "tracing-appender non-blocking" => {
            let (writer, guard) =
                tracing_appender::non_blocking(File::create(folder.join("run.log"))?);
            let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
            tracing::subscriber::set_global_default(subscriber)?;
            (0..RECORDS).for_each(|number| tracing::info!("number={number}"));
            held.push(Box::new(guard));
        }
        "OTel batch" => {
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(ToFile(Mutex::new(File::create(folder.join("run.log"))?)))
                .build();
            let tracer = provider.tracer("survival");
            (0..RECORDS).for_each(|number| tracer.start(format!("number={number}")).end());
            // `shutdown` is not called, because a process that dies does not call it.
            held.push(Box::new((provider, tracer)));
        }
        "ftlog" => {
            let file =
                ftlog::appender::FileAppender::builder().path(folder.join("run.log")).build();
            let logger = ftlog::Builder::new()
                .root(file)
                .build()
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            let guard = logger.init().map_err(|error| anyhow::anyhow!("{error}"))?;
            (0..RECORDS).for_each(|number| log::info!("number={number}"));
            held.push(Box::new(guard));
        }
        other => bail!("unknown sink `{other}`"),
    }
    match death {
        "return" => Ok(()),
        "panic" => panic!("panic on purpose"),
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        signal => {
            let signal = if signal == "SIGKILL" { Signal::KILL } else { Signal::TERM };
            rustix::process::kill_process(rustix::process::getpid(), signal)?;
            std::thread::sleep(Duration::from_secs(10));
            bail!("the process survived the signal")
        }
    }
}

fn of_flowlog(sink: Sink) -> anyhow::Result<Box<dyn std::any::Any>> {
    let installed = Emitter::builder("worker").sink(sink).install()?;
    let flow = installed.flow("survival").start();
    (0..RECORDS).for_each(|number| state!(flow, "write", words = format!("number={number}")));
    Ok(Box::new((flow, installed)))
}

/// Writes one line per span.
#[derive(Debug)]
struct ToFile(Mutex<File>);

impl SpanExporter for ToFile {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let failed =
            |error: &dyn std::fmt::Display| OTelSdkError::InternalFailure(error.to_string());
        let mut file = self.0.lock().map_err(|error| failed(&error))?;
        spans
            .iter()
            .try_for_each(|span| writeln!(file, "{}", span.name))
            .map_err(|error| failed(&error))
    }
}
