//! Who emits: the process's own emitter, and others beside it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dynamo_flowlog::{Builder, Form, InstallError, Installed, Level};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::flow::{Flow, Origin, Speaker};
use crate::headers;
use crate::sink::Sink;

/// The process's own, while it is open.
static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// Who emits, beside the process's own: for a program that speaks for several components. `flowlog.init` makes the process's own.
///
/// What is not said is as the environment asks for (`FLOWLOG_SINK`, `DYN_LOG`, `POD_NAME`, ...); without either, records go to standard error.
#[pyclass(module = "flowlog", frozen)]
pub struct Emitter {
    emitter: dynamo_flowlog::Emitter,
    /// It is the process's own.
    is_own: bool,
}

/// How an emitter is set up.
struct Setup<'a, 'py> {
    component: &'a str,
    instance: Option<String>,
    versions: Option<&'a Bound<'py, PyDict>>,
    sink: Option<&'a Bound<'py, PyAny>>,
    form: Option<&'a str>,
    level: Option<&'a str>,
    flight: Option<PathBuf>,
    samples: Option<f64>,
}

impl Setup<'_, '_> {
    /// What is not said is as the environment asks for.
    fn builder(self) -> PyResult<Builder> {
        let mut builder = dynamo_flowlog::Emitter::from_environment(self.component);
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
        builder = match self.form {
            None => builder,
            Some("json") => builder.form(Form::Json),
            Some("text") => builder.form(Form::Text),
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "`form`: `{other}` is neither `json` nor `text`"
                )));
            }
        };
        if let Some(level) = self.level {
            let level = Level::parse(level)
                .ok_or_else(|| PyValueError::new_err(format!("`level`: `{level}` is none")))?;
            builder = builder.level(level);
        }
        if let Some(folder) = self.flight {
            builder = builder.flight(folder);
        }
        if let Some(every) = self.samples {
            let every = Duration::try_from_secs_f64(every).ok().filter(|every| !every.is_zero());
            builder = builder.samples(every.ok_or_else(|| {
                PyValueError::new_err("`samples`: seconds between two, more than none")
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

/// Says that the process ends, and gives back what its emitter holds. It is called when the interpreter exits.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner).take();
    py.detach(|| drop(installed));
}

/// A new flow. The first of a process is part of the one that it was started in, if there was one, and one that begins inside a span of
/// OpenTelemetry's is part of its trace.
#[pyfunction]
#[pyo3(signature = (kind, /, **fields))]
pub(crate) fn flow(kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Flow {
    Flow::new(Origin::New, kind, fields, Speaker::Own)
}

/// The flow that a caller's headers name (W3C Trace Context, `x-flow-id`, request ids), or a new one.
#[pyfunction]
#[pyo3(signature = (headers, kind=None, /, **fields), text_signature = "(headers, kind='request', /, **fields)")]
pub(crate) fn join(
    headers: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyString>>,
    fields: Option<&Bound<'_, PyDict>>,
) -> Flow {
    joined(headers, kind, fields, Speaker::Own)
}

fn joined(
    headers: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyString>>,
    fields: Option<&Bound<'_, PyDict>>,
    speaker: Speaker,
) -> Flow {
    let kind = kind.cloned().unwrap_or_else(|| PyString::new(headers.py(), "request"));
    Flow::new(Origin::Headers(headers::read(headers)), &kind, fields, speaker)
}

/// What went wrong with records of the process's own emitter so far; empty where there is none.
#[pyfunction]
pub(crate) fn health(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    dynamo_flowlog::Emitter::installed()
        .map_or_else(|| Ok(PyDict::new(py)), |emitter| health_of(py, emitter))
}

/// A reading that every sample of the process's own emitter carries. `read` is called on a thread of its own; what it raises leaves the reading out.
#[pyfunction]
pub(crate) fn gauge(name: String, read: Py<PyAny>) {
    if let Some(emitter) = dynamo_flowlog::Emitter::installed() {
        add_gauge(emitter, name, read);
    }
}

fn add_gauge(emitter: &dynamo_flowlog::Emitter, name: String, read: Py<PyAny>) {
    emitter.gauge(name, move || {
        // At its end the interpreter lets nobody in.
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
    let told = PyDict::new(py);
    told.set_item("lost", health.lost)?;
    told.set_item("reason", health.reason)?;
    told.set_item("untracked_flows", health.untracked_flows)?;
    told.set_item("after_end", health.after_end)?;
    told.set_item("malformed_headers", health.malformed_headers)?;
    told.set_item("refused_clocks", health.refused_clocks)?;
    told.set_item("exported", health.exported)?;
    told.set_item("not_exported", health.not_exported)?;
    told.set_item("open_flows", emitter.open_flows())?;
    Ok(told)
}

#[pymethods]
impl Emitter {
    #[new]
    #[pyo3(signature = (component, instance=None, versions=None, sink=None, *, form=None, level=None, flight=None, samples=None, _own=false))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        component: &str,
        instance: Option<String>,
        versions: Option<&Bound<'_, PyDict>>,
        sink: Option<&Bound<'_, PyAny>>,
        form: Option<&str>,
        level: Option<&str>,
        flight: Option<PathBuf>,
        samples: Option<f64>,
        _own: bool,
    ) -> PyResult<Self> {
        let builder = Setup { component, instance, versions, sink, form, level, flight, samples }
            .builder()?;
        if !_own {
            return Ok(Self {
                emitter: py.detach(|| builder.build()).map_err(raised)?,
                is_own: false,
            });
        }
        let installed = py.detach(|| builder.install()).map_err(raised)?;
        let emitter = Self { emitter: installed.clone(), is_own: true };
        *INSTALLED.lock().unwrap_or_else(PoisonError::into_inner) = Some(installed);
        Ok(emitter)
    }

    /// A new flow.
    #[pyo3(signature = (kind, /, **fields))]
    fn flow(&self, kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Flow {
        Flow::new(Origin::New, kind, fields, self.speaker())
    }

    /// The flow that a caller's headers name, or a new one.
    #[pyo3(signature = (headers, kind=None, /, **fields), text_signature = "($self, headers, kind='request', /, **fields)")]
    fn join(
        &self,
        headers: &Bound<'_, PyAny>,
        kind: Option<&Bound<'_, PyString>>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> Flow {
        joined(headers, kind, fields, self.speaker())
    }

    /// What went wrong with its records so far.
    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        health_of(py, &self.emitter)
    }

    /// A reading that every sample carries.
    fn gauge(&self, name: String, read: Py<PyAny>) {
        add_gauge(&self.emitter, name, read);
    }

    /// Writes a sample now.
    fn sample(&self, py: Python<'_>) {
        py.detach(|| self.emitter.sample());
    }

    /// Says that it ends, and gives back what it holds.
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
    fn speaker(&self) -> Speaker {
        if self.is_own { Speaker::Own } else { Speaker::Other(self.emitter.clone()) }
    }
}
