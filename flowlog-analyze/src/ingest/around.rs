//! Where a flow is spoken of: its ids are searched for as they are written, and only what was logged around them is read.

use std::ops::{Range, RangeInclusive};

use aho_corasick::AhoCorasick;
use rayon::prelude::*;

use crate::observation::FlowKey;
use crate::source::{Source, Sources};
use crate::timeline::moments_around;

/// How much of the logs before and after a flow tells what happened to it, in nanoseconds: who else fell silent, who died, how
/// long its like took.
const AROUND: i64 = 10 * 60 * 1_000_000_000;

/// Bytes that are searched at once.
const BLOCK: u64 = 1 << 20;

/// When flows are spoken of, and some time before and after that; `None` where no line names them.
pub fn around(sources: &Sources, flows: &[FlowKey]) -> Option<RangeInclusive<i64>> {
    let ids: Vec<String> = flows.iter().flat_map(written).collect();
    let search = AhoCorasick::new(&ids).ok()?;
    let longest = ids.iter().map(String::len).max().unwrap_or(0) as u64;
    let found: Vec<Range<u64>> =
        sources.read.par_iter().map(|source| find(source, &search, longest)).collect();
    let of_source = |(source, found): (&Source, &Range<u64>)| {
        let span = moments_around(source, found);
        span.start().saturating_sub(AROUND)..=span.end().saturating_add(AROUND)
    };
    let spans =
        sources.read.par_iter().zip(&found).filter(|(_, found)| !found.is_empty()).map(of_source);
    spans.reduce_with(|a, b| *a.start().min(b.start())..=*a.end().max(b.end()))
}

/// How an id is written: a UUID with hyphens, as a trace id without, in small letters or capitals.
fn written(flow: &FlowKey) -> Vec<String> {
    let text = flow.to_string();
    match flow {
        FlowKey::Id(_) => {
            let simple = text.replace('-', "");
            vec![text.to_ascii_uppercase(), simple.to_ascii_uppercase(), text, simple]
        }
        FlowKey::Foreign(_) | FlowKey::Local(..) => vec![text],
    }
}

/// From the first to behind the last place where one of the ids stands. A part that cannot be read has none: reading it says so.
fn find(source: &Source, search: &AhoCorasick, longest: u64) -> Range<u64> {
    let blocks: Vec<u64> = (0..source.size.div_ceil(BLOCK)).collect();
    let of_block = |block: &u64| {
        let begin = block * BLOCK;
        let length = (source.size - begin).min(BLOCK + longest);
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
