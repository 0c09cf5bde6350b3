//! How many lines follow the structure, by who wrote them.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::mark::{Mark, Voice};
use crate::observation::{Observation, Said};

/// What one writer's lines hold.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Lines.
    pub lines: u64,
    /// Lines of a structured format.
    pub structured: u64,
    /// Lines without structure.
    pub loose: Broken,
    /// Records of spans.
    pub records: u64,
    /// Those of them that name no flow.
    pub nameless: Broken,
}

/// Where a rule is broken.
#[derive(Debug, Clone, Default)]
pub struct Broken {
    /// How often.
    pub count: u64,
    /// The first places, in order, at most [`Broken::PLACES`].
    pub places: Vec<Mark>,
}

impl Broken {
    /// How many places are kept.
    pub const PLACES: usize = 5;

    /// Adds cases, of which the first is at a place.
    pub fn add(&mut self, count: u64, mark: Mark) {
        self.merge(Self { count, places: vec![mark] });
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.places.extend(other.places);
        self.places.sort_unstable_by_key(|mark| (mark.place, mark.time));
        self.places.truncate(Self::PLACES);
    }
}

impl Entry {
    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.structured += other.structured;
        self.loose.merge(other.loose);
        self.records += other.records;
        self.nameless.merge(other.nameless);
    }
}

/// All writers: the component that a line names, else the voice that stands for one.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// What each holds.
    pub entries: BTreeMap<(CompactString, Voice), Entry>,
}

impl Ledger {
    /// Notes an event of so many lines.
    pub fn note(
        &mut self,
        structured: bool,
        lines: u64,
        observation: Option<&Observation<'_>>,
        mark: Mark,
    ) {
        let named = observation
            .filter(|observation| !observation.embedded)
            .and_then(|observation| observation.component.as_deref());
        let entry = match named {
            Some(component) => {
                self.entries.entry((CompactString::from(component), Voice::NONE)).or_default()
            }
            None => self.entries.entry((CompactString::default(), mark.place.voice())).or_default(),
        };
        entry.lines += lines;
        if structured {
            entry.structured += lines;
        } else {
            entry.loose.add(lines, mark);
        }
        let of_span = |observation: &&Observation<'_>| {
            observation.versions.is_some()
                && matches!(observation.said, Said::Open | Said::End | Said::Fail(_) | Said::Cancel)
        };
        if let Some(observation) = observation.filter(of_span) {
            entry.records += 1;
            if observation.flows.is_empty() {
                entry.nameless.add(1, mark);
            }
        }
    }

    /// Adds another's.
    pub fn merge(&mut self, other: Self) {
        for (writer, entry) in other.entries {
            self.entries.entry(writer).or_default().merge(entry);
        }
    }
}
