//! Aggregates lines into events.
//!
//! Envelopes are peeled, split lines are joined, and the lines of one event are joined even if
//! lines of other producers are between them.
//!
//! The event that a line belongs to depends on the lines before it, but on none more than twice
//! [`MAX_EVENT_BYTES`] bytes back, unless one producer wrote more than that without the beginning
//! of an event. A chunk is therefore read on its own, with that much lookbehind if its first lines
//! need it, and every event is found whole by the chunk in which it begins.

mod sink;
mod line;
mod pending;
mod slot;
mod aggregator;

use std::borrow::Cow;

use crate::envelope::EnvelopeMeta;
use crate::lines::{Chunk, MAX_EVENT_BYTES, lines};

use aggregator::LineAggregator;
use line::Region;
pub use sink::{AcceptedLine, EventSink, TemplateOwner};

/// Text that one producer wrote at once.
#[derive(Debug)]
pub struct RawEvent<'c> {
    /// Offset of the first line in the source.
    pub at: u64,
    /// Number of lines.
    pub lines: u64,
    /// Text without its envelopes, with line feeds inside.
    pub text: Cow<'c, [u8]>,
    /// Metadata from the envelopes of the first line.
    pub meta: EnvelopeMeta,
    /// Whether the event begins in the requested chunk, not before it.
    pub starts_in_chunk: bool,
}

/// Error for a chunk that was read without the lookbehind that its lines need.
#[derive(Debug, PartialEq, Eq)]
pub struct NeedsLookbehind;

/// Passes every event of a chunk to the sink, in the order in which they begin.
///
/// The events of the lookbehind that still matter come first. `read_ahead` yields the lines from an
/// offset on, because the last events may extend beyond the chunk. Returns the number of lines that
/// begin in the chunk itself.
///
/// # Errors
/// Returns [`NeedsLookbehind`] if the chunk was read without lookbehind that it needs, or the error
/// of `read_ahead` or of the sink.
pub fn read_events<'c, H: EventSink<'c>>(
    chunk: &'c Chunk,
    read_ahead: &mut dyn FnMut(u64) -> Result<Option<Chunk>, H::Error>,
    sink: &mut H,
) -> Result<u64, H::Error> {
    let mut aggregator = LineAggregator::new(chunk, sink);
    let mut chunk_lines = 0;
    let mut quiescent_at = chunk.quiescent_at.filter(|quiescent_at| *quiescent_at > chunk.start);
    for (at, line) in lines(&chunk.bytes) {
        let offset = chunk.start + at as u64;
        let region = if offset >= chunk.chunk_start { Region::Chunk } else { Region::Lookbehind };
        if quiescent_at.take_if(|quiescent_at| offset >= *quiescent_at).is_some() {
            aggregator.flush()?;
        }
        chunk_lines += u64::from(region == Region::Chunk);
        if !aggregator.match_known(offset, line)? {
            aggregator.take(offset, line, region)?;
        }
    }
    let mut end = chunk.end;
    let stop = end + MAX_EVENT_BYTES as u64;
    while end < stop && aggregator.is_waiting() {
        let Some(next) = read_ahead(end)?.filter(|next| !next.bytes.is_empty()) else { break };
        for (at, line) in lines(&next.bytes) {
            aggregator.lookahead_line(next.start + at as u64, line)?;
        }
        end = next.end;
    }
    aggregator.flush()?;
    Ok(chunk_lines)
}
