//! OTLP export to a real collector: rotel, in a process of its own, which prints what it receives.
#![cfg(all(feature = "otlp", feature = "integration"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dynamo_flowlog::{Emitter, FlowId, Otlp, Sampling, Sink};
use flowlog_schema::{EventKind, Record, json};

/// Time in which a collector must listen, even on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Collector that prints what it receives.
struct Collector {
    grpc: u16,
    http: u16,
    folder: PathBuf,
    runs: usize,
    child: Option<Child>,
}

impl Collector {
    fn new(folder: &Path) -> Self {
        let mut collector =
            Self { grpc: 0, http: 0, folder: folder.to_owned(), runs: 0, child: None };
        // Another process may take a free port before the collector does: then others are tried.
        for _ in 0..20 {
            let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            (collector.grpc, collector.http) = (port(), port());
            if collector.try_start() {
                return collector;
            }
        }
        panic!("{}", collector.log());
    }

    /// Starts the collector again, on the ports that it had.
    fn start(&mut self) {
        let began = Instant::now();
        while !self.try_start() {
            assert!(began.elapsed() < START_TIMEOUT, "{}", self.log());
        }
    }

    /// Starts a collector, and returns whether it listens.
    fn try_start(&mut self) -> bool {
        self.runs += 1;
        let log = File::create(self.folder.join(format!("collector.{}.log", self.runs))).unwrap();
        let child = Command::new(rotel())
            .args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log",
                "traces",
                "--debug-log",
                "logs",
                "--debug-log-verbosity",
                "detailed",
            ])
            .args([
                "--otlp-grpc-endpoint",
                &format!("127.0.0.1:{}", self.grpc),
                "--otlp-http-endpoint",
                &format!("127.0.0.1:{}", self.http),
            ])
            .env("NO_COLOR", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let listens = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let began = Instant::now();
        loop {
            // It exits if a port is taken, and whoever has taken it may accept connections.
            std::thread::sleep(Duration::from_millis(20));
            if child.try_wait().unwrap().is_some() {
                self.child = None;
                return false;
            }
            if listens(self.grpc) && listens(self.http) {
                return true;
            }
            assert!(began.elapsed() < START_TIMEOUT, "{}", self.log());
        }
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        (1..=self.runs)
            .map(|run| {
                fs::read_to_string(self.folder.join(format!("collector.{run}.log"))).unwrap()
            })
            .collect()
    }

    fn grpc(&self) -> Otlp {
        Otlp::grpc()
            .endpoint(format!("http://127.0.0.1:{}", self.grpc))
            .max_delay(Duration::from_millis(50))
    }

    fn http(&self) -> Otlp {
        Otlp::http()
            .endpoint(format!("http://127.0.0.1:{}/", self.http))
            .max_delay(Duration::from_millis(50))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Returns the path at which `scripts/test` installs the collector.
fn rotel() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/lib");
    let found = fs::read_dir(packages)
        .into_iter()
        .flatten()
        .flatten()
        .map(|python| python.path().join("site-packages/rotel/rotel-agent"));
    found
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("collector not found: `scripts/test` installs it"))
}

/// Received items of one kind: `(trace id, span id, span kind or sequence number)`.
type Received = Vec<(String, String, String)>;

impl Collector {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Returns the received spans and records, in order of arrival.
    fn received(&self) -> (Received, Received) {
        let (mut spans, mut records) = (Received::new(), Received::new());
        let (mut is_span, mut trace, mut span, mut seq) =
            (false, String::new(), String::new(), String::new());
        for line in self.log().lines() {
            is_span = line.starts_with("Span #") || is_span && !line.starts_with("LogRecord #");
            let value = |name: &str| {
                line.trim_start().strip_prefix(name).map(|value| value.trim().to_owned())
            };
            if let Some(id) = value("Trace ID       :") {
                trace = id;
            } else if let Some(id) = value("ID             :") {
                span = id;
            } else if let Some(kind) = value("Kind           :") {
                spans.push((trace.clone(), span.clone(), kind));
            } else if let Some(id) = value("Span ID        :").filter(|_| !is_span) {
                records.push((trace.clone(), id, seq.clone()));
            } else if let Some(number) = value("-> flowlog.seq:") {
                seq = number;
            }
        }
        (spans, records)
    }

