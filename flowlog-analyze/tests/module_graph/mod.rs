//! The modules of a crate and which of them use each other, read from its source.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by tests that use different parts"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Source of every module but the crate root, without its unit tests and line comments. A module is
/// named by its path: `flow::span`.
pub fn modules(src: &Path) -> BTreeMap<String, String> {
    let mut found = Vec::new();
    collect(src, &mut found);
    let entries = found.iter().map(|path| {
        let name = path.strip_prefix(src).unwrap().with_extension("");
        let name: Vec<String> =
            name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        (name.join("::"), code(&fs::read_to_string(path).unwrap()))
    });
    let is_root = |name: &str| matches!(name, "lib" | "main") || name.starts_with("bin::");
    entries.filter(|(name, _)| !is_root(name)).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn before_unit_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// Returns the code before the unit tests, without line comments.
fn code(text: &str) -> String {
    let lines =
        before_unit_tests(text).lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<&str>>().join("\n")
}

/// Returns the modules that each module uses, by `crate::` and by `super::`. The parent of a module
/// does not count: it declares the module.
pub fn uses(modules: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let used = |name: &str, code: &str| {
        let mut used = BTreeSet::new();
        for (start, is_super) in [("crate::", false), ("super::", true)] {
            for (at, _) in code.match_indices(start) {
                let before = code.get(..at).unwrap().chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' && is_super) {
                    continue;
                }
                let base: Vec<&str> = if is_super { parent(name) } else { Vec::new() };
                used.extend(paths(&base, code.get(at + start.len()..).unwrap(), modules));
            }
        }
        used.retain(|other| other != name && !name.starts_with(&format!("{other}::")));
        used
    };
    modules.iter().map(|(name, code)| (name.clone(), used(name, code))).collect()
}

fn parent(name: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = name.split("::").collect();
    parts.pop();
    parts
}

/// Returns the modules that a path names, relative to `base`: `a::b::C`, `a::{b, c::D}`.
fn paths(base: &[&str], text: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut base: Vec<String> = base.iter().map(|part| (*part).to_owned()).collect();
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(group) = after.strip_prefix('{').filter(|_| word.is_empty()) {
            let group = group.split(['}', ';']).next().unwrap_or_default();
            let inner = group.split([',', '{']).map(|item| {
                let item = item.trim().split("::").map(ToOwned::to_owned);
                longest(base.iter().cloned().chain(item).collect(), modules)
            });
            return inner.flatten().collect();
        }
        if word == "super" {
            base.pop();
        } else {
            base.push(word.to_owned());
        }
        match after.strip_prefix("::") {
            Some(next) => rest = next,
            None => return longest(base, modules).into_iter().collect(),
        }
    }
}

/// Returns the longest prefix of a path that is a module.
fn longest(mut path: Vec<String>, modules: &BTreeMap<String, String>) -> Option<String> {
    while !path.is_empty() {
        let name = path.join("::");
        if modules.contains_key(&name) {
            return Some(name);
        }
        path.pop();
    }
    None
}

/// Panics unless the top-level modules use only those before them in `order`.
pub fn assert_order(order: &[&str], uses: &BTreeMap<String, BTreeSet<String>>) {
    let position = |name: &str| {
        let top = name.split("::").next().unwrap();
        let found = order.iter().position(|module| *module == top);
        found.unwrap_or_else(|| panic!("`{top}` is missing from the module order"))
    };
    for (name, used) in uses {
        for other in used {
            assert!(
                position(other) <= position(name),
                "`{name}` uses `{other}`, which comes later"
            );
        }
    }
}

/// Panics if modules use each other in a circle.
pub fn assert_no_cycle(uses: &BTreeMap<String, BTreeSet<String>>) {
    let mut left = uses.clone();
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, used)| !used.iter().any(|other| left.contains_key(other)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|name, _| !free.contains(name));
    }
    assert!(left.is_empty(), "modules in or above a cycle: {left:#?}");
}

/// Panics if a file has more than 500 lines before its unit tests.
pub fn assert_file_lengths(src: &Path) {
    let mut found = Vec::new();
    collect(src, &mut found);
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let lines = before_unit_tests(&text).lines().count();
        assert!(lines <= 500, "`{}` has {lines} lines: split it by responsibility", path.display());
    }
}
