//! The analyzer, for Python.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arrow_array::RecordBatch;
use flowlog_analyze::ingest::{Plan, Progress};
use flowlog_analyze::names::Components;
use flowlog_analyze::observation::FlowKey;
use flowlog_analyze::owners::Owners;
use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::{Options, analyze as analyze_logs, events as events_of};
use flowlog_schema::report::Report;
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::tables::{Batches, Table, batch, stream};

/// How often Ctrl-C is looked for, and progress told.
const PAUSE: Duration = Duration::from_millis(50);

/// A report, as the analyzer made it. `flowlog.Report` is made of it.
#[pyclass(module = "flowlog", frozen)]
pub struct Analysis(Report);

#[pymethods]
impl Analysis {
    /// The report as `--format json` writes it.
    fn json(&self) -> PyResult<String> {
        serde_json::to_string(&self.0).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// The report as `--format markdown` and `--format text` write it.
    fn render(&self, form: &str) -> PyResult<String> {
        let output = match form {
            "text" => flowlog_analyze::render::Output::Text,
            "markdown" => flowlog_analyze::render::Output::Markdown,
            other => {
                return Err(PyValueError::new_err(format!(
                    "`form`: `{other}` is neither `text` nor `markdown`"
                )));
            }
        };
        let mut out = Vec::new();
        flowlog_analyze::render::report(
            &self.0,
            output,
            flowlog_analyze::render::Paint::Never,
            &mut out,
        )
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// The failures as a table.
    fn failures(&self) -> Table {
        Table::of_failures(&self.0.failures)
    }

    /// The failed and recovered flows as a table.
    fn flow_failures(&self) -> Table {
        Table::of_flow_failures(&self.0.flow_failures)
    }
}

/// Threads beyond this only cost.
const MOST_THREADS: usize = 256;

/// What is to be read, and how.
struct Wanted {
    paths: Vec<PathBuf>,
    options: Options,
    threads: usize,
}

impl Wanted {
    fn new(
        paths: Vec<PathBuf>,
        owners: &[PathBuf],
        (since, until): (Option<i64>, Option<i64>),
        components: &[String],
        flows: &[String],
        (memory, threads): (Option<u64>, usize),
    ) -> PyResult<Self> {
        if paths.is_empty() {
            return Err(PyValueError::new_err(
                "no path is given; name log files, or folders of them",
            ));
        }
        let flows = flows.iter().map(|id| {
            FlowKey::parse(id)
                .ok_or_else(|| PyValueError::new_err(format!("`{id}` is no flow's id")))
        });
        let plan = Plan {
            since: since.unwrap_or(i64::MIN),
            until: until.unwrap_or(i64::MAX),
            components: Components::of(components.iter().map(String::as_str)),
            flows: flows.collect::<PyResult<_>>()?,
            memory,
            ..Plan::default()
        };
        Ok(Self { paths, options: Options { owners: read_owners(owners)?, plan }, threads })
    }

    /// Does work on threads of its own: those of the process are no more after a fork.
    fn begin<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(self.threads.min(MOST_THREADS)).build();
        Ok(threads.map_err(|error| error.to_string())?.install(work))
    }
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
        // Of two tables that differ the first counts.
        drop(owners.merge(read));
    }
    Ok(owners)
}

/// Says that nothing could be read, and why.
fn check_read(sources: &Sources) -> Result<(), String> {
    if !sources.read.is_empty() {
        return Ok(());
    }
    let unread: Vec<String> = sources
        .unread
        .iter()
        .map(|unread| format!("`{}`: {}", unread.source, unread.error))
        .collect();
    Err(format!("no source could be read: {}", unread.join("; ")))
}

/// Reads logs once and says what failed, where first, and whose it is.
#[pyfunction]
#[pyo3(signature = (paths, *, owners, since, until, components, flows, memory_limit, threads, progress))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
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
) -> PyResult<Analysis> {
    let wanted =
        Wanted::new(paths, &owners, (since, until), &components, &flows, (memory_limit, threads))?;
    let stopped = Arc::clone(&wanted.options.plan.stopped);
    let told: Arc<[AtomicU64; 3]> = Arc::default();
    let (sender, answers) = channel();
    let so_far = Arc::clone(&told);
    let work = move || {
        let answer = wanted.begin(|| {
            let sources = source::open(&wanted.paths);
            check_read(&sources)?;
            so_far[1].store(sources.read.iter().map(|source| source.size).sum(), Ordering::Relaxed);
            let tell = |step: Progress| {
                so_far[0].fetch_add(step.bytes, Ordering::Relaxed);
                so_far[2].fetch_add(step.failures, Ordering::Relaxed);
            };
            Ok(analyze_logs(&sources, &wanted.options, &tell))
        });
        // Nobody waits any more where somebody said Ctrl-C.
        let _ = sender.send(answer.and_then(|answer| answer));
    };
    thread::Builder::new().name("flowlog-analyze".to_owned()).spawn(work)?;
    let tell = || match progress {
        Some(progress) => progress
            .call1((
                told[0].load(Ordering::Relaxed),
                told[1].load(Ordering::Relaxed),
                told[2].load(Ordering::Relaxed),
            ))
            .map(drop),
        None => Ok(()),
    };
    let answers = Mutex::new(answers);
    loop {
        let answer = py.detach(|| {
            answers
                .lock()
                .map_or(Err(RecvTimeoutError::Disconnected), |answers| answers.recv_timeout(PAUSE))
        });
        match answer {
            Ok(answer) => {
                tell()?;
                return answer.map(Analysis).map_err(PyFileNotFoundError::new_err);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the analysis broke off; this is a bug of flowlog's",
                ));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(interrupted) = py.check_signals().and_then(|()| tell()) {
                    stopped.store(true, Ordering::Relaxed);
                    return Err(interrupted);
                }
            }
        }
    }
}

/// The events of logs, as a stream that is read once.
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
            PyValueError::new_err("the events were read already; ask for them anew")
        })?;
        stream(py, Box::new(batches))
    }
}

/// Batches that are made ready before they are asked for.
const AHEAD: usize = 2;

/// Reads logs and hands their events on as rows, while they are asked for.
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
    let wanted = Wanted::new(paths, &[], (since, until), &components, &flows, (None, threads))?;
    let sources = py
        .detach(|| wanted.begin(|| source::open(&wanted.paths)))
        .map_err(PyRuntimeError::new_err)?;
    check_read(&sources).map_err(PyFileNotFoundError::new_err)?;
    let (sender, receiver) = sync_channel::<RecordBatch>(AHEAD);
    let work = move || {
        let names: Vec<String> = sources.read.iter().map(|source| source.name.clone()).collect();
        let name = |source: u32| names.get(source as usize).cloned().unwrap_or_default();
        // Whoever has had enough lets go of the stream.
        let _ = wanted.begin(|| {
            events_of(&sources, &wanted.options, &mut |events| {
                batch(&events, &name).is_ok_and(|batch| sender.send(batch).is_ok())
            });
        });
    };
    thread::Builder::new().name("flowlog-events".to_owned()).spawn(work)?;
    Ok(Events(Mutex::new(Some(Batches(Mutex::new(receiver))))))
}
