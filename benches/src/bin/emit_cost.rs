//! Cost of one record for the thread that emits it, compared with peers in the same run.
//!
//! All cases write the same: one state of a flow, with its IDs, its source and five fields. Cases
//! take turns, and the median of the turns is reported. Heap allocations are counted in a separate
//! turn.
#![expect(clippy::print_stdout, reason = "a command-line program prints to stdout")]

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use dynamo_flowlog::{Emitter, Flow, FlowHandle, FlowLayer, Level, Rotation, Sink};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt;

/// Measures the cost of one record, ours and others'.
#[derive(Debug, Parser)]
struct Arguments {
    /// Records per turn and thread
    #[arg(long, default_value_t = 20_000)]
    records: u32,
    /// Turns of each case; the median is reported
    #[arg(long, default_value_t = 7)]
    turns: usize,
    /// Threads in the second half
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Print one JSON object per row instead of a Markdown table
    #[arg(long)]
    json: bool,
}

/// Case that writes a given number of records on the calling thread.
struct Case {
    name: &'static str,
    write: Box<dyn Fn(u32) + Sync>,
}

/// Row of the results.
struct Row {
    case: &'static str,
    threads: usize,
    ns: f64,
    allocations: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // All cases write to memory, so that no disk is measured.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.context("failed to create a folder for the output")?;
    let mut emitters = Vec::new();
    let cases = cases(folder.path(), &mut emitters)?;
    let mut rows = Vec::new();
    for threads in [1, arguments.threads] {
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
        for turn in 0..=arguments.turns {
            for (case, times) in cases.iter().zip(&mut times) {
                let took = time(case, threads, arguments.records);
                // The first turn is a warm-up: it creates files and threads, and fills caches.
                if turn > 0 {
                    times.push(took.as_secs_f64() * 1e9 / f64::from(arguments.records));
                }
            }
        }
        for (case, mut times) in cases.iter().zip(times) {
            times.sort_by(f64::total_cmp);
            let ns = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
            rows.push(Row { case: case.name, threads, ns, allocations: allocations(case) });
        }
    }
    check(folder.path(), &arguments, &emitters)?;
    if arguments.json {
        for row in &rows {
            println!(
                "{}",
                json!({"case": row.case, "threads": row.threads, "ns": row.ns, "allocations": row.allocations})
            );
        }
        return Ok(());
    }
    let ours = |threads| {
        rows.iter()
            .find(|row| row.case == "flowlog mapped" && row.threads == threads)
            .map_or(f64::NAN, |row| row.ns)
    };
    println!(
        "| case | threads | ns/record | relative to `flowlog mapped` | heap allocations/record |\n|---|---:|---:|---:|---:|"
    );
    for row in &rows {
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.1} |",
            row.case,
            row.threads,
            row.ns,
            row.ns / ours(row.threads),
            row.allocations
        );
    }
    Ok(())
}

/// Measures the slowest of `threads` threads that write `records` records each.
fn time(case: &Case, threads: usize, records: u32) -> Duration {
    let (start, longest) = (Barrier::new(threads), Mutex::new(Duration::ZERO));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                let began = Instant::now();
                (case.write)(records);
                let took = began.elapsed();
                if let Ok(mut longest) = longest.lock() {
                    *longest = took.max(*longest);
                }
            });
        }
    });
    longest.into_inner().unwrap_or_default()
}

/// Returns the number of heap allocations per record after warm-up.
fn allocations(case: &Case) -> f64 {
    let of = |records: u32| allocation_counter::measure(|| (case.write)(records)).count_total;
    of(1_000);
    let (few, many) = (of(1_000), of(3_000));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = many.saturating_sub(few) as f64 / 2_000.0;
    each
}

/// Values that all records have in common.
const MODEL: &str = "tiny";
const FLOW: &str = "019aaaac-a5da-7347-bb80-1089c1876100";
const SPAN: &str = "24b5dddcfdbbee4f";

