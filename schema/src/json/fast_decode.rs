//! Positional fast path for JSON.

use super::KNOWN;
use crate::cursor::{Cursor, ascii};
use crate::fast_decode::{FastRecord, FieldOffsets, SeenKeys, is_lower_component, is_plain};
use crate::hex::{flow_id, without_hyphens};
use crate::{Clock, FlowId, SpanId};

/// Decodes a line that our own encoder wrote, if it is a span's `start`, `state` or `end` and needs
/// no unescaping.
///
/// `field` is called with each key that the record does not know by name, and with its value as
/// written, without quotes. It returns whether the fast path may read the line.
///
/// If the result is `Some`, [`decode`](super::decode) returns the same and counts no problem.
pub fn decode_fast<'a>(
    line: &'a [u8],
    field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<FastRecord<'a>> {
    read(line, field).map(|(record, _)| record)
}

/// Decodes a line, and returns the offsets of its parts with it.
pub(crate) fn read<'a>(
    line: &'a [u8],
    field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<(FastRecord<'a>, FieldOffsets)> {
    let mut cursor = Cursor::new(line);
    cursor.expect(PREFIX)?;
    let time = cursor.time()?;
    if !is_plain(line) {
        return None;
    }
    let at = |cursor: &Cursor<'_>| line.len() - cursor.rest().len();
    cursor.expect(b"\",\"level\":\"")?;
    level(&mut cursor)?;
    cursor.expect(b"\",\"target\":\"")?;
    cursor.long_string()?;
    if cursor.skip(b",\"file\":\"") {
        cursor.long_string()?;
    }
    if cursor.skip(b",\"line\":") {
        let digits = cursor.until(|byte| !byte.is_ascii_digit());
        if !is_natural(digits) || digits.len() > 9 {
            return None;
        }
    }
    cursor.expect(b",\"message\":\"")?;
    let message_at = at(&cursor);
    let message = cursor.long_string()?;
    let producer_at = at(&cursor) - 1;
    cursor.expect(b",\"component\":\"")?;
    let component = cursor.string().filter(|component| is_lower_component(component))?;
    let instance = if cursor.skip(b",\"instance\":\"") { full(cursor.string()?) } else { None };
    cursor.expect(b",\"flow_id\":\"")?;
    let flow_at = at(&cursor);
    let hyphenated = cursor.take_array()?;
    if cursor.skip(b"\",\"flow\":\"") {
        cursor.string()?;
    } else {
        cursor.expect(b"\"")?;
    }
    cursor.expect(b",\"event\":\"")?;
    let event = cursor.event()?;
    cursor.expect(b"\",\"state\":\"")?;
    let state = full(cursor.string()?);
    let has_versions = cursor.skip(b",\"versions\":{");
    if has_versions {
        loop {
            cursor.expect(b"\"")?;
            cursor.string()?;
            cursor.expect(b":\"")?;
            cursor.string()?;
            if !cursor.skip(b",") {
                break;
            }
        }
        cursor.expect(b"}")?;
    }
    cursor.expect(b",\"trace_id\":\"")?;
    let trace_at = at(&cursor);
    let (flow_id, span_id, parent_id, clock) = ids(hyphenated, &mut cursor)?;
    let tail_at = at(&cursor);
    tail(&mut cursor, field)?;
    let offsets = FieldOffsets {
        message: message_at,
        producer: producer_at,
        flow_id: flow_at,
        middle_end: trace_at,
        tail: tail_at,
    };
    let decode_fast = FastRecord {
        time,
        component: ascii(component),
        instance: instance.map(ascii),
        flow_id,
        event,
        state: state.map(ascii),
        has_versions,
        span_id,
        parent_id,
        clock,
        message: ascii(message),
    };
    Some((decode_fast, offsets))
}

/// First bytes of a line.
pub(crate) const PREFIX: &[u8; 9] = b"{\"time\":\"";

/// Parses the IDs of a line, from its trace ID to its clock.
#[inline]
pub(crate) fn ids(
    hyphenated: &[u8; 36],
    cursor: &mut Cursor<'_>,
) -> Option<(FlowId, SpanId, Option<SpanId>, Option<Clock>)> {
    let simple = cursor.take_array::<32>()?;
    let flow_id =
        if without_hyphens(hyphenated)? == *simple { flow_id(simple)? } else { return None };
    cursor.expect(b"\",\"span_id\":\"")?;
    let span_id = cursor.span_id()?;
    let parent_id =
        if cursor.skip(b"\",\"parent_id\":\"") { Some(cursor.span_id()?) } else { None };
    let clock = if cursor.skip(b"\",\"clock\":\"") { Some(cursor.clock()?) } else { None };
    Some((flow_id, span_id, parent_id, clock))
}

/// Takes the digits of the record's number, if our emitter wrote one, and leaves the rest to
/// [`fields`]. Otherwise, takes nothing.
#[inline]
pub(crate) fn number<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let mut ahead = *cursor;
    let digits = if ahead.skip(b"\",\"seq\":") {
        ahead.until(|byte| !byte.is_ascii_digit())
    } else {
        return None;
    };
    if !is_natural(digits) || digits.len() > 18 {
        return None;
    }
    *cursor = ahead;
    Some(digits)
}

/// Parses what follows the ids: the fields that the record does not know, up to the end of the
/// line.
pub(crate) fn tail<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<()> {
    cursor.expect(b"\"")?;
    fields(cursor, field)
}

/// Parses fields that the record does not know, up to the end of the line.
pub(crate) fn fields<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<()> {
    let mut seen = SeenKeys::default();
    while cursor.skip(b",\"") {
        let key = cursor.string()?;
        if !seen.is_new(key) || KNOWN.iter().any(|known| known.as_bytes() == key) {
            return None;
        }
        cursor.expect(b":")?;
        let value = if cursor.skip(b"\"") {
            cursor.long_string()?
        } else {
            let word = cursor.until(|byte| matches!(byte, b',' | b'}'));
            let plain = is_natural(word) && word.len() <= 18 || matches!(word, b"true" | b"false");
            Some(word).filter(|_| plain)?
        };
        if !field(key, value) {
            return None;
        }
    }
    cursor.expect(b"}")?;
    cursor.is_at_end().then_some(())
}

fn level(cursor: &mut Cursor<'_>) -> Option<()> {
    let is_known = cursor.skip(b"INFO")
        || cursor.skip(b"DEBUG")
        || cursor.skip(b"TRACE")
        || cursor.skip(b"WARN")
        || cursor.skip(b"ERROR");
    is_known.then_some(())
}

fn full(text: &[u8]) -> Option<&[u8]> {
    Some(text).filter(|text| !text.is_empty())
}

/// Returns whether the digits are an unsigned integer as JSON writes it.
fn is_natural(digits: &[u8]) -> bool {
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
