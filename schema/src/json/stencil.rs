//! Records of one span, written quickly: what they have in common is encoded once.

use super::encode::{error, fields, string, text, versions};
use crate::time::SecondText;
use crate::{Clock, ErrorInfo, Event, Level, Record, Scalar, Time};

/// What the records of one span have in common, in JSON.
///
/// [`Stencil::encode`] writes what [`encode`](super::encode) does, without a heap allocation of its own.
#[derive(Debug, Clone)]
pub struct Stencil {
    /// From `target` to `event`, as long as there is no message.
    who: Box<[u8]>,
    /// Where in it the message stands.
    message: usize,
    versions: Box<[u8]>,
    /// From `trace_id` to `clock`.
    ids: Box<[u8]>,
}

/// Where in a program something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The module.
    pub target: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
}

/// What is a record's own.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Wall clock.
    pub time: Time,
    /// How loud.
    pub level: Level,
    /// Where it was said, if not where all of the span's are.
    pub place: Option<Place<'a>>,
    /// Free words; empty where there are none.
    pub message: &'a str,
    /// What happened to the span.
    pub event: Event,
    /// Where in its work the component is; empty where unknown.
    pub state: &'a str,
    /// Whether it names the versions.
    pub names_versions: bool,
    /// Reading of the hybrid logical clock.
    pub clock: Clock,
    /// Why it failed.
    pub error: Option<&'a ErrorInfo<'a>>,
    /// Any other key.
    pub fields: &'a [(&'a str, Scalar<'a>)],
    /// Number of the record ([`flight::number`](crate::flight::number)), written as the field `seq` before all others; zero for none.
    pub number: u64,
}

impl Stencil {
    /// Takes target, component, instance, flow, versions and ids of a record; the rest of it does not matter.
    pub fn of(record: &Record<'_>) -> Self {
        let (mut who, mut named, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        text(&mut who, "target", record.target.as_deref().unwrap_or_default());
        text(&mut who, "message", "");
        let message = who.len() - 1;
        text(&mut who, "component", &record.component);
        if let Some(instance) = &record.instance {
            text(&mut who, "instance", instance);
        }
        if let Some(flow_id) = record.flow_id {
            text(&mut who, "flow_id", &flow_id.to_string());
            text(&mut ids, "trace_id", &flow_id.trace_id().to_string());
        }
        if let Some(flow) = &record.flow {
            text(&mut who, "flow", flow);
        }
        who.extend_from_slice(b",\"event\":\"");
        versions(&mut named, &record.versions);
        if let Some(span_id) = record.span_id {
            text(&mut ids, "span_id", &span_id.to_string());
        }
        if let Some(parent_id) = record.parent_id {
            text(&mut ids, "parent_id", &parent_id.to_string());
        }
        ids.extend_from_slice(b",\"clock\":\"");
        let [who, versions, ids] = [who, named, ids].map(Vec::into_boxed_slice);
        Self { who, message, versions, ids }
    }

    /// Appends a record as one line, without the line feed. `second` spares the calendar from one record to the next.
    pub fn encode(&self, line: &Line<'_>, second: &mut SecondText, out: &mut Vec<u8>) {
        out.reserve(ROOM + self.who.len() + self.versions.len() + self.ids.len());
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(second.text(line.time));
        out.extend_from_slice(match line.level {
            Level::Trace => b"\",\"level\":\"TRACE\"",
            Level::Debug => b"\",\"level\":\"DEBUG\"",
            Level::Info => b"\",\"level\":\"INFO\"",
            Level::Warn => b"\",\"level\":\"WARN\"",
            Level::Error => b"\",\"level\":\"ERROR\"",
        });
        if line.message.is_empty() && line.place.is_none() {
            out.extend_from_slice(&self.who);
        } else {
            // The two quotes stand before it.
            let (before, behind) = self.who.split_at(self.message - 1);
            match line.place {
                None => out.extend_from_slice(before),
                Some(place) => self::place(out, place),
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
        // A field of the same name is somebody else's.
        let own = |name| if line.number > 0 && name == "seq" { "field.seq" } else { name };
        fields(out, line.fields.iter().map(|(name, value)| (own(*name), value)));
        out.push(b'}');
    }
}

/// From `target` to the message's key.
fn place(out: &mut Vec<u8>, place: Place<'_>) {
    text(out, "target", place.target);
    if let Some(file) = place.file {
        text(out, "file", file);
    }
    if let Some(line) = place.line {
        out.extend_from_slice(b",\"line\":");
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *out, &line);
    }
    out.extend_from_slice(b",\"message\":");
}

/// Bytes of what no stencil holds, but fields and errors.
const ROOM: usize = 256;

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
