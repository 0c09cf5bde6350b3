//! Sequences: which of its own lines a component logs next for the same flow, or that none follows.
//!
//! Lines of other components in between do not count, so that it does not matter how work of
//! several components interleaves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MAX_FLOW_LINES;
use super::attribution::RunPatterns;
use crate::flow::LineRef;
use crate::traces::FlowLines;

/// A line of a component, and its next one for the same flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SequenceKey {
    /// Component.
    pub component: String,
    /// Pattern of the line.
    pub from: u64,
    /// Pattern of the next line; `None` if the component logs nothing more for the flow.
    pub to: Option<u64>,
}

/// Lines in sequence.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// How often they come.
    pub count: u64,
    /// The first line of one.
    pub example: LineRef,
}

/// Returns the sequences of all flows.
pub fn sequences(flows: &FlowLines, patterns: &RunPatterns<'_>) -> BTreeMap<SequenceKey, Sequence> {
    let mut all: BTreeMap<(&str, u64, Option<u64>), Sequence> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| flow.len() <= MAX_FLOW_LINES) {
        let mut latest: BTreeMap<&str, (u64, LineRef)> = BTreeMap::new();
        let mut add = |component, from: (u64, LineRef), to| {
            all.entry((component, from.0, to))
                .or_insert(Sequence { count: 0, example: from.1 })
                .count += 1;
        };
        for row in flow {
            let Some(pattern) = patterns.of_line(row.line, row.pattern) else { continue };
            let component = pattern.component.as_str();
            if let Some(from) = latest.insert(component, (row.pattern, row.line)) {
                add(component, from, Some(row.pattern));
            }
        }
        for (component, from) in latest {
            add(component, from, None);
        }
    }
    all.into_iter()
        .map(|((component, from, to), sequence)| {
            (SequenceKey { component: component.to_owned(), from, to }, sequence)
        })
        .collect()
}
