//! Lines to events: envelopes peeled, cut lines joined, and what one writer wrote over several lines put together,
//! also where other writers' lines lie between.
//!
//! What a line belongs to depends on the lines before it, but on none that lies more than twice [`MAX_EVENT`] back,
//! unless one writer wrote more than that without any beginning. So a chunk is read by itself, with that much of its past
//! where its first lines need it, and every event is found whole by the chunk in which it begins.

mod hearer;
mod line;
mod open;

use std::borrow::Cow;
use std::collections::BTreeMap;

use fnv::FnvHashMap;

use crate::envelope::{Facts, Peeled, Speaker, is_bare, peel, peel_more, peel_of_task};
use crate::format::{Begin, begins};
use crate::lines::{Chunk, MAX_EVENT, lines};

pub use hearer::{Counted, Hearer, Recalled};
use line::{Line, Piece, Role};
use open::{Kind, Open, is_soon, may_go_on, reopened};

/// What one writer wrote at once.
#[derive(Debug)]
pub struct Event<'c> {
    /// Offset of its first line in the source.
    pub at: u64,
    /// How many lines it has.
    pub lines: u64,
    /// Its text out of its envelopes, with line feeds inside.
    pub text: Cow<'c, [u8]>,
    /// What its first line's envelopes know.
    pub facts: Facts,
    /// It begins in the chunk that was asked for, not before.
    pub own: bool,
}

/// The chunk's past has to be known to tell what its lines belong to.
#[derive(Debug, PartialEq, Eq)]
pub struct NeedsPast;

/// Most bytes of other writers' lines between two lines of one event.
const MAX_GAP: u64 = 64 * 1024;

/// Tells `hearer` of every event of a chunk, in the order in which they begin, and first of those of its past that are still
/// of interest. `ahead` yields the lines from an offset on: the last events may reach beyond the chunk.
///
/// Yields how many lines begin in the chunk itself.
///
/// # Errors
/// [`NeedsPast`], where the chunk was read without it; or whatever `ahead` or `hearer` say.
pub fn read_events<'c, H: Hearer<'c>>(
    chunk: &'c Chunk,
    ahead: &mut dyn FnMut(u64) -> Result<Option<Chunk>, H::Error>,
    hearer: &mut H,
) -> Result<u64, H::Error> {
    let knows_past = chunk.knows_past || chunk.rested == Some(chunk.own);
    let mut joiner = Joiner {
        hearer,
        own: chunk.own,
        knows_past,
        labelled: chunk.labelled,
        nobody: Slot::Unknown,
        threads: FnvHashMap::default(),
        open: 0,
        foretold: 0,
        latest: (0, Speaker::default()),
        pieces: FnvHashMap::default(),
        held: BTreeMap::new(),
        ends: false,
    };
    let mut own = 0;
    let mut rested = chunk.rested.filter(|rested| *rested > chunk.start);
    for (at, line) in lines(&chunk.bytes) {
        let offset = chunk.start + at as u64;
        let role = if offset >= chunk.own { Role::Own } else { Role::Past };
        if rested.take_if(|rested| offset >= *rested).is_some() {
            joiner.rest()?;
        }
        own += u64::from(role == Role::Own);
        if !joiner.is_known(offset, line)? {
            joiner.take(offset, line, role)?;
        }
    }
    let mut end = chunk.start + chunk.bytes.len() as u64;
    let stop = end + MAX_EVENT as u64;
    while end < stop && joiner.is_waiting() {
        let Some(next) = ahead(end)?.filter(|next| !next.bytes.is_empty()) else { break };
        for (at, line) in lines(&next.bytes) {
            joiner.go_on(next.start + at as u64, line)?;
        }
        end = next.start + next.bytes.len() as u64;
    }
    joiner.rest()?;
    Ok(own)
}

