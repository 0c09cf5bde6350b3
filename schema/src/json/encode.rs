//! JSON encoder.

use std::borrow::Cow;

use super::KNOWN;
use crate::{ErrorInfo, Record, Scalar};

/// Appends the record as one line, without the line feed.
///
/// A field with the name of a known key gets the prefix `field.`. Of fields with the same name,
/// only the first is written, so no key is repeated.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(time) = record.time {
        text(out, "time", &time.to_string());
    }
    if let Some(level) = record.level {
        text(out, "level", level.as_str());
    }
    text(out, "target", record.target.as_deref().unwrap_or_default());
    if let Some(file) = &record.file {
        text(out, "file", file);
    }
    if let Some(line) = record.line {
        key(out, "line");
        out.extend_from_slice(line.to_string().as_bytes());
    }
    text(out, "message", record.message.as_deref().unwrap_or_default());
    text(out, "component", &record.component);
    if let Some(instance) = &record.instance {
        text(out, "instance", instance);
    }
    if let Some(flow_id) = record.flow_id {
        text(out, "flow_id", &flow_id.to_string());
    }
    if let Some(flow) = &record.flow {
        text(out, "flow", flow);
    }
    text(out, "event", record.event.as_str());
    text(out, "state", record.state.as_deref().unwrap_or_default());
    versions(out, &record.versions);
    if let Some(flow_id) = record.flow_id {
        text(out, "trace_id", &flow_id.trace_id().to_string());
    }
    if let Some(span_id) = record.span_id {
        text(out, "span_id", &span_id.to_string());
    }
    if let Some(parent_id) = record.parent_id {
        text(out, "parent_id", &parent_id.to_string());
    }
    if let Some(clock) = record.clock {
        text(out, "clock", &clock.to_string());
    }
    if let Some(info) = &record.error {
        error(out, info);
    }
    fields(out, record.fields.iter().map(|(name, value)| (name.as_ref(), value)));
    out.push(b'}');
}

pub(super) fn versions(out: &mut Vec<u8>, versions: &[(Cow<'_, str>, Cow<'_, str>)]) {
    if !versions.is_empty() {
        key(out, "versions");
        out.push(b'{');
        for (name, version) in versions {
            text(out, name, version);
        }
        out.push(b'}');
    }
}

pub(super) fn error(out: &mut Vec<u8>, error: &ErrorInfo<'_>) {
    key(out, "error");
    out.push(b'{');
    text(out, "type", &error.kind);
    text(out, "message", &error.message);
    if !error.causes.is_empty() {
        key(out, "causes");
        causes(out, &error.causes);
    }
    out.push(b'}');
}

pub(super) fn fields<'f, 's: 'f>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'f str, &'f Scalar<'s>)> + Clone,
) {
    for (at, (name, value)) in fields.clone().enumerate() {
        if fields.clone().take(at).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if is_known(name) {
            key(out, &format!("field.{name}"));
        } else {
            key(out, name);
        }
        scalar(out, value);
    }
}

/// Returns whether [`KNOWN`] contains the name. The length check comes first because it is cheap.
fn is_known(name: &str) -> bool {
    (4..=9).contains(&name.len()) && KNOWN.contains(&name)
}

fn key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
}

pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    string(out, value);
}

/// Appends a JSON string, including its quotes.
pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
    if needs_no_escape(value.as_bytes()) {
        out.reserve(value.len() + 2);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a Vec cannot fail, and a str always serializes.
    let _ = serde_json::to_writer(out, value);
}

/// Returns whether no byte has to be escaped. Tests eight bytes at a time (Mycroft's test for a
/// byte less than, or equal to, another).
fn needs_no_escape(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let any_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let special = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        control
            | any_zero(word ^ (ONES * u64::from(b'"')))
            | any_zero(word ^ (ONES * u64::from(b'\\')))
    };
    // The last chunk overlaps the one before it, so no bytes are left over.
    if let Some(last) = bytes.last_chunk::<8>() {
        let words = bytes.as_chunks::<8>().0;
        return words
            .iter()
            .chain([last])
            .fold(0, |found, word| found | special(u64::from_le_bytes(*word)))
            == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return special(
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)),
        ) == 0;
    }
    bytes.iter().all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\')
}

/// Appends a JSON array of strings.
pub(crate) fn causes(out: &mut Vec<u8>, causes: &[Cow<'_, str>]) {
    let _ = serde_json::to_writer(out, causes);
}

fn scalar(out: &mut Vec<u8>, value: &Scalar<'_>) {
    let _ = match value {
        Scalar::Text(text) => return string(out, text),
        Scalar::Int(value) => serde_json::to_writer(out, value),
        Scalar::Uint(value) => serde_json::to_writer(out, value),
        Scalar::Float(value) if value.is_finite() => serde_json::to_writer(out, value),
        Scalar::Float(value) => return string(out, &value.to_string()),
        Scalar::Bool(true) => return out.extend_from_slice(b"true"),
        Scalar::Bool(false) => return out.extend_from_slice(b"false"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_to_escape_are_found_at_any_offset() {
        for length in 0..20 {
            assert!(needs_no_escape(&vec![b'a'; length]));
            for (at, byte) in (0..length).flat_map(|at| (0..=255u8).map(move |byte| (at, byte))) {
                let mut bytes = vec![b'~'; length];
                bytes[at] = byte;
                assert_eq!(
                    needs_no_escape(&bytes),
                    byte >= b' ' && byte != b'"' && byte != b'\\',
                    "{byte} at {at} of {length}"
                );
            }
        }
    }
}
