//! JSON decoder.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::flat_object::Collected;
use super::value::{Depth, Key, Value};
use super::{KNOWN, NotJson};
use crate::record::{UNKNOWN, is_component, lower};
use crate::{Clock, ErrorInfo, EventKind, FlowId, Level, Problems, Record, Scalar, SpanId, Time};

/// Decodes one line.
///
/// Keys may come in any order, `error` may be a string, and `trace_id` replaces a missing
/// `flow_id`. If a key is repeated, the first value wins. A nested value under an unknown key is
/// kept as its JSON text.
///
/// # Errors
/// [`NotJson`] if the line is not an object with a usable `component` and `event`.
pub fn decode(line: &[u8]) -> Result<(Record<'_>, Problems), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let parsed = Draft::deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    parsed.finish().ok_or(NotJson)
}

/// Values read so far, at most one for each known key.
#[derive(Default)]
struct Draft<'a> {
    values: [Option<Value<'a>>; KNOWN.len()],
    collected: Collected<'a>,
    problems: Problems,
}

impl<'a> Draft<'a> {
    fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let at = KNOWN.iter().position(|known| *known == name)?;
        self.values.get_mut(at)?.take()
    }

    /// Takes a value as text, or `None` if it is absent, `null` or empty. Counts objects and arrays
    /// as bad values.
    fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        match self.take(name)? {
            Value::Scalar(Scalar::Text(text)) if text.is_empty() => None,
            Value::Scalar(Scalar::Text(text)) => Some(text),
            Value::Scalar(other) => Some(Cow::Owned(other.to_text().into_owned())),
            Value::Null => None,
            Value::Object(_) | Value::Nested(_) => self.bad(),
        }
    }

    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).or_else(|| self.bad())
    }

    fn bad<T>(&mut self) -> Option<T> {
        self.problems.bad_values += 1;
        None
    }

    fn finish(mut self) -> Option<(Record<'a>, Problems)> {
        let event = EventKind::parse(&self.text("event")?)?;
        let component = lower(self.text("component")?);
        if !is_component(&component) {
            return None;
        }
        let mut record = Record::new(component, event);
        record.time = self.parsed("time", Time::parse);
        record.level = self.parsed("level", Level::parse);
        record.target = self.text("target");
        record.file = self.text("file");
        record.line = self.parsed("line", |text| text.parse().ok());
        record.message = self.text("message");
        record.instance = self.text("instance");
        let trace_id = self.parsed("trace_id", |text| FlowId::parse(text).ok());
        record.flow_id = self.parsed("flow_id", |text| FlowId::parse(text).ok()).or(trace_id);
        record.flow = self.text("flow");
        record.state = self.text("state");
        record.span_id = self.parsed("span_id", |text| SpanId::parse(text).ok());
        record.parent_id = self.parsed("parent_id", |text| SpanId::parse(text).ok());
        record.clock = self.parsed("clock", Clock::parse);
        match self.take("versions") {
            Some(Value::Object(entries)) => {
                for (name, value) in entries {
                    match value {
                        Value::Scalar(Scalar::Text(text)) => record.versions.push((name, text)),
                        Value::Scalar(other) => {
                            record.versions.push((name, Cow::Owned(other.to_text().into_owned())));
                        }
                        _ => self.problems.bad_values += 1,
                    }
                }
            }
            None | Some(Value::Null) => {}
            Some(_) => self.problems.bad_values += 1,
        }
        record.error = match self.take("error") {
            Some(Value::Object(entries)) => self.error(entries),
            Some(Value::Scalar(Scalar::Text(Cow::Borrowed(text)))) => {
                Some(ErrorInfo::from_text(text))
            }
            Some(Value::Scalar(other)) => Some(owned(ErrorInfo::from_text(&other.to_text()))),
            Some(Value::Nested(_)) => self.bad(),
            None | Some(Value::Null) => None,
        };
        record.fields = self.collected.fields;
        Some((record, self.problems))
    }

    fn error(&mut self, entries: Vec<(Cow<'a, str>, Value<'a>)>) -> Option<ErrorInfo<'a>> {
        let mut error = ErrorInfo { kind: Cow::Borrowed(UNKNOWN), ..ErrorInfo::default() };
        for (name, value) in entries {
            match (name.as_ref(), value) {
                ("type", Value::Scalar(Scalar::Text(text))) => error.kind = text,
                ("message", Value::Scalar(Scalar::Text(text))) => error.message = text,
                ("causes", Value::Nested(serde_json::Value::Array(items))) => {
                    for item in items {
                        match item {
                            serde_json::Value::String(text) => error.causes.push(Cow::Owned(text)),
                            _ => self.problems.bad_values += 1,
                        }
                    }
                }
                _ => self.problems.bad_values += 1,
            }
        }
        Some(error)
    }
}

fn owned(error: ErrorInfo<'_>) -> ErrorInfo<'static> {
    ErrorInfo {
        kind: Cow::Owned(error.kind.into_owned()),
        message: Cow::Owned(error.message.into_owned()),
        causes: error.causes.into_iter().map(|cause| Cow::Owned(cause.into_owned())).collect(),
    }
}

impl<'de> Deserialize<'de> for Draft<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = Draft<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft<'de>, A::Error> {
                let mut draft = Draft::default();
                while let Some(Key(name)) = map.next_key()? {
                    let known = KNOWN.iter().position(|known| *known == name);
                    if let Some(slot) = known.and_then(|at| draft.values.get_mut(at)) {
                        let depth = if matches!(name.as_ref(), "versions" | "error") {
                            Depth::Object
                        } else {
                            Depth::Scalar
                        };
                        let value = map.next_value_seed(depth)?;
                        if slot.is_some() {
                            draft.problems.duplicate_keys += 1;
                        } else {
                            *slot = Some(value);
                        }
                        continue;
                    }
                    let value = map.next_value_seed(Depth::Scalar)?;
                    draft.collected.push(name, value, &mut draft.problems);
                }
                Ok(draft)
            }
        }
        deserializer.deserialize_map(Line)
    }
}
