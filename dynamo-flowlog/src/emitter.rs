//! Who emits: a process, its name and its sink.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use flowlog_schema::flight::LANES;
use flowlog_schema::json::Line;
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{Clock, Event, FlowId, HybridClock, Level, Record, Scalar, SpanId, Time};

use crate::builder::Builder;
use crate::flight::{Flight, Writer};
use crate::forks;
use crate::health::{Counters, Health};
use crate::lane::{Apart, with_lane};
use crate::otlp::{Ended, Exporter, Otlp};
use crate::sampler;
use crate::sampling::Sampling;
use crate::shared::Shared;
use crate::sink::{Form, OpenSink, PATIENCE, PATIENCE_WITH_DISKS, held};
use crate::system::{host, now};

/// Who emits.
#[derive(Debug, Clone)]
pub struct Emitter(pub(crate) Arc<Inner>);

static INSTALLED: OnceLock<Emitter> = OnceLock::new();

impl Emitter {
    /// An emitter of that component, which writes to standard error and reads no environment.
    pub fn builder(component: &str) -> Builder {
        Builder::new(component)
    }

    /// An emitter as the environment asks for, of that component where it names none.
    ///
    /// Read are `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SDK_DISABLED`, `POD_NAME`, `DYN_LOG`,
    /// `DYN_LOGGING_CONSOLE_FORMAT`, `DYN_LOGGING_JSONL`, `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`, `OTEL_EXPORT_ENABLED`, `OTEL_TRACES_EXPORTER`,
    /// `OTEL_LOGS_EXPORTER`, `OTEL_EXPORTER_OTLP_PROTOCOL`, `FLOWLOG_SINK` (`stderr`, `none`, `file:PATH`, `mapped:PATH`) and
    /// `FLOWLOG_FLIGHT` (a folder).
    pub fn from_environment(component: &str) -> Builder {
        Builder::from_environment(component)
    }

    /// The process's own, if one is installed.
    #[inline]
    pub fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    /// Makes it the process's own; whether there was none.
    pub(crate) fn put_in_place(&self) -> bool {
        INSTALLED.set(self.clone()).is_ok()
    }

    /// What went wrong so far.
    pub fn health(&self) -> Health {
        let (exported, not_exported) =
            self.0.exporter.load().as_ref().map_or((0, 0), |exporter| exporter.counts());
        Health { exported, not_exported, ..self.0.counters.health() }
    }

    /// Whether a record may have to wait: for a reader, or for a call into the kernel. One who holds a lock that many want lets go of it first.
    pub fn may_wait(&self) -> bool {
        self.0.may_wait()
    }

    /// Flows that are open.
    pub fn open_flows(&self) -> usize {
        self.0.open_flows.0.load(Ordering::Relaxed)
    }

    /// A reading that every `sample` record carries: KV blocks in use, a queue's depth. It is asked for on the sampler's thread; what is no
    /// number then is left out.
    pub fn gauge(&self, name: impl Into<String>, read: impl Fn() -> f64 + Send + Sync + 'static) {
        if let Ok(mut gauges) = held(&self.0.gauges, PATIENCE) {
            gauges.push((name.into(), Arc::new(read)));
        }
    }

    /// Says that the process ends, and gives back what it holds: for an emitter that is not the process's own, and so has no
    /// [`Installed`] to drop. Records that come later are counted as lost.
    pub fn close(&self) {
        self.0.close();
    }

    /// Writes a `sample` record now.
    pub fn sample(&self) {
        sampler::sample(&self.0);
    }

    /// Writes a record of somebody else's; whether the sink took it.
    pub(crate) fn write_record(&self, record: &Record<'_>) -> bool {
        let mut is_taken = false;
        if self.0.settle() {
            with_lane(|lane| is_taken = self.0.write_record(record.clone(), now(), lane));
        }
        is_taken
    }
}

/// The process's emitter. Dropped, it says that the process ends, and gives back what it holds.
#[derive(Debug)]
#[must_use = "the emitter is closed when this is dropped"]
pub struct Installed {
    emitter: Emitter,
}

