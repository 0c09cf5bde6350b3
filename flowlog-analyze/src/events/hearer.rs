//! Who is told of events, and who knows lines at sight.

use super::{Event, NeedsPast};
use crate::envelope::Speaker;
use crate::format::Format;

/// Who is told of a chunk's events.
///
/// A closure is told of each. Whoever knows lines at sight says so, and spares them the way through envelopes and formats.
pub trait Hearer<'c> {
    /// Why hearing ends early.
    type Error: From<NeedsPast>;

    /// Takes an event.
    ///
    /// # Errors
    /// Whatever ends the reading.
    fn hear(&mut self, event: &Event<'c>) -> Result<(), Self::Error>;

    /// Takes a line to which nothing before it can matter as an event of one line without an envelope; whether it did. It may
    /// lie in the chunk's past, as the lines may that [`Hearer::count`] takes.
    fn skim(&mut self, _at: u64, _line: &[u8]) -> bool {
        false
    }

    /// A number by which a line is known that tells nothing but that somebody spoke.
    fn recall(&mut self, _line: &[u8]) -> Option<usize> {
        None
    }

    /// To whom such a line belongs.
    fn recalled(&self, _number: usize) -> Option<Recalled<'_>> {
        None
    }

    /// Notes the time of an event that will be told of later, and may go on: lines behind it take it over.
    fn foretell(&mut self, _event: &Event<'c>) {}

    /// Takes such a line as an event, if it can.
    fn count(&mut self, _number: usize, _at: u64, _line: &[u8]) -> Option<Counted> {
        None
    }

    /// Such a line, which was taken, goes on with another: it will be told of as the first of an event.
    fn take_back(&mut self, _counted: Counted) {}
}

impl<'c, E: From<NeedsPast>, F: FnMut(&Event<'c>) -> Result<(), E>> Hearer<'c> for F {
    type Error = E;

    fn hear(&mut self, event: &Event<'c>) -> Result<(), E> {
        self(event)
    }
}

/// To whom a line belongs that is known at sight.
#[derive(Debug)]
pub struct Recalled<'s> {
    /// Its [`thread`](crate::envelope::Facts::thread).
    pub thread: u64,
    /// Who wrote it.
    pub speaker: &'s Speaker,
    /// Its envelope is one that cuts lines; this one it did not.
    pub cuts: bool,
}

/// What was noted when a line was taken at sight.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The format that it was counted under.
    pub format: Format,
    /// Its stamp left something out.
    pub guessed: bool,
    /// It was counted: it lies neither in the chunk's past nor outside the times that are asked for.
    pub is_part: bool,
}
