//! The emitter: a process's component, instance and sink.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_utils::CachePadded;
use flowlog_schema::flight::COUNTER_STRIPES;
use flowlog_schema::json::RecordData;
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{Clock, EventKind, HybridClock, Level, Record, Scalar, Time};

use crate::flight::{Flight, FlightHeader};
use crate::fork;
use crate::health::{Counters, Health};
use crate::otlp::{Exporter, FinishedSpan, Otlp};
use crate::platform::{host, now};
use crate::record_args::SpanHeader;
use crate::resource::Resource;
use crate::sink::{DISK_WAIT_TIMEOUT, Encoding, SinkWriter, WRITE_TIMEOUT, lock_timeout};
use crate::thread_buffer::with_thread_buffer;
use crate::trace_sampling::Sampling;

/// Emits the records of one component to one sink. Clones share the same emitter.
#[derive(Debug, Clone)]
pub struct Emitter(pub(crate) Arc<Inner>);

static GLOBAL: OnceLock<Emitter> = OnceLock::new();

impl Emitter {
    /// Returns the process's emitter, if one is installed.
    #[inline]
    pub fn global() -> Option<&'static Self> {
        GLOBAL.get()
    }

    /// Makes this the process's emitter. Returns `false` if there already is one.
    pub(crate) fn set_global(&self) -> bool {
        GLOBAL.set(self.clone()).is_ok()
    }

    /// Returns the counters of lost records and other problems so far.
    pub fn health(&self) -> Health {
        let (exported, not_exported) =
            self.0.exporter.load().as_ref().map_or((0, 0), |exporter| exporter.counts());
        Health { exported, not_exported, ..self.0.counters.health() }
    }

    /// Returns whether emitting a record may block, on a reader or in a system call.
    ///
    /// A caller that holds a contended lock should release it before emitting.
    pub fn may_block(&self) -> bool {
        self.0.may_block()
    }

    /// Returns the number of open flows.
    pub fn open_flows(&self) -> usize {
        self.0.open_flows.load(Ordering::Relaxed)
    }

    /// Adds a gauge to every `sample` record, such as the KV blocks in use or the depth of a queue.
    ///
    /// `read` is called on the sampler's thread, or on the thread that calls [`Emitter::sample`].
    /// Values that are not finite numbers are omitted.
    pub fn gauge(&self, name: impl Into<String>, read: impl Fn() -> f64 + Send + Sync + 'static) {
        if let Ok(mut gauges) = lock_timeout(&self.0.gauges, WRITE_TIMEOUT) {
            gauges.push((name.into(), Arc::new(read)));
        }
    }

    /// Records that the process is stopping, and releases the emitter's resources.
    ///
    /// This is for an emitter that is not installed and so has no [`EmitterGuard`] to drop. Later
    /// records are counted as lost.
    pub fn close(&self) {
        self.0.close();
    }

    /// Writes a record on behalf of another process. Returns whether the sink accepted it.
    pub(crate) fn write_record(&self, record: &Record<'_>) -> bool {
        let mut is_taken = false;
        if self.0.ensure_after_fork() {
            with_thread_buffer(|buffer| {
                is_taken = self.0.write_record(record.clone(), now(), buffer);
            });
        }
        is_taken
    }
}

/// Guard of the process's emitter. Dropping it records that the process is stopping, and releases
/// the emitter's resources.
#[derive(Debug)]
#[must_use = "the emitter is closed when the guard is dropped"]
pub struct EmitterGuard {
    emitter: Emitter,
}

impl EmitterGuard {
    pub(crate) fn of(emitter: Emitter) -> Self {
        Self { emitter }
    }
}

impl std::ops::Deref for EmitterGuard {
    type Target = Emitter;

    fn deref(&self) -> &Emitter {
        &self.emitter
    }
}

impl Drop for EmitterGuard {
    fn drop(&mut self) {
        self.emitter.0.close();
    }
}

/// Settings of an emitter, checked and complete.
pub(crate) struct Config {
    pub(crate) resource: Resource,
    pub(crate) encoding: Encoding,
    /// Lowest level that is written.
    pub(crate) level: Level,
    pub(crate) sampling: Sampling,
    pub(crate) flight_folder: Option<PathBuf>,
    pub(crate) otlp: Option<Otlp>,
}

/// A gauge registered by the application: its name and the function that reads it.
pub(crate) type Gauge = (String, Arc<dyn Fn() -> f64 + Send + Sync>);