impl Installed {
    pub(crate) fn of(emitter: Emitter) -> Self {
        Self { emitter }
    }
}

impl std::ops::Deref for Installed {
    type Target = Emitter;

    fn deref(&self) -> &Emitter {
        &self.emitter
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        self.emitter.0.close();
    }
}

/// A reading that an application gives.
pub(crate) type Gauge = (String, Arc<dyn Fn() -> f64 + Send + Sync>);

/// What an emitter holds. One that was built and not installed is closed when nobody holds it any more, flows included.
pub(crate) struct Inner {
    pub(crate) component: String,
    pub(crate) instance: Option<String>,
    pub(crate) versions: Vec<(String, String)>,
    versions_json: String,
    pub(crate) form: Form,
    level: Level,
    pub(crate) sampling: Sampling,
    /// Of records without a flow.
    stencil: OnceLock<Shared>,
    clock: HybridClock,
    /// Records of each lane, where no flight file counts them.
    pub(crate) counts: [Apart<AtomicU64>; LANES],
    pub(crate) sink: OpenSink,
    pub(crate) flight: ArcSwapOption<Flight>,
    otlp: Option<Otlp>,
    pub(crate) exporter: ArcSwapOption<Exporter>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) counters: Counters,
    pub(crate) open_flows: Apart<AtomicUsize>,
    /// [`forks::generation`] when it was looked at last.
    forks: AtomicU32,
    pub(crate) closed: AtomicBool,
    pub(crate) gauges: Mutex<Vec<Gauge>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter")
            .field("component", &self.component)
            .field("instance", &self.instance)
            .field("sink", &self.sink)
            .finish()
    }
}

/// How long the end waits for the collector.
const PATIENCE_AT_END: Duration = Duration::from_secs(5);

/// Of [`Inner::forks`], while files are made for a process that was forked.
const SETTLING: u32 = u32::MAX;

impl Inner {
    pub(crate) fn new(builder: Builder, sink: OpenSink) -> Self {
        forks::watch();
        let named =
            builder.versions.iter().map(|(name, version)| (name.clone(), version.clone().into()));
        let versions = serde_json::Map::from_iter(named);
        Self {
            component: builder.component.to_ascii_lowercase(),
            instance: builder.instance,
            versions_json: if versions.is_empty() {
                String::new()
            } else {
                serde_json::Value::Object(versions).to_string()
            },
            versions: builder.versions,
            form: builder.form.unwrap_or_default(),
            level: builder.level,
            sampling: builder.sampling,
            stencil: OnceLock::new(),
            clock: HybridClock::new(),
            counts: std::array::from_fn(|_| Apart::default()),
            sink,
            flight: ArcSwapOption::empty(),
            otlp: builder.otlp,
            exporter: ArcSwapOption::empty(),
            folder: builder.flight,
            counters: Counters::default(),
            open_flows: Apart::default(),
            forks: AtomicU32::new(forks::generation()),
            closed: AtomicBool::new(false),
            gauges: Mutex::new(Vec::new()),
        }
    }

    /// Whether records of that level are written.
    #[inline]
    pub(crate) fn writes(&self, level: Level) -> bool {
        level >= self.level
    }

    /// See [`Emitter::may_wait`].
    #[inline]
    pub(crate) fn may_wait(&self) -> bool {
        matches!(self.sink, OpenSink::Pipe(_) | OpenSink::File(_))
    }

    /// Counts a record that was not taken, or could not even be made.
    pub(crate) fn lose(&self, error: &io::Error) {
        if let Some(flight) = &*self.flight.load() {
            flight.lose();
        }
        self.counters.lose(error);
    }

    /// A reading of the process's clock.
    pub(crate) fn tick(&self, now: Time) -> Clock {
        self.clock.tick(now.unix_ms())
    }

