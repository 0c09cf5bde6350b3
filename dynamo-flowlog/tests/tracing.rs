//! `tracing` events and spans, recorded in the current flow.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::task::{Context, Waker};

use dynamo_flowlog::{Emitter, Encoding, FlowLayer, Level, Sink, current};
use flowlog_schema::{EventKind, Record, json, text};
use tracing::{Instrument, debug, error, info, info_span, instrument, warn};
use tracing_subscriber::layer::SubscriberExt;

/// Returns the records that are written while a subscriber with our layer is active.
fn written(
    encoding: Encoding,
    layer: impl Fn(FlowLayer) -> FlowLayer,
    work: impl FnOnce(&Emitter),
) -> Vec<Record<'static>> {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::file(folder.path().join("log"));
    let emitter = Emitter::builder("backend")
        .version("dynamo", "1.6.1")
        .level(Level::Info)
        .encoding(encoding)
        .sink(sink)
        .build()
        .unwrap();
    let subscriber = tracing_subscriber::registry().with(layer(FlowLayer::new().emitter(&emitter)));
    tracing::subscriber::with_default(subscriber, || work(&emitter));
    assert_eq!((emitter.health(), emitter.open_flows()), (dynamo_flowlog::Health::default(), 0));
    let log: &'static str =
        Box::leak(fs::read_to_string(folder.path().join("log")).unwrap().into_boxed_str());
    let read = |line: &'static str| {
        let (record, problems) = json::decode(line.as_bytes())
            .or_else(|_| text::decode(line.as_bytes()).map_err(|_| ()))
            .unwrap();
        assert!(problems.is_empty(), "{line}");
        record
    };
    log.lines().map(read).filter(|record| record.event != EventKind::Process).collect()
}

/// Formats a record as `event state message fields`, without its sequence number.
fn shown(record: &Record<'_>) -> String {
    let fields = record
        .fields
        .iter()
        .filter(|(name, _)| name != "seq")
        .map(|(name, value)| format!(" {name}={}", value.to_text()));
    let error = record
        .error
        .as_ref()
        .map(|error| format!(" {}: {}", error.kind, error.message))
        .unwrap_or_default();
    let state = record.state.as_deref().unwrap_or("-");
    format!(
        "{} {state} {}{error}{}",
        record.event.as_str(),
        record.message.as_deref().unwrap_or(""),
        fields.collect::<String>()
    )
}

#[test]
fn events_carry_the_flow_and_its_state() {
    for form in [Encoding::Json, Encoding::Text] {
        let records = written(
            form,
            |layer| layer,
            |emitter| {
                info!("outside");
                let flow = emitter.flow("chat_completion").start();
                flow.state("prefill");
                flow.run(|| {
                    let outer = info_span!("outer", model = "tiny", tokens = 1);
                    let _outer = outer.enter();
                    let inner = info_span!("inner", tokens = 2, late = tracing::field::Empty);
                    inner.record("late", true);
                    inner.record("late", false);
                    let _inner = inner.enter();
                    warn!(target: "engine", tokens = 3, share = 0.5, big = u64::MAX, wide = i128::MAX, flow_id = "mine", "{} left", 7);
                    debug!("too quiet");
                    error!("fails nothing");
                });
                flow.end();
            },
        );
        let lines: Vec<String> = records.iter().map(shown).collect();
        // Fields of inner spans come first, no name occurs twice, and reserved names are escaped.
        let own = if form == Encoding::Json { "field.flow_id" } else { "flow_id" };
        let warned = format!(
            "state prefill 7 left tokens=3 share=0.5 big={} wide={} {own}=mine late=false model=tiny",
            u64::MAX,
            i128::MAX
        );
        let spans = "late=false tokens=2 model=tiny";
        let failed = format!(
            "state prefill fails nothing {}",
            spans.replace("late=false tokens=2", "tokens=2 late=false")
        );
        assert_eq!(lines, ["start - ", "state prefill ", &warned, &failed, "end - "], "{form:?}");
        let warned = &records[2];
        assert_eq!((warned.target.as_deref(), warned.level), (Some("engine"), Some(Level::Warn)));
        assert!(
            warned.file.as_deref().unwrap().ends_with("tests/tracing.rs") && warned.line.is_some()
        );
        assert_eq!(
            records
                .iter()
                .map(|record| record.span_id)
                .collect::<std::collections::HashSet<_>>()
                .len(),
            1
        );
        assert!(records.windows(2).all(|pair| pair[0].clock < pair[1].clock));
    }
}

#[instrument(skip_all, err, fields(flow = "kv_transfer", blocks = blocks))]
fn transfer(blocks: u32) -> Result<(), std::io::Error> {
    info!("posted");
    current().unwrap().state("transfer");
    if blocks > 2 { Err(std::io::Error::other("Disconnected: the peer is gone")) } else { Ok(()) }
}

#[instrument(err(Debug), fields(flow))]
async fn route(fails: bool) -> Result<(), String> {
    std::future::ready(()).await;
    info!(worker = 3, "picked");
    if fails { Err("no worker".to_owned()) } else { Ok(()) }
}

#[instrument(err(level = "warn"), fields(flow))]
fn quiet() -> Result<(), String> {
    Err("Unavailable: nobody is there".to_owned())
}

#[instrument(err, fields(flow))]
fn retries() -> Result<(), String> {
    // The error is handled: the flow succeeds.
    error!(error = "Unavailable: nobody is there");
    Ok(())
}

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) =
            future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            return output;
        }
    }
}

