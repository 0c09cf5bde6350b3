//! Speed and memory of log analysis, compared with peers in the same run.
//!
//! Inputs are generated from a seed, answers are checked against the simulated truth, and each
//! figure is the median of several runs of whole processes, ours and the peers' in turn. Each peer
//! does the part that it can: `DuckDB` and Polars group by flow or find the first failing component
//! of each flow, ripgrep counts lines with a rare literal. None of them detects structure, hangs,
//! crashes or causes.
#![expect(clippy::print_stdout, reason = "a command-line program prints to stdout")]
#![expect(clippy::print_stderr, reason = "it takes minutes, and prints its progress")]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use flowlog_analyze::{Options, analyze, source};
use flowlog_benches::inputs::{self, Input};
use flowlog_benches::peer::{self, Cost};
use flowlog_simulator::LogFormat;
use serde_json::{Value, json};

/// Measures the analysis of simulated logs, compared with peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of each input
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Runs of each program; the median is reported
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Print one JSON object per row instead of a Markdown table
    #[arg(long)]
    json: bool,
    /// Folder for the inputs, which is kept; without it, a temporary folder that is removed
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Measure memory growth instead: dense records of 1, 4 and 16 times the size, and of one size
    /// in 1 to 1,000 files
    #[arg(long)]
    growth: bool,
    /// Analyze this folder and print the report
    #[arg(long, hide = true)]
    triage: Option<PathBuf>,
    /// Generate an input in this folder: `json`, `mixed`, `sparse`, or a number of files
    #[arg(long, hide = true, num_args = 3)]
    make: Option<Vec<String>>,
}

/// Row of the results.
struct Row {
    input: String,
    who: String,
    bytes: u64,
    cost: Cost,
    /// Rate relative to ours on the same input: above 1 is faster.
    beside: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = arguments.triage {
        let sources = source::open(&[folder]);
        println!("{}", serde_json::to_string(&analyze(&sources, &Options::default(), &|_| {}))?);
        return Ok(());
    }
    if let Some([what, folder, bytes]) = arguments.make.as_deref() {
        println!("{}", serde_json::to_string(&make(what, Path::new(folder), bytes.parse()?)?)?);
        return Ok(());
    }
    let temporary = std::env::temp_dir().join(format!("flowlog-throughput-{}", std::process::id()));
    let folder = arguments.keep.clone().unwrap_or_else(|| temporary.clone());
    let rows =
        if arguments.growth { growth(&arguments, &folder) } else { rates(&arguments, &folder) };
    if arguments.keep.is_none() {
        let _ = std::fs::remove_dir_all(&temporary);
    }
    let rows = rows?;
    if arguments.json {
        for row in &rows {
            println!("{}", of_row(row));
        }
    } else {
        println!("| input | program | MB/s | relative to ours | seconds | CPU seconds | peak MB |");
        println!("|---|---|---:|---:|---:|---:|---:|");
        for row in &rows {
            let Cost { wall, cpu, peak } = row.cost;
            println!(
                "| {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {} |",
                row.input,
                row.who,
                rate(row),
                row.beside,
                wall.as_secs_f64(),
                cpu.as_secs_f64(),
                peak >> 20
            );
        }
    }
    Ok(())
}

fn of_row(row: &Row) -> Value {
    json!({
        "input": row.input, "who": row.who, "bytes": row.bytes, "mb_per_second": rate(row), "beside_ours": row.beside,
        "seconds": row.cost.wall.as_secs_f64(), "cpu_seconds": row.cost.cpu.as_secs_f64(), "peak_bytes": row.cost.peak,
    })
}

fn rate(row: &Row) -> f64 {
    row.bytes as f64 / row.cost.wall.as_secs_f64() / 1e6
}

fn make(what: &str, folder: &Path, bytes: u64) -> anyhow::Result<Input> {
    match what {
        "json" => inputs::records(folder, LogFormat::Json, bytes),
        "mixed" => inputs::records(folder, LogFormat::Mixed, bytes),
        "sparse" => inputs::sparse(folder, bytes),
        files => inputs::in_files(folder, bytes, files.parse()?),
    }
}

/// Generates an input in another process: memory that this process once used would count as its
/// children's peak.
fn made(what: &str, folder: &Path, bytes: u64) -> anyhow::Result<Input> {
    eprintln!("generating {} MiB of {what}", bytes >> 20);
    let arguments =
        ["--make", what, &folder.to_string_lossy(), &bytes.to_string()].map(OsString::from);
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let (_, text) = peer::run(std::env::current_exe()?, &arguments, &[0])?;
    serde_json::from_str(&text).context("no input was generated")
}

/// Runs one program on an input.
type Run<'a> = Box<dyn Fn() -> anyhow::Result<Cost> + 'a>;

