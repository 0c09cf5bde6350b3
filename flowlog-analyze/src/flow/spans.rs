//! The spans of one flow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resolved_row::ResolvedRow;
use super::span::Span;

/// A flow, or the part of it that is known under another of its IDs, in full.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Spans by ID.
    pub spans: BTreeMap<u64, Box<Span>>,
}

impl Flow {
    pub(super) fn merge(&mut self, other: Self) {
        for (key, span) in other.spans {
            match self.spans.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().merge(*span);
                }
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(span);
                }
            }
        }
    }

    pub(super) fn add_record(&mut self, row: &ResolvedRow<'_>) {
        self.spans
            .entry(row.span)
            .or_insert_with(|| Box::new(Span::new(row.span, row.position)))
            .add_record(row);
    }
}