    #[inline]
    pub(crate) fn flight(&self) -> Option<arc_swap::Guard<Option<Arc<Flight>>>> {
        // Where none was asked for, the hot path looks for none.
        self.folder.is_some().then(|| self.flight.load())
    }

    pub(crate) fn record<'a>(
        &'a self,
        flow_id: Option<FlowId>,
        span_id: Option<SpanId>,
        parent_id: Option<SpanId>,
        kind: &'a str,
        event: Event,
    ) -> Record<'a> {
        let mut record = Record::new(self.component.as_str(), event);
        record.target = Some("flowlog".into());
        record.instance = self.instance.as_deref().map(Into::into);
        record.flow_id = flow_id;
        record.flow = Some(kind).filter(|kind| !kind.is_empty()).map(Into::into);
        record.versions =
            self.versions.iter().map(|(name, version)| (name.into(), version.into())).collect();
        record.span_id = span_id;
        record.parent_id = parent_id;
        record
    }

    /// Writes a record of the process.
    pub(crate) fn say(
        &self,
        event: Event,
        state: &str,
        names_versions: bool,
        fields: &[(&str, Scalar<'_>)],
    ) {
        let now = now();
        let shared = self.stencil.get_or_init(|| {
            Shared::new(self, Cow::Borrowed(""), None, None, None, TraceFlags::default())
        });
        let line = Line {
            time: now,
            level: Level::Info,
            place: None,
            message: "",
            event,
            state,
            names_versions,
            clock: self.tick(now),
            error: None,
            fields,
            number: 0,
        };
        self.emit(shared, &line);
    }

    pub(crate) fn process(&self, state: &str) {
        self.say(
            Event::Process,
            state,
            true,
            &[("pid", std::process::id().into()), ("host", host().into())],
        );
    }

    pub(crate) fn begin_flight(&self, folder: &Path) -> io::Result<()> {
        let instance = self.instance.as_deref().unwrap_or_default();
        let writer = Writer { component: &self.component, instance, versions: &self.versions_json };
        self.flight.store(Some(Arc::new(Flight::begin(folder, &writer)?)));
        Ok(())
    }

    /// Begins to send to the collector, if there is one to send to.
    pub(crate) fn begin_export(&self) -> Result<(), String> {
        if let Some(otlp) = &self.otlp {
            self.exporter.store(Some(Arc::new(Exporter::begin(otlp, self)?)));
        }
        Ok(())
    }

    /// Whether spans of flows are sent to a collector.
    pub(crate) fn exports(&self) -> bool {
        self.otlp.is_some()
    }

    /// Hands a span that ended to the exporter.
    pub(crate) fn export(&self, ended: &Ended<'_>) {
        if let Some(exporter) = &*self.exporter.load() {
            exporter.span(ended);
        }
    }

    /// Sees to it that a process that was forked has files of its own, before any of them is touched. Whether it has.
    #[inline]
    pub(crate) fn settle(&self) -> bool {
        forks::generation() == self.forks.load(Ordering::Acquire) || self.after_fork()
    }

    /// Gives a process that was forked files of its own. The flows that it inherited are the parent's to end.
    #[cold]
    fn after_fork(&self) -> bool {
        let forks = forks::generation();
        let seen = self.forks.load(Ordering::Relaxed);
        if seen == SETTLING
            || self
                .forks
                .compare_exchange(seen, SETTLING, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            // Another thread is at it.
            let began = Instant::now();
            while began.elapsed() < PATIENCE_WITH_DISKS {
                if self.forks.load(Ordering::Acquire) == forks {
                    return true;
                }
                std::thread::yield_now();
            }
            return false;
        }
        self.sink.after_fork();
        self.counts.iter().for_each(|count| count.0.store(0, Ordering::Relaxed));
        self.open_flows.0.store(0, Ordering::Relaxed);
        self.counters.unsaid.store(0, Ordering::Relaxed);
        // Without room for a file of its own it has none: it must not write to its parent's.
        self.flight.store(None);
        if let Some(folder) = &self.folder
            && let Err(error) = self.begin_flight(folder)
        {
            self.counters.lose(&error);
        }
        // The thread that sends is the parent's; what waits for it, too.
        std::mem::forget(self.exporter.swap(None));
        if let Err(error) = self.begin_export() {
            self.counters.lose(&io::Error::other(error));
        }
        self.forks.store(forks, Ordering::Release);
        self.process("fork");
        true
    }

    pub(crate) fn close(&self) {
        if self.closed.load(Ordering::Relaxed) || !self.settle() {
            return;
        }
        // They are the application's, and may hold whatever holds this.
        let gauges = held(&self.gauges, PATIENCE).map(|mut gauges| std::mem::take(&mut *gauges));
        drop(gauges);
        self.process("stop");
        if !self.closed.swap(true, Ordering::Relaxed) {
            if let Some(exporter) = &*self.exporter.load() {
                exporter.close(PATIENCE_AT_END);
                with_lane(|lane| self.say_not_exported(exporter, now(), lane));
            }
            self.sink.close();
            if let Some(flight) = &*self.flight.load() {
                flight.end();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flowlog_schema::json;

    use super::*;
    use crate::Sink;

    /// Held by tests that fork, and by those that a fork would disturb.
    static FORKING: Mutex<()> = Mutex::new(());

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn a_forked_process_leaves_its_parents_files_alone() {
        let _alone = FORKING.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (logs, flights) = (folder.path().join("logs"), folder.path().join("flight"));
        let build = |sink| Emitter::builder("worker").sink(sink).flight(&flights).build().unwrap();
        for sink in [Sink::mapped(logs.join("run")), Sink::file(logs.join("run.log")), Sink::Stderr]
        {
            let emitter = build(sink.clone());
            let inherited = emitter.start("parent");
            let before = files(&flights);
            // As the handler does in a process that was just forked; here the parent's files are this process's, too.
            forks::FORKS.fetch_add(1, Ordering::Relaxed);
            // Several threads may be the first to say something.
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| emitter.start("child").end());
                }
            });
            assert_eq!(files(&flights).len(), before.len() + 1, "{sink:?}");
            inherited.state("still");
            inherited.end();
            assert_eq!((emitter.open_flows(), emitter.health()), (0, Health::default()));
            if sink != Sink::Stderr {
                let read = |path: &PathBuf| {
                    String::from_utf8_lossy(&fs::read(path).unwrap()).trim_matches('\0').to_owned()
                };
                let text: String = files(&logs).iter().map(read).collect();
                let events: Vec<Event> = text
                    .lines()
                    .filter_map(|line| json::decode(line.as_bytes()).ok())
                    .map(|(record, _)| record.event)
                    .collect();
                let count = |event| events.iter().filter(|other| **other == event).count();
                // The inherited flow's end is its parent's to say.
                assert_eq!(
                    (count(Event::Start), count(Event::End), count(Event::Process)),
                    (4, 3, 2),
                    "{text}"
                );
            }
            drop(emitter);
            files(&flights).iter().for_each(|path| fs::remove_file(path).unwrap());
            let _ = fs::remove_dir_all(&logs);
        }
    }

    #[test]
    fn who_holds_a_flow_for_too_long_costs_others_their_records() {
        let _alone = FORKING.lock().unwrap();
        let emitter = Emitter::builder("worker").sink(Sink::Nothing).build().unwrap();
        let flow = emitter.start("x");
        let handle = flow.handle();
        std::thread::scope(|scope| {
            let (held, told) = std::sync::mpsc::channel();
            let (release, released) = std::sync::mpsc::channel();
            let blocked = handle.clone();
            scope.spawn(move || {
                blocked.hold(|| {
                    held.send(()).unwrap();
                    released.recv().unwrap();
                });
            });
            told.recv().unwrap();
            handle.state("lost");
            assert_eq!(emitter.health().lost, 1);
            flow.end();
            release.send(()).unwrap();
        });
        // It was ended, though nobody could say so: it is not abandoned, too.
        assert_eq!(emitter.health().lost, 2);
    }
}