fn rates(arguments: &Arguments, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let bytes = arguments.mib << 20;
    let mut rows = Vec::new();
    for (what, name) in
        [("json", "dense JSON"), ("mixed", "mixed JSON and text"), ("sparse", "sparse")]
    {
        let input = made(what, &folder.join(what), bytes)?;
        let mut runs: Vec<(&str, Run<'_>)> =
            vec![("flowlog-analyze, full triage", Box::new(|| ours(&input)))];
        let flows = |script: &'static str, least: u64| -> Run<'_> {
            let input = &input;
            Box::new(move || {
                let (cost, flows) = peer::python(script, &input.folder)?;
                ensure!(flows >= least, "a peer's answer is wrong: {flows} flows");
                Ok(cost)
            })
        };
        if what == "json" {
            if peer::has_module("duckdb") {
                runs.push((
                    "DuckDB, first failing component of each flow",
                    flows(peer::DUCKDB_FIRST_FAILURE, input.flows[4]),
                ));
                runs.push(("DuckDB, group by flow", flows(peer::DUCKDB_GROUP, input.total())));
            } else {
                eprintln!("DuckDB not found: install it with `pip install duckdb`");
            }
            if peer::has_module("polars") {
                runs.push(("Polars, group by flow", flows(peer::POLARS_GROUP, input.total())));
            } else {
                eprintln!("Polars not found: install it with `pip install polars`");
            }
        }
        if peer::has_program("rg") {
            runs.push((
                "ripgrep, count of a rare literal",
                Box::new(|| peer::ripgrep(&input.folder, "index out of bounds")),
            ));
        } else {
            eprintln!("ripgrep not found: install the package `ripgrep`");
        }
        rows.extend(in_turn(name, &input, &runs, arguments.runs)?);
    }
    Ok(rows)
}

/// Runs all programs in turn, so that other load on the machine affects all of them alike.
fn in_turn(
    name: &str,
    input: &Input,
    runs: &[(&str, Run<'_>)],
    times: usize,
) -> anyhow::Result<Vec<Row>> {
    let mut costs: Vec<Vec<Cost>> = runs.iter().map(|_| Vec::new()).collect();
    // The first run of each is not counted: it warms the page cache.
    for turn in 0..=times.max(1) {
        for ((who, run), costs) in runs.iter().zip(&mut costs) {
            eprintln!("{name}: {who}, run {turn} of {times}");
            let cost = run()?;
            if turn > 0 {
                costs.push(cost);
            }
        }
    }
    let medians: Vec<Cost> =
        costs.iter().map(|costs| median(costs)).collect::<anyhow::Result<_>>()?;
    let first = medians.first().context("nothing was run")?.wall.as_secs_f64();
    let row = |((who, _), cost): (&(&str, Run<'_>), &Cost)| Row {
        input: format!(
            "{name}, {} MB, {} lines, {} flows",
            input.bytes / 1_000_000,
            input.lines,
            input.total()
        ),
        who: (*who).to_owned(),
        bytes: input.bytes,
        cost: *cost,
        beside: first / cost.wall.as_secs_f64(),
    };
    Ok(runs.iter().zip(&medians).map(row).collect())
}

/// Returns the median of each figure separately.
fn median(costs: &[Cost]) -> anyhow::Result<Cost> {
    let middle = |mut values: Vec<u128>| {
        values.sort_unstable();
        values.get(values.len() / 2).copied().context("no run")
    };
    let nanos = |values: Vec<u128>| {
        middle(values).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    };
    Ok(Cost {
        wall: nanos(costs.iter().map(|cost| cost.wall.as_nanos()).collect())?,
        cpu: nanos(costs.iter().map(|cost| cost.cpu.as_nanos()).collect())?,
        peak: u64::try_from(middle(costs.iter().map(|cost| u128::from(cost.peak)).collect())?)?,
    })
}

/// Runs our own analysis, and checks its answer.
fn ours(input: &Input) -> anyhow::Result<Cost> {
    let (cost, report) = peer::triage(&input.folder)?;
    let flows = ["ok", "recovered", "cancelled", "rejected", "failed"]
        .map(|name| report["flows"][name].as_u64().unwrap_or(0));
    ensure!(flows == input.flows, "wrong answer: {flows:?} for {:?}", input.flows);
    let formats: u64 = report["input"]["formats"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, lines)| lines.as_u64())
        .sum();
    let lines = report["input"]["lines"].as_u64().unwrap_or(0);
    ensure!(
        lines == input.lines && formats == lines,
        "wrong answer: {lines} lines, {formats} in formats, for {}",
        input.lines
    );
    Ok(cost)
}

fn growth(arguments: &Arguments, folder: &Path) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for times in [1, 4, 16] {
        let place = folder.join("growth");
        let input = made("json", &place, (arguments.mib * times) << 20)?;
        rows.extend(in_turn(
            "dense JSON",
            &input,
            &[("flowlog-analyze, full triage", Box::new(|| ours(&input)))],
            1,
        )?);
        std::fs::remove_dir_all(&place)
            .with_context(|| format!("failed to remove `{}`", place.display()))?;
    }
    for files in [1, 10, 100, 1000] {
        let place = folder.join("files");
        let input = made(&files.to_string(), &place, arguments.mib << 20)?;
        let name = format!("dense JSON in {files} files");
        rows.extend(in_turn(
            &name,
            &input,
            &[("flowlog-analyze, full triage", Box::new(|| ours(&input)))],
            1,
        )?);
        std::fs::remove_dir_all(&place)
            .with_context(|| format!("failed to remove `{}`", place.display()))?;
    }
    Ok(rows)
}
