//! Finds where flows are mentioned: their IDs are searched for as text, so that only lines logged
//! around the matches are read.

use std::ops::{Range, RangeInclusive};

use aho_corasick::AhoCorasick;
use rayon::prelude::*;

use crate::event::FlowKey;
use crate::source::{Source, Sources};
use crate::timestamp_inference::time_range_around;

/// Time before and after a flow that is read too, in nanoseconds. It shows what happened to the
/// flow: which processes fell silent or died, and how long similar flows took.
const FLOW_CONTEXT_WINDOW_NS: i64 = 10 * 60 * 1_000_000_000;

/// Bytes per search block.
const BLOCK_BYTES: u64 = 1 << 20;

/// Returns the time range in which the flows are mentioned, extended on both sides; `None` if no
/// line mentions them.
pub fn flow_window(sources: &Sources, flows: &[FlowKey]) -> Option<RangeInclusive<i64>> {
    let ids: Vec<String> = flows.iter().flat_map(written).collect();
    let search = AhoCorasick::new(&ids).ok()?;
    let longest = ids.iter().map(String::len).max().unwrap_or(0) as u64;
    let found: Vec<Range<u64>> =
        sources.read.par_iter().map(|source| find(source, &search, longest)).collect();
    let of_source = |(source, found): (&Source, &Range<u64>)| {
        let span = time_range_around(source, found);
        span.start().saturating_sub(FLOW_CONTEXT_WINDOW_NS)
            ..=span.end().saturating_add(FLOW_CONTEXT_WINDOW_NS)
    };
    let spans =
        sources.read.par_iter().zip(&found).filter(|(_, found)| !found.is_empty()).map(of_source);
    spans.reduce_with(|a, b| *a.start().min(b.start())..=*a.end().max(b.end()))
}

/// Returns the spellings of an ID: a UUID with hyphens, or without as a trace ID, in lower and
/// upper case; any other ID as it is.
fn written(flow: &FlowKey) -> Vec<String> {
    let text = flow.to_string();
    match flow {
        FlowKey::Id(_) => {
            let simple = text.replace('-', "");
            vec![text.to_ascii_uppercase(), simple.to_ascii_uppercase(), text, simple]
        }
        FlowKey::External(_) | FlowKey::SourceLocal(..) => vec![text],
    }
}

/// Returns the range from the first match of any ID to just past the start of the last one. A block
/// that cannot be read has no match; reading it later reports the error.
fn find(source: &Source, search: &AhoCorasick, longest: u64) -> Range<u64> {
    let blocks: Vec<u64> = (0..source.size.div_ceil(BLOCK_BYTES)).collect();
    let of_block = |block: &u64| {
        let begin = block * BLOCK_BYTES;
        let length = (source.size - begin).min(BLOCK_BYTES + longest);
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let filled = source.read_at(begin, &mut bytes).ok()?;
        let mut places =
            search.find_iter(bytes.get(..filled)?).map(|found| begin + found.start() as u64);
        let first = places.next()?;
        Some(first..places.last().unwrap_or(first) + 1)
    };
    let joined = blocks
        .par_iter()
        .filter_map(of_block)
        .reduce_with(|a, b| a.start.min(b.start)..a.end.max(b.end));
    joined.unwrap_or(0..0)
}
