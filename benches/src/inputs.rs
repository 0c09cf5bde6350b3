//! What is measured: seeded logs, made once and kept in a folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flowlog_simulator::{Cluster, Form, Options, Outcome, Voice, simulate};
use serde::{Deserialize, Serialize};

/// Logs on disk and what is true of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

    /// Nothing yet, in a folder that is made.
    fn empty(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to make the folder `{}`", folder.display()))?;
        Ok(Self { folder: folder.to_path_buf(), bytes: 0, lines: 0, flows: [0; 5] })
    }

    /// Adds what became of a cluster's flows.
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

/// Requests of a run that is simulated at once: what does not fit into memory is many runs, one after the other.
const FLOWS_AT_ONCE: usize = 10_000;

/// Seconds from the beginning of one run to that of the next.
const APART: u64 = FLOWS_AT_ONCE as u64 / 20 + 60;

/// Makes flowlog records of about that size: each line belongs to a flow and has about 400 bytes. Two of a hundred requests
/// meet a fault.
pub fn records(folder: &Path, form: Form, bytes: u64) -> anyhow::Result<Input> {
    let mut input = Input::empty(folder)?;
    let mut files: Vec<(String, BufWriter<File>)> = Vec::new();
    let padding = if form == Form::Json { 12 } else { 60 };
    for run in 0.. {
        if input.bytes >= bytes {
            break;
        }
        // The last run is as long as what is left.
        let per_flow = if run == 0 { 6_600 } else { input.bytes / (run * FLOWS_AT_ONCE as u64) };
        let flows =
            FLOWS_AT_ONCE.min(usize::try_from((bytes - input.bytes) / per_flow.max(1))? + 1);
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

/// The records of [`records`] in so many files, each of which goes on where another ended: as rotation leaves them, or in one.
pub fn in_files(folder: &Path, bytes: u64, files: usize) -> anyhow::Result<Input> {
    let whole = folder.join("whole");
    let mut input = records(&whole, Form::Json, bytes)?;
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

/// Makes logs of about that size in which two lines of a hundred are records, and the rest is chatter of every engine: half of
/// the pods in one file as `kubectl logs --prefix --timestamps` prints them, the others as the container runtime keeps them.
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
            begin: run * 600,
            flows: 250,
            form: Form::Json,
            fault_percent: 2,
            kills: 0,
            quiet: true,
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
                .context("a record without a time")?
                .0
                / 1_000;
            for at in 0..RATIO {
                // All of a record's chatter comes right after it.
                let (pod, micros) = (random.usize(0..2 * PODS), micros + i64::from(at) * 7);
                let stamp = flowlog_schema::Time(micros * 1_000).to_string();
                let stamp = stamp.trim_end_matches('Z');
                text.clear();
                if at == 0 {
                    text.push_str(record);
                    text.push('\n');
                } else {
                    let voices = Voice::ALL;
                    flowlog_simulator::chat(
                        &mut random,
                        voices[pod % voices.len()],
                        micros,
                        &mut text,
                    );
                }
                let pod = if at == 0 { log % (2 * PODS) } else { pod };
                line.clear();
                for said in text.lines() {
                    match pod.checked_sub(PODS) {
                        Some(_) => line.push_str(&format!("{stamp}123Z stdout F {said}\n")),
                        None => line.push_str(&format!(
                            "[pod/{}-{pod}-7d9f/main] {stamp}123Z {said}\n",
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

/// Pods in one file, and as many with a file each.
const PODS: usize = 5;

/// What pods are called, by whose chatter they write.
const NAMES: [&str; 5] = ["frontend", "vllm-worker", "sglang-worker", "trtllm-worker", "etcd"];

/// Lines of which one is a record.
const RATIO: u32 = 50;
