//! Inputs of the benchmarks: logs generated from a seed, once, and kept in a folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flowlog_simulator::{Cluster, LogFormat, NoiseSource, Options, Outcome, simulate};
use serde::{Deserialize, Serialize};

/// Logs on disk, and the expected results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    /// Folder with the logs and nothing else.
    pub folder: PathBuf,
    /// Total size in bytes.
    pub bytes: u64,
    /// Total number of lines.
    pub lines: u64,
    /// Numbers of flows by outcome: ok, recovered, cancelled, rejected, failed.
    pub flows: [u64; 5],
}

impl Input {
    /// Returns the total number of flows.
    pub fn total(&self) -> u64 {
        self.flows.iter().sum()
    }

    /// Creates the folder, and returns an empty input.
    fn empty(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))?;
        Ok(Self { folder: folder.to_path_buf(), bytes: 0, lines: 0, flows: [0; 5] })
    }

    /// Adds the outcomes of a cluster's flows.
    fn count(&mut self, cluster: &Cluster) {
        let all = [
            Outcome::Ok,
            Outcome::Recovered,
            Outcome::Cancelled,
            Outcome::Rejected,
            Outcome::Failed,
        ];
        for (count, outcome) in self.flows.iter_mut().zip(all) {
            *count += cluster.truth.iter().filter(|truth| truth.outcome == outcome).count() as u64;
        }
    }
}

fn create(folder: &Path, name: &str) -> anyhow::Result<BufWriter<File>> {
    let path = folder.join(name);
    Ok(BufWriter::new(
        File::create(&path).with_context(|| format!("failed to write `{}`", path.display()))?,
    ))
}

/// Number of flows simulated at once; inputs that do not fit in memory consist of several runs.
const FLOWS_AT_ONCE: usize = 10_000;

/// Seconds between the starts of two runs.
const RUN_INTERVAL_S: u64 = FLOWS_AT_ONCE as u64 / 20 + 60;

