//! The spans and participants of one flow.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::participant::Participant;
use super::position::LogPosition;
use super::resolved_row::ResolvedRow;
use super::span::Span;
use crate::event::{ParsedEvent, span_key};

/// A flow, or the part of it that is known under another of its IDs, in full.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Spans by ID.
    pub spans: BTreeMap<u64, Box<Span>>,
    /// Processes that logged lines of the flow outside of spans, by a hash of their identity.
    pub(super) participants: BTreeMap<u64, Box<Participant>>,
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
        for (key, participant) in other.participants {
            match self.participants.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().merge(*participant);
                }
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(participant);
                }
            }
        }
    }

    /// Adds a line outside of spans.
    pub(super) fn add_line(&mut self, event: &ParsedEvent<'_>, position: LogPosition) {
        self.participants
            .entry(Participant::key_of(event, position))
            .or_insert_with(|| Box::new(Participant::new(event, position)))
            .note(event, position);
    }

    /// Returns whether a line outside of spans reports an error or a loss.
    pub(super) fn has_participant_error(&self) -> bool {
        let mut participants = self.participants.values();
        participants.any(|participant| participant.error.is_some() || participant.loss.is_some())
    }

    /// Adds a process that logged nothing of the flow, and the line that names it.
    pub fn add_callee(
        &mut self,
        component: CompactString,
        instance: CompactString,
        caller: u64,
        position: LogPosition,
    ) {
        let key = span_key(&["callee", &component, &instance]);
        let callee = Participant::of_callee(component, instance, caller, position);
        self.spans.entry(key).or_insert_with(|| Box::new(callee.into_span(key)));
    }

    /// Turns every participant into a span without an ID.
    pub(super) fn participants_to_spans(&mut self) {
        for (key, participant) in std::mem::take(&mut self.participants) {
            self.spans.entry(key).or_insert_with(|| Box::new(participant.into_span(key)));
        }
    }

    pub(super) fn add_record(&mut self, row: &ResolvedRow<'_>) {
        self.spans
            .entry(row.span)
            .or_insert_with(|| Box::new(Span::new(row.span, row.position)))
            .add_record(row);
    }
}
