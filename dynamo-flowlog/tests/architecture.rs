//! A module of the emitter uses only modules before it in the order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

#[path = "../../flowlog-analyze/tests/module_graph/mod.rs"]
mod module_graph;

use std::path::{Path, PathBuf};

use module_graph::{assert_file_lengths, assert_no_cycle, assert_order, modules, uses};

/// From the parts of a record to the layers around applications.
const ORDER: [&str; 25] = [
    "platform",
    "fork",
    "mmap",
    "resource",
    "record_args",
    "failure",
    "carrier",
    "context",
    "trace_sampling",
    "thread_buffer",
    "sink",
    "flight",
    "health",
    "otlp",
    "env",
    "emitter",
    "pipeline",
    "resource_sampler",
    "recover",
    "builder",
    "span",
    "flow",
    "current",
    "layer",
    "tower",
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn modules_use_only_those_before_them() {
    assert_order(&ORDER, &uses(&modules(&src())));
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    assert_no_cycle(&uses(&modules(&src())));
}

#[test]
fn no_file_exceeds_five_hundred_lines() {
    assert_file_lengths(&src());
}
