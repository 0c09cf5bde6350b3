//! The house keeps its shape: a module of the analyzer uses only those to its left, and only some may touch the
//! outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it did not expect")]

use std::fs;
use std::path::{Path, PathBuf};

/// From bytes to answer.
const ORDER: [&str; 21] = [
    "stamp",
    "names",
    "ansi",
    "envelope",
    "source",
    "lines",
    "observation",
    "format",
    "events",
    "timeline",
    "sign",
    "shapes",
    "flow",
    "ingest",
    "diagnose",
    "evidence",
    "owners",
    "lint",
    "report",
    "render",
    "cli",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    let name =
        |path: &PathBuf| path.strip_prefix(&root).unwrap().with_extension("").display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The code before its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn modules_use_only_those_to_their_left() {
    for (name, text) in files() {
        let module = name.split('/').next().unwrap();
        let Some(own) = ORDER.iter().position(|known| *known == module) else {
            assert!(
                matches!(module, "lib" | "main" | "bin"),
                "`{module}` has no place in the order"
            );
            continue;
        };
        for used in text.split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if let Some(at) = ORDER.iter().position(|known| *known == used) {
                assert!(at <= own, "`{name}` uses `{used}`, which is to its right");
            }
        }
    }
}

#[test]
fn the_library_lists_its_modules_in_that_order() {
    let (_, lib) = files().into_iter().find(|(name, _)| name == "lib").unwrap();
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ORDER);
}

#[test]
fn only_source_reads_and_only_the_command_prints() {
    for (name, text) in files() {
        let code = code(&text);
        if !name.starts_with("source") {
            for word in ["File::open", "fs::read", "stdin()", "OpenOptions"] {
                assert!(name == "cli" || !code.contains(word), "`{name}` reads: {word}");
            }
        }
        for word in ["println!", "eprintln!", "print!(", "stdout()", "process::exit", "env::var"] {
            assert!(
                name.starts_with("cli") || !code.contains(word),
                "`{name}` touches the outside: {word}"
            );
        }
    }
}

#[test]
fn no_file_grows_past_five_hundred_lines() {
    for (name, text) in files() {
        assert!(
            text.lines().count() <= 500,
            "`{name}` has {} lines: look for the second noun",
            text.lines().count()
        );
    }
}
