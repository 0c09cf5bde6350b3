//! Emitters: the process's own, and additional ones.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dynamo_flowlog::{Builder, EmitterGuard, Encoding, InstallError, Level};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::flow::Flow;
use crate::flow_source::{EmitterRef, FlowSource};
use crate::headers;
use crate::sink::Sink;

/// The process's own emitter, while it is open.
static GLOBAL: Mutex<Option<EmitterGuard>> = Mutex::new(None);

/// Emits the records of one component.
///
/// `flowlog.init` creates the process's own emitter. Create others only in a program that emits for
/// several components.
///
/// Omitted arguments default to the environment (`FLOWLOG_SINK`, `DYN_LOG`, `POD_NAME`, ...). If
/// neither sets a sink, records go to standard error.
#[pyclass(module = "flowlog", frozen)]
pub struct Emitter {
    emitter: dynamo_flowlog::Emitter,
    /// Whether this is the process's own emitter.
    is_own: bool,
}

/// Configuration of an emitter.
struct Setup<'a, 'py> {
    component: &'a str,
    instance: Option<String>,
    versions: Option<&'a Bound<'py, PyDict>>,
    sink: Option<&'a Bound<'py, PyAny>>,
    encoding: Option<&'a str>,
    level: Option<&'a str>,
    flight: Option<PathBuf>,
    sample_interval: Option<f64>,
}

impl Setup<'_, '_> {
    /// Returns a builder; omitted arguments default to the environment.
    fn builder(self) -> PyResult<Builder> {
        let mut builder = dynamo_flowlog::Emitter::from_env(self.component);
        if let Some(instance) = self.instance {
            builder = builder.instance(instance);
        }
        for (name, version) in self.versions.into_iter().flat_map(PyDictMethods::iter) {
            builder =
                builder.version(name.str()?.to_string_lossy(), version.str()?.to_string_lossy());
        }
        if let Some(sink) = self.sink.filter(|sink| !sink.is_none()) {
            builder = builder.sink(Sink::of(sink)?);
        }
        builder = match self.encoding {
            None => builder,
            Some("json") => builder.encoding(Encoding::Json),
            Some("text") => builder.encoding(Encoding::Text),
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "invalid `encoding` `{other}`: expected `json` or `text`"
                )));
            }
        };
        if let Some(level) = self.level {
            let level = Level::parse(level)
                .ok_or_else(|| PyValueError::new_err(format!("invalid `level` `{level}`")))?;
            builder = builder.level(level);
        }
        if let Some(folder) = self.flight {
            builder = builder.flight(folder);
        }
        if let Some(every) = self.sample_interval {
            let every = Duration::try_from_secs_f64(every).ok().filter(|every| !every.is_zero());
            builder = builder.sample_interval(every.ok_or_else(|| {
                PyValueError::new_err(
                    "invalid `sample_interval`: expected a positive number of seconds",
                )
            })?);
        }
        Ok(builder)
    }
}

