//! The process's own subscriber, and its own emitter. A file of its own: a process has one of each.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fmt;
use std::fs;

use dynamo_flowlog::{Emitter, Flow, FlowLayer, Sink};
use flowlog_schema::{Event, json};
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// A value that says something itself while it is written, and enters a span.
struct Talks;

impl fmt::Debug for Talks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info_span!("inside", flow = "inside").in_scope(|| info!(deep = true, "talking"));
        f.write_str("talked")
    }
}

#[test]
fn a_value_that_talks_while_it_is_written() {
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(FlowLayer::new()))
        .unwrap();
    // Nobody emits yet.
    info_span!("early", flow = true).in_scope(|| info!("to nobody"));
    let folder = tempfile::tempdir().unwrap();
    let _installed =
        Emitter::builder("backend").sink(Sink::file(folder.path().join("log"))).install().unwrap();
    let flow = Flow::start("x");
    flow.run(|| info!(value = ?Talks, "said"));
    // Also where a span is told of it later, in itself.
    let span = info_span!("recorded", late = tracing::field::Empty);
    flow.run(|| span.in_scope(|| span.record("late", tracing::field::debug(Talks))));
    flow.end();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let records = log
        .lines()
        .map(|line| json::decode(line.as_bytes()).unwrap().0)
        .filter(|record| record.event != Event::Process);
    let said: Vec<String> = records
        .map(|record| format!("{} {}", record.event.as_str(), record.message.unwrap_or_default()))
        .collect();
    assert_eq!(
        said,
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
