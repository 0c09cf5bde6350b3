//! The JSON form: one flat object a line, a superset of Dynamo's own JSONL.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::record::{is_component, lower};
use crate::{Clock, ErrorInfo, Event, FlowId, Level, Problems, Record, Scalar, SpanId, Time};

/// The line is no flowlog record in JSON: not an object, or without a usable `component` and `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a flowlog record in JSON form")]
pub struct NotJson;

/// The keys that the record knows by name.
const KNOWN: [&str; 18] = [
    "time",
    "level",
    "target",
    "file",
    "line",
    "message",
    "component",
    "instance",
    "flow_id",
    "flow",
    "event",
    "state",
    "versions",
    "trace_id",
    "span_id",
    "parent_id",
    "clock",
    "error",
];

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

/// Reads one line.
///
/// Keys come in any order; `error` may be a string; `trace_id` stands for a missing `flow_id`; of a key that
/// comes twice the first wins. A nested value under an unknown key is kept as its JSON text.
///
/// # Errors
/// [`NotJson`] where the line is no object with a usable `component` and `event`.
pub fn decode(line: &[u8]) -> Result<(Record<'_>, Problems), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let parsed = Draft::deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    parsed.finish().ok_or(NotJson)
}

/// Reads one flat object of any vocabulary: its keys and scalar values in their order.
///
/// `null` is left out, a nested value is kept as its JSON text, and of a key that comes twice the first wins.
///
/// # Errors
/// [`NotJson`] where the line is no JSON object.
pub fn flat(line: &[u8]) -> Result<(Fields<'_>, Problems), NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let Flat(fields, problems) = Flat::deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    Ok((fields, problems))
}

/// Keys and scalar values of one flat object.
pub type Fields<'a> = Vec<(Cow<'a, str>, Scalar<'a>)>;

struct Flat<'a>(Fields<'a>, Problems);

impl<'de> Deserialize<'de> for Flat<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;
        impl<'de> Visitor<'de> for Line {
            type Value = Flat<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat<'de>, A::Error> {
                let mut collected = Collected::default();
                let mut problems = Problems::default();
                while let Some(Key(name)) = map.next_key()? {
                    let value = map.next_value_seed(Depth::Scalar)?;
                    collected.push(name, value, &mut problems);
                }
                Ok(Flat(collected.fields, problems))
            }
        }
        deserializer.deserialize_map(Line)
    }
}

/// Fields in their order, each name once.
#[derive(Default)]
struct Collected<'a> {
    fields: Fields<'a>,
    seen: HashSet<Cow<'a, str>>,
}

impl<'a> Collected<'a> {
    fn push(&mut self, name: Cow<'a, str>, value: Value<'a>, problems: &mut Problems) {
        let twice = if self.fields.len() < LINEAR_SEARCH {
            self.fields.iter().any(|(earlier, _)| *earlier == name)
        } else {
            if self.seen.is_empty() {
                self.seen.extend(self.fields.iter().map(|(earlier, _)| earlier.clone()));
            }
            !self.seen.insert(name.clone())
        };
        match value {
            _ if twice => problems.duplicate_keys += 1,
            Value::Scalar(value) => self.fields.push((name, value)),
            Value::Nested(value) => self.fields.push((name, Scalar::Text(Cow::Owned(value.to_string())))),
            Value::Null | Value::Object(_) => {}
        }
    }
}

/// What has been read of a line so far; every known key at most once.
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

    /// A string that is not empty. Anything else but an absent value is counted.
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
        let event = Event::parse(&self.text("event")?)?;
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
                        Value::Scalar(other) => record.versions.push((name, Cow::Owned(other.to_text().into_owned()))),
                        _ => self.problems.bad_values += 1,
                    }
                }
            }
            None | Some(Value::Null) => {}
            Some(_) => self.problems.bad_values += 1,
        }
        record.error = match self.take("error") {
            Some(Value::Object(entries)) => self.error(entries),
            Some(Value::Scalar(Scalar::Text(Cow::Borrowed(text)))) => Some(ErrorInfo::from_text(text)),
            Some(Value::Scalar(other)) => Some(owned(ErrorInfo::from_text(&other.to_text()))),
            Some(Value::Nested(_)) => self.bad(),
            None | Some(Value::Null) => None,
        };
        record.fields = self.collected.fields;
        Some((record, self.problems))
    }

    fn error(&mut self, entries: Vec<(Cow<'a, str>, Value<'a>)>) -> Option<ErrorInfo<'a>> {
        let mut error = ErrorInfo { kind: Cow::Borrowed(crate::record::UNKNOWN), ..ErrorInfo::default() };
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

/// Past this many fields, duplicates are looked for with a set: a hostile line must not cost a square.
const LINEAR_SEARCH: usize = 32;

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
                        let depth = if matches!(name.as_ref(), "versions" | "error") { Depth::Object } else { Depth::Scalar };
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

/// A key or string, borrowed where it holds no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

