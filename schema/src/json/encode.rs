//! Record to JSON.

use std::borrow::Cow;

use super::KNOWN;
use crate::{Record, Scalar};

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
    if !record.versions.is_empty() {
        key(out, "versions");
        out.push(b'{');
        for (name, version) in &record.versions {
            text(out, name, version);
        }
        out.push(b'}');
    }
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
    if let Some(error) = &record.error {
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
    for (at, (name, value)) in record.fields.iter().enumerate() {
        if record.fields[..at].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        if KNOWN.contains(&name.as_ref()) {
            key(out, &format!("field.{name}"));
        } else {
            key(out, name);
        }
        scalar(out, value);
    }
    out.push(b'}');
}

fn key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    string(out, value);
}

/// Appends a JSON string, quotes included.
pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
    // Writing to a Vec cannot fail, and a str always serializes.
    let _ = serde_json::to_writer(out, value);
}

/// Appends a JSON array of strings.
pub(crate) fn causes(out: &mut Vec<u8>, causes: &[Cow<'_, str>]) {
    let _ = serde_json::to_writer(out, causes);
}

fn scalar(out: &mut Vec<u8>, value: &Scalar<'_>) {
    let _ = match value.normal() {
        Scalar::Text(text) => serde_json::to_writer(out, &text),
        Scalar::Int(value) => serde_json::to_writer(out, &value),
        Scalar::Uint(value) => serde_json::to_writer(out, &value),
        Scalar::Float(value) => serde_json::to_writer(out, &value),
        Scalar::Bool(value) => serde_json::to_writer(out, &value),
    };
}