fn cases(folder: &Path, emitters: &mut Vec<Emitter>) -> anyhow::Result<Vec<Case>> {
    let emitter = |sink: Sink| {
        Emitter::builder("router").instance("router-0").version("dynamo", "1.6.1").sink(sink)
    };
    let mut cases = Vec::new();
    let mut flowlog = |name: &'static str, emitter: Option<Emitter>| {
        emitters.extend(emitter.clone());
        // Each thread has a flow of its own.
        let write = move |records| match &emitter {
            Some(emitter) => {
                let flow = emitter.flow("chat_completion").start();
                (0..records).for_each(|at| write(&flow, at));
                flow.end();
            }
            // Like code without an emitter.
            None => {
                (0..records).for_each(|at| write(black_box(&Flow::start("chat_completion")), at));
            }
        };
        cases.push(Case { name, write: Box::new(write) });
    };
    flowlog("flowlog disabled", None);
    // Full files are removed, as in a process that runs for days, so that memory is reused.
    let rotation = Rotation { size: Some(16 << 20), age: None, keep: Some(1) };
    let mapped = |name: &str| emitter(Sink::Mapped { path: folder.join(name), rotation });
    flowlog("flowlog mapped", Some(mapped("mapped").build()?));
    flowlog(
        "flowlog mapped, flight file",
        Some(mapped("flown").flight(folder.join("flight")).build()?),
    );
    flowlog(
        "flowlog write",
        Some(emitter(Sink::File { path: folder.join("write.log"), rotation }).build()?),
    );

    let json_to =
        |name: &str| -> anyhow::Result<_> { Ok(Mutex::new(File::create(folder.join(name))?)) };
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(json_to("tracing.log")?)
        .finish();
    cases.push(of_tracing("tracing json file", tracing::Dispatch::new(subscriber)));
    let (appender, guard) =
        tracing_appender::non_blocking(File::create(folder.join("appender.log"))?);
    std::mem::forget(guard);
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(appender).finish();
    cases.push(of_tracing("tracing-appender non-blocking", tracing::Dispatch::new(subscriber)));
    let provider = SdkTracerProvider::builder().with_batch_exporter(Nowhere).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("router"));
    std::mem::forget(provider);
    cases.push(of_tracing(
        "tracing-opentelemetry",
        tracing::Dispatch::new(tracing_subscriber::registry().with(layer)),
    ));

    // Compared with the registry only: the cost to annotate an event, to also write it, and to
    // filter it.
    cases.push(of_events(
        "tracing registry",
        None,
        tracing::Dispatch::new(tracing_subscriber::registry()),
    ));
    for (name, sink, level) in [
        ("tracing layer, to nowhere", Sink::Discard, Level::Info),
        (
            "tracing layer, mapped",
            Sink::Mapped { path: folder.join("stamped"), rotation },
            Level::Info,
        ),
        ("tracing layer, filtered", Sink::Discard, Level::Error),
    ] {
        let emitter = emitter(sink).level(level).build()?;
        let layer = FlowLayer::new().emitter(&emitter);
        cases.push(of_events(
            name,
            Some(emitter),
            tracing::Dispatch::new(tracing_subscriber::registry().with(layer)),
        ));
    }

    fastrace::set_reporter(Forgetful, fastrace::collector::Config::default());
    cases.push(Case { name: "fastrace", write: Box::new(of_fastrace) });

    let logger = ftlog::Builder::new()
        .root(ftlog::appender::FileAppender::builder().path(folder.join("ftlog.log")).build())
        .build();
    let logger = logger.map_err(|error| anyhow::anyhow!("{error}"))?;
    std::mem::forget(logger.init().map_err(|error| anyhow::anyhow!("{error}"))?);
    cases.push(Case { name: "ftlog", write: Box::new(of_ftlog) });
    Ok(cases)
}

/// Emits one flowlog record.
#[inline]
fn write(flow: &FlowHandle, at: u32) {
    dynamo_flowlog::state!(
        flow,
        "prefill",
        tokens = at,
        model = MODEL,
        queue_depth = 3,
        cached_share = 0.5,
        streams = true
    );
}

