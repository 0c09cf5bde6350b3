//! Python bindings of the analyzer.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arrow_array::RecordBatch;
use flowlog_analyze::component_filter::ComponentFilter;
use flowlog_analyze::event::FlowKey;
use flowlog_analyze::ingest::{IngestOptions, Progress};
use flowlog_analyze::owners::Owners;
use flowlog_analyze::profile::Profile;
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::{Options, analyze as analyze_logs, events as events_of, profile_run};
use flowlog_schema::report::Report;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::{Batches, Table, batch, stream};

/// Interval at which Ctrl-C is checked and progress is reported.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A report as the analyzer produced it. `flowlog.Report` is built from it.
#[pyclass(module = "flowlog", frozen)]
pub struct Analysis(Report);

#[pymethods]
impl Analysis {
    /// Returns the report as `--format json` writes it.
    fn json(&self) -> PyResult<String> {
        serde_json::to_string(&self.0).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Returns the report as `--format markdown` or `--format text` writes it.
    fn render(&self, output: &str) -> PyResult<String> {
        let output = match output {
            "text" => flowlog_analyze::render::Output::Text,
            "markdown" => flowlog_analyze::render::Output::Markdown,
            other => {
                return Err(PyValueError::new_err(format!(
                    "invalid `output` `{other}`: expected `text` or `markdown`"
                )));
            }
        };
        let mut out = Vec::new();
        flowlog_analyze::render::report(
            &self.0,
            output,
            flowlog_analyze::render::Style::Never,
            &mut out,
        )
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Returns the failures as a table.
    fn failures(&self) -> Table {
        Table::of_failures(&self.0.failures)
    }

    /// Returns the failed and recovered flows as a table.
    fn flow_failures(&self) -> Table {
        Table::of_flow_failures(&self.0.flow_failures)
    }
}

/// Maximum number of threads; more only add overhead.
const MAX_THREADS: usize = 256;

/// Parsed arguments of an analysis: paths, options, and thread count.
struct AnalyzeRequest {
    paths: Vec<PathBuf>,
    options: Options,
    threads: usize,
}

impl AnalyzeRequest {
    fn new(
        paths: Vec<PathBuf>,
        owners: &[PathBuf],
        (since, until): (Option<i64>, Option<i64>),
        components: &[String],
        flows: &[String],
        (memory, threads): (Option<u64>, usize),
        (has_failed, baselines): (bool, &[PathBuf]),
    ) -> PyResult<Self> {
        if paths.is_empty() {
            return Err(PyValueError::new_err("no paths given: expected log files or folders"));
        }
        let flows = flows.iter().map(|id| {
            FlowKey::parse(id)
                .ok_or_else(|| PyValueError::new_err(format!("invalid flow ID `{id}`")))
        });
        let ingest = IngestOptions {
            since: since.unwrap_or(i64::MIN),
            until: until.unwrap_or(i64::MAX),
            components: ComponentFilter::of(components.iter().map(String::as_str)),
            flows: flows.collect::<PyResult<_>>()?,
            memory,
            ..IngestOptions::default()
        };
        let options = Options {
            owners: read_owners(owners)?,
            ingest,
            has_failed,
            baselines: baselines.iter().map(|path| baseline(path)).collect::<PyResult<_>>()?,
        };
        Ok(Self { paths, options, threads })
    }

    /// Runs `work` on a dedicated thread pool: the threads of the global pool do not survive a
    /// fork.
    fn begin<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(self.threads.min(MAX_THREADS)).build();
        Ok(threads.map_err(|error| error.to_string())?.install(work))
    }
}

/// Reads the profile of a good run: a saved one, or that of its logs.
fn baseline(path: &Path) -> PyResult<Profile> {
    let head = std::fs::File::open(path).and_then(|mut file| {
        let mut head = [0; 64];
        let filled = file.read(&mut head)?;
        Ok(head.get(..filled).unwrap_or_default().to_vec())
    });
    if head.is_ok_and(|head| Profile::is_profile(&head)) {
        let text = std::fs::read_to_string(path)?;
        return Profile::from_json(&text)
            .map_err(|error| PyValueError::new_err(format!("`{}`: {error}", path.display())));
    }
    let sources = source::open(&[path.to_path_buf()]);
    check_read(&sources).map_err(PyFileNotFoundError::new_err)?;
    Ok(profile_run(&sources, &Options::default(), &|_| ()))
}

fn read_owners(files: &[PathBuf]) -> PyResult<Owners> {
    let mut owners = Owners::default();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let words = format!("failed to read `{}`: {error}", file.display());
            if error.kind() == ErrorKind::NotFound {
                PyFileNotFoundError::new_err(words)
            } else {
                PyOSError::new_err(words)
            }
        })?;
        let read = Owners::read(&file.to_string_lossy(), &text)
            .map_err(|error| PyValueError::new_err(format!("`{}`: {error}", file.display())))?;
        // The first table wins on conflicts.
        drop(owners.merge(read));
    }
    Ok(owners)
}

