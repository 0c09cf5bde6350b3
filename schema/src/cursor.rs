//! A cursor over one line, for decoders that expect fields at known positions.

use crate::hex::hex16;
use crate::{Clock, EventKind, SpanId, Time};

/// Unread rest of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Skips a literal, or stays in place. Returns whether the literal was found. Its length is a
    /// constant, so the comparison takes a few words instead of a loop over bytes.
    #[inline(always)]
    pub(crate) fn skip<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        match self.rest.split_first_chunk::<N>() {
            Some((first, rest)) if first == literal => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Skips a literal. Returns `None` if it is not there.
    #[inline(always)]
    pub(crate) fn expect<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        self.skip(literal).then_some(())
    }

    /// Takes `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes `N` bytes.
    #[inline]
    pub(crate) fn take_array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes the bytes before the first one for which `ends` returns `true`; that one is not
    /// consumed.
    pub(crate) fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| ends(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Takes a short string and skips its closing quote. Returns `None` if the string contains an
    /// escape.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.until(|byte| matches!(byte, b'"' | b'\\'));
        self.expect(b"\"")?;
        Some(text)
    }

    /// Like [`Cursor::string`], for strings that may be long.
    pub(crate) fn long_string(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr2(b'"', b'\\', self.rest)?;
        let text = self.take(end)?;
        self.expect(b"\"")?;
        Some(text)
    }

    /// Takes 16 hex digits, which must not all be zero, as a span ID.
    #[inline]
    pub(crate) fn span_id(&mut self) -> Option<SpanId> {
        SpanId::from_u64(hex16(*self.take_array()?)?).ok()
    }

    /// Takes 16 hex digits as a clock reading.
    #[inline]
    pub(crate) fn clock(&mut self) -> Option<Clock> {
        hex16(*self.take_array()?).map(Clock)
    }

    /// Takes the name of an ordinary event: `start`, `state` or `end`.
    pub(crate) fn event(&mut self) -> Option<EventKind> {
        if self.skip(b"state") {
            Some(EventKind::State)
        } else if self.skip(b"start") {
            Some(EventKind::Start)
        } else {
            self.skip(b"end").then_some(EventKind::End)
        }
    }

    /// Takes 27 bytes as a time.
    pub(crate) fn time(&mut self) -> Option<Time> {
        Time::parse_fixed(self.take_array()?)
    }
}

/// Converts bytes that the cursor has found to be ASCII.
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