/// What is known of a thread.
#[derive(Default)]
enum Slot<'c> {
    /// No line of it came yet: what came before the chunk may go on.
    #[default]
    Unknown,
    /// Nothing goes on.
    Closed,
    /// This may.
    Open(Box<Open<'c>>),
    /// This may too, though it was taken already: a line that is known by a number.
    Known { counted: Counted, at: u64, line: &'c [u8] },
}

impl<'c> Slot<'c> {
    fn open(&self) -> Option<&Open<'c>> {
        if let Self::Open(open) = self { Some(open) } else { None }
    }

    fn close(&mut self) -> Option<Event<'c>> {
        match std::mem::replace(self, Self::Closed) {
            Self::Open(open) => Some(open.event),
            Self::Unknown | Self::Closed | Self::Known { .. } => None,
        }
    }

    /// Whether a line of the chunk may go on here.
    fn is_waiting(&self, own: u64) -> bool {
        match self {
            Self::Open(open) => open.event.own,
            Self::Known { at, .. } => *at >= own,
            Self::Unknown | Self::Closed => false,
        }
    }
}

struct Joiner<'e, 'c, H> {
    hearer: &'e mut H,
    /// Where the chunk begins, and whether its past was read.
    own: u64,
    knows_past: bool,
    /// See [`Chunk::labelled`].
    labelled: bool,
    /// Lines that no envelope gives to anybody.
    nobody: Slot<'c>,
    /// By speaker and stream.
    threads: FnvHashMap<u64, Slot<'c>>,
    /// How many slots hold an open event.
    open: usize,
    /// Events that begin before this were told of, or their times.
    foretold: u64,
    /// The thread of the last line, and who wrote that.
    latest: (u64, Speaker),
    /// Lines that may go on, by speaker and stream of the envelope that cuts them. An entry without one says that a line
    /// of that thread was seen.
    pieces: FnvHashMap<u64, Option<Box<Piece<'c>>>>,
    /// Events that are complete while an earlier one is not.
    held: BTreeMap<u64, Event<'c>>,
    /// No line follows: everything is held, to be handed out in order.
    ends: bool,
}