/// Returns an error with the reasons if no source could be read.
fn check_read(sources: &Sources) -> Result<(), String> {
    if !sources.read.is_empty() {
        return Ok(());
    }
    let read_errors: Vec<String> = sources
        .read_errors
        .iter()
        .map(|read_errors| format!("`{}`: {}", read_errors.source, read_errors.error))
        .collect();
    Err(format!("no source could be read: {}", read_errors.join("; ")))
}

/// Reads logs once and reports what failed, where it failed first, and who owns it.
#[pyfunction]
#[pyo3(signature = (paths, *, owners, since, until, components, flows, memory_limit, threads, progress, failed, baseline))]
#[expect(clippy::too_many_arguments, reason = "these are Python keyword arguments")]
pub(crate) fn analyze(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    owners: Vec<PathBuf>,
    since: Option<i64>,
    until: Option<i64>,
    components: Vec<String>,
    flows: Vec<String>,
    memory_limit: Option<u64>,
    threads: usize,
    progress: Option<&Bound<'_, PyAny>>,
    failed: bool,
    baseline: Vec<PathBuf>,
) -> PyResult<Analysis> {
    let request = AnalyzeRequest::new(
        paths,
        &owners,
        (since, until),
        &components,
        &flows,
        (memory_limit, threads),
        (failed, &baseline),
    )?;
    let cancel = Arc::clone(&request.options.ingest.cancel);
    let counters: Arc<[AtomicU64; 3]> = Arc::default();
    let (sender, answers) = channel();
    let so_far = Arc::clone(&counters);
    let work = move || {
        let answer = request.begin(|| {
            let sources = source::open(&request.paths);
            check_read(&sources)?;
            so_far[1].store(sources.read.iter().map(|source| source.size).sum(), Ordering::Relaxed);
            let report_progress = |step: Progress| {
                so_far[0].fetch_add(step.bytes, Ordering::Relaxed);
                so_far[2].fetch_add(step.failures, Ordering::Relaxed);
            };
            Ok(analyze_logs(&sources, &request.options, &report_progress))
        });
        // The receiver is gone if Ctrl-C interrupted the caller.
        let _ = sender.send(answer.and_then(|answer| answer));
    };
    thread::Builder::new().name("flowlog-analyze".to_owned()).spawn(work)?;
    let report_progress = || match progress {
        Some(progress) => progress
            .call1((
                counters[0].load(Ordering::Relaxed),
                counters[1].load(Ordering::Relaxed),
                counters[2].load(Ordering::Relaxed),
            ))
            .map(drop),
        None => Ok(()),
    };
    let answers = Mutex::new(answers);
    loop {
        let answer = py.detach(|| {
            answers.lock().map_or(Err(RecvTimeoutError::Disconnected), |answers| {
                answers.recv_timeout(SIGNAL_CHECK_INTERVAL)
            })
        });
        match answer {
            Ok(answer) => {
                report_progress()?;
                return answer.map(Analysis).map_err(PyFileNotFoundError::new_err);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the analysis stopped unexpectedly; this is a bug in flowlog",
                ));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(interrupted) = py.check_signals().and_then(|()| report_progress()) {
                    cancel.store(true, Ordering::Relaxed);
                    return Err(interrupted);
                }
            }
        }
    }
}

/// The events of logs as a stream, which can be read once.
#[pyclass(module = "flowlog", frozen)]
pub struct Events(Mutex<Option<Batches>>);

#[pymethods]
impl Events {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = self.0.lock().ok().and_then(|mut batches| batches.take());
        let batches = batches.ok_or_else(|| {
            PyValueError::new_err("the events have already been read; call `events` again")
        })?;
        stream(py, Box::new(batches))
    }
}

/// Number of batches prepared before the consumer requests them.
const MAX_QUEUED_BATCHES: usize = 2;

/// Reads logs and streams their events as rows, on demand.
#[pyfunction]
#[pyo3(signature = (paths, *, since, until, components, flows, threads))]
pub(crate) fn events(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    since: Option<i64>,
    until: Option<i64>,
    components: Vec<String>,
    flows: Vec<String>,
    threads: usize,
) -> PyResult<Events> {
    let request = AnalyzeRequest::new(
        paths,
        &[],
        (since, until),
        &components,
        &flows,
        (None, threads),
        (false, &[]),
    )?;
    let sources = py
        .detach(|| request.begin(|| source::open(&request.paths)))
        .map_err(PyRuntimeError::new_err)?;
    check_read(&sources).map_err(PyFileNotFoundError::new_err)?;
    let (sender, receiver) = sync_channel::<RecordBatch>(MAX_QUEUED_BATCHES);
    let work = move || {
        let names: Vec<String> = sources.read.iter().map(|source| source.name.clone()).collect();
        let name = |source: u32| names.get(source as usize).cloned().unwrap_or_default();
        // Sending fails once the consumer has dropped the stream.
        let _ = request.begin(|| {
            events_of(&sources, &request.options, &mut |events| {
                batch(&events, &name).is_ok_and(|batch| sender.send(batch).is_ok())
            });
        });
    };
    thread::Builder::new().name("flowlog-events".to_owned()).spawn(work)?;
    Ok(Events(Mutex::new(Some(Batches(Mutex::new(receiver))))))
}
