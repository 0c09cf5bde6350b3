//! Runs our own and other programs as processes, and measures their time, CPU time and memory.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use wait4::Wait4;

/// Cost of one run.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Time from start to exit; for a database, of its query only.
    pub wall: Duration,
    /// CPU time of all cores, including start-up.
    pub cpu: Duration,
    /// Peak resident memory, in bytes.
    pub peak: u64,
}

/// Runs a program to its end, and returns its cost and its output. Any exit status that is not in
/// `good` is an error.
pub fn run(
    program: impl AsRef<OsStr>,
    arguments: &[&OsStr],
    good: &[i32],
) -> anyhow::Result<(Cost, String)> {
    let name = program.as_ref().to_string_lossy().into_owned();
    let began = Instant::now();
    let mut child = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("failed to start `{name}`"))?;
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        std::io::Read::read_to_string(&mut out, &mut text)
            .with_context(|| format!("failed to read the output of `{name}`"))?;
    }
    let used = child.wait4().with_context(|| format!("failed to wait for `{name}`"))?;
    let wall = began.elapsed();
    let code = used.status.code().unwrap_or(-1);
    if !good.contains(&code) {
        bail!("`{name}` exited with status {code}");
    }
    Ok((Cost { wall, cpu: used.rusage.utime + used.rusage.stime, peak: used.rusage.maxrss }, text))
}

/// Analyzes a folder in a new process of this program, and returns the cost and the report.
pub fn triage(folder: &Path) -> anyhow::Result<(Cost, Value)> {
    let own = std::env::current_exe()?;
    let (cost, text) = run(own, &[OsStr::new("--triage"), folder.as_os_str()], &[0])?;
    Ok((cost, serde_json::from_str(&text).context("the report is not valid JSON")?))
}

/// Counts the lines with a literal, using ripgrep.
pub fn ripgrep(folder: &Path, literal: &str) -> anyhow::Result<Cost> {
    run(
        "rg",
        &["-c", "-F", literal]
            .map(OsStr::new)
            .into_iter()
            .chain([folder.as_os_str()])
            .collect::<Vec<_>>(),
        &[0, 1],
    )
    .map(|(cost, _)| cost)
}

/// Runs a Python script that queries a table; returns the cost, with the time of the query without
/// start-up, and the number of flows.
pub fn python(script: &str, folder: &Path) -> anyhow::Result<(Cost, u64)> {
    let (cost, text) =
        run("python3", &[OsStr::new("-c"), OsStr::new(script), folder.as_os_str()], &[0])?;
    let answer: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .context("the script printed no answer")?;
    let seconds =
        answer.get("seconds").and_then(Value::as_f64).context("the script printed no time")?;
    let flows = answer
        .get("flows")
        .and_then(Value::as_u64)
        .context("the script printed no number of flows")?;
    Ok((Cost { wall: Duration::from_secs_f64(seconds), ..cost }, flows))
}

/// Returns whether Python finds a module.
pub fn has_module(name: &str) -> bool {
    let found = Command::new("python3")
        .args(["-c", &format!("import {name}")])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// Returns whether a program can be run.
pub fn has_program(name: &str) -> bool {
    Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `DuckDB` query: first failing component of each flow.
pub const DUCKDB_FIRST_FAILURE: &str = r#"
import duckdb, json, sys, time
con = duckdb.connect()
began = time.perf_counter()
rows = con.execute(f"""
    SELECT count(*) FROM (
        SELECT flow_id, arg_min(component, time) FROM read_json('{sys.argv[1]}/*.log', format='newline_delimited',
            columns={{flow_id: 'VARCHAR', event: 'VARCHAR', component: 'VARCHAR', time: 'VARCHAR'}})
        WHERE event = 'fail' GROUP BY flow_id)""").fetchall()
print(json.dumps({"seconds": time.perf_counter() - began, "flows": rows[0][0]}))
"#;

/// `DuckDB` query: number of lines of each flow.
pub const DUCKDB_GROUP: &str = r#"
import duckdb, json, sys, time
con = duckdb.connect()
began = time.perf_counter()
rows = con.execute(f"""
    SELECT count(*) FROM (
        SELECT flow_id, count(*) FROM read_json('{sys.argv[1]}/*.log', format='newline_delimited',
            columns={{flow_id: 'VARCHAR', event: 'VARCHAR', component: 'VARCHAR', time: 'VARCHAR'}})
        GROUP BY flow_id)""").fetchall()
print(json.dumps({"seconds": time.perf_counter() - began, "flows": rows[0][0]}))
"#;

/// Polars query: number of lines of each flow.
pub const POLARS_GROUP: &str = r#"
import glob, json, sys, time
import polars as pl
began = time.perf_counter()
schema = {"flow_id": pl.String, "event": pl.String, "component": pl.String, "time": pl.String}
frame = pl.scan_ndjson(sorted(glob.glob(sys.argv[1] + "/*.log")), schema=schema).group_by("flow_id").len().collect()
print(json.dumps({"seconds": time.perf_counter() - began, "flows": frame.height}))
"#;
