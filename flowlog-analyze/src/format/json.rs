//! JSON objects of any logger: one object per line, with fields of any name and nesting.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fields::{LogFields, Value};
use super::plain::is_object;
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Objects that no specific format accepts.
pub(super) const JSON: LogFormat = LogFormat {
    name: "json",
    classify_start: |line| is_object(line).then_some(EventStart::Whole),
    read,
    examples: &[
        Example {
            text: r#"{"level":50,"time":1763800035705,"pid":7,"hostname":"orders-0","msg":"charge failed","err":{"type":"TypeError","message":"x is undefined","stack":"TypeError: x is undefined\n    at f (a.js:1:2)"}}"#,
            expected: "2025-11-22T08:27:15.705000Z ERROR /orders-0 charge failed error=TypeError: x is undefined\n    at f (a.js:1:2)",
        },
        Example {
            text: r#"{"@timestamp":"2025-11-22T08:27:15.705Z","log.level":"WARN","message":"slow","service.name":"Orders","trace.id":"4bf92f3577b34da6a3ce929d0e0e4736","log":{"logger":"a.B"}}"#,
            expected: "2025-11-22T08:27:15.705000Z WARN orders a.B: slow flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
        Example {
            text: r#"{"severity":"ERROR","timestampSeconds":1763800035,"timestampNanos":500000000,"message":"boom","kubernetes":{"pod_name":"cart-0","container_name":"cart"}}"#,
            expected: "2025-11-22T08:27:15.500000Z ERROR cart /cart-0 boom",
        },
        Example {
            text: r#"{"version":"1.1","host":"web","short_message":"gone","timestamp":1763800035.25,"level":3,"_trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
            expected: "2025-11-22T08:27:15.250000Z ERROR /web gone flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
        Example { text: r#"{"a":1}"#, expected: r#"{"a":1}"# },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    if !is_object(text.as_bytes()) {
        return None;
    }
    let fields = fields_of(text)?;
    Some(fields.into_event(text))
}

/// Returns the fields of an object, nested ones by their path; `None` if the text is not an object.
pub(super) fn fields_of(text: &str) -> Option<LogFields<'_>> {
    let mut fields = LogFields::default();
    let mut path = String::new();
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = Nested { fields: &mut fields, path: &mut path, depth: 0 };
    seed.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(fields)
}

/// Maximum depth of nested objects that is read.
const MAX_DEPTH: u8 = 6;

/// A value at a path.
struct Nested<'f, 'a> {
    fields: &'f mut LogFields<'a>,
    path: &'f mut String,
    depth: u8,
}

impl<'a> Nested<'_, 'a> {
    fn add<E>(self, value: Value<'a>) -> Result<(), E> {
        if !self.path.is_empty() {
            self.fields.add(self.path, value);
        }
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Nested<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Nested<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.add(Value::Text(Cow::Borrowed(if value { "true" } else { "false" })))
    }

    #[expect(clippy::cast_precision_loss, reason = "times and levels fit a float")]
    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.add(Value::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "times and levels fit a float")]
    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.add(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.add(Value::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<(), E> {
        self.add(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.add(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        if self.depth >= MAX_DEPTH {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while let Some(key) = entries.next_key::<Cow<'a, str>>()? {
            let len = self.path.len();
            if len > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            entries.next_value_seed(Nested {
                fields: self.fields,
                path: self.path,
                depth: self.depth + 1,
            })?;
            self.path.truncate(len);
        }
        Ok(())
    }
}
