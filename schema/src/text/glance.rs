//! Text read by position.

use super::is_state;
use crate::glance::{
    Cursor, Cuts, Glance, Seen, ascii, flow_id, is_lower_component, is_plain, without_hyphens,
};
use crate::{Clock, SpanId};

/// Reads a line that our own encoder wrote, where it is a span's `start`, `state` or `end` and nothing in it is quoted.
///
/// `field` is told of every key in the braces that has no place of its own in the record, with its value; it says whether
/// the line may be read at a glance.
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
    let time = cursor.time()?;
    if !is_plain(line) {
        return None;
    }
    let at = |cursor: &Cursor<'_>| line.len() - cursor.rest().len();
    let origin_at = at(&cursor);
    cursor.expect(b" ")?;
    level(&mut cursor)?;
    let component = cursor.until(|byte| matches!(byte, b' ' | b'/'));
    if !is_lower_component(component) {
        return None;
    }
    let instance = if cursor.skip(b"/") {
        // What is encoded there, the decoder has to decode.
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
    let mut seen = Seen::default();
    let mut has_versions = false;
    // The encoder writes versions, the kind of flow and the ids first.
    while !cursor.skip(b"span=") {
        let name = cursor.until(ends_word);
        if cursor.skip(b"@") {
            // Two versions could have one name.
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
    let cuts = Cuts {
        message: origin_at,
        origin: origin_at,
        flow_id: flow_at,
        middle_end: span_at,
        tail: tail_at,
    };
    let glance = Glance {
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
    Some((glance, cuts))
}

/// The ids of a line, from its span's to its clock.
#[inline]
pub(crate) fn ids(cursor: &mut Cursor<'_>) -> Option<(SpanId, Option<SpanId>, Option<Clock>)> {
    let span_id = cursor.span_id()?;
    let parent_id = if cursor.skip(b" parent=") { Some(cursor.span_id()?) } else { None };
    let clock = if cursor.skip(b" clock=") { Some(cursor.clock()?) } else { None };
    Some((span_id, parent_id, clock))
}

/// The record's number, where our own emitter writes it: its digits. Where there is none, nothing is gone past.
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

/// What stands behind the ids: more of the braces, and the message.
pub(crate) fn tail<'a>(
    cursor: &mut Cursor<'a>,
    field: &mut (impl FnMut(&'a [u8], &'a [u8]) -> bool + ?Sized),
) -> Option<&'a [u8]> {
    let mut seen = Seen::default();
    while !cursor.skip(b"}") {
        cursor.expect(b" ")?;
        let name = cursor.until(ends_word);
        cursor.expect(b"=")?;
        let value = value(cursor);
        // What has a place of its own in the record, and stands out of its place, is for the decoder.
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

/// A value without quotes.
fn value<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.until(ends_word)
}

/// What a word in the braces may hold only in quotes.
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