enum Value<'a> {
    Null,
    Scalar(Scalar<'a>),
    /// The entries of an object, where entries were asked for.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
    /// Anything deeper.
    Nested(serde_json::Value),
}

/// How deep a value is taken apart.
#[derive(Clone, Copy)]
enum Depth {
    Scalar,
    Object,
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Float(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Text(Cow::Borrowed(value))))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Text(Cow::Owned(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Nested(serde_json::Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        if matches!(self, Self::Object) {
            let mut entries: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
            let mut seen = HashSet::new();
            while let Some(Key(name)) = map.next_key()? {
                let value = map.next_value_seed(Self::Scalar)?;
                if seen.insert(name.clone()) {
                    entries.push((name, value));
                }
            }
            return Ok(Value::Object(entries));
        }
        let mut object = serde_json::Map::new();
        while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
            object.entry(name).or_insert(value);
        }
        Ok(Value::Nested(serde_json::Value::Object(object)))
    }
}

/// Stand-ins for the JSON Schema of values that are written as text.
#[cfg(feature = "json-schema")]
pub(crate) mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    macro_rules! text_schema {
        ($name:ident, $doc:literal, $schema:tt) => {
            #[doc = $doc]
            pub(crate) struct $name;
            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
                fn inline_schema() -> bool {
                    true
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        };
    }
    text_schema!(TimeText, "RFC 3339.", {"type": "string", "format": "date-time"});
    text_schema!(FlowIdText, "A UUID.", {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"});
    text_schema!(Hex16, "16 hex digits.", {"type": "string", "pattern": "^[0-9a-f]{16}$"});
    text_schema!(AnyScalar, "A string, a number or a bool.", {"type": ["string", "number", "boolean"]});
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Record<'_>, Problems) {
        decode(line.as_bytes()).unwrap()
    }

    #[test]
    fn the_least_record() {
        let (record, problems) = read(r#"{"event":"start","component":"Router"}"#);
        assert_eq!(record, Record::new("router", Event::Start));
        assert!(problems.is_empty());
    }

    #[test]
    fn what_is_no_record() {
        for line in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"component":"router"}"#,
            r#"{"component":"router","event":"begin"}"#,
            r#"{"component":"9","event":"start"}"#,
            r#"{"component":"","event":"start"}"#,
            r#"{"component":"router","event":"start"} x"#,
            r#"{"component":"router","event":"start""#,
        ] {
            assert_eq!(decode(line.as_bytes()).err(), Some(NotJson), "{line}");
        }
        assert_eq!(decode(b"{\"component\":\"a\",\"event\":\"start\",\"x\":\"\xff\"}").err(), Some(NotJson));
    }

    #[test]
    fn readers_are_lenient() {
        let (record, problems) = read(
            r#"{"trace_id":"019aaaaca5da7347bb801089c1876100","component":"a","event":"fail","event":"end","x":1,"x":2,
                "error":"Unavailable: none","clock":"zz","line":"7","deep":{"a":[1]},"nothing":null,"span_id":5}"#,
        );
        assert_eq!(record.flow_id.unwrap().to_string(), "019aaaac-a5da-7347-bb80-1089c1876100");
        assert_eq!(record.event, Event::Fail);
        assert_eq!(record.field("x"), Some(&Scalar::Int(1)));
        assert_eq!(record.field("deep"), Some(&Scalar::from(r#"{"a":[1]}"#)));
        assert_eq!(record.field("nothing"), None);
        assert_eq!(record.line, Some(7));
        assert_eq!(record.error.unwrap().kind, "Unavailable");
        assert_eq!(problems, Problems { duplicate_keys: 2, bad_values: 2 });
    }

    #[test]
    fn a_number_may_name_an_instance() {
        let (record, _) = read(r#"{"component":"backend","event":"start","instance":12808651013936080788}"#);
        assert_eq!(record.instance.as_deref(), Some("12808651013936080788"));
    }

    #[test]
    fn many_fields_are_read_in_linear_time_with_duplicates_counted() {
        let mut line = String::from(r#"{"component":"a","event":"state""#);
        for key in (0..5_000).chain(0..10) {
            line.push_str(&format!(r#","k{key}":{key}"#));
        }
        line.push('}');
        let (record, problems) = read(&line);
        assert_eq!((record.fields.len(), problems.duplicate_keys), (5_000, 10));
    }

    #[test]
    fn no_key_is_written_twice() {
        let mut record = Record::new("a", Event::State);
        record.fields = vec![("message".into(), "m".into()), ("x".into(), 1.into()), ("x".into(), 2.into())];
        let mut out = Vec::new();
        encode(&record, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"target":"","message":"","component":"a","event":"state","state":"","field.message":"m","x":1}"#
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let line = format!(r#"{{"component":"a","event":"state","x":{}"#, "[".repeat(1_000_000));
        assert_eq!(decode(line.as_bytes()).err(), Some(NotJson));
    }
}
