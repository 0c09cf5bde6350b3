//! Counts of structured and unstructured lines, by producer.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::position::{LogPosition, ProducerId};
use crate::event::{ParsedEvent, SpanUpdate};

/// Line counts of one producer.
#[derive(Debug, Clone, Default)]
pub struct LineCounts {
    /// Number of lines.
    pub lines: u64,
    /// Number of lines in a structured format.
    pub structured: u64,
    /// Lines without structure.
    pub unstructured: Violations,
    /// Number of span records.
    pub records: u64,
    /// Span records that name no flow.
    pub without_flow_id: Violations,
}

/// Violations of one rule about the structure of lines.
#[derive(Debug, Clone, Default)]
pub struct Violations {
    /// Number of violations.
    pub count: u64,
    /// First positions, in order; at most [`Violations::MAX_LINES`].
    pub lines: Vec<LogPosition>,
}

impl Violations {
    /// Maximum number of positions kept.
    pub const MAX_LINES: usize = 5;

    /// Adds `count` violations, the first of which is at `mark`.
    pub fn add(&mut self, count: u64, position: LogPosition) {
        self.merge(Self { count, lines: vec![position] });
    }

    /// Merges `other` into `self`.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.lines.extend(other.lines);
        self.lines.sort_unstable_by_key(|position| (position.line, position.time));
        self.lines.truncate(Self::MAX_LINES);
    }
}

impl LineCounts {
    /// Merges `other` into `self`.
    pub fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.structured += other.structured;
        self.unstructured.merge(other.unstructured);
        self.records += other.records;
        self.without_flow_id.merge(other.without_flow_id);
    }
}

/// Line counts of all producers: by the component that a line names, or else by the producer.
#[derive(Debug, Clone, Default)]
pub struct LineStats {
    /// Line counts by component name and producer; either the name is empty or the producer is
    /// [`ProducerId::NONE`].
    pub entries: BTreeMap<(CompactString, ProducerId), LineCounts>,
}

impl LineStats {
    /// Counts an event of `lines` lines.
    pub fn note(
        &mut self,
        structured: bool,
        lines: u64,
        event: Option<&ParsedEvent<'_>>,
        position: LogPosition,
    ) {
        let named =
            event.filter(|event| !event.is_library).and_then(|event| event.component.as_deref());
        let entry = match named {
            Some(component) => {
                self.entries.entry((CompactString::from(component), ProducerId::NONE)).or_default()
            }
            None => self
                .entries
                .entry((CompactString::default(), position.line.producer_id()))
                .or_default(),
        };
        entry.lines += lines;
        if structured {
            entry.structured += lines;
        } else {
            entry.unstructured.add(lines, position);
        }
        let of_span = |event: &&ParsedEvent<'_>| {
            event.versions.is_some()
                && matches!(
                    event.update,
                    SpanUpdate::Start | SpanUpdate::End | SpanUpdate::Fail(_) | SpanUpdate::Cancel
                )
        };
        if let Some(event) = event.filter(of_span) {
            entry.records += 1;
            if event.flows.is_empty() {
                entry.without_flow_id.add(1, position);
            }
        }
    }

    /// Merges `other` into `self`.
    pub fn merge(&mut self, other: Self) {
        for (writer, entry) in other.entries {
            self.entries.entry(writer).or_default().merge(entry);
        }
    }
}
