//! What each stage of a line's way costs, by itself: `cargo bench -p flowlog-benches`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark stops at what it did not expect"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowlog_analyze::shapes::Shapes;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze, envelope, format, sign};
use flowlog_schema::{Skimmer, json};
use flowlog_simulator::{Form, simulate};

/// An ordinary record, as our own encoder writes it.
const RECORD: &str = r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"router::select","message":"","component":"router","instance":"router-0","flow_id":"019aaaac-a5da-7347-bb80-1089c1876100","flow":"chat_completion","event":"state","state":"dispatch","trace_id":"019aaaaca5da7347bb801089c1876100","span_id":"24b5dddcfdbbee4f","parent_id":"8e201852647d2d09","clock":"019aaaacb23c001a","worker_id":"prefill-0"}"#;

/// A line of chatter, as kubectl prints it.
const CHATTER: &str = "[pod/vllm-worker-1/main] 2025-11-22T08:27:15.705274123Z INFO 11-22 08:27:15 [loggers.py:118] Engine 000: Avg prompt throughput: 709.7 tokens/s, Running: 12 reqs, GPU KV cache usage: 1.2%";

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Bytes(RECORD.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| json::decode(black_box(RECORD.as_bytes())).expect("a record"))
    });
    group.bench_function("glance", |b| {
        b.iter(|| json::glance(black_box(RECORD.as_bytes()), &mut |_, _| true).expect("ordinary"))
    });
    let mut skimmer = Skimmer::default();
    group.bench_function("skim", |b| {
        b.iter(|| skimmer.skim(black_box(RECORD.as_bytes()), &mut |_, _| true).expect("ordinary"))
    });
    group.finish();

    let mut group = c.benchmark_group("chatter");
    group.throughput(Throughput::Bytes(CHATTER.len() as u64));
    group.bench_function("peel", |b| b.iter(|| envelope::peel(black_box(CHATTER.as_bytes()))));
    let content = CHATTER.split_once("Z ").map(|(_, content)| content).unwrap();
    group.bench_function("read", |b| b.iter(|| format::read(black_box(content))));
    let (name, observation) = format::read(content);
    let observation = observation.unwrap();
    group.bench_function("sign", |b| b.iter(|| sign::of(name.name(), black_box(&observation), "")));
    let mut shapes = Shapes::default();
    // It is learnt when it comes again.
    assert!((0..2).all(|_| shapes.recall(CHATTER.as_bytes()).is_none()));
    group.bench_function("recall", |b| {
        b.iter(|| shapes.recall(black_box(CHATTER.as_bytes())).expect("a known shape"))
    });
    let number = shapes.recall(CHATTER.as_bytes()).unwrap();
    group.bench_function("stamps", |b| {
        b.iter(|| shapes.stamps(number, black_box(CHATTER.as_bytes())).expect("stamps"))
    });
    group.finish();
}

fn triage(c: &mut Criterion) {
    let mut group = c.benchmark_group("triage");
    for form in [Form::Json, Form::Text, Form::Mixed, Form::Dynamo] {
        let cluster =
            simulate(&flowlog_simulator::Options { form, flows: 500, ..Default::default() });
        let sources = Sources::of_texts(
            cluster.logs.iter().map(|(name, log)| (name.as_str(), log.as_slice())),
        )
        .unwrap();
        group.throughput(Throughput::Bytes(
            cluster.logs.iter().map(|(_, log)| log.len() as u64).sum(),
        ));
        group.bench_function(format!("{form:?}"), |b| {
            b.iter(|| analyze(&sources, &Options::default(), &|_| {}))
        });
    }
    group.finish();
}

criterion_group!(stages, lines, triage);
criterion_main!(stages);