/// Shared state of an emitter. One that is not installed is closed when its last owner, including
/// flows, is dropped.
pub(crate) struct Inner {
    pub(crate) resource: Resource,
    versions_json: String,
    pub(crate) encoding: Encoding,
    level: Level,
    pub(crate) sampling: Sampling,
    /// Header of records without a flow.
    process_header: OnceLock<SpanHeader>,
    clock: HybridClock,
    /// Records counted per stripe, if no flight file counts them.
    pub(crate) counts: [CachePadded<AtomicU64>; COUNTER_STRIPES],
    pub(crate) sink: SinkWriter,
    pub(crate) flight: ArcSwapOption<Flight>,
    otlp: Option<Otlp>,
    pub(crate) exporter: ArcSwapOption<Exporter>,
    pub(crate) flight_folder: Option<PathBuf>,
    pub(crate) counters: Counters,
    pub(crate) open_flows: CachePadded<AtomicUsize>,
    /// [`fork::generation`] at the last check.
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
            .field("component", &self.resource.component)
            .field("instance", &self.resource.instance)
            .field("sink", &self.sink)
            .finish()
    }
}

/// How long closing the emitter waits for the collector.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Value of [`Inner::forks`] while files are created for a forked process.
const RESETTING_AFTER_FORK: u32 = u32::MAX;

impl Inner {
    pub(crate) fn new(config: Config, sink: SinkWriter) -> Self {
        fork::watch();
        let named = config.resource.versions.iter();
        let named = named.map(|(name, version)| (name.clone(), version.clone().into()));
        let versions = serde_json::Map::from_iter(named);
        Self {
            versions_json: if versions.is_empty() {
                String::new()
            } else {
                serde_json::Value::Object(versions).to_string()
            },
            resource: config.resource,
            encoding: config.encoding,
            level: config.level,
            sampling: config.sampling,
            process_header: OnceLock::new(),
            clock: HybridClock::new(),
            counts: std::array::from_fn(|_| CachePadded::default()),
            sink,
            flight: ArcSwapOption::empty(),
            otlp: config.otlp,
            exporter: ArcSwapOption::empty(),
            flight_folder: config.flight_folder,
            counters: Counters::default(),
            open_flows: CachePadded::default(),
            forks: AtomicU32::new(fork::generation()),
            closed: AtomicBool::new(false),
            gauges: Mutex::new(Vec::new()),
        }
    }

    /// Returns whether records of `level` are written.
    #[inline]
    pub(crate) fn enabled(&self, level: Level) -> bool {
        level >= self.level
    }

    /// See [`Emitter::may_block`].
    #[inline]
    pub(crate) fn may_block(&self) -> bool {
        matches!(self.sink, SinkWriter::Pipe(_) | SinkWriter::File(_))
    }

    /// Counts a record that the sink did not accept, or that could not be created at all.
    pub(crate) fn count_lost(&self, error: &io::Error) {
        if let Some(flight) = &*self.flight.load() {
            flight.count_lost();
        }
        self.counters.count_lost(error);
    }

    /// Advances the process's clock and returns the new reading.
    pub(crate) fn tick(&self, now: Time) -> Clock {
        self.clock.tick(now.unix_ms())
    }

    #[inline]
    pub(crate) fn flight(&self) -> Option<arc_swap::Guard<Option<Arc<Flight>>>> {
        // The hot path skips the load if no flight file is configured.
        self.flight_folder.is_some().then(|| self.flight.load())
    }