/// Generates flowlog records of about `bytes` bytes in total. Each line belongs to a flow and has
/// about 400 bytes. Two of a hundred requests meet a fault.
pub fn records(folder: &Path, format: LogFormat, bytes: u64) -> anyhow::Result<Input> {
    let mut input = Input::empty(folder)?;
    let mut files: Vec<(String, BufWriter<File>)> = Vec::new();
    let padding = if format == LogFormat::Json { 12 } else { 60 };
    for run in 0.. {
        if input.bytes >= bytes {
            break;
        }
        // The last run is only as long as needed.
        let per_flow = if run == 0 { 6_600 } else { input.bytes / (run * FLOWS_AT_ONCE as u64) };
        let flows =
            FLOWS_AT_ONCE.min(usize::try_from((bytes - input.bytes) / per_flow.max(1))? + 1);
        let options = Options {
            seed: run + 1,
            start_s: run * RUN_INTERVAL_S,
            flows,
            format,
            padding_bytes: padding,
            fault_percent: 2,
            kills: 0,
            silent_processes: true,
            ..Options::default()
        };
        let cluster = simulate(&options);
        for (name, log) in &cluster.logs {
            if !files.iter().any(|(known, _)| known == name) {
                files.push((name.clone(), create(folder, name)?));
            }
            for (_, file) in files.iter_mut().filter(|(known, _)| known == name) {
                file.write_all(log)?;
            }
            input.bytes += log.len() as u64;
            input.lines += log.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        input.count(&cluster);
    }
    for (_, file) in &mut files {
        file.flush()?;
    }
    Ok(input)
}

/// Writes the records of [`records`] to `files` files, each of which continues the previous one, as
/// after rotation.
pub fn in_files(folder: &Path, bytes: u64, files: usize) -> anyhow::Result<Input> {
    let whole = folder.join("whole");
    let mut input = records(&whole, LogFormat::Json, bytes)?;
    let mut lines: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for entry in fs::read_dir(&whole)? {
        let text = fs::read(entry?.path())?;
        lines.extend(
            text.split_inclusive(|byte| *byte == b'\n')
                .map(|line| (line.get(9..35).unwrap_or_default().to_vec(), line.to_vec())),
        );
    }
    fs::remove_dir_all(&whole)?;
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    for (at, part) in lines.chunks(lines.len().div_ceil(files)).enumerate() {
        let mut file = create(folder, &format!("all-{at:04}.log"))?;
        for (_, line) in part {
            file.write_all(line)?;
        }
        file.flush()?;
    }
    input.folder = folder.to_path_buf();
    Ok(input)
}

/// Generates logs of about `bytes` bytes in which two of a hundred lines are records and the others
/// are background noise of every engine.
///
/// Half of the pods share one file in the format of `kubectl logs --prefix --timestamps`; the
/// others have files in the format of the container runtime.
pub fn sparse(folder: &Path, bytes: u64) -> anyhow::Result<Input> {
    let mut input = Input::empty(folder)?;
    let mut joined = create(folder, "kubectl.log")?;
    let mut runtime: Vec<BufWriter<File>> = (0..PODS)
        .map(|pod| create(folder, &format!("pod-{pod}.log")))
        .collect::<anyhow::Result<_>>()?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = String::new();
    let mut line = String::new();
    for run in 0.. {
        if input.bytes >= bytes {
            break;
        }
        let options = Options {
            seed: run + 1,
            start_s: run * 600,
            flows: 250,
            format: LogFormat::Json,
            fault_percent: 2,
            kills: 0,
            silent_processes: true,
            ..Options::default()
        };
        let cluster = simulate(&options);
        let mut records: Vec<(&str, usize, &str)> = Vec::new();
        for (log, (_, bytes)) in cluster.logs.iter().enumerate() {
            let lines = std::str::from_utf8(bytes)?.lines();
            records.extend(lines.filter_map(|line| Some((line.get(9..35)?, log, line))));
        }
        records.sort_unstable();
        for (time, log, record) in records {
            let micros = flowlog_schema::Time::parse(&format!("{time}Z"))
                .context("record without a time")?
                .0
                / 1_000;
            for at in 0..RATIO {
                // All noise of a record follows it immediately.
                let (pod, micros) = (random.usize(0..2 * PODS), micros + i64::from(at) * 7);
                let stamp = flowlog_schema::Time(micros * 1_000).to_string();
                let stamp = stamp.trim_end_matches('Z');
                text.clear();
                if at == 0 {
                    text.push_str(record);
                    text.push('\n');
                } else {
                    let sources = NoiseSource::ALL;
                    flowlog_simulator::write_noise(
                        &mut random,
                        sources[pod % sources.len()],
                        micros,
                        &mut text,
                    );
                }
                let pod = if at == 0 { log % (2 * PODS) } else { pod };
                line.clear();
                for line_text in text.lines() {
                    match pod.checked_sub(PODS) {
                        Some(_) => line.push_str(&format!("{stamp}123Z stdout F {line_text}\n")),
                        None => line.push_str(&format!(
                            "[pod/{}-{pod}-7d9f/main] {stamp}123Z {line_text}\n",
                            NAMES[pod % NAMES.len()]
                        )),
                    }
                    input.lines += 1;
                }
                input.bytes += line.len() as u64;
                match pod.checked_sub(PODS).and_then(|pod| runtime.get_mut(pod)) {
                    Some(file) => file.write_all(line.as_bytes())?,
                    None => joined.write_all(line.as_bytes())?,
                }
            }
        }
        input.count(&cluster);
    }
    joined.flush()?;
    for file in &mut runtime {
        file.flush()?;
    }
    Ok(input)
}

/// Number of pods in the shared file, and number of pods with a file each.
const PODS: usize = 5;

/// Names of pods, by the source of their noise.
const NAMES: [&str; 5] = ["frontend", "vllm-worker", "sglang-worker", "trtllm-worker", "etcd"];

/// Number of lines per record.
const RATIO: u32 = 50;
