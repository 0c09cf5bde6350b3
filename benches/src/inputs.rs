//! What is measured: seeded logs, made once and kept in a folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flowlog_simulator::{Form, Options, Outcome, simulate};

/// Logs on disk and what is true of them.
#[derive(Debug, Clone)]
pub struct Input {
    /// The folder that holds the logs and nothing else.
    pub folder: PathBuf,
    /// Their size.
    pub bytes: u64,
    /// Their lines.
    pub lines: u64,
    /// Flows by what became of them: ok, recovered, cancelled, rejected, failed.
    pub flows: [u64; 5],
}

impl Input {
    /// How many flows there are.
    pub fn total(&self) -> u64 {
        self.flows.iter().sum()
    }
}

/// Requests of a run that is simulated at once: what does not fit into memory is many runs, one after the other.
const FLOWS_AT_ONCE: usize = 10_000;

/// Seconds from the beginning of one run to that of the next.
const APART: u64 = FLOWS_AT_ONCE as u64 / 20 + 60;

/// Makes flowlog records of about that size: each line belongs to a flow and has about 400 bytes. Two of a hundred requests
/// meet a fault.
pub fn records(folder: &Path, form: Form, bytes: u64) -> anyhow::Result<Input> {
    let mut input = Input { folder: folder.to_path_buf(), bytes: 0, lines: 0, flows: [0; 5] };
    fs::create_dir_all(folder).with_context(|| format!("failed to make the folder `{}`", folder.display()))?;
    let mut files: Vec<(String, BufWriter<File>)> = Vec::new();
    let padding = if form == Form::Json { 12 } else { 60 };
    for run in 0.. {
        if input.bytes >= bytes {
            break;
        }
        // The last run is as long as what is left.
        let per_flow = if run == 0 { 6_600 } else { input.bytes / (run * FLOWS_AT_ONCE as u64) };
        let flows = FLOWS_AT_ONCE.min(usize::try_from((bytes - input.bytes) / per_flow.max(1))? + 1);
        let options = Options {
            seed: run + 1,
            begin: run * APART,
            flows,
            form,
            padding,
            fault_percent: 2,
            kills: 0,
            quiet: true,
            ..Options::default()
        };
        let cluster = simulate(&options);
        for (name, log) in &cluster.logs {
            if !files.iter().any(|(known, _)| known == name) {
                let path = folder.join(name);
                files.push((
                    name.clone(),
                    BufWriter::new(File::create(&path).with_context(|| format!("failed to write `{}`", path.display()))?),
                ));
            }
            for (_, file) in files.iter_mut().filter(|(known, _)| known == name) {
                file.write_all(log)?;
            }
            input.bytes += log.len() as u64;
            input.lines += log.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        for truth in &cluster.truth {
            let all = [Outcome::Ok, Outcome::Recovered, Outcome::Cancelled, Outcome::Rejected, Outcome::Failed];
            if let Some(count) = all.iter().position(|outcome| *outcome == truth.outcome).and_then(|at| input.flows.get_mut(at)) {
                *count += 1;
            }
        }
    }
    for (_, file) in &mut files {
        file.flush()?;
    }
    Ok(input)
}