    /// Writes a record about the process itself.
    pub(crate) fn emit_for_process(
        &self,
        event: EventKind,
        state: &str,
        names_versions: bool,
        fields: &[(&str, Scalar<'_>)],
    ) {
        let now = now();
        let header = self.process_header.get_or_init(|| {
            SpanHeader::new(
                &self.resource,
                Cow::Borrowed(""),
                None,
                None,
                None,
                TraceFlags::default(),
            )
        });
        let line = RecordData {
            time: now,
            level: Level::Info,
            location: None,
            message: "",
            event,
            state,
            names_versions,
            clock: self.tick(now),
            error: None,
            fields,
            number: 0,
        };
        self.emit(header, &line);
    }

    pub(crate) fn process(&self, state: &str) {
        self.emit_for_process(
            EventKind::Process,
            state,
            true,
            &[("pid", std::process::id().into()), ("host", host().into())],
        );
    }

    pub(crate) fn begin_flight(&self, folder: &Path) -> io::Result<()> {
        let instance = self.resource.instance.as_deref().unwrap_or_default();
        let writer = FlightHeader {
            component: &self.resource.component,
            instance,
            versions: &self.versions_json,
        };
        self.flight.store(Some(Arc::new(Flight::begin(folder, &writer)?)));
        Ok(())
    }

    /// Starts exporting to the collector, if one is configured.
    pub(crate) fn begin_export(&self) -> Result<(), String> {
        if let Some(otlp) = &self.otlp {
            self.exporter.store(Some(Arc::new(Exporter::begin(otlp, &self.resource)?)));
        }
        Ok(())
    }

    /// Returns whether a collector is configured, to which spans are exported.
    pub(crate) fn has_exporter(&self) -> bool {
        self.otlp.is_some()
    }

    /// Hands a finished span to the exporter.
    pub(crate) fn export(&self, ended: &FinishedSpan<'_>) {
        if let Some(exporter) = &*self.exporter.load() {
            exporter.span(ended);
        }
    }

    /// Ensures that a forked process has its own files before any file is used. Returns whether it
    /// has.
    #[inline]
    pub(crate) fn ensure_after_fork(&self) -> bool {
        fork::generation() == self.forks.load(Ordering::Acquire) || self.after_fork()
    }

    /// Gives a forked process its own files. Inherited flows are left for the parent to end.
    #[cold]
    fn after_fork(&self) -> bool {
        let forks = fork::generation();
        let seen = self.forks.load(Ordering::Relaxed);
        if seen == RESETTING_AFTER_FORK
            || self
                .forks
                .compare_exchange(seen, RESETTING_AFTER_FORK, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
        {
            // Another thread is already creating the files.
            let began = Instant::now();
            while began.elapsed() < DISK_WAIT_TIMEOUT {
                if self.forks.load(Ordering::Acquire) == forks {
                    return true;
                }
                std::thread::yield_now();
            }
            return false;
        }
        self.sink.after_fork();
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.open_flows.store(0, Ordering::Relaxed);
        self.counters.unreported_lost.store(0, Ordering::Relaxed);
        // If the process cannot create its own file, it has none: it must not write to its
        // parent's.
        self.flight.store(None);
        if let Some(folder) = &self.flight_folder
            && let Err(error) = self.begin_flight(folder)
        {
            self.counters.count_lost(&error);
        }
        // The exporting thread belongs to the parent, and so do the items in its queue.
        std::mem::forget(self.exporter.swap(None));
        if let Err(error) = self.begin_export() {
            self.counters.count_lost(&io::Error::other(error));
        }
        self.forks.store(forks, Ordering::Release);
        self.process("fork");
        true
    }

    pub(crate) fn close(&self) {
        if self.closed.load(Ordering::Relaxed) || !self.ensure_after_fork() {
            return;
        }
        // Gauges are the application's closures and may own this emitter, so they are released
        // here, outside the lock.
        let gauges = lock_timeout(&self.gauges, WRITE_TIMEOUT)
            .map(|mut gauges| std::mem::take(&mut *gauges));
        drop(gauges);
        self.process("stop");
        if !self.closed.swap(true, Ordering::Relaxed) {
            if let Some(exporter) = &*self.exporter.load() {
                exporter.close(CLOSE_TIMEOUT);
                with_thread_buffer(|buffer| self.report_not_exported(exporter, now(), buffer));
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

    /// Held by tests that fork, and by tests that a fork would disturb.
    static FORKING: Mutex<()> = Mutex::new(());

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn a_forked_process_does_not_touch_its_parents_files() {
        let _alone = FORKING.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (logs, flights) = (folder.path().join("logs"), folder.path().join("flight"));
        let build = |sink| Emitter::builder("worker").sink(sink).flight(&flights).build().unwrap();
        for sink in [Sink::mapped(logs.join("run")), Sink::file(logs.join("run.log")), Sink::Stderr]
        {
            let emitter = build(sink.clone());
            let inherited = emitter.flow("parent").start();
            let before = files(&flights);
            // Simulates the `atfork` handler. In this test the process also owns the parent's
            // files.
            fork::FORK_COUNT.fetch_add(1, Ordering::Relaxed);
            // Several threads may race to emit the first record.
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| emitter.flow("child").start().end());
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
                let events: Vec<EventKind> = text
                    .lines()
                    .filter_map(|line| json::decode(line.as_bytes()).ok())
                    .map(|(record, _)| record.event)
                    .collect();
                let count = |event| events.iter().filter(|other| **other == event).count();
                // Only the parent records the end of the inherited flow.
                assert_eq!(
                    (count(EventKind::Start), count(EventKind::End), count(EventKind::Process)),
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
    fn records_are_lost_while_a_span_stays_locked() {
        let _alone = FORKING.lock().unwrap();
        let emitter = Emitter::builder("worker").sink(Sink::Discard).build().unwrap();
        let flow = emitter.flow("x").start();
        let handle = flow.handle();
        std::thread::scope(|scope| {
            let (lock_timeout, ended_records) = std::sync::mpsc::channel();
            let (release, released) = std::sync::mpsc::channel();
            let blocked = handle.clone();
            scope.spawn(move || {
                blocked.hold(|| {
                    lock_timeout.send(()).unwrap();
                    released.recv().unwrap();
                });
            });
            ended_records.recv().unwrap();
            handle.state("lost");
            assert_eq!(emitter.health().lost, 1);
            flow.end();
            release.send(()).unwrap();
        });
        // The flow was ended although its record was lost, so it is not also reported as abandoned.
        assert_eq!(emitter.health().lost, 2);
    }
}
