//! Result of reading one chunk.

use flowlog_schema::report::Input;

use super::alert::Alert;
use super::event_row::EventRow;
use crate::flow::{ChunkDelta, LineStats};
use crate::format::Format;
use crate::patterns::Patterns;
use crate::traces::Traces;

/// Result of reading one chunk.
pub(super) struct ChunkResult {
    pub(super) source: u32,
    /// Offset of the chunk in the source.
    pub(super) offset: u64,
    /// Number of lines that begin in the chunk.
    pub(super) lines: u64,
    pub(super) delta: ChunkDelta,
    pub(super) input: Input,
    pub(super) formats: [u64; Format::COUNT],
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    pub(super) line_stats: LineStats,
    /// Message patterns of the lines.
    pub(super) patterns: Patterns,
    /// Lines with the ID of a flow.
    pub(super) traces: Traces,
    /// Range in which kubectl shows objects.
    pub(super) objects: Option<(u64, u64)>,
    /// Spans that reported a failure.
    pub(super) failures: u64,
    /// See [`IngestOptions::follow`](super::IngestOptions::follow).
    pub(super) alerts: Vec<Alert>,
    /// See [`IngestOptions::collect_events`](super::IngestOptions::collect_events).
    pub(super) events: Vec<EventRow>,
}

impl ChunkResult {
    /// Creates an empty result for the chunk that begins at `offset`.
    pub(super) fn new(delta: ChunkDelta, source: u32, offset: u64) -> Self {
        Self {
            source,
            offset,
            lines: 0,
            delta,
            input: Input::default(),
            formats: [0; Format::COUNT],
            first: None,
            last: None,
            line_stats: LineStats::default(),
            patterns: Patterns::default(),
            traces: Traces::default(),
            objects: None,
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

    /// Reverts the count of a line that is one record.
    pub(super) fn uncount(&mut self, format: Format) {
        self.formats[format.number()] -= 1;
        self.input.lines -= 1;
        self.input.records -= 1;
    }

    /// Extends the range in which kubectl shows objects.
    pub(super) fn note_object(&mut self, at: u64) {
        let (from, to) = self.objects.unwrap_or((at, at));
        self.objects = Some((from.min(at), to.max(at)));
    }

    /// Extends the time range by a record's time.
    pub(super) fn note_time(&mut self, time: i64) {
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
    }
}
