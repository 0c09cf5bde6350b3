//! Records of ordinary progress, read by position.
//!
//! Nearly every line of a healthy system is a span's `start`, `state` or `end`, written by our own encoder: its keys come
//! in a known order and its values need no unescaping. [`json::glance`](crate::json::glance) and
//! [`text::glance`](crate::text::glance) guess that, check it byte by byte and take the fields in place, without an
//! allocation. They never say anything else than the decoder beside them: `None` only means that this has to read the line.

use crate::{Clock, Event, FlowId, SpanId, Time};

/// A `start`, `state` or `end` of a span of a flow, without an error and without anything odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance<'a> {
    /// Wall clock, with microseconds.
    pub time: Time,
    /// The component, in lower case.
    pub component: &'a str,
    /// Pod, worker id or rank.
    pub instance: Option<&'a str>,
    /// The flow.
    pub flow_id: FlowId,
    /// `Start`, `State` or `End`.
    pub event: Event,
    /// Where in its work the component is.
    pub state: Option<&'a str>,
    /// It names versions.
    pub has_versions: bool,
    /// The span.
    pub span_id: SpanId,
    /// The caller's span.
    pub parent_id: Option<SpanId>,
    /// Reading of the hybrid logical clock.
    pub clock: Option<Clock>,
    /// Free words; empty where there are none.
    pub message: &'a str,
}

/// Most fields beside the known keys that a line may have to be read at a glance: each is compared with those before it.
const MAX_FIELDS: usize = 8;

/// Names of a line's fields.
#[derive(Default)]
pub(crate) struct Seen<'a> {
    names: [&'a [u8]; MAX_FIELDS],
    count: usize,
}

impl<'a> Seen<'a> {
    /// Whether a name is new, and one of few.
    pub(crate) fn is_new(&mut self, name: &'a [u8]) -> bool {
        if self.names.iter().take(self.count).any(|earlier| *earlier == name) {
            return false;
        }
        let Some(slot) = self.names.get_mut(self.count) else { return false };
        *slot = name;
        self.count += 1;
        true
    }
}

/// Where in a line what stands that no two lines share, and what lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// The message in JSON; what stands before it tells of the place in the code.
    pub(crate) message: usize,
    /// Behind the message.
    pub(crate) origin: usize,
    pub(crate) flow_id: usize,
    /// The trace id in JSON, the span's id in text.
    pub(crate) middle_end: usize,
    /// Behind the last id.
    pub(crate) tail: usize,
}

/// Whether some bytes hold neither a control character nor a byte beyond ASCII.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    // No early exit, so that it is done sixteen bytes at a time.
    bytes.iter().fold(true, |plain, byte| plain & (byte.wrapping_sub(b' ') < 0x5f))
}

/// What is left of a line.
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

    /// Goes past a literal, or stays. Its length is known, so that a few words are compared, not bytes in a loop.
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

    /// Goes past a literal that has to be there.
    #[inline(always)]
    pub(crate) fn expect<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        self.skip(literal).then_some(())
    }

    /// Takes so many bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes a known number of bytes.
    #[inline]
    pub(crate) fn take_array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes what stands before the first byte that `ends` it, which stays.
    pub(crate) fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| ends(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Takes a short string up to its closing quote, which is gone too. None that holds an escape.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.until(|byte| matches!(byte, b'"' | b'\\'));
        self.expect(b"\"")?;
        Some(text)
    }

    /// [`Cursor::string`] for strings that may be long.
    pub(crate) fn long_string(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr2(b'"', b'\\', self.rest)?;
        let text = self.take(end)?;
        self.expect(b"\"")?;
        Some(text)
    }

    /// Takes 16 hex digits that are not all zero.
    #[inline]
    pub(crate) fn span_id(&mut self) -> Option<SpanId> {
        SpanId::from_u64(hex16(*self.take_array()?)?).ok()
    }

    /// Takes 16 hex digits.
    #[inline]
    pub(crate) fn clock(&mut self) -> Option<Clock> {
        hex16(*self.take_array()?).map(Clock)
    }

    /// Takes the name of an ordinary event.
    pub(crate) fn event(&mut self) -> Option<Event> {
        if self.skip(b"state") {
            Some(Event::State)
        } else if self.skip(b"start") {
            Some(Event::Start)
        } else {
            self.skip(b"end").then_some(Event::End)
        }
    }

    /// Takes 27 bytes as a time.
    pub(crate) fn time(&mut self) -> Option<Time> {
        Time::of_digits(self.take_array()?)
    }
}

