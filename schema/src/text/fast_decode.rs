//! Positional fast path for text.

use super::is_state;
use crate::cursor::{Cursor, ascii};
use crate::fast_decode::{FastRecord, FieldOffsets, SeenKeys, is_lower_component, is_plain};
use crate::hex::{flow_id, without_hyphens};
use crate::{Clock, SpanId};

/// Decodes a line that our own encoder wrote, if it is a span's `start`, `state` or `end` without
/// quoted values.
///
/// `field` is called with each key in the braces that the record does not know by name, and with
/// its value. It returns whether the fast path may read the line.
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
    let time = cursor.time()?;
    if !is_plain(line) {
        return None;
    }
    let at = |cursor: &Cursor<'_>| line.len() - cursor.rest().len();
    let producer_at = at(&cursor);
    cursor.expect(b" ")?;
    level(&mut cursor)?;
    let component = cursor.until(|byte| matches!(byte, b' ' | b'/'));
    if !is_lower_component(component) {
        return None;
    }
    let instance = if cursor.skip(b"/") {
        // A percent-encoded instance is left to the decoder.
        Some(cursor.until(|byte| matches!(byte, b' ' | b'%')))
            .filter(|instance| !instance.is_empty())
    } else {
        None
    };
    cursor.expect(b" - ")?;
    let flow_at = at(&cursor);
    let flow_id = flow_id(&without_hyphens(cursor.take_array()?)?)?;
    cursor.expect(b" - ")?;
    let event = cursor.event()?;
    cursor.expect(b" ")?;
    let state = cursor.until(|byte| matches!(byte, b' ' | b'{'));
    if state != b"-" && (!is_state(ascii(state)) || state.ends_with(b":")) {
        return None;
    }
    cursor.expect(b" {")?;
    let mut seen = SeenKeys::default();
    let mut has_versions = false;
    // The encoder writes versions, the kind of flow and the IDs first.
    while !cursor.skip(b"span=") {
        let name = cursor.until(ends_word);
        if cursor.skip(b"@") {
            // Two versions could have the same name.
            if has_versions || name.is_empty() || value(&mut cursor).is_empty() {
                return None;
            }
            has_versions = true;
        } else {
            cursor.expect(b"=")?;
            if name != b"flow" || value(&mut cursor).is_empty() || !seen.is_new(name) {
                return None;
            }
        }
        cursor.expect(b" ")?;
    }
    let span_at = at(&cursor);
    let (span_id, parent_id, clock) = ids(&mut cursor)?;
    let tail_at = at(&cursor);
    let message = tail(&mut cursor, field)?;
    let offsets = FieldOffsets {
        message: producer_at,
        producer: producer_at,
        flow_id: flow_at,
        middle_end: span_at,
        tail: tail_at,
    };
    let decode_fast = FastRecord {
        time,
        component: ascii(component),
        instance: instance.map(ascii),
        flow_id,
        event,
        state: Some(state).filter(|state| *state != b"-").map(ascii),
        has_versions,
        span_id,
        parent_id,
        clock,
        message: ascii(message),
    };
    Some((decode_fast, offsets))
}

/// Parses the IDs of a line, from its span ID to its clock.
#[inline]
pub(crate) fn ids(cursor: &mut Cursor<'_>) -> Option<(SpanId, Option<SpanId>, Option<Clock>)> {
    let span_id = cursor.span_id()?;
    let parent_id = if cursor.skip(b" parent=") { Some(cursor.span_id()?) } else { None };
    let clock = if cursor.skip(b" clock=") { Some(cursor.clock()?) } else { None };
    Some((span_id, parent_id, clock))
}

/// Takes the digits of the record's number, if our emitter wrote one. Otherwise, takes nothing.
#[inline]
pub(crate) fn number<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let mut ahead = *cursor;
    let digits = if ahead.skip(b" seq=") {
        ahead.until(|byte| !byte.is_ascii_digit())
    } else {
        return None;
    };
    let is_number = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 18;
    if !is_number || !matches!(ahead.rest().first(), Some(b' ' | b'}')) {
        return None;
    }
    *cursor = ahead;
    Some(digits)
}

/// Parses what follows the ids: the rest of the braces, and the message.
pub(crate) fn tail<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<&'a [u8]> {
    let mut seen = SeenKeys::default();
    while !cursor.skip(b"}") {
        cursor.expect(b" ")?;
        let name = cursor.until(ends_word);
        cursor.expect(b"=")?;
        let value = value(cursor);
        // `target` and `file` need no parsing. Other keys of the record are left to the decoder.
        let is_own = matches!(name, b"target" | b"file");
        let is_reserved = matches!(
            name,
            b"flow" | b"span" | b"parent" | b"clock" | b"line" | b"message" | b"error" | b"causes"
        );
        if name.is_empty()
            || is_reserved
            || value.is_empty()
            || !seen.is_new(name)
            || !(is_own || field(name, value))
        {
            return None;
        }
    }
    match cursor.rest() {
        b"" => Some(b""),
        rest => {
            rest.strip_prefix(b" ").map(<[u8]>::trim_ascii).filter(|rest| !rest.contains(&b'\\'))
        }
    }
}

/// Takes an unquoted value.
fn value<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.until(ends_word)
}

/// Returns whether the byte is allowed in a word of the braces only within quotes.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'=' | b'@' | b'"' | b'{' | b'}' | b'[' | b']' | b'\\')
}

fn level(cursor: &mut Cursor<'_>) -> Option<()> {
    let is_known = cursor.skip(b" INFO ")
        || cursor.skip(b"DEBUG ")
        || cursor.skip(b"TRACE ")
        || cursor.skip(b" WARN ")
        || cursor.skip(b"ERROR ");
    is_known.then_some(())
}
