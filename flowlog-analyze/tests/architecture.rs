//! A module uses only modules before it in the order, and only some modules access the environment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

mod module_graph;

use std::fs;
use std::path::{Path, PathBuf};

use module_graph::{assert_file_lengths, assert_no_cycle, assert_order, modules, uses};

/// From bytes to answer.
const ORDER: [&str; 29] = [
    "timestamp",
    "component_names",
    "component_filter",
    "ansi",
    "secrets",
    "envelope",
    "source",
    "lines",
    "event",
    "format",
    "multiline",
    "timestamp_inference",
    "rules",
    "flow",
    "patterns",
    "traces",
    "templates",
    "ingest",
    "diagnose",
    "profile",
    "suspects",
    "kubernetes",
    "conclusion",
    "evidence",
    "owners",
    "lint",
    "report",
    "render",
    "cli",
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
fn the_library_lists_its_modules_in_that_order() {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ORDER);
}

#[test]
fn only_source_reads_and_only_the_command_prints() {
    for (name, code) in modules(&src()) {
        if !name.starts_with("source") {
            for word in ["File::open", "fs::read", "stdin()", "OpenOptions"] {
                assert!(name.starts_with("cli") || !code.contains(word), "`{name}` reads: {word}");
            }
        }
        for word in ["println!", "eprintln!", "print!(", "stdout()", "process::exit", "env::var"] {
            assert!(
                name.starts_with("cli") || !code.contains(word),
                "`{name}` accesses the environment: {word}"
            );
        }
    }
}

#[test]
fn no_file_exceeds_five_hundred_lines() {
    assert_file_lengths(&src());
}