    /// Waits until the collector has received the given numbers of spans and records.
    fn wait(&self, spans: usize, records: usize) -> (Received, Received) {
        let began = Instant::now();
        loop {
            let received = self.received();
            if received.0.len() >= spans && received.1.len() >= records
                || began.elapsed() > Duration::from_secs(300)
            {
                assert_eq!((received.0.len(), received.1.len()), (spans, records));
                return received;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn distinct(received: &Received) -> usize {
    received.iter().collect::<HashSet<_>>().len()
}

fn builder(folder: &Path, otlp: Otlp) -> dynamo_flowlog::Builder {
    Emitter::builder("router")
        .instance("router-0")
        .version("dynamo", "1.6.1")
        .sink(Sink::file(folder.join("log")))
        .otlp(otlp)
}

fn log(folder: &Path) -> Vec<Record<'static>> {
    let log: &'static str =
        Box::leak(fs::read_to_string(folder.join("log")).unwrap().into_boxed_str());
    log.lines().map(|line| json::decode(line.as_bytes()).unwrap().0).collect()
}

/// Returns the number of spans and records that the log reports as not exported.
fn reported_lost(folder: &Path) -> u64 {
    let lost = log(folder).into_iter().filter(|record| {
        record.event == EventKind::Lost && record.field("sink") == Some(&"otlp".into())
    });
    lost.map(|record| record.field("count").unwrap().as_f64().unwrap() as u64).sum()
}

#[test]
fn a_flow_is_a_trace_and_its_records_are_logs() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(folder.path());
    let emitter = builder(folder.path(), collector.grpc()).build().unwrap();
    let caller = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "rojo=1"),
    ];
    let flow = emitter
        .flow("chat_completion")
        .fields(&[("model", "tiny".into()), ("tokens", u64::MAX.into())])
        .accept(caller.as_slice());
    flow.state_with(
        "select",
        &[("candidates", 3.into()), ("share", 0.5.into()), ("cached", true.into())],
    );
    flow.record("model", "medium".to_owned());
    flow.record("model", "small".to_owned());
    let call = flow.child("generate");
    assert!(call.context().is_some());
    call.fail(&std::io::Error::other("Unavailable: no ready worker"));
    flow.child("inside").end_with(&[("blocks", 7.into())]);
    flow.end();
    drop(emitter);
    let (spans, _) = collector.wait(3, 9);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    assert!(spans.iter().all(|span| span.0 == trace));
    let kinds: Vec<&str> = spans.iter().map(|span| span.2.as_str()).collect();
    assert_eq!(kinds, ["SPAN_KIND_CLIENT", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER"]);
    let log = collector.log();
    for expected in [
        "service.name: Str(router)",
        "service.instance.id: Str(router-0)",
        "service.version: Str(1.6.1)",
        "flowlog.version.dynamo: Str(1.6.1)",
        "telemetry.sdk.language: Str(rust)",
        "InstrumentationScope dynamo-flowlog",
        "Parent ID      : b7ad6b7169203331",
        "Name           : chat_completion",
        "Status code    : STATUS_CODE_ERROR",
        "Status message : no ready worker",
        "-> error.type: Str(Unavailable)",
        "-> blocks: Int(7)",
        "-> tokens: Str(18446744073709551615)",
        "-> share: Double(0.5)",
        "-> cached: Bool(true)",
        "EventName: flowlog.process",
        "EventName: flowlog.start",
        "EventName: flowlog.state",
        "EventName: flowlog.fail",
        "-> exception.type: Str(Unavailable)",
        "-> exception.message: Str(no ready worker)",
        "-> flowlog.state: Str(select)",
        "SeverityNumber: SEVERITY_NUMBER_ERROR(17)",
    ] {
        assert!(log.contains(expected), "{expected}\n{log}");
    }
    // The span has the final value of each attribute.
    let mut spans =
        log.split("Span #").skip(1).map(|span| span.split("ResourceLog").next().unwrap());
    let of_flow = spans.find(|span| span.contains("-> model: Str(")).expect(&log);
    assert!(of_flow.contains("Str(small)") && !of_flow.contains("Str(tiny)"), "{log}");
}

#[test]
fn ten_thousand_flows_arrive_once_by_either_protocol() {
    for is_http in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let collector = Collector::new(folder.path());
        let otlp = if is_http { collector.http() } else { collector.grpc() };
        let emitter = builder(folder.path(), otlp.max_queue(1 << 16)).build().unwrap();
        (0..10_000).for_each(|_| emitter.flow("x").start().end());
        // Closing waits for a limited time, which may not do on a busy machine.
        let began = Instant::now();
        while emitter.health().exported < 30_001 {
            assert!(began.elapsed() < START_TIMEOUT, "{:?}", emitter.health());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(emitter);
        assert_eq!(reported_lost(folder.path()), 0);
        // Two records per flow, and two of the process.
        let (spans, records) = collector.wait(10_000, 20_002);
        assert_eq!((distinct(&spans), distinct(&records)), (10_000, 20_002));
    }
}

#[test]
fn restarted_or_suspended_collector_gets_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(folder.path());
    let emitter = builder(folder.path(), collector.grpc()).build().unwrap();
    (0..1_000).for_each(|_| emitter.flow("before").start().end());
    collector.wait(1_000, 2_001);
    collector.kill();
    (0..1_000).for_each(|_| emitter.flow("while it is down").start().end());
    // Longer than a batch waits to fill up, shorter than the export is retried.
    std::thread::sleep(Duration::from_secs(1));
    collector.start();
    collector.wait(2_000, 4_001);
    collector.signal(rustix::process::Signal::STOP);
    let began = Instant::now();
    (0..1_000).for_each(|_| emitter.flow("while it sleeps").start().end());
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "an unresponsive collector must not delay emitting"
    );
    std::thread::sleep(Duration::from_millis(500));
    collector.signal(rustix::process::Signal::CONT);
    let (spans, records) = collector.wait(3_000, 6_001);
    assert_eq!((distinct(&spans), distinct(&records)), (3_000, 6_001));
    let health = emitter.health();
    assert_eq!((health.exported, health.not_exported), (9_001, 0));
}