/// Emits one `tracing` event per record, in spans of sixteen.
fn of_tracing(name: &'static str, dispatch: tracing::Dispatch) -> Case {
    let write = move |records: u32| {
        tracing::dispatcher::with_default(&dispatch, || {
            for at in (0..records).step_by(16) {
                tracing::info_span!("chat_completion").in_scope(|| {
                    for at in at..records.min(at + 16) {
                        tracing::info!(
                            component = "router",
                            instance = "router-0",
                            flow_id = FLOW,
                            event = "state",
                            state = "prefill",
                            span_id = SPAN,
                            tokens = at,
                            model = MODEL,
                            queue_depth = 3,
                            cached_share = 0.5,
                            streams = true
                        );
                    }
                });
            }
        });
    };
    Case { name, write: Box::new(write) }
}

/// Emits events without knowledge of flows, in spans of sixteen; inside a flow if there is an
/// emitter.
fn of_events(name: &'static str, emitter: Option<Emitter>, dispatch: tracing::Dispatch) -> Case {
    let write = move |records: u32| {
        let flow = emitter.as_ref().map(|emitter| emitter.flow("chat_completion").start());
        let handle = flow.as_deref().cloned().unwrap_or_default();
        tracing::dispatcher::with_default(&dispatch, || {
            handle.run(|| {
                for at in (0..records).step_by(16) {
                    tracing::info_span!("generate").in_scope(|| {
                        for at in at..records.min(at + 16) {
                            tracing::info!(
                                tokens = at,
                                model = MODEL,
                                queue_depth = 3,
                                cached_share = 0.5,
                                streams = true,
                                "prefill"
                            );
                        }
                    });
                }
            });
        });
        flow.into_iter().for_each(Flow::end);
    };
    Case { name, write: Box::new(write) }
}

fn of_fastrace(records: u32) {
    use fastrace::prelude::{Event, LocalSpan, Span, SpanContext};
    for at in (0..records).step_by(16) {
        let root = Span::root("chat_completion", SpanContext::random());
        let _entered = root.set_local_parent();
        for at in at..records.min(at + 16) {
            LocalSpan::add_event(Event::new("state").with_properties(|| {
                [
                    ("state", "prefill".into()),
                    ("tokens", at.to_string().into()),
                    ("model", MODEL.into()),
                    ("queue_depth", "3".into()),
                    ("cached_share", "0.5".into()),
                    ("streams", "true".into()),
                ] as [(&str, std::borrow::Cow<'static, str>); 6]
            }));
        }
    }
}

fn of_ftlog(records: u32) {
    for at in 0..records {
        log::info!(
            "component=router instance=router-0 flow_id={FLOW} event=state state=prefill span_id={SPAN} tokens={at} model={MODEL} queue_depth={} cached_share={} streams={}",
            3,
            0.5,
            true
        );
    }
}

/// Exporter that discards spans.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        black_box(spans);
        Ok(())
    }
}

/// Reporter that discards spans.
struct Forgetful;

impl fastrace::collector::Reporter for Forgetful {
    fn report(&mut self, spans: Vec<fastrace::collector::SpanRecord>) {
        black_box(spans);
    }
}

/// Checks the output: flowlog lost nothing, all lines that remain are records, and `tracing` wrote
/// every event.
fn check(folder: &Path, arguments: &Arguments, emitters: &[Emitter]) -> anyhow::Result<()> {
    for emitter in emitters {
        ensure!(emitter.health().lost == 0, "{:?}", emitter.health());
    }
    let all = u64::from(arguments.records)
        * (arguments.turns as u64 + 1)
        * (1 + arguments.threads as u64);
    for (name, wanted) in [
        ("mapped", 1_000),
        ("flown", 1_000),
        ("write.log", 1_000),
        ("stamped", 1_000),
        ("tracing.log", all),
    ] {
        let (mut lines, mut records) = (0u64, 0u64);
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
                && path.is_file()
            {
                let bytes = std::fs::read(&path)?;
                for line in bytes
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty() && line[0] != 0)
                {
                    lines += 1;
                    records += u64::from(line.starts_with(b"{\"time") && line.ends_with(b"}"));
                }
            }
        }
        ensure!(
            records >= wanted && lines == records,
            "`{name}` holds {records} records of {wanted} in {lines} lines"
        );
    }
    Ok(())
}
