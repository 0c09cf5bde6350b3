//! What is known of a flow under one of its ids.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mark::Mark;
use super::roster::Roster;
use super::row::{self, Kept, Scratch};
use super::settled::Settled;
use super::span::{Fate, Pass, Span};
use super::stats::Stats;
use crate::observation::{FlowKey, Observation};

/// One flow, or a part of one that is known by another of its ids, in full.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Its spans by id.
    pub spans: BTreeMap<u64, Box<Span>>,
}

impl Flow {
    pub(super) fn merge(&mut self, other: Self) {
        for (key, span) in other.spans {
            match self.spans.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().merge(*span)
                }
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(span);
                }
            }
        }
    }

    pub(super) fn pass(&mut self, pass: &Pass<'_>) {
        self.spans
            .entry(pass.span)
            .or_insert_with(|| Box::new(Span::new(pass.span, pass.mark)))
            .pass(pass);
    }
}

/// What is known of a flow under one of its ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its ordinary lines.
    pub(super) rows: Vec<Kept>,
    /// What its other lines say.
    pub(super) flow: Flow,
    /// The time of its last line; [`Mark::NO_TIME`] where none has one.
    pub(super) last: i64,
    /// Its lines.
    pub(super) lines: u64,
    /// The id is a trace id or flow id.
    pub(super) traced: bool,
    /// The id crosses from process to process.
    pub(super) routed: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            flow: Flow::default(),
            last: Mark::NO_TIME,
            lines: 0,
            traced: false,
            routed: false,
        }
    }
}

impl Entry {
    pub(super) fn note(&mut self, observation: &Observation<'_>, mark: Mark) {
        self.traced |= observation.traced;
        self.routed |= !observation.traced;
        self.last = self.last.max(mark.time);
        self.lines += 1;
        if let Some(reference) = &observation.span {
            self.flow
                .spans
                .entry(reference.key)
                .or_insert_with(|| Box::new(Span::new(reference.key, mark)))
                .note(reference, observation, mark);
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.flow.merge(other.flow);
        self.last = self.last.max(other.last);
        self.lines += other.lines;
        self.traced |= other.traced;
        self.routed |= other.routed;
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.rows.is_empty() || !self.flow.spans.is_empty()
    }

    /// The flow in full.
    pub(super) fn unfold(&self, roster: &Roster) -> Flow {
        let mut flow = self.flow.clone();
        for row in &self.rows {
            flow.pass(&row.pass(roster));
        }
        flow
    }

    /// The flow in full, if it ended well. One that failed or was cancelled by its own words is not looked at:
    /// it stays, which costs memory and changes no answer.
    pub(super) fn if_settled(&self, roster: &Roster) -> Option<Flow> {
        if self.flow.spans.values().any(|span| {
            span.failed.is_some() || span.cancelled.is_some() || span.recreated.is_some()
        }) {
            return None;
        }
        Some(self.unfold(roster)).filter(is_settled)
    }

    /// Whether the flow ended well; if so, what matters of it is kept.
    pub(super) fn settle(
        &self,
        roster: &Roster,
        scratch: &mut Scratch,
        stats: &mut Stats,
        settled: &mut Settled,
    ) -> bool {
        let told = if self.flow.spans.is_empty() {
            row::settle(&self.rows, roster, scratch, stats)
        } else {
            None
        };
        told.unwrap_or_else(|| {
            let flow = self.if_settled(roster);
            if let Some(flow) = &flow {
                settled.ok += 1;
                settled.keep(flow);
            }
            flow.is_some()
        })
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<(FlowKey, Self)>()
            + self.rows.capacity() * size_of::<Kept>()
            + self.flow.spans.len() * OF_A_SPAN) as u64
    }

    /// Whether a span failed by its own words.
    fn is_failed(&self) -> bool {
        self.flow.spans.values().any(|span| span.failed.is_some())
    }

    /// The order in which flows are given up: those that did not fail, the oldest first; then those that did, the youngest
    /// first, for what failed first is what is asked for.
    pub(super) fn order(&self) -> (bool, i64) {
        let failed = self.is_failed();
        (failed, if failed { self.last.saturating_neg() } else { self.last })
    }

    /// Whether its last line was before that moment.
    pub(super) fn is_older(&self, before: i64) -> bool {
        self.last != Mark::NO_TIME && self.last < before
    }
}

/// Whether nothing more can be wrong with a flow: its root and every span ended well.
pub(super) fn is_settled(flow: &Flow) -> bool {
    !flow.spans.is_empty()
        && flow.spans.values().all(|span| span.fate() == Fate::Ok && span.recreated.is_none())
        && flow.spans.values().any(|span| span.parent.is_none())
}

/// About what a span takes, with its states and its failure.
const OF_A_SPAN: usize = size_of::<Span>() + 512;
