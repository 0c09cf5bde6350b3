//! Destinations of records, as specified from Python.

use std::path::PathBuf;
use std::time::Duration;

use dynamo_flowlog::Rotation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The destination of records, created by one of the static methods.
#[pyclass(module = "flowlog", frozen, eq)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink(pub(crate) dynamo_flowlog::Sink);

/// Converts seconds to a duration; returns `None` for `None`.
fn age_of(age: Option<f64>) -> PyResult<Option<Duration>> {
    age.map(|age| {
        Duration::try_from_secs_f64(age)
            .map_err(|error| PyValueError::new_err(format!("invalid `max_age`: {error}")))
    })
    .transpose()
}

#[pymethods]
impl Sink {
    /// Writes records to standard error, with one write per record.
    #[staticmethod]
    fn stderr() -> Self {
        Self(dynamo_flowlog::Sink::Stderr)
    }

    /// Writes records to a file, with one write per record. Several processes may share the file.
    #[staticmethod]
    #[pyo3(signature = (path, *, max_bytes=None, max_age=None, keep=None))]
    fn file(
        path: PathBuf,
        max_bytes: Option<u64>,
        max_age: Option<f64>,
        keep: Option<usize>,
    ) -> PyResult<Self> {
        Ok(Self(dynamo_flowlog::Sink::File {
            path,
            rotation: Rotation { size: max_bytes, age: age_of(max_age)?, keep },
        }))
    }

    /// Writes records to memory-mapped files `PATH.PID.NUMBER`, for hot paths: a record costs a
    /// copy, and no system call.
    #[staticmethod]
    #[pyo3(signature = (path, *, max_bytes=None, max_age=None, keep=None))]
    fn mapped(
        path: PathBuf,
        max_bytes: Option<u64>,
        max_age: Option<f64>,
        keep: Option<usize>,
    ) -> PyResult<Self> {
        Ok(Self(dynamo_flowlog::Sink::Mapped {
            path,
            rotation: Rotation { size: max_bytes, age: age_of(max_age)?, keep },
        }))
    }

    /// Discards records. A flight file is still maintained.
    #[staticmethod]
    fn discard() -> Self {
        Self(dynamo_flowlog::Sink::Discard)
    }

    fn __repr__(&self) -> String {
        let of = |name: &str, path: &PathBuf, rotation: &Rotation| {
            let mut shown = format!("Sink.{name}({:?}", path.to_string_lossy());
            for (name, value) in [
                ("max_bytes", rotation.size.map(|size| size.to_string())),
                ("max_age", rotation.age.map(|age| age.as_secs_f64().to_string())),
                ("keep", rotation.keep.map(|keep| keep.to_string())),
            ] {
                if let Some(value) = value {
                    shown.push_str(&format!(", {name}={value}"));
                }
            }
            shown + ")"
        };
        match &self.0 {
            dynamo_flowlog::Sink::Stderr => "Sink.stderr()".to_owned(),
            dynamo_flowlog::Sink::File { path, rotation } => of("file", path, rotation),
            dynamo_flowlog::Sink::Mapped { path, rotation } => of("mapped", path, rotation),
            _ => "Sink.discard()".to_owned(),
        }
    }
}

impl Sink {
    /// Converts a Python value: a `Sink`, a string in the syntax of `FLOWLOG_SINK`, or a file path.
    pub(crate) fn of(value: &Bound<'_, PyAny>) -> PyResult<dynamo_flowlog::Sink> {
        if let Ok(sink) = value.cast::<Self>() {
            return Ok(sink.get().0.clone());
        }
        if let Ok(text) = value.extract::<String>()
            && let Ok(sink) = text.parse()
        {
            return Ok(sink);
        }
        Ok(dynamo_flowlog::Sink::file(value.extract::<PathBuf>()?))
    }
}
