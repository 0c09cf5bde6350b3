//! Sets an emitter up: everything that can go wrong goes wrong here, and nothing later.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flowlog_schema::{Level, is_component};

use crate::emitter::{Emitter, Inner, Installed};
use crate::environment::Environment;
use crate::otlp::Otlp;
use crate::reap::reap;
use crate::sampler;
use crate::sampling::Sampling;
use crate::sink::{Form, OpenSink, Sink};

/// Why an emitter could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is one already.
    #[error("an emitter is installed already; a process has one")]
    Installed,
    /// The component's name cannot stand in a record.
    #[error("`{0}` is no component: a letter, then letters, digits, `_`, `.` and `-`")]
    Component(String),
    /// The sink cannot be opened.
    #[error("failed to open the sink {sink:?}: {error}")]
    Sink {
        /// Which.
        sink: Sink,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The flight file cannot be made.
    #[error("failed to make a flight file in `{}`: {error}", folder.display())]
    Flight {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Nothing can be sent to a collector.
    #[error("failed to set OTLP up: {0}")]
    Otlp(String),
}

/// Sets an emitter up.
#[derive(Debug, Clone)]
#[must_use = "nothing is emitted until it is installed"]
pub struct Builder {
    pub(crate) component: String,
    pub(crate) instance: Option<String>,
    pub(crate) versions: Vec<(String, String)>,
    sink: Sink,
    pub(crate) form: Option<Form>,
    pub(crate) level: Level,
    pub(crate) sampling: Sampling,
    pub(crate) flight: Option<PathBuf>,
    samples: Option<Duration>,
    pub(crate) otlp: Option<Otlp>,
    pub(crate) disabled: bool,
}

impl Builder {
    pub(crate) fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            instance: None,
            versions: Vec::new(),
            sink: Sink::default(),
            form: None,
            level: Level::Info,
            sampling: Sampling::ALL,
            flight: None,
            samples: None,
            otlp: None,
            disabled: false,
        }
    }

    /// See [`Emitter::from_environment`].
    pub(crate) fn from_environment(component: &str) -> Self {
        let environment = Environment::read();
        let mut builder = Self::new(environment.component.as_deref().unwrap_or(component));
        builder.instance = environment.instance;
        builder
            .versions
            .extend(environment.version.map(|version| (builder.component.clone(), version)));
        builder.sink = environment.sink.unwrap_or_default();
        builder.form = environment.form;
        builder.level = environment.level.unwrap_or(Level::Info);
        builder.sampling = environment.sampling.unwrap_or_default();
        builder.flight = environment.flight;
        builder.otlp = environment.otlp;
        builder.disabled = environment.disabled;
        builder
    }

    /// Which of several alike: a pod, a worker id, a rank.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// A version that every start and failure names.
    pub fn version(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.versions.push((name.into(), version.into()));
        self
    }

    /// Where records go.
    pub fn sink(mut self, sink: Sink) -> Self {
        self.sink = sink;
        self
    }

    /// How records are written: JSON, unless the environment asks for text.
    pub fn form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// The least level that is written. States are `Info`, cancellations `Warn`, failures `Error`.
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Which of the flows that begin here are traced: their callees are told, and [`Builder::otlp`] sends them. All are logged.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Keeps a flight file in a folder, and closes the flows of processes that died and left theirs there.
    pub fn flight(mut self, folder: impl Into<PathBuf>) -> Self {
        self.flight = Some(folder.into());
        self
    }

    /// Writes a `sample` record of the process's resources that often.
    pub fn samples(mut self, every: Duration) -> Self {
        self.samples = Some(every);
        self
    }

    /// Sends spans and records to a collector, too.
    pub fn otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = Some(otlp);
        self
    }

    /// Sets the emitter up as the process's own. It is closed when what is returned is dropped.
    ///
    /// # Errors
    /// See [`InstallError`]: everything that can go wrong goes wrong here, and nothing later.
    pub fn install(self) -> Result<Installed, InstallError> {
        if Emitter::installed().is_some() {
            return Err(InstallError::Installed);
        }
        if self.disabled {
            let nothing =
                Self { sink: Sink::Nothing, flight: None, samples: None, otlp: None, ..self };
            return nothing.build().map(Installed::of);
        }
        let emitter = self.build()?;
        if emitter.put_in_place() {
            Ok(Installed::of(emitter))
        } else {
            Err(InstallError::Installed)
        }
    }

    /// Sets the emitter up for whoever holds it: several may stand side by side in a process.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub fn build(self) -> Result<Emitter, InstallError> {
        if !is_component(&self.component) {
            return Err(InstallError::Component(self.component));
        }
        let sink = OpenSink::open(&self.sink)
            .map_err(|error| InstallError::Sink { sink: self.sink.clone(), error })?;
        let samples = self.samples;
        let emitter = Emitter(Arc::new(Inner::new(self, sink)));
        emitter.0.begin_export().map_err(InstallError::Otlp)?;
        if let Some(folder) = &emitter.0.folder {
            let failed = |error| InstallError::Flight { folder: folder.clone(), error };
            emitter.0.begin_flight(folder).map_err(failed)?;
            reap(folder, &emitter).map_err(failed)?;
        }
        emitter.0.process("start");
        if let Some(every) = samples {
            sampler::start(&emitter, every);
        }
        Ok(emitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_asks_for() {
        // Whatever the tests' own environment says, a component is needed.
        let builder = Emitter::from_environment("worker").sink(Sink::Nothing);
        let disabled = Builder { disabled: true, samples: Some(Duration::from_secs(1)), ..builder };
        let installed = disabled.install().unwrap();
        assert!(Emitter::installed().is_none());
        let shown = format!("{:?}", *installed);
        assert!(shown.contains("sink: Nothing"), "{shown}");
    }
}
