//! JSON read by position.

use super::KNOWN;
use crate::glance::{
    Cursor, Cuts, Glance, Seen, ascii, flow_id, is_lower_component, is_plain, without_hyphens,
};
use crate::{Clock, FlowId, SpanId};

/// Reads a line that our own encoder wrote, where it is a span's `start`, `state` or `end` and needs no unescaping.
///
/// `field` is told of every key that the record does not know by name, with its value as it is written, without quotes; it
/// says whether the line may be read at a glance.
///
/// Where it is `Some`, [`decode`](super::decode) reads the same, and counts no problem.
pub fn glance<'a>(
    line: &'a [u8],
    field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<Glance<'a>> {
    read(line, field).map(|(glance, _)| glance)
}

/// Reads a line, and says where what stands.
pub(crate) fn read<'a>(
    line: &'a [u8],
    field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<(Glance<'a>, Cuts)> {
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
    let origin_at = at(&cursor) - 1;
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
    let cuts = Cuts {
        message: message_at,
        origin: origin_at,
        flow_id: flow_at,
        middle_end: trace_at,
        tail: tail_at,
    };
    let glance = Glance {
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
    Some((glance, cuts))
}

/// What a line begins with.
pub(crate) const PREFIX: &[u8; 9] = b"{\"time\":\"";

/// The ids of a line, from its trace id to its clock.
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

/// The record's number, where our own emitter writes it: its digits. What follows it is for [`fields`]. Where there is none, nothing is
/// gone past.
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

/// What stands behind the ids: fields that the record does not know, up to the end of the line.
pub(crate) fn tail<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<()> {
    cursor.expect(b"\"")?;
    fields(cursor, field)
}

/// Fields that the record does not know, up to the end of the line.
pub(crate) fn fields<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<()> {
    let mut seen = Seen::default();
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

/// A whole number without a sign as JSON writes it.
fn is_natural(digits: &[u8]) -> bool {
    match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