fn raised(error: InstallError) -> PyErr {
    match &error {
        InstallError::Component(_) => PyValueError::new_err(error.to_string()),
        InstallError::Sink { error: cause, .. } | InstallError::Flight { error: cause, .. } => {
            match cause.raw_os_error() {
                Some(number) => PyOSError::new_err((number, error.to_string())),
                None => PyOSError::new_err(error.to_string()),
            }
        }
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

/// Records the end of the process and releases its emitter's resources.
///
/// Called automatically when the interpreter exits.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let installed = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    py.detach(|| drop(installed));
}

/// Creates a new flow.
///
/// A flow that starts inside an OpenTelemetry span joins its trace. Otherwise, the first flow of a
/// process joins the flow that the process was started in, if there was one.
#[pyfunction]
#[pyo3(signature = (kind, /, **fields))]
pub(crate) fn flow(kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Flow {
    Flow::new(FlowSource::New, kind, fields, EmitterRef::Own)
}

/// Joins the flow that a caller's headers identify, or creates a new one.
///
/// Reads W3C Trace Context, `x-flow-id` and request ID headers.
#[pyfunction]
#[pyo3(signature = (headers, kind=None, /, **fields), text_signature = "(headers, kind='request', /, **fields)")]
pub(crate) fn join(
    headers: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyString>>,
    fields: Option<&Bound<'_, PyDict>>,
) -> Flow {
    joined(headers, kind, fields, EmitterRef::Own)
}

fn joined(
    headers: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyString>>,
    fields: Option<&Bound<'_, PyDict>>,
    emitter_ref: EmitterRef,
) -> Flow {
    let kind = kind.cloned().unwrap_or_else(|| PyString::new(headers.py(), "request"));
    Flow::new(FlowSource::Headers(headers::read(headers)), &kind, fields, emitter_ref)
}

/// Returns the counters of the process's own emitter, such as lost records; empty if there is no
/// emitter.
#[pyfunction]
pub(crate) fn health(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    dynamo_flowlog::Emitter::global()
        .map_or_else(|| Ok(PyDict::new(py)), |emitter| health_of(py, emitter))
}

/// Adds a gauge to every sample of the process's own emitter.
///
/// `read` is called on a separate thread. If it raises, the sample omits the gauge.
#[pyfunction]
pub(crate) fn gauge(name: String, read: Py<PyAny>) {
    if let Some(emitter) = dynamo_flowlog::Emitter::global() {
        add_gauge(emitter, name, read);
    }
}

fn add_gauge(emitter: &dynamo_flowlog::Emitter, name: String, read: Py<PyAny>) {
    emitter.gauge(name, move || {
        // Attaching fails while the interpreter shuts down.
        Python::try_attach(|py| read.call0(py).and_then(|value| value.extract::<f64>(py)).ok())
            .flatten()
            .unwrap_or(f64::NAN)
    });
}

fn health_of<'py>(
    py: Python<'py>,
    emitter: &dynamo_flowlog::Emitter,
) -> PyResult<Bound<'py, PyDict>> {
    let health = emitter.health();
    let counters = PyDict::new(py);
    counters.set_item("lost", health.lost)?;
    counters.set_item("reason", health.reason)?;
    counters.set_item("untracked_flows", health.untracked_flows)?;
    counters.set_item("after_end", health.after_end)?;
    counters.set_item("malformed_headers", health.malformed_headers)?;
    counters.set_item("refused_clocks", health.refused_clocks)?;
    counters.set_item("exported", health.exported)?;
    counters.set_item("not_exported", health.not_exported)?;
    counters.set_item("open_flows", emitter.open_flows())?;
    Ok(counters)
}

#[pymethods]
impl Emitter {
    #[new]
    #[pyo3(signature = (component, instance=None, versions=None, sink=None, *, encoding=None, level=None, flight=None, sample_interval=None, _own=false))]
    #[expect(clippy::too_many_arguments, reason = "these are Python keyword arguments")]
    fn new(
        py: Python<'_>,
        component: &str,
        instance: Option<String>,
        versions: Option<&Bound<'_, PyDict>>,
        sink: Option<&Bound<'_, PyAny>>,
        encoding: Option<&str>,
        level: Option<&str>,
        flight: Option<PathBuf>,
        sample_interval: Option<f64>,
        _own: bool,
    ) -> PyResult<Self> {
        let builder =
            Setup { component, instance, versions, sink, encoding, level, flight, sample_interval }
                .builder()?;
        if !_own {
            return Ok(Self {
                emitter: py.detach(|| builder.build()).map_err(raised)?,
                is_own: false,
            });
        }
        let installed = py.detach(|| builder.install()).map_err(raised)?;
        let emitter = Self { emitter: installed.clone(), is_own: true };
        *GLOBAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(installed);
        Ok(emitter)
    }

    /// Creates a new flow.
    #[pyo3(signature = (kind, /, **fields))]
    fn flow(&self, kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Flow {
        Flow::new(FlowSource::New, kind, fields, self.emitter_ref())
    }

    /// Joins the flow that a caller's headers identify, or creates a new one.
    #[pyo3(signature = (headers, kind=None, /, **fields), text_signature = "($self, headers, kind='request', /, **fields)")]
    fn join(
        &self,
        headers: &Bound<'_, PyAny>,
        kind: Option<&Bound<'_, PyString>>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> Flow {
        joined(headers, kind, fields, self.emitter_ref())
    }

    /// Returns the counters of this emitter, such as lost records.
    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        health_of(py, &self.emitter)
    }

    /// Adds a gauge to every sample.
    fn gauge(&self, name: String, read: Py<PyAny>) {
        add_gauge(&self.emitter, name, read);
    }

    /// Writes a sample record now.
    fn sample(&self, py: Python<'_>) {
        py.detach(|| self.emitter.sample());
    }

    /// Records the end of the process and releases the emitter's resources.
    fn close(&self, py: Python<'_>) {
        if self.is_own {
            return close(py);
        }
        py.detach(|| self.emitter.close());
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> bool {
        self.close(py);
        false
    }
}

impl Emitter {
    fn emitter_ref(&self) -> EmitterRef {
        if self.is_own { EmitterRef::Own } else { EmitterRef::Other(self.emitter.clone()) }
    }
}
