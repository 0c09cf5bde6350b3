//! One chunk, read on one thread.

use std::cell::Cell;
use std::io;
use std::sync::Mutex;

use super::Plan;
use super::part::Part;
use super::reader::{Known, Reader};
use super::schedule::Task;
use crate::events::{NeedsPast, read_events};
use crate::flow::Notes;
use crate::lines::{Chunk, read_chunk};
use crate::shapes::Shapes;

/// Notes that were taken, whose room is used again.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Notes>>);

impl Pool {
    fn take(&self, source: u32) -> Notes {
        match self.0.lock().ok().and_then(|mut pool| pool.pop()) {
            Some(mut notes) => {
                notes.reset(source);
                notes
            }
            None => Notes::of(source),
        }
    }

    pub(super) fn give_back(&self, notes: Vec<Notes>) {
        if let Ok(mut pool) = self.0.lock() {
            pool.extend(notes);
        }
    }
}

/// Reads the lines of a source that begin in a range.
pub(super) fn read_part(
    known: Known<'_>,
    pool: &Pool,
    task: &Task,
    plan: &Plan,
) -> Result<Part, String> {
    let read = |past| read_with(known, pool, task, past, plan);
    match read(false) {
        Err(Stop::NeedsPast) => read(true),
        other => other,
    }
    .map_err(|stop| stop.to_string())
}

/// Why reading a chunk ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("what lies before has to be known")]
    NeedsPast,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NeedsPast> for Stop {
    fn from(_: NeedsPast) -> Self {
        Self::NeedsPast
    }
}

/// Bytes that are read at once beyond a chunk whose last events go on.
const AHEAD: u64 = 64 * 1024;

fn read_with(
    known: Known<'_>,
    pool: &Pool,
    task: &Task,
    past: bool,
    plan: &Plan,
) -> Result<Part, Stop> {
    let number = u32::try_from(task.source).unwrap_or(u32::MAX);
    let Some(source) = known.0.read.get(task.source) else {
        return Ok(Part::new(pool.take(number), number, 0));
    };
    let chunk =
        read_chunk(source, task.range.start..task.range.end.min(source.size), past, BUFFER.take())?;
    let chunk = Chunk { rested: task.rested, ..chunk };
    let end = source.size.min(task.rests);
    let part = Part::new(pool.take(number), number, chunk.own);
    let mut reader = Reader::new(
        part,
        known,
        (chunk.own, chunk.knows_past),
        SHAPES.take().unwrap_or_default(),
        plan,
    );
    reader.part.input.bytes = chunk.start + chunk.bytes.len() as u64 - chunk.own;
    let mut ahead = |from: u64| {
        if from >= end {
            Ok(None)
        } else {
            read_chunk(source, from..from.saturating_add(AHEAD).min(end), false, Vec::new())
                .map(Some)
                .map_err(Stop::from)
        }
    };
    let lines = read_events(&chunk, &mut ahead, &mut reader);
    let (mut part, shapes) = reader.into_parts();
    SHAPES.set(Some(shapes));
    BUFFER.set(chunk.bytes);
    match lines {
        Ok(lines) => {
            part.place.2 = lines;
            Ok(part)
        }
        Err(stop) => {
            pool.give_back(vec![part.notes]);
            Err(stop)
        }
    }
}

thread_local! {
    /// The room of the last chunk that this thread read: fresh memory for each costs as much as reading it.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// Shapes of lines that this thread learnt.
    static SHAPES: Cell<Option<Box<Shapes>>> = const { Cell::new(None) };
}