#[test]
fn unexported_items_are_counted_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(folder.path());
    let emitter = builder(folder.path(), collector.grpc().max_queue(100)).build().unwrap();
    collector.wait(0, 1);
    collector.kill();
    // Only one batch being retried and one queue of each kind have room.
    (0..2_000).for_each(|_| emitter.flow("while it is down").start().end());
    let early = emitter.health().not_exported;
    assert!(early > 2_000, "{early}");
    // Losses are reported once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    emitter.flow("says so").start().end();
    assert!(reported_lost(folder.path()) >= early);
    collector.start();
    // The queued items arrive.
    let kept = 3 * 2_001 - emitter.health().not_exported;
    let began = Instant::now();
    while emitter.health().exported < kept + 1 && began.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let health = emitter.health();
    // The process's start record arrived earlier.
    assert_eq!((health.exported, health.exported + health.not_exported), (kept + 1, 3 * 2_001 + 1));
    drop(emitter);
    // Every item is accounted for, as received or as reported lost; the last record is the
    // process's stop. The collector logs what it accepted a moment later.
    let total = 3 * 2_001 + 2 - usize::try_from(reported_lost(folder.path())).unwrap();
    let began = Instant::now();
    let (spans, records) = loop {
        let (spans, records) = collector.received();
        if spans.len() + records.len() >= total || began.elapsed() > START_TIMEOUT {
            break (spans, records);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(distinct(&spans) + distinct(&records), spans.len() + records.len());
    assert_eq!(spans.len() + records.len(), total);
}

#[test]
fn shutdown_without_a_collector_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let emitter =
        builder(folder.path(), Otlp::grpc().endpoint("http://127.0.0.1:1")).build().unwrap();
    emitter.flow("x").start().end();
    let began = Instant::now();
    drop(emitter);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    // The span and its two records, and the process's two.
    assert_eq!(reported_lost(folder.path()), 5);
    let refuse = || {
        builder(folder.path(), Otlp::http().endpoint("no address at all"))
            .build()
            .unwrap_err()
            .to_string()
    };
    assert!(refuse().starts_with("failed to set up OTLP: "), "{}", refuse());
    // Nor does it panic inside another runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(async { refuse() }), refuse());
}

#[test]
fn only_sampled_flows_are_exported() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(folder.path());
    let emitter =
        builder(folder.path(), collector.http()).sampling(Sampling::ratio(0.5)).build().unwrap();
    let mut sampled = HashSet::new();
    for _ in 0..200 {
        let flow = emitter.flow("x").start();
        let context = flow.context().unwrap();
        if context.flags.unwrap().is_sampled() {
            sampled.insert(context.flow_id.trace_id().to_string());
        }
        flow.child("inside").end();
        flow.end();
    }
    // The caller's sampling decision overrides our ratio.
    for (flags, was_propagated) in [("00", false), ("01", true)] {
        let flow_id = FlowId::new();
        let parent = format!("00-{}-b7ad6b7169203331-{flags}", flow_id.trace_id());
        emitter.flow("y").accept([("traceparent", parent)].as_slice()).end();
        if was_propagated {
            sampled.insert(flow_id.trace_id().to_string());
        }
    }
    drop(emitter);
    let ours = sampled.len();
    let (spans, _) = collector.wait(2 * ours - 1, 4 * ours - 2 + 2);
    assert_eq!(spans.into_iter().map(|span| span.0).collect::<HashSet<_>>(), sampled);
    assert!((60..=140).contains(&ours), "{ours}");
}

#[test]
fn a_forked_process_sends_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::new(folder.path());
    let out = folder.path().to_owned();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "forks"])
        .env("FLOWLOG_TEST_FOLDER", &out)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", collector.grpc))
        .env("OTEL_EXPORT_ENABLED", "1")
        .env("FLOWLOG_SINK", format!("file:{}", out.join("log").display()))
        .status()
        .unwrap();
    assert!(status.success());
    let (spans, _) = collector.wait(3, 10);
    assert_eq!(distinct(&spans), 3);
}

/// Process that forks, run by [`a_forked_process_sends_for_itself`].
#[test]
#[ignore = "run by `a_forked_process_sends_for_itself`"]
#[expect(unsafe_code, reason = "the test forks")]
fn forks() {
    let emitter = Emitter::from_env("worker").build().unwrap();
    emitter.flow("parent").start().end();
    // SAFETY: the child does what a forked Python process does: it keeps using the emitter, and
    // exits.
    let child = unsafe { libc::fork() };
    emitter.flow(if child == 0 { "child" } else { "again" }).start().end_with(&[]);
    if child == 0 {
        drop(emitter);
        // SAFETY: the test harness's threads do not exist in the child, and there is nothing to
        // clean up.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the child is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
}
