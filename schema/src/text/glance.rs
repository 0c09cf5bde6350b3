//! Text read by position.

use super::is_state;
use crate::glance::{Cursor, Glance, MAX_FIELDS, ascii, hyphenated_flow_id, is_lower_component};

/// Reads a line that our own encoder wrote, where it is a span's `start`, `state` or `end` and nothing in it is quoted.
///
/// `field` is told of every key in the braces that has no place of its own in the record, with its value; it says whether
/// the line may be read at a glance.
///
/// Where it is `Some`, [`decode`](super::decode) reads the same, and counts no problem.
pub fn glance<'a>(line: &'a [u8], field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool) -> Option<Glance<'a>> {
    let mut cursor = Cursor::new(line)?;
    let time = cursor.time()?;
    cursor.expect(b" ")?;
    level(&mut cursor)?;
    let component = cursor.until(|byte| matches!(byte, b' ' | b'/'));
    if !is_lower_component(component) {
        return None;
    }
    let instance = if cursor.skip(b"/") {
        // What is encoded there, the decoder has to decode.
        Some(cursor.until(|byte| matches!(byte, b' ' | b'%'))).filter(|instance| !instance.is_empty())
    } else {
        None
    };
    cursor.expect(b" - ")?;
    let flow_id = hyphenated_flow_id(cursor.take(36)?)?;
    cursor.expect(b" - ")?;
    let event = cursor.event()?;
    cursor.expect(b" ")?;
    let state = cursor.until(|byte| matches!(byte, b' ' | b'{'));
    if state != b"-" && (!is_state(ascii(state)) || state.ends_with(b":")) {
        return None;
    }
    cursor.expect(b" {")?;
    let braces = braces(&mut cursor, field)?;
    let message = match cursor.rest() {
        b"" => b"",
        rest => rest.strip_prefix(b" ").map(<[u8]>::trim_ascii).filter(|rest| !rest.contains(&b'\\'))?,
    };
    Some(Glance {
        time,
        component: ascii(component),
        instance: instance.map(ascii),
        flow_id,
        event,
        state: Some(state).filter(|state| *state != b"-").map(ascii),
        has_versions: braces.has_versions,
        span_id: braces.span_id?,
        parent_id: braces.parent_id,
        clock: braces.clock,
        message: ascii(message),
    })
}

/// What the braces hold.
#[derive(Default)]
struct Braces {
    has_versions: bool,
    span_id: Option<crate::SpanId>,
    parent_id: Option<crate::SpanId>,
    clock: Option<crate::Clock>,
}

/// Reads past the closing brace.
fn braces<'a>(cursor: &mut Cursor<'a>, field: &mut impl FnMut(&'a [u8], &'a [u8]) -> bool) -> Option<Braces> {
    let mut braces = Braces::default();
    let mut seen: [&[u8]; MAX_FIELDS] = [b""; MAX_FIELDS];
    let mut count = 0;
    if cursor.skip(b"}") {
        return Some(braces);
    }
    loop {
        let name = cursor.until(|byte| matches!(byte, b' ' | b'=' | b'@') || is_odd(byte));
        if name.is_empty() {
            return None;
        }
        let is_version = cursor.skip(b"@");
        if !is_version {
            cursor.expect(b"=")?;
        }
        match name {
            _ if is_version => {
                // Two versions could have one name.
                if braces.has_versions || value(cursor).is_empty() {
                    return None;
                }
                braces.has_versions = true;
            }
            b"span" if braces.span_id.is_none() => braces.span_id = Some(cursor.span_id()?),
            b"parent" if braces.parent_id.is_none() => braces.parent_id = Some(cursor.span_id()?),
            b"clock" if braces.clock.is_none() => braces.clock = Some(cursor.clock()?),
            b"span" | b"parent" | b"clock" | b"line" | b"message" | b"error" | b"causes" => return None,
            _ => {
                let value = value(cursor);
                let earlier = seen.get(..count)?;
                let own = matches!(name, b"flow" | b"target" | b"file");
                if earlier.contains(&name) || value.is_empty() || !(own || field(name, value)) {
                    return None;
                }
                *seen.get_mut(count)? = name;
                count += 1;
            }
        }
        if cursor.skip(b"}") {
            return Some(braces);
        }
        cursor.expect(b" ")?;
    }
}

/// A value without quotes.
fn value<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.until(|byte| matches!(byte, b' ' | b'=' | b'@') || is_odd(byte))
}

/// What a word in the braces may hold only in quotes.
fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\\')
}

fn level(cursor: &mut Cursor<'_>) -> Option<()> {
    let is_known =
        cursor.skip(b" INFO ") || cursor.skip(b"DEBUG ") || cursor.skip(b"TRACE ") || cursor.skip(b" WARN ") || cursor.skip(b"ERROR ");
    is_known.then_some(())
}
