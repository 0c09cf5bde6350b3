//! Reading of one chunk on one thread.

use std::cell::Cell;
use std::sync::Mutex;

use super::IngestOptions;
use super::chunk_error::ChunkError;
use super::chunk_result::ChunkResult;
use super::reader::{Reader, SourceContext};
use super::schedule::Task;
use crate::envelope::Layout;
use crate::flow::ChunkDelta;
use crate::lines::{Chunk, read_chunk};
use crate::multiline::read_events;
use crate::templates::TemplateCache;

/// Chunk deltas that were merged, kept to reuse their memory.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<ChunkDelta>>);

impl Pool {
    fn take(&self, source: u32) -> ChunkDelta {
        match self.0.lock().ok().and_then(|mut pool| pool.pop()) {
            Some(mut delta) => {
                delta.reset(source);
                delta
            }
            None => ChunkDelta::of(source),
        }
    }

    pub(super) fn give_back(&self, delta: Vec<ChunkDelta>) {
        if let Ok(mut pool) = self.0.lock() {
            pool.extend(delta);
        }
    }
}

/// Reads the lines of a source that begin in the task's range. The lookbehind is read only if the
/// first attempt turns out to need it.
pub(super) fn read_part(
    context: SourceContext<'_>,
    layout: &Layout,
    pool: &Pool,
    task: &Task,
    options: &IngestOptions,
) -> Result<ChunkResult, String> {
    let read = |with_lookbehind| read_with(context, layout, pool, task, with_lookbehind, options);
    match read(false) {
        Err(ChunkError::NeedsLookbehind) => read(true),
        other => other,
    }
    .map_err(|error| error.to_string())
}

/// Bytes of lookahead read at a time, beyond a chunk with unfinished events at its end.
const LOOKAHEAD_BYTES: u64 = 64 * 1024;

fn read_with(
    context: SourceContext<'_>,
    layout: &Layout,
    pool: &Pool,
    task: &Task,
    with_lookbehind: bool,
    options: &IngestOptions,
) -> Result<ChunkResult, ChunkError> {
    let number = u32::try_from(task.source).unwrap_or(u32::MAX);
    let Some(source) = context.0.read.get(task.source) else {
        return Ok(ChunkResult::new(pool.take(number), number, 0));
    };
    let chunk = read_chunk(
        source,
        task.range.start..task.range.end.min(source.size),
        with_lookbehind,
        BUFFER.take(),
    )?;
    let chunk = Chunk { quiescent_at: task.quiescent_at, layout: layout.clone(), ..chunk };
    let end = source.size.min(task.next_quiescence);
    let part = ChunkResult::new(pool.take(number), number, chunk.chunk_start);
    let mut reader = Reader::new(
        part,
        context,
        chunk.has_lookbehind,
        TEMPLATES.take().unwrap_or_default(),
        options,
    );
    reader.result.input.bytes = chunk.end - chunk.chunk_start;
    let mut ahead = |from: u64| {
        if from >= end {
            Ok(None)
        } else {
            read_chunk(
                source,
                from..from.saturating_add(LOOKAHEAD_BYTES).min(end),
                false,
                Vec::new(),
            )
            .map(Some)
            .map_err(ChunkError::from)
        }
    };
    let lines = read_events(&chunk, &mut ahead, &mut reader);
    let (mut part, templates) = reader.into_parts();
    TEMPLATES.set(Some(templates));
    BUFFER.set(chunk.bytes);
    match lines {
        Ok(lines) => {
            part.lines = lines;
            Ok(part)
        }
        Err(stop) => {
            pool.give_back(vec![part.delta]);
            Err(stop)
        }
    }
}

thread_local! {
    /// Buffer of the last chunk that this thread read. It is reused because fresh memory for each
    /// chunk costs as much as reading it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// Line templates that this thread learned.
    static TEMPLATES: Cell<Option<Box<TemplateCache>>> = const { Cell::new(None) };
}
