//! How fast a simulated cluster's logs are triaged, beside a peer in the same run.
//!
//! The peer does what a script would: it parses every JSON line into a value, groups lines by flow and keeps the
//! earliest failure of each. It knows nothing of structure, hangs, crashes or causes. Both answers are checked.
#![expect(clippy::print_stdout, reason = "this is a program that prints")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::{Options, analyze};
use flowlog_simulator::{Cluster, Form, Outcome, simulate};

/// Times the triage of a simulated cluster's logs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of the logs, about
    #[arg(long, default_value_t = 256)]
    mib: usize,
    /// What the logs look like
    #[arg(long, value_enum, default_value_t = Kind::Json)]
    form: Kind,
    /// Runs of each; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Keep the logs in this folder, for other programs
    #[arg(long)]
    keep: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Json,
    Text,
    Mixed,
    Dynamo,
}

impl Kind {
    fn form(self) -> Form {
        match self {
            Self::Json => Form::Json,
            Self::Text => Form::Text,
            Self::Mixed => Form::Mixed,
            Self::Dynamo => Form::Dynamo,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (cluster, bytes) = cluster(&arguments);
    let folder = match &arguments.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("flowlog-triage-rate-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).context("failed to make the folder for the logs")?;
    for (name, log) in &cluster.logs {
        std::fs::write(folder.join(name), log).with_context(|| format!("failed to write `{name}`"))?;
    }
    let sources = source::open(std::slice::from_ref(&folder));
    let ours = median(arguments.runs, || triage(&cluster, &sources))?;
    let peer = if arguments.form == Kind::Json { Some(median(arguments.runs, || by_script(&cluster))?) } else { None };
    if arguments.keep.is_none() {
        std::fs::remove_dir_all(&folder).context("failed to remove the logs")?;
    }
    let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
    println!("| what | MB/s | beside ours |\n|---|---:|---:|");
    println!(
        "| flowlog-analyze, {:?}, {} MB, {} flows | {:.0} | 1.00 |",
        arguments.form,
        bytes / 1_000_000,
        cluster.truth.len(),
        rate(ours)
    );
    if let Some(peer) = peer {
        println!("| serde_json values, grouped by flow, one thread | {:.0} | {:.2} |", rate(peer), rate(peer) / rate(ours));
    }
    Ok(())
}

fn cluster(arguments: &Arguments) -> (Cluster, usize) {
    // Records of 400 bytes, as our own emitter writes them with a few fields.
    let padding = if arguments.form == Kind::Dynamo { 0 } else { 60 };
    let options = |flows| flowlog_simulator::Options { form: arguments.form.form(), padding, flows, ..Default::default() };
    let size = |cluster: &Cluster| cluster.logs.iter().map(|(_, log)| log.len()).sum::<usize>();
    let sample = simulate(&options(500));
    let flows = (arguments.mib << 20) * 500 / size(&sample).max(1);
    let cluster = simulate(&options(flows));
    let bytes = size(&cluster);
    (cluster, bytes)
}

fn median(runs: usize, mut run: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Duration> {
    let mut took = (0..runs.max(1)).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?;
    took.sort_unstable();
    took.get(took.len() / 2).copied().context("no run")
}

fn triage(cluster: &Cluster, sources: &Sources) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let report = analyze(sources, &Options::default(), &|_| {});
    let took = began.elapsed();
    let of = |outcome| cluster.truth.iter().filter(|truth| truth.outcome == outcome).count() as u64;
    let flows = &report.flows;
    let (found, truth) =
        ([flows.failed, flows.recovered, flows.rejected], [of(Outcome::Failed), of(Outcome::Recovered), of(Outcome::Rejected)]);
    ensure!(found == truth, "wrong answer: {found:?} for {truth:?}");
    Ok(took)
}

fn by_script(cluster: &Cluster) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut first: HashMap<String, (String, String)> = HashMap::new();
    for (_, log) in &cluster.logs {
        for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let value: serde_json::Value = serde_json::from_slice(line)?;
            let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            let entry = first.entry(text("flow_id")).or_default();
            if text("event") == "fail" && (entry.0.is_empty() || text("time") < entry.0) {
                *entry = (text("time"), text("component"));
            }
        }
    }
    let took = began.elapsed();
    ensure!(first.len() >= cluster.truth.len(), "wrong answer: {} flows", first.len());
    Ok(took)
}
