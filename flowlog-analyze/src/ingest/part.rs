//! What one chunk holds.

use flowlog_schema::report::Input;

use super::alert::Alert;
use super::logged::LoggedEvent;
use crate::flow::{Ledger, Notes};
use crate::format::Format;

/// What one chunk holds.
pub(super) struct Part {
    /// Its source, where it begins there, and how many lines it has.
    pub(super) place: (u32, u64, u64),
    pub(super) notes: Notes,
    pub(super) input: Input,
    pub(super) formats: [u64; Format::COUNT],
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    pub(super) ledger: Ledger,
    /// Spans that said that they failed.
    pub(super) failures: u64,
    /// See [`Plan::follows`](super::Plan::follows).
    pub(super) alerts: Vec<Alert>,
    /// See [`Plan::keeps_events`](super::Plan::keeps_events).
    pub(super) events: Vec<LoggedEvent>,
}

impl Part {
    /// Nothing yet of a chunk that begins there.
    pub(super) fn new(notes: Notes, source: u32, offset: u64) -> Self {
        Self {
            place: (source, offset, 0),
            notes,
            input: Input::default(),
            formats: [0; Format::COUNT],
            first: None,
            last: None,
            ledger: Ledger::default(),
            failures: 0,
            alerts: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Counts lines under a format.
    pub(super) fn count(&mut self, format: Format, lines: u64) {
        self.formats[format.number()] += lines;
        self.input.lines += lines;
    }

    /// Takes back a line of one record.
    pub(super) fn uncount(&mut self, format: Format) {
        self.formats[format.number()] -= 1;
        self.input.lines -= 1;
        self.input.records -= 1;
    }

    /// Notes the time of a record.
    pub(super) fn note_time(&mut self, time: i64) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }
}
