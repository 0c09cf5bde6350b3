//! Checks every seed of every fuzz target.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics on an unexpected result"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Calls `check` with the content of each seed, and with each seed cut in half. The third time, the
/// thread knows the templates of its lines.
fn check_seeds(target: &str, check: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = files(&root.join("seeds").join(target));
    if matches!(target, "events" | "pipeline") {
        seeds.extend(files(&root.join("../flowlog-analyze/tests/reading")));
    }
    assert!(!seeds.is_empty(), "`{target}` has no seeds");
    for seed in seeds {
        let bytes = fs::read(&seed).unwrap();
        println!("{}", seed.display());
        (0..3).for_each(|_| check(&bytes));
        check(&bytes[..bytes.len() / 2]);
    }
    check(b"");
}

macro_rules! targets {
    ($($target:ident),*) => {
        $(#[test]
        fn $target() {
            check_seeds(stringify!($target), flowlog_fuzz::$target::check);
        })*
    };
}

targets!(record_json, record_text, events, pipeline, owners, flight, headers);