/// The hex digits of a flow id in its hyphenated form.
#[inline]
pub(crate) fn without_hyphens(text: &[u8; 36]) -> Option<[u8; 32]> {
    let [
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        b'-',
        b0,
        b1,
        b2,
        b3,
        b'-',
        c0,
        c1,
        c2,
        c3,
        b'-',
        d0,
        d1,
        d2,
        d3,
        b'-',
        e0,
        e1,
        e2,
        e3,
        e4,
        e5,
        e6,
        e7,
        e8,
        e9,
        e10,
        e11,
    ] = *text
    else {
        return None;
    };
    Some([
        a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, e0, e1, e2,
        e3, e4, e5, e6, e7, e8, e9, e10, e11,
    ])
}

/// 32 hex digits as a flow id.
#[inline]
pub(crate) fn flow_id(simple: &[u8; 32]) -> Option<FlowId> {
    let (high, low) = (simple.first_chunk::<16>()?, simple.last_chunk::<16>()?);
    FlowId::from_u128(u128::from(hex16(*high)?) << 64 | u128::from(hex16(*low)?)).ok()
}

/// A component as writers write it: a lower-case letter, then `[a-z0-9_.-]*`.
pub(crate) fn is_lower_component(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_lowercase)
        && text.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-')
        })
}

/// 16 hex digits.
///
/// Ids are most of what is read of an ordinary line: all digits at once take a third of the time that they take eight by
/// eight in a register.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn hex16(digits: [u8; 16]) -> Option<u64> {
    // SAFETY: SSE2 is part of x86-64, and the function asks for nothing else: it takes and gives numbers.
    #[expect(
        unsafe_code,
        reason = "the compiler asks for it where a function names what the processor has to have"
    )]
    unsafe {
        hex16_sse2(digits)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn hex16_sse2(digits: [u8; 16]) -> Option<u64> {
    use std::arch::x86_64::{
        _mm_add_epi8, _mm_and_si128, _mm_cmpgt_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8,
        _mm_or_si128, _mm_packus_epi16, _mm_set_epi64x, _mm_set1_epi8, _mm_set1_epi16,
        _mm_slli_epi16, _mm_srli_epi16,
    };
    let word = u128::from_le_bytes(digits).cast_signed();
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken")]
    let text = _mm_set_epi64x((word >> 64) as i64, word as i64);
    // Bytes beyond ASCII are negative, and less than any digit.
    let is_digit = _mm_and_si128(
        _mm_cmpgt_epi8(text, _mm_set1_epi8(0x2f)),
        _mm_cmpgt_epi8(_mm_set1_epi8(0x3a), text),
    );
    let lower = _mm_or_si128(text, _mm_set1_epi8(0x20));
    let is_letter = _mm_and_si128(
        _mm_cmpgt_epi8(lower, _mm_set1_epi8(0x60)),
        _mm_cmpgt_epi8(_mm_set1_epi8(0x67), lower),
    );
    if _mm_movemask_epi8(_mm_or_si128(is_digit, is_letter)) != 0xffff {
        return None;
    }
    let nibbles = _mm_add_epi8(
        _mm_and_si128(text, _mm_set1_epi8(0x0f)),
        _mm_and_si128(is_letter, _mm_set1_epi8(9)),
    );
    let pairs = _mm_or_si128(_mm_slli_epi16(nibbles, 4), _mm_srli_epi16(nibbles, 8));
    let pairs = _mm_and_si128(pairs, _mm_set1_epi16(0xff));
    Some(_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs)).cast_unsigned().swap_bytes())
}

/// 16 hex digits.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn hex16(digits: [u8; 16]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0, |value, digit| Some(value << 4 | u64::from((*digit as char).to_digit(16)?)))
}

/// Bytes that the cursor has seen to be ASCII.
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_read_as_the_standard_library_reads_them() {
        for place in 0..16 {
            for byte in 0..=255u8 {
                let mut digits = *b"019aAaFca5da7347";
                digits[place] = byte;
                let expected = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|text| !text.contains('+'))
                    .and_then(|text| u64::from_str_radix(text, 16).ok());
                assert_eq!(hex16(digits), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn ids_in_both_forms() {
        let (hyphenated, simple) =
            (b"019aaaac-a5da-7347-bb80-1089c1876100", b"019aaaaca5da7347bb801089c1876100");
        assert_eq!(without_hyphens(hyphenated).as_ref(), Some(simple));
        assert_eq!(flow_id(simple).unwrap().to_string().as_bytes(), hyphenated);
        for at in [8, 13, 18, 23] {
            let mut other = *hyphenated;
            other[at] = b'x';
            assert_eq!(without_hyphens(&other), None, "{at}");
        }
    }
}
