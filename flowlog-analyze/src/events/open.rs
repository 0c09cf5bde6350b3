//! An event that may go on, and what of the lines after it does.

use super::line::Line;
use super::{Event, MAX_GAP};
use crate::envelope::peel_whole;
use crate::format::{Begin, begins, stack};
use crate::lines::MAX_EVENT;

/// Longest time between two lines of one event, in nanoseconds: it is written at once, but may be collected slowly.
const MAX_PAUSE: i64 = 2_000_000_000;

/// An event that may go on.
pub(super) struct Open<'c> {
    pub(super) event: Event<'c>,
    kind: Kind,
    /// Where its last line ends.
    pub(super) end: u64,
    /// When its last line was read, where an envelope tells.
    last: Option<i64>,
    /// Its last line is blank.
    blank: bool,
    /// Its last line that is not blank belongs to a stack.
    in_stack: bool,
    /// Its last line is a frame whose source follows.
    shows_source: bool,
    /// Its last line ends as words do that announce more.
    announces: bool,
    /// The next stack in it is the cause, or the consequence, of the last.
    chained: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It ends with its line.
    Whole,
    /// A logger wrote it, with this before the words.
    Logged { header: u64, loud: bool, repeats: bool },
    /// A stack, a panic or another last word, past every logger.
    Raw,
}

impl<'c> Open<'c> {
    /// An event that begins with one line, whose words begin at `body`.
    pub(super) fn new(event: Event<'c>, kind: Kind, end: u64, body: usize) -> Self {
        let last = event.facts.complete_time();
        let (blank, in_stack, shows_source, announces, chained) =
            (false, false, false, false, false);
        let mut open =
            Self { event, kind, end, last, blank, in_stack, shows_source, announces, chained };
        let text = open.event.text.clone();
        open.look_at(text.get(body..).unwrap_or_default());
        open
    }

    /// Where the line goes on if it belongs to this event: from that byte of it on.
    pub(super) fn takes(
        &self,
        offset: u64,
        time: Option<i64>,
        begin: Option<Begin>,
        line: &[u8],
    ) -> Option<usize> {
        if !self.reaches(offset) || !is_soon(self.last, time) {
            return None;
        }
        let goes_on = match (self.kind, begin) {
            (Kind::Whole, _) | (_, Some(Begin::Whole)) => return None,
            (Kind::Logged { header, .. }, Some(Begin::Logged { header: own, body, .. }))
                if header == own && body > 0 =>
            {
                let words = line.get(body..).unwrap_or_default();
                return stack::goes_on(words, self.in_stack).then_some(body);
            }
            (_, Some(Begin::Logged { .. } | Begin::Panic)) => return None,
            // A traceback is written behind the words that announce it, not behind any that came before.
            (Kind::Logged { loud, .. }, Some(Begin::Stack | Begin::Part)) => {
                loud || self.in_stack || self.announces
            }
            (Kind::Raw, Some(Begin::Part)) => true,
            (Kind::Raw, Some(Begin::Stack)) => self.chained,
            (_, None) => self.takes_words(line),
        };
        goes_on.then_some(0)
    }

    /// Whether a line that begins nothing is more of the same.
    fn takes_words(&self, line: &[u8]) -> bool {
        let Some(first) = line.first() else { return true };
        if first.is_ascii_whitespace() || self.announces {
            return true;
        }
        // After a blank line something else begins; so it does after a stack.
        let Kind::Logged { loud, repeats, .. } = self.kind else {
            return self.in_stack && stack::is_last(line);
        };
        if self.in_stack && stack::is_last(line) {
            return true;
        }
        if repeats {
            return false;
        }
        let cut = first.is_ascii_lowercase()
            || matches!(first, b'_' | b',' | b')' | b']' | b'}' | b'"' | b'\'');
        !self.blank && (loud || cut) && self.event.lines < MAX_WORDS && !stack::is_new(line)
    }

    /// Whether an event may reach so far.
    fn reaches(&self, offset: u64) -> bool {
        let near = offset.checked_sub(self.event.at).is_some_and(|since| since <= MAX_EVENT as u64);
        near && offset.saturating_sub(self.end) <= MAX_GAP
    }

    pub(super) fn add(&mut self, line: &Line<'_>, body: usize) {
        let words = line.text.get(body..).unwrap_or_default();
        let text = self.event.text.to_mut();
        text.push(b'\n');
        text.extend_from_slice(words);
        self.event.lines += line.lines;
        self.end = line.end;
        self.last = line.facts.complete_time().or(self.last);
        self.look_at(words);
    }

    fn look_at(&mut self, line: &[u8]) {
        self.blank = line.trim_ascii().is_empty();
        if !self.blank {
            self.in_stack = stack::is_inside(line) || self.shows_source;
            self.chained = stack::is_chain(line) || self.chained && !stack::is_start(line);
        }
        self.shows_source = stack::shows_source(line);
        let opens =
            line.trim_ascii_end().last().is_some_and(|b| matches!(b, b':' | b'{' | b'[' | b'('));
        self.announces = opens || self.shows_source;
    }
}

/// Whether a line was read soon enough after another to belong to it.
pub(super) fn is_soon(last: Option<i64>, time: Option<i64>) -> bool {
    last.zip(time).is_none_or(|(last, time)| time.abs_diff(last) <= MAX_PAUSE.unsigned_abs())
}

/// Most lines of words that an event may have.
const MAX_WORDS: u64 = 40;

/// Whether a line could be more of an event before it.
pub(super) fn may_go_on(begin: Option<Begin>, line: &[u8]) -> bool {
    match begin {
        Some(Begin::Whole | Begin::Panic) => false,
        Some(Begin::Logged { body, .. }) => {
            stack::goes_on(line.get(body..).unwrap_or_default(), true)
        }
        Some(Begin::Stack | Begin::Part) | None => true,
    }
}

/// A line that is known at sight as the event that it begins.
pub(super) fn reopened(at: u64, line: &[u8], own: bool) -> Option<Open<'_>> {
    let (text, facts) = peel_whole(line);
    let Some(Begin::Logged { header, body, loud, repeats }) = begins(&text) else { return None };
    let event = Event { at, lines: 1, text, facts, own };
    Some(Open::new(event, Kind::Logged { header, loud, repeats }, at + line.len() as u64, body))
}
