//! Fast encoding of the records of one span: their common parts are encoded once.

use super::encode::{error, fields, string, text, versions};
use crate::time::SecondText;
use crate::{Clock, ErrorInfo, EventKind, Level, Record, Scalar, Time};

/// Common parts of the records of one span, encoded as JSON.
///
/// [`RecordTemplate::encode`] writes the same bytes as [`encode`](super::encode), without a heap
/// allocation of its own.
#[derive(Debug, Clone)]
pub struct RecordTemplate {
    /// From `target` to `event`, with an empty message.
    header: Box<[u8]>,
    /// Offset in it of the closing quote of the empty message.
    message: usize,
    versions: Box<[u8]>,
    /// From `trace_id` to `clock`.
    ids: Box<[u8]>,
}

/// Code location that emitted a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLocation<'a> {
    /// Name of the module.
    pub target: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line number in the source file.
    pub line: Option<u32>,
}

/// Parts of a record that are not common to its span.
#[derive(Debug, Clone, Copy)]
pub struct RecordData<'a> {
    /// Wall-clock time.
    pub time: Time,
    /// Severity.
    pub level: Level,
    /// Code location, if it is not that of the template.
    pub location: Option<CodeLocation<'a>>,
    /// Free-form message; empty if there is none.
    pub message: &'a str,
    /// Kind of event.
    pub event: EventKind,
    /// State of the component's work; empty if unknown.
    pub state: &'a str,
    /// Whether the record names the versions.
    pub names_versions: bool,
    /// Reading of the hybrid logical clock.
    pub clock: Clock,
    /// Reason for the failure or cancellation.
    pub error: Option<&'a ErrorInfo<'a>>,
    /// All other keys.
    pub fields: &'a [(&'a str, Scalar<'a>)],
    /// Number of the record ([`flight::number`](crate::flight::number)), written as the field `seq`
    /// before all others; zero if it has none.
    pub number: u64,
}

impl RecordTemplate {
    /// Creates a template from target, component, instance, flow, versions and IDs of a record. The
    /// rest of the record is ignored.
    pub fn of(record: &Record<'_>) -> Self {
        let (mut header, mut named, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        text(&mut header, "target", record.target.as_deref().unwrap_or_default());
        text(&mut header, "message", "");
        let message = header.len() - 1;
        text(&mut header, "component", &record.component);
        if let Some(instance) = &record.instance {
            text(&mut header, "instance", instance);
        }
        if let Some(flow_id) = record.flow_id {
            text(&mut header, "flow_id", &flow_id.to_string());
            text(&mut ids, "trace_id", &flow_id.trace_id().to_string());
        }
        if let Some(flow) = &record.flow {
            text(&mut header, "flow", flow);
        }
        header.extend_from_slice(b",\"event\":\"");
        versions(&mut named, &record.versions);
        if let Some(span_id) = record.span_id {
            text(&mut ids, "span_id", &span_id.to_string());
        }
        if let Some(parent_id) = record.parent_id {
            text(&mut ids, "parent_id", &parent_id.to_string());
        }
        ids.extend_from_slice(b",\"clock\":\"");
        let [header, versions, ids] = [header, named, ids].map(Vec::into_boxed_slice);
        Self { header, message, versions, ids }
    }

    /// Appends a record as one line, without the line feed.
    ///
    /// `second` caches the formatted time from one record to the next.
    pub fn encode(&self, line: &RecordData<'_>, second: &mut SecondText, out: &mut Vec<u8>) {
        out.reserve(RESERVED_BYTES + self.header.len() + self.versions.len() + self.ids.len());
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(second.text(line.time));
        out.extend_from_slice(match line.level {
            Level::Trace => b"\",\"level\":\"TRACE\"",
            Level::Debug => b"\",\"level\":\"DEBUG\"",
            Level::Info => b"\",\"level\":\"INFO\"",
            Level::Warn => b"\",\"level\":\"WARN\"",
            Level::Error => b"\",\"level\":\"ERROR\"",
        });
        if line.message.is_empty() && line.location.is_none() {
            out.extend_from_slice(&self.header);
        } else {
            // The second part begins with the two quotes of the empty message.
            let (before, behind) = self.header.split_at(self.message - 1);
            match line.location {
                None => out.extend_from_slice(before),
                Some(location) => self::location(out, location),
            }
            string(out, line.message);
            out.extend_from_slice(behind.get(2..).unwrap_or_default());
        }
        out.extend_from_slice(line.event.as_str().as_bytes());
        out.extend_from_slice(b"\",\"state\":");
        string(out, line.state);
        if line.names_versions {
            out.extend_from_slice(&self.versions);
        }
        out.extend_from_slice(&self.ids);
        out.extend_from_slice(&hex(line.clock.0));
        out.push(b'"');
        if let Some(info) = line.error {
            error(out, info);
        }
        if line.number > 0 {
            out.extend_from_slice(b",\"seq\":");
            // Writing to a Vec cannot fail.
            let _ = serde_json::to_writer(&mut *out, &line.number);
        }
        // A field of the same name is not ours.
        let own = |name| if line.number > 0 && name == "seq" { "field.seq" } else { name };
        fields(out, line.fields.iter().map(|(name, value)| (own(*name), value)));
        out.push(b'}');
    }
}

/// Appends the keys from `target` to `message`.
fn location(out: &mut Vec<u8>, location: CodeLocation<'_>) {
    text(out, "target", location.target);
    if let Some(file) = location.file {
        text(out, "file", file);
    }
    if let Some(line) = location.line {
        out.extend_from_slice(b",\"line\":");
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *out, &line);
    }
    out.extend_from_slice(b",\"message\":");
}

/// Bytes to reserve for the parts that are not in the template, except fields and errors.
const RESERVED_BYTES: usize = 256;

fn hex(value: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        let nibble = usize::try_from(value >> (60 - 4 * at) & 0xf).unwrap_or(0);
        *digit = DIGITS[nibble];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits() {
        for value in [0, 1, 0x019a_aaac_b23c_001a, u64::MAX] {
            assert_eq!(hex(value), Clock(value).to_string().as_bytes());
        }
    }
}