impl<'c, H: Hearer<'c>> Joiner<'_, 'c, H> {
    fn slot(&mut self, thread: u64) -> &mut Slot<'c> {
        if thread == 0 { &mut self.nobody } else { self.threads.entry(thread).or_default() }
    }

    fn peel<'l>(&self, line: &'l [u8]) -> Peeled<'l> {
        if self.labelled { peel_of_task(line) } else { peel(line) }
    }

    /// Whether nothing depends on what came before the chunk.
    fn is_certain(&self, offset: u64) -> bool {
        self.knows_past || offset - self.own > MAX_EVENT as u64
    }

    /// Whether a line of the chunk, or of its past, is known at sight, and was taken so.
    ///
    /// Events that wait for more lines are told of later than it; all that it could ask of them is their time.
    fn is_known(&mut self, offset: u64, line: &'c [u8]) -> Result<bool, H::Error> {
        if self.labelled || self.pieces.values().any(Option::is_some) {
            return Ok(false);
        }
        if self.hearer.skim(offset, line) {
            if self.latest.0 != 0 {
                self.latest = (0, Speaker::default());
            }
            return self.end(0, Slot::Closed, offset).map(|()| true);
        }
        let Some(number) = self.hearer.recall(line) else { return Ok(false) };
        let Some((thread, cuts)) =
            self.hearer.recalled(number).map(|known| (known.thread, known.cuts))
        else {
            return Ok(false);
        };
        // What came before the chunk may have cut it.
        if cuts && !self.pieces.contains_key(&thread) && !self.is_certain(offset) {
            return Ok(false);
        }
        self.foretell();
        let Some(counted) = self.hearer.count(number, offset, line) else { return Ok(false) };
        if cuts {
            self.pieces.entry(thread).or_insert(None);
        }
        self.note_latest(thread, number);
        self.end(thread, Slot::Known { counted, at: offset, line }, offset).map(|()| true)
    }

    /// Tells the times of events that wait.
    fn foretell(&mut self) {
        if self.open == 0 && self.held.is_empty() {
            return;
        }
        let from = self.foretold;
        let held = self.held.range(from..).map(|(_, event)| event);
        let slots = std::iter::once(&self.nobody).chain(self.threads.values());
        let mut waiting: Vec<&Event<'c>> =
            held.chain(slots.filter_map(Slot::open).map(|open| &open.event)).collect();
        waiting.retain(|event| event.at >= from);
        waiting.sort_unstable_by_key(|event| event.at);
        for event in waiting {
            self.hearer.foretell(event);
            self.foretold = event.at + 1;
        }
    }

    fn note_latest(&mut self, thread: u64, number: usize) {
        if self.latest.0 != thread
            && let Some(known) = self.hearer.recalled(number)
        {
            self.latest = (thread, known.speaker.clone());
        }
    }

    /// A line behind the chunk that is known at sight: what waits in its thread waits no longer.
    fn is_known_ahead(&mut self, offset: u64, line: &[u8]) -> Result<bool, H::Error> {
        if self.labelled || self.pieces.values().any(Option::is_some) {
            return Ok(false);
        }
        let Some(number) = self.hearer.recall(line) else { return Ok(false) };
        let Some(thread) = self.hearer.recalled(number).map(|known| known.thread) else {
            return Ok(false);
        };
        self.note_latest(thread, number);
        self.end(thread, Slot::Closed, offset).map(|()| true)
    }

    fn take(&mut self, offset: u64, line: &'c [u8], role: Role) -> Result<(), H::Error> {
        let end = offset + line.len() as u64;
        if !self.labelled && is_bare(line) {
            let begin = begins(line);
            if self.latest.0 != 0 {
                self.latest = (0, Speaker::default());
            }
            if begin == Some(Begin::Whole) {
                self.end(0, Slot::Closed, offset)?;
                let event = Event {
                    at: offset,
                    lines: 1,
                    text: Cow::Borrowed(line),
                    facts: Facts::default(),
                    own: role == Role::Own,
                };
                return self.release(event, offset);
            }
            let line = Line {
                at: offset,
                end,
                lines: 1,
                text: Cow::Borrowed(line),
                facts: Facts::default(),
                role,
            };
            return self.join(line, begin);
        }
        let peeled = self.peel(line);
        if peeled.facts.cuts {
            return self.piece(offset, end, peeled, role);
        }
        let facts = peeled.facts.clone();
        self.whole_line(Line {
            at: offset,
            end,
            lines: 1,
            text: peeled.into_content(),
            facts,
            role,
        })
    }

    /// A line after the chunk.
    fn go_on(&mut self, offset: u64, line: &[u8]) -> Result<(), H::Error> {
        if self.is_known_ahead(offset, line)? {
            return Ok(());
        }
        let peeled = self.peel(line);
        let facts = peeled.facts.clone();
        let end = offset + line.len() as u64;
        let line = Line {
            at: offset,
            end,
            lines: 1,
            text: Cow::Owned(peeled.content().to_vec()),
            facts,
            role: Role::Ahead,
        };
        if line.facts.cuts { self.piece_of(line) } else { self.whole_line(line) }
    }

    fn piece(&mut self, at: u64, end: u64, peeled: Peeled<'c>, role: Role) -> Result<(), H::Error> {
        let facts = peeled.facts.clone();
        self.piece_of(Line { at, end, lines: 1, text: peeled.into_content(), facts, role })
    }

    /// A line whose envelope may have cut it: it goes on with the piece before it, or ends that.
    fn piece_of(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let thread = line.facts.thread();
        if !self.pieces.contains_key(&thread)
            && !self.is_certain(line.at)
            && line.role != Role::Ahead
        {
            return Err(NeedsPast.into());
        }
        let partial = line.facts.partial;
        let time = line.facts.complete_time();
        // An envelope that marks the pieces that go on tells only with the next line that one is complete.
        let waits = partial || line.facts.marks_later;
        let before = self.pieces.insert(thread, None).flatten();
        if let Some(mut piece) = before {
            let near = line.at - piece.line.at <= MAX_EVENT as u64
                && line.at.saturating_sub(piece.line.end) <= MAX_GAP;
            if (piece.partial || line.facts.continues) && near && is_soon(piece.last, time) {
                piece.line.text.to_mut().extend_from_slice(&line.text);
                piece.line.lines += line.lines;
                piece.line.end = line.end;
                piece.partial = partial;
                piece.last = time.or(piece.last);
                if waits {
                    self.pieces.insert(thread, Some(piece));
                    return Ok(());
                }
                return self.complete(piece.line);
            }
            self.complete(piece.line)?;
        }
        if waits {
            self.pieces.insert(thread, Some(Box::new(Piece { line, partial, last: time })));
            return Ok(());
        }
        self.complete(line)
    }

    /// A line that its envelope cut is whole again: what is inside may be wrapped too.
    fn complete(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let Line { at, end, lines, text, facts, role } = line;
        let (text, facts) = peel_more(text, facts);
        self.whole_line(Line { at, end, lines, text, facts, role })
    }

    fn whole_line(&mut self, line: Line<'c>) -> Result<(), H::Error> {
        let begin = begins(&line.text);
        self.join(line, begin)
    }

    /// A line goes on with its thread's event, or ends that and begins another.
    fn join(&mut self, line: Line<'c>, begin: Option<Begin>) -> Result<(), H::Error> {
        let time = line.facts.complete_time();
        let thread = self.thread_of(&line, begin);
        if self.latest.0 != thread {
            self.latest = (thread, line.facts.speaker.clone());
        }
        let certain = self.is_certain(line.at) || line.role == Role::Ahead;
        let own = self.own;
        match self.slot(thread) {
            Slot::Unknown if !certain && may_go_on(begin, &line.text) => {
                return Err(NeedsPast.into());
            }
            Slot::Open(open) => {
                if let Some(body) = open.takes(line.at, time, begin, &line.text) {
                    open.add(&line, body);
                    return Ok(());
                }
            }
            Slot::Known { counted, at, line: known } if may_go_on(begin, &line.text) => {
                let (counted, at) = (*counted, *at);
                if let Some(mut open) = reopened(at, known, at >= own)
                    && let Some(body) = open.takes(line.at, time, begin, &line.text)
                {
                    open.add(&line, body);
                    self.hearer.take_back(counted);
                    self.put_open(thread, open);
                    return Ok(());
                }
            }
            Slot::Unknown | Slot::Closed | Slot::Known { .. } => {}
        }
        let before = self.close(thread);
        let kind = match begin {
            Some(Begin::Logged { header, loud, repeats, .. }) => {
                Kind::Logged { header, loud, repeats }
            }
            Some(Begin::Panic | Begin::Stack | Begin::Part) => Kind::Raw,
            Some(Begin::Whole) | None => Kind::Whole,
        };
        let (offset, end) = (line.at, line.end);
        let event = Event {
            at: line.at,
            lines: line.lines,
            text: line.text,
            facts: line.facts,
            own: line.role == Role::Own,
        };
        let mut whole = None;
        if kind == Kind::Whole {
            whole = Some(event);
        } else {
            let body = if let Some(Begin::Logged { body, .. }) = begin { body } else { 0 };
            self.put_open(thread, Open::new(event, kind, end, body));
        }
        for event in before.into_iter().chain(whole) {
            self.release(event, offset)?;
        }
        Ok(())
    }

    fn put_open(&mut self, thread: u64, open: Open<'c>) {
        self.open += 1;
        *self.slot(thread) = Slot::Open(Box::new(open));
    }

    /// Closes what is open in a thread.
    fn close(&mut self, thread: u64) -> Option<Event<'c>> {
        let event = self.slot(thread).close();
        self.open -= usize::from(event.is_some());
        event
    }

    /// Closes what is open in a thread, hands it out, and puts what comes after it in its place.
    fn end(&mut self, thread: u64, after: Slot<'c>, now: u64) -> Result<(), H::Error> {
        let before = self.close(thread);
        *self.slot(thread) = after;
        before.map_or(Ok(()), |event| self.release(event, now))
    }

    /// The thread that a line belongs to. Native code writes past the prefix that its process puts before lines: parts of
    /// a stack directly behind a prefixed line are more of that.
    fn thread_of(&self, line: &Line<'_>, begin: Option<Begin>) -> u64 {
        let own = line.facts.thread();
        let (latest, speaker) = &self.latest;
        let goes_on =
            begin == Some(Begin::Part) || begin.is_none() && line.text.trim_ascii().is_empty();
        if !goes_on || speaker.process.is_empty() || !line.facts.speaker.is_around(speaker) {
            return own;
        }
        let latest = *latest;
        let takes = |open: &Open<'_>| {
            line.at.saturating_sub(open.end) <= 2
                && open.takes(line.at, None, begin, &line.text).is_some()
        };
        let adjacent = match self.threads.get(&latest) {
            Some(Slot::Open(open)) => takes(open),
            Some(Slot::Known { at, line, .. }) => {
                reopened(*at, line, *at >= self.own).is_some_and(|open| takes(&open))
            }
            _ => false,
        };
        if adjacent { latest } else { own }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot<'c>> {
        std::iter::once(&self.nobody).chain(self.threads.values())
    }

    /// Hands out a complete event, and those that waited for it, unless it has to wait itself.
    fn release(&mut self, event: Event<'c>, now: u64) -> Result<(), H::Error> {
        let earliest = self.earliest_open();
        if self.ends {
            self.held.insert(event.at, event);
            return Ok(());
        }
        if self.held.is_empty() && earliest.is_none_or(|earliest| event.at < earliest) {
            return self.hearer.hear(&event);
        }
        self.held.insert(event.at, event);
        // Nobody waits for one that cannot go on.
        if earliest.is_some_and(|earliest| now.saturating_sub(earliest) > MAX_EVENT as u64) {
            let late = |at: u64| now.saturating_sub(at) > MAX_EVENT as u64;
            for slot in std::iter::once(&mut self.nobody).chain(self.threads.values_mut()) {
                if slot.open().is_some_and(|open| late(open.event.at))
                    && let Some(event) = slot.close()
                {
                    self.open -= 1;
                    self.held.insert(event.at, event);
                }
            }
        }
        let earliest = self.earliest_open().unwrap_or(u64::MAX);
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() < earliest) {
            self.hearer.hear(&entry.remove())?;
        }
        Ok(())
    }

    fn earliest_open(&self) -> Option<u64> {
        let pieces = self.pieces.values().flatten().map(|piece| piece.line.at);
        self.slots().filter_map(Slot::open).map(|open| open.event.at).chain(pieces).min()
    }

    /// Whether an event of the chunk may go on.
    fn is_waiting(&self) -> bool {
        self.slots().any(|slot| slot.is_waiting(self.own))
            || self.pieces.values().flatten().any(|piece| piece.line.role == Role::Own)
    }

    /// Ends whatever is open: no line goes on with it.
    fn rest(&mut self) -> Result<(), H::Error> {
        self.ends = true;
        let mut rest: Vec<Line<'c>> =
            self.pieces.drain().filter_map(|(_, piece)| piece).map(|piece| piece.line).collect();
        rest.sort_by_key(|line| line.at);
        for line in rest {
            self.complete(line)?;
        }
        for slot in std::iter::once(&mut self.nobody).chain(self.threads.values_mut()) {
            if let Some(event) = slot.close() {
                self.held.insert(event.at, event);
            }
        }
        for event in std::mem::take(&mut self.held).into_values() {
            self.hearer.hear(&event)?;
        }
        (self.open, self.ends) = (0, false);
        Ok(())
    }
}
