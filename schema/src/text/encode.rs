//! Text encoder.

use std::borrow::Cow;
use std::io::Write;

use super::{ORDINARY, RESERVED, is_special, is_state};
use crate::record::{is_component, is_error_type};
use crate::{EventKind, Record, Scalar, json};

/// Appends the record as one line, without the line feed.
///
/// Characters that are not allowed in a component or a state are replaced with `_`.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    if let Some(time) = record.time {
        put(out, format_args!("{time} "));
    }
    if let Some(level) = record.level {
        put(out, format_args!("{:>5} ", level.as_str()));
    }
    out.extend_from_slice(component(&record.component).as_bytes());
    if let Some(instance) = record.instance.as_deref().filter(|instance| !instance.is_empty()) {
        out.push(b'/');
        percent_encode(out, instance);
    }
    match record.flow_id {
        Some(flow_id) => put(out, format_args!(" - {flow_id} - ")),
        None => out.extend_from_slice(b" - - - "),
    }
    let state = record.state.as_deref().map_or(Cow::Borrowed("-"), state);
    put(out, format_args!("{} {state} {{", record.event.as_str()));
    braces(record, out);
    out.push(b'}');
    tail(record, out);
}

fn put(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(arguments);
}

fn component(text: &str) -> Cow<'_, str> {
    if is_component(text) && !text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let mut fixed: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    if !is_component(&fixed) {
        fixed.insert(0, 'x');
    }
    Cow::Owned(fixed)
}

fn state(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("-");
    }
    if is_state(text) {
        return Cow::Borrowed(text);
    }
    let fixed =
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-') {
                    c
                } else {
                    '_'
                }
            })
            .collect();
    Cow::Owned(fixed)
}

/// Replaces blanks, control characters and `%` with the `%XX` of their UTF-8 bytes.
fn percent_encode(out: &mut Vec<u8>, text: &str) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        if c.is_whitespace() || c.is_control() || c == '%' {
            for byte in bytes {
                put(out, format_args!("%{byte:02X}"));
            }
        } else {
            out.extend_from_slice(bytes);
        }
    }
}

fn braces(record: &Record<'_>, out: &mut Vec<u8>) {
    let first = out.len();
    let blank = |out: &mut Vec<u8>| {
        if out.len() > first {
            out.push(b' ');
        }
    };
    for (name, version) in &record.versions {
        blank(out);
        word(out, name, is_special(name));
        out.push(b'@');
        word(out, version, is_special(version));
    }
    let mut plain = |name: &str, value: &str| {
        blank(out);
        put(out, format_args!("{name}="));
        quoted(out, value);
    };
    if let Some(flow) = &record.flow {
        plain("flow", flow);
    }
    if let Some(span_id) = record.span_id {
        blank(out);
        put(out, format_args!("span={span_id}"));
    }
    if let Some(parent_id) = record.parent_id {
        blank(out);
        put(out, format_args!("parent={parent_id}"));
    }
    if let Some(clock) = record.clock {
        blank(out);
        put(out, format_args!("clock={clock}"));
    }
    let mut plain = |name: &str, value: &str| {
        blank(out);
        put(out, format_args!("{name}="));
        quoted(out, value);
    };
    if let Some(target) = &record.target {
        plain("target", target);
    }
    if let Some(file) = &record.file {
        plain("file", file);
    }
    if let Some(line) = record.line {
        blank(out);
        put(out, format_args!("line={line}"));
    }
    if let Some(message) = record.message.as_deref().filter(|_| message_in_braces(record)) {
        blank(out);
        out.extend_from_slice(b"message=");
        quoted(out, message);
    }
    if let Some(error) = &record.error {
        if !error_in_tail(record) {
            blank(out);
            out.extend_from_slice(b"error=");
            quoted(out, &format!("{}: {}", kind(&error.kind), error.message));
        }
        if !error.causes.is_empty() {
            blank(out);
            out.extend_from_slice(b"causes=");
            json::causes(out, &error.causes);
        }
    }
    for (at, (name, value)) in record.fields.iter().enumerate() {
        if record.fields[..at].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        blank(out);
        if ORDINARY.contains(&name.as_ref()) {
            word(out, &format!("field.{name}"), false);
        } else {
            word(
                out,
                name,
                name.is_empty() || is_special(name) || RESERVED.contains(&name.as_ref()),
            );
        }
        out.push(b'=');
        scalar(out, value);
    }
}

fn error_in_tail(record: &Record<'_>) -> bool {
    matches!(record.event, EventKind::Fail | EventKind::Cancel)
}

/// Returns whether the message goes into the braces: the tail of `fail` and `cancel` is the error.
fn message_in_braces(record: &Record<'_>) -> bool {
    error_in_tail(record)
}

fn word(out: &mut Vec<u8>, text: &str, quote: bool) {
    if quote || text.is_empty() {
        json::string(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a string, with quotes if it would otherwise be read as something else.
fn quoted(out: &mut Vec<u8>, text: &str) {
    word(out, text, is_special(text) || Scalar::parse_word(text).is_some());
}

fn scalar(out: &mut Vec<u8>, value: &Scalar<'_>) {
    match value.normal() {
        Scalar::Text(text) => quoted(out, &text),
        Scalar::Float(value) => {
            let _ = serde_json::to_writer(out, &value);
        }
        other => out.extend_from_slice(other.to_text().as_bytes()),
    }
}

fn kind(text: &str) -> Cow<'_, str> {
    if is_error_type(text) {
        return Cow::Borrowed(text);
    }
    let fixed: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':') { c } else { '_' })
        .collect();
    Cow::Owned(if is_error_type(&fixed) { fixed } else { format!("_{fixed}") })
}

fn tail(record: &Record<'_>, out: &mut Vec<u8>) {
    match (&record.error, &record.message) {
        (Some(error), _) if error_in_tail(record) => {
            put(out, format_args!(" {}: ", kind(&error.kind)));
            escape(out, &error.message, false);
        }
        (_, Some(message)) if !message_in_braces(record) => {
            out.push(b' ');
            escape(out, message, true);
        }
        _ => {}
    }
}

/// Appends text with backslashes and control characters escaped as in JSON. Blanks at the edges are
/// escaped too, because readers would trim them.
fn escape(out: &mut Vec<u8>, text: &str, leading: bool) {
    let inner_start = if leading { text.len() - text.trim_start().len() } else { 0 };
    let inner_end = text.trim_end().len();
    for (at, c) in text.char_indices() {
        let edge = c.is_whitespace() && (at < inner_start || at >= inner_end);
        match c {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c.is_control() || edge => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => put(out, format_args!("{c}")),
        }
    }
}
