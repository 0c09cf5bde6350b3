//! Where records go, as Python says it.

use std::path::PathBuf;
use std::time::Duration;

use dynamo_flowlog::Rotation;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Where records go: made by `Sink.stderr`, `Sink.file`, `Sink.mapped` and `Sink.nothing`.
#[pyclass(module = "flowlog", frozen, eq)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink(pub(crate) dynamo_flowlog::Sink);

/// `None` where seconds are not given.
fn age_of(age: Option<f64>) -> PyResult<Option<Duration>> {
    age.map(|age| {
        Duration::try_from_secs_f64(age)
            .map_err(|error| PyValueError::new_err(format!("`max_age`: {error}")))
    })
    .transpose()
}

#[pymethods]
impl Sink {
    /// Standard error, one write a record.
    #[staticmethod]
    fn stderr() -> Self {
        Self(dynamo_flowlog::Sink::Stderr)
    }

    /// A file, one write a record; several processes may write to one.
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

    /// Mapped files `PATH.PID.NUMBER`, for hot paths: a record is a copy, and no call into the kernel.
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

    /// Nowhere; a flight file is kept all the same.
    #[staticmethod]
    fn nothing() -> Self {
        Self(dynamo_flowlog::Sink::Nothing)
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
            _ => "Sink.nothing()".to_owned(),
        }
    }
}

impl Sink {
    /// What stands for a sink: one of them, a sink as `FLOWLOG_SINK` writes it, or the path of a file.
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