#[test]
fn spans_with_a_flow_field_are_flow_spans() {
    let records = written(
        Encoding::Json,
        |layer| layer,
        |emitter| {
            let flow = emitter.flow("chat_completion").start();
            flow.run(|| transfer(1)).unwrap();
            flow.run(|| transfer(3)).unwrap_err();
            flow.end();
            assert!(current().is_none());
            wait(route(false)).unwrap();
            wait(route(true)).unwrap_err();
        },
    );
    let lines: Vec<String> = records
        .iter()
        .map(|record| format!("{} {}", record.flow.as_deref().unwrap(), shown(record)))
        .collect();
    let expected = [
        "chat_completion start - ",
        "kv_transfer start -  blocks=1",
        "kv_transfer state - posted blocks=1",
        "kv_transfer state transfer ",
        "kv_transfer end - ",
        "kv_transfer start -  blocks=3",
        "kv_transfer state - posted blocks=3",
        "kv_transfer state transfer ",
        "kv_transfer state transfer  error=Disconnected: the peer is gone blocks=3",
        "kv_transfer fail transfer  Disconnected: the peer is gone",
        "chat_completion end - ",
        "route start -  fails=false",
        "route state - picked worker=3 fails=false",
        "route end - ",
        "route start -  fails=true",
        "route state - picked worker=3 fails=true",
        "route state -  error=\"no worker\" fails=true",
        "route fail -  Unknown: \"no worker\"",
    ];
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace("field.error", "error")).collect();
    assert_eq!(lines, expected);
    // Inside a flow, the span is a child call of it; outside, it starts a flow of its own.
    assert_eq!(
        (records[1].parent_id, records[1].flow_id),
        (records[0].span_id, records[0].flow_id)
    );
    assert!(records[11].flow_id != records[14].flow_id && records[11].parent_id.is_none());
}

#[test]
fn span_fails_only_with_the_returned_error() {
    let records = written(
        Encoding::Json,
        |layer| layer,
        |_| {
            quiet().unwrap_err();
            retries().unwrap();
        },
    );
    let ends: Vec<String> = records
        .iter()
        .filter(|record| matches!(record.event, EventKind::End | EventKind::Fail))
        .map(shown)
        .collect();
    assert_eq!(ends, ["fail -  Unavailable: nobody is there", "end - "]);
}

#[test]
fn work_in_another_task_under_a_span_of_the_flow_is_in_it() {
    let records = written(
        Encoding::Json,
        |layer| layer,
        |_| {
            let flow = info_span!("first", flow = "x");
            let work = flow.in_scope(|| info_span!("work"));
            // Like another task, in which the flow's own span is not entered.
            work.in_scope(|| {
                info!(seq = 7, "elsewhere");
                info_span!("second", flow = "y").in_scope(|| info!("deeper"));
            });
        },
    );
    let lines: Vec<String> = records
        .iter()
        .map(|record| format!("{} {}", record.flow.as_deref().unwrap(), shown(record)))
        .collect();
    let expected = [
        "x start - ",
        "x state - elsewhere field.seq=7",
        "y start - ",
        "y state - deeper",
        "y end - ",
        "x end - ",
    ];
    assert_eq!(lines, expected);
    assert!(records.iter().all(|record| record.flow_id == records[0].flow_id));
}

#[test]
fn spans_selected_by_name_may_nest_in_any_order() {
    let by_name = |layer: FlowLayer| layer.spans(["first", "second"]);
    let records = written(Encoding::Json, by_name, |emitter| {
        let (first, second, plain) =
            (info_span!("first"), info_span!("second"), info_span!("plain"));
        let before = emitter.flow("around").start();
        before.run(|| {
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            // Entered and exited in the wrong order.
            dispatch.enter(&first.id().unwrap());
            dispatch.enter(&second.id().unwrap());
            dispatch.exit(&first.id().unwrap());
            info!("in second");
            dispatch.exit(&second.id().unwrap());
            assert_eq!(current().unwrap().flow_id(), before.flow_id());
            info!(parent: &first, "by its name");
            plain.in_scope(|| info!("around"));
        });
        before.end();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _entered = info_span!("third", flow = true).entered();
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());
        // A child of a span that is a flow span by name is a call of it.
        let child = info_span!(parent: &first, "child", flow = "decode");
        wait(async { info!("decoding") }.instrument(child));
    });
    let ended_records =
        |record: &Record<'_>| format!("{} {}", record.flow.as_deref().unwrap(), shown(record));
    let args: Vec<String> = records
        .iter()
        .filter(|record| record.event == EventKind::State)
        .map(ended_records)
        .collect();
    assert_eq!(
        args,
        [
            "second state - in second",
            "first state - by its name",
            "around state - around",
            "decode state - decoding"
        ]
    );
    let failed: Vec<String> = records
        .iter()
        .filter(|record| record.event == EventKind::Fail)
        .map(ended_records)
        .collect();
    assert_eq!(failed, ["true fail -  panic: the thread panicked while this was open"]);
    let start = |kind: &str| {
        records
            .iter()
            .find(|record| record.flow.as_deref() == Some(kind) && record.event == EventKind::Start)
            .unwrap()
    };
    assert_eq!(
        (start("decode").parent_id, start("decode").flow_id),
        (start("first").span_id, start("first").flow_id)
    );
}
