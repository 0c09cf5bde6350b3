//! The process's own subscriber and emitter, in a file of its own: a process has only one of each.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test panics on an unexpected result")]

use std::fmt;
use std::fs;

use dynamo_flowlog::{Emitter, Flow, FlowLayer, Sink};
use flowlog_schema::{EventKind, json};
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Value that emits an event and enters a span while it is formatted.
struct Talks;

impl fmt::Debug for Talks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info_span!("inside", flow = "inside").in_scope(|| info!(deep = true, "talking"));
        f.write_str("talked")
    }
}

#[test]
fn value_that_emits_events_while_it_is_formatted() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(FlowLayer::new()))
        .unwrap();
    // No emitter is installed yet.
    info_span!("early", flow = true).in_scope(|| info!("to nobody"));
    let folder = tempfile::tempdir().unwrap();
    let _installed =
        Emitter::builder("backend").sink(Sink::file(folder.path().join("log"))).install().unwrap();
    let flow = Flow::start("x");
    flow.run(|| info!(value = ?Talks, "said"));
    // The same when the value is recorded in the current span later.
    let span = info_span!("recorded", late = tracing::field::Empty);
    flow.run(|| span.in_scope(|| span.record("late", tracing::field::debug(Talks))));
    flow.end();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let records = log
        .lines()
        .map(|line| json::decode(line.as_bytes()).unwrap().0)
        .filter(|record| record.event != EventKind::Process);
    let args: Vec<String> = records
        .map(|record| format!("{} {}", record.event.as_str(), record.message.unwrap_or_default()))
        .collect();
    assert_eq!(
        args,
        [
            "start ",
            "start ",
            "state talking",
            "end ",
            "state said",
            "start ",
            "state talking",
            "end ",
            "end "
        ]
    );
}
