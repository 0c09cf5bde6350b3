//! Text read by position.

use super::is_state;
use crate::glance::{Cursor, Glance, MAX_FIELDS, hyphenated_flow_id, is_lower_component};
use crate::{Event, Level};

/// Reads a line that our own encoder wrote, where it is a span's `start`, `state` or `end` and nothing in it is quoted.
///
/// `field` is told of every key in the braces that has no place of its own in the record, with its value; it says whether
/// the line may be read at a glance.
///
/// Where it is `Some`, [`decode`](super::decode) reads the same, and counts no problem.
pub fn glance<'a>(line: &'a [u8], field: &mut dyn FnMut(&'a str, &'a str) -> bool) -> Option<Glance<'a>> {
    let mut cursor = Cursor::new(line)?;
    let time = cursor.time()?;
    cursor.expect(b" ")?;
    let level = Level::ALL.iter().find(|level| cursor.skip(padded(**level)))?;
    let _ = level;
    let component = word(&mut cursor, |byte| matches!(byte, b' ' | b'/'));
    if !is_lower_component(component) {
        return None;
    }
    let instance = if cursor.skip(b"/") {
        // What is encoded there, the decoder has to decode.
        Some(word(&mut cursor, |byte| matches!(byte, b' ' | b'%'))).filter(|instance| !instance.is_empty())
    } else {
        None
    };
    cursor.expect(b" - ")?;
    let flow_id = hyphenated_flow_id(cursor.take(36)?)?;
    cursor.expect(b" - ")?;
    let event = [Event::State, Event::Start, Event::End].into_iter().find(|event| cursor.skip(event.as_str().as_bytes()))?;
    cursor.expect(b" ")?;
    let state = word(&mut cursor, |byte| matches!(byte, b' ' | b'{'));
    if state != "-" && (!is_state(state) || state.ends_with(':')) {
        return None;
    }
    cursor.expect(b" {")?;
    let braces = braces(&mut cursor, field)?;
    let message = match cursor.rest() {
        "" => "",
        rest => rest.strip_prefix(' ').map(str::trim).filter(|rest| !rest.contains('\\'))?,
    };
    Some(Glance {
        time,
        component,
        instance,
        flow_id,
        event,
        state: Some(state).filter(|state| *state != "-"),
        has_versions: braces.has_versions,
        span_id: braces.span_id?,
        parent_id: braces.parent_id,
        clock: braces.clock,
        message,
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
fn braces<'a>(cursor: &mut Cursor<'a>, field: &mut dyn FnMut(&'a str, &'a str) -> bool) -> Option<Braces> {
    let mut braces = Braces::default();
    let mut seen = [""; MAX_FIELDS];
    let mut count = 0;
    if cursor.skip(b"}") {
        return Some(braces);
    }
    loop {
        let name = word(cursor, |byte| matches!(byte, b' ' | b'=' | b'@') || is_odd(byte));
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
            "span" if braces.span_id.is_none() => braces.span_id = Some(cursor.span_id()?),
            "parent" if braces.parent_id.is_none() => braces.parent_id = Some(cursor.span_id()?),
            "clock" if braces.clock.is_none() => braces.clock = Some(cursor.clock()?),
            "span" | "parent" | "clock" | "line" | "message" | "error" | "causes" => return None,
            _ => {
                let value = value(cursor);
                let earlier = seen.get(..count)?;
                let own = matches!(name, "flow" | "target" | "file");
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
fn value<'a>(cursor: &mut Cursor<'a>) -> &'a str {
    word(cursor, |byte| matches!(byte, b' ' | b'=' | b'@') || is_odd(byte))
}

/// What a word in the braces may hold only in quotes.
fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\\')
}

fn word<'a>(cursor: &mut Cursor<'a>, ends: impl Fn(u8) -> bool) -> &'a str {
    std::str::from_utf8(cursor.until(ends)).unwrap_or_default()
}

fn padded(level: Level) -> &'static [u8] {
    match level {
        Level::Trace => b"TRACE ",
        Level::Debug => b"DEBUG ",
        Level::Info => b" INFO ",
        Level::Warn => b" WARN ",
        Level::Error => b"ERROR ",
    }
}
