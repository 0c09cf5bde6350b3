//! Emitter setup. Every setup error is returned here; emitting returns none later.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flowlog_schema::{Level, is_component};

use crate::emitter::{Config, Emitter, EmitterGuard, Inner};
use crate::env::Environment;
use crate::otlp::Otlp;
use crate::recover::recover;
use crate::resource::Resource;
use crate::resource_sampler;
use crate::sink::{Encoding, Sink, SinkWriter};
use crate::trace_sampling::Sampling;

/// Error returned when an emitter cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The process already has an emitter.
    #[error("an emitter is already installed; a process can have only one")]
    Installed,
    /// The component's name is not valid in a record.
    #[error("invalid component `{0}`: expected a letter, then letters, digits, `_`, `.` or `-`")]
    Component(String),
    /// The sink cannot be opened.
    #[error("failed to open sink {sink:?}: {error}")]
    Sink {
        /// The sink that was requested.
        sink: Sink,
        /// Error returned by the operating system.
        #[source]
        error: io::Error,
    },
    /// The flight file cannot be created.
    #[error("failed to create a flight file in `{}`: {error}", folder.display())]
    Flight {
        /// Folder for the flight file.
        folder: PathBuf,
        /// Error returned by the operating system.
        #[source]
        error: io::Error,
    },
    /// The OTLP exporter cannot be set up.
    #[error("failed to set up OTLP: {0}")]
    Otlp(String),
}

/// Configures and sets up an [`Emitter`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `install` or `build` is called"]
pub struct Builder {
    component: String,
    instance: Option<String>,
    versions: Vec<(String, String)>,
    sink: Sink,
    encoding: Option<Encoding>,
    level: Level,
    sampling: Sampling,
    flight: Option<PathBuf>,
    sample_interval: Option<Duration>,
    otlp: Option<Otlp>,
    disabled: bool,
}

impl Emitter {
    /// Returns a builder for an emitter of `component` that writes to standard error and reads no
    /// environment variables.
    pub fn builder(component: &str) -> Builder {
        Builder::new(component)
    }

    /// Returns a builder that is configured from the environment; `component` applies if the
    /// environment names none. The variables are `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
    /// `OTEL_SDK_DISABLED`, `POD_NAME`, `DYN_LOG`, `DYN_LOGGING_CONSOLE_FORMAT`,
    /// `DYN_LOGGING_JSONL`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`,
    /// `OTEL_EXPORT_ENABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_LOGS_EXPORTER`,
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`, `FLOWLOG_SINK` (`stderr`, `none`, `file:PATH`, `mapped:PATH`)
    /// and `FLOWLOG_FLIGHT` (a folder).
    pub fn from_env(component: &str) -> Builder {
        Builder::from_env(component)
    }
}

impl Builder {
    fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            instance: None,
            versions: Vec::new(),
            sink: Sink::default(),
            encoding: None,
            level: Level::Info,
            sampling: Sampling::ALL,
            flight: None,
            sample_interval: None,
            otlp: None,
            disabled: false,
        }
    }

    /// See [`Emitter::from_env`].
    fn from_env(component: &str) -> Self {
        let environment = Environment::read();
        let mut builder = Self::new(environment.component.as_deref().unwrap_or(component));
        builder.instance = environment.instance;
        builder
            .versions
            .extend(environment.version.map(|version| (builder.component.clone(), version)));
        builder.sink = environment.sink.unwrap_or_default();
        builder.encoding = environment.encoding;
        builder.level = environment.level.unwrap_or(Level::Info);
        builder.sampling = environment.sampling.unwrap_or_default();
        builder.flight = environment.flight;
        builder.otlp = environment.otlp;
        builder.disabled = environment.disabled;
        builder
    }

    /// Sets the instance, which distinguishes replicas of a component: a pod, a worker ID, a rank.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Adds a version that every start and failure record includes.
    pub fn version(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.versions.push((name.into(), version.into()));
        self
    }

    /// Sets the sink that records are written to.
    pub fn sink(mut self, sink: Sink) -> Self {
        self.sink = sink;
        self
    }

    /// Sets how records are encoded: JSON by default, unless the environment selects text.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// Sets the minimum level that is written. States are `Info`, cancellations `Warn`, failures
    /// `Error`.
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Sets which of the flows that start here are traced. All flows are logged.
    ///
    /// The decision is propagated to callees, and [`Builder::otlp`] exports only traced flows.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Keeps a flight file in `folder`, and closes the flows of dead processes that left their
    /// flight files there.
    pub fn flight(mut self, folder: impl Into<PathBuf>) -> Self {
        self.flight = Some(folder.into());
        self
    }

    /// Writes a `sample` record of the process's resource usage at this interval.
    pub fn sample_interval(mut self, every: Duration) -> Self {
        self.sample_interval = Some(every);
        self
    }

    /// Also exports spans and records to a collector.
    pub fn otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = Some(otlp);
        self
    }

    /// Installs the emitter as the process's own.
    ///
    /// The emitter is closed when the returned guard is dropped.
    ///
    /// # Errors
    /// See [`InstallError`]. Every setup error is returned here; emitting returns none later.
    pub fn install(self) -> Result<EmitterGuard, InstallError> {
        if Emitter::global().is_some() {
            return Err(InstallError::Installed);
        }
        if self.disabled {
            let nothing = Self {
                sink: Sink::Discard,
                flight: None,
                sample_interval: None,
                otlp: None,
                ..self
            };
            return nothing.build().map(EmitterGuard::of);
        }
        let emitter = self.build()?;
        if emitter.set_global() {
            Ok(EmitterGuard::of(emitter))
        } else {
            Err(InstallError::Installed)
        }
    }

    /// Builds an emitter without installing it. A process can have several of these.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn build(self) -> Result<Emitter, InstallError> {
        if !is_component(&self.component) {
            return Err(InstallError::Component(self.component));
        }
        let sink = SinkWriter::open(&self.sink)
            .map_err(|error| InstallError::Sink { sink: self.sink.clone(), error })?;
        let samples = self.sample_interval;
        let config = Config {
            resource: Resource {
                component: self.component.to_ascii_lowercase(),
                instance: self.instance,
                versions: self.versions,
            },
            encoding: self.encoding.unwrap_or_default(),
            level: self.level,
            sampling: self.sampling,
            flight_folder: self.flight,
            otlp: self.otlp,
        };
        let emitter = Emitter(Arc::new(Inner::new(config, sink)));
        emitter.0.begin_export().map_err(InstallError::Otlp)?;
        if let Some(folder) = &emitter.0.flight_folder {
            let failed = |error| InstallError::Flight { folder: folder.clone(), error };
            emitter.0.begin_flight(folder).map_err(failed)?;
            recover(folder, &emitter).map_err(failed)?;
        }
        emitter.0.process("start");
        if let Some(every) = samples {
            resource_sampler::start(&emitter, every);
        }
        Ok(emitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_emitter_is_not_installed() {
        // A component must be given, whatever the environment of the test run contains.
        let builder = Emitter::from_env("worker").sink(Sink::Discard);
        let disabled =
            Builder { disabled: true, sample_interval: Some(Duration::from_secs(1)), ..builder };
        let installed = disabled.install().unwrap();
        assert!(Emitter::global().is_none());
        let shown = format!("{:?}", *installed);
        assert!(shown.contains("sink: Discard"), "{shown}");
    }
}
