//! Cost of each stage that a line passes through: `cargo bench -p flowlog-benches`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark panics on an unexpected result"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowlog_analyze::source::Sources;
use flowlog_analyze::templates::TemplateCache;
use flowlog_analyze::{Options, analyze, envelope, format, rules};
use flowlog_schema::{RecordCache, json};
use flowlog_simulator::{LogFormat, simulate};

/// Ordinary record, as written by our own encoder.
const RECORD: &str = r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"router::select","message":"","component":"router","instance":"router-0","flow_id":"019aaaac-a5da-7347-bb80-1089c1876100","flow":"chat_completion","event":"state","state":"dispatch","trace_id":"019aaaaca5da7347bb801089c1876100","span_id":"24b5dddcfdbbee4f","parent_id":"8e201852647d2d09","clock":"019aaaacb23c001a","worker_id":"prefill-0"}"#;

/// Line of background noise, as printed by kubectl.
const NOISE: &str = "[pod/vllm-worker-1/main] 2025-11-22T08:27:15.705274123Z INFO 11-22 08:27:15 [loggers.py:118] Engine 000: Avg prompt throughput: 709.7 tokens/s, Running: 12 reqs, GPU KV cache usage: 1.2%";

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Bytes(RECORD.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| json::decode(black_box(RECORD.as_bytes())).expect("a record"));
    });
    group.bench_function("decode_fast", |b| {
        b.iter(|| {
            json::decode_fast(black_box(RECORD.as_bytes()), &mut |_, _| true).expect("ordinary")
        });
    });
    let mut cache = RecordCache::default();
    group.bench_function("record_cache", |b| {
        b.iter(|| cache.decode(black_box(RECORD.as_bytes()), &mut |_, _| true).expect("ordinary"));
    });
    group.finish();

    let mut group = c.benchmark_group("chatter");
    group.throughput(Throughput::Bytes(NOISE.len() as u64));
    group.bench_function("peel", |b| b.iter(|| envelope::peel(black_box(NOISE.as_bytes()))));
    let content = NOISE.split_once("Z ").map(|(_, content)| content).unwrap();
    group.bench_function("read", |b| b.iter(|| format::read(black_box(content))));
    let (name, event) = format::read(content);
    let event = event.unwrap();
    group.bench_function("rules", |b| b.iter(|| rules::of(name.name(), black_box(&event), "")));
    let mut templates = TemplateCache::default();
    // A template is learnt when its line occurs again.
    assert!((0..2).all(|_| templates.match_template(NOISE.as_bytes()).is_none()));
    group.bench_function("match_template", |b| {
        b.iter(|| templates.match_template(black_box(NOISE.as_bytes())).expect("a known template"));
    });
    let number = templates.match_template(NOISE.as_bytes()).unwrap();
    group.bench_function("timestamps", |b| {
        b.iter(|| templates.timestamps(number, black_box(NOISE.as_bytes())).expect("timestamps"));
    });
    group.finish();
}

fn triage(c: &mut Criterion) {
    let mut group = c.benchmark_group("triage");
    for format in [LogFormat::Json, LogFormat::Text, LogFormat::Mixed, LogFormat::Dynamo] {
        let cluster =
            simulate(&flowlog_simulator::Options { format, flows: 500, ..Default::default() });
        let sources = Sources::from_texts(
            cluster.logs.iter().map(|(name, log)| (name.as_str(), log.as_slice())),
        )
        .unwrap();
        group.throughput(Throughput::Bytes(
            cluster.logs.iter().map(|(_, log)| log.len() as u64).sum(),
        ));
        group.bench_function(format!("{format:?}"), |b| {
            b.iter(|| analyze(&sources, &Options::default(), &|_| {}));
        });
    }
    group.finish();
}

criterion_group!(stages, lines, triage);
criterion_main!(stages);
