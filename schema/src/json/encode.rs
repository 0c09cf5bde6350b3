//! Record to JSON.

use std::borrow::Cow;

use super::KNOWN;
use crate::{ErrorInfo, Record, Scalar};

/// Appends the record as one line, without the line feed.
///
/// A field with the name of a known key gets the prefix `field.`, of two fields with one name the first is
/// written: no key comes twice.
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

pub(super) fn fields<'f, 's: 'f>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'f str, &'f Scalar<'s>)> + Clone) {
    for (at, (name, value)) in fields.clone().enumerate() {
        if fields.clone().take(at).any(|(earlier, _)| earlier == name) {
            continue;
        }
        if KNOWN.contains(&name) {
            key(out, &format!("field.{name}"));
        } else {
            key(out, name);
        }
        scalar(out, value);
    }
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

/// Appends a JSON string, quotes included.
pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to a Vec cannot fail, and a str always serializes.
    let _ = serde_json::to_writer(out, value);
}

/// Appends a JSON array of strings.
pub(crate) fn causes(out: &mut Vec<u8>, causes: &[Cow<'_, str>]) {
    let _ = serde_json::to_writer(out, causes);
}

fn scalar(out: &mut Vec<u8>, value: &Scalar<'_>) {
    let _ = match value.normal() {
        Scalar::Text(text) => return string(out, &text),
        Scalar::Int(value) => serde_json::to_writer(out, &value),
        Scalar::Uint(value) => serde_json::to_writer(out, &value),
        Scalar::Float(value) => serde_json::to_writer(out, &value),
        Scalar::Bool(value) => serde_json::to_writer(out, &value),
    };
}
