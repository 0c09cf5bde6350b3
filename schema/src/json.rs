//! The JSON form: one flat object per line, a superset of Dynamo's own JSONL.

mod decode;
mod encode;
mod flat_object;
mod fast_decode;
mod template;
mod value;

pub use decode::decode;
pub use encode::encode;
pub(crate) use encode::{causes, string};
pub use fast_decode::decode_fast;
pub(crate) use fast_decode::{PREFIX, fields, ids, number, read, tail};
pub use flat_object::{Fields, flat_object};
pub use template::{CodeLocation, RecordData, RecordTemplate};

/// The line is not a flowlog record in JSON form: it is not an object, or it has no usable
/// `component` and `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a flowlog record in JSON form")]
pub struct NotJson;

/// Keys that the record knows by name. Any other key is a field.
pub const KNOWN: [&str; 18] = [
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

/// Stand-ins that describe values written as text in the JSON Schema.
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
    use crate::{EventKind, Problems, Record, Scalar};

    fn read(line: &str) -> (Record<'_>, Problems) {
        decode(line.as_bytes()).unwrap()
    }

    #[test]
    fn minimal_record() {
        let (record, problems) = read(r#"{"event":"start","component":"Router"}"#);
        assert_eq!(record, Record::new("router", EventKind::Start));
        assert!(problems.is_empty());
    }

    #[test]
    fn invalid_records_are_rejected() {
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
        assert_eq!(
            decode(b"{\"component\":\"a\",\"event\":\"start\",\"x\":\"\xff\"}").err(),
            Some(NotJson)
        );
    }

    #[test]
    fn decoder_is_lenient() {
        let (record, problems) = read(
            r#"{"trace_id":"019aaaaca5da7347bb801089c1876100","component":"a","event":"fail","event":"end","x":1,"x":2,
                "error":"Unavailable: none","clock":"zz","line":"7","deep":{"a":[1]},"nothing":null,"span_id":5}"#,
        );
        assert_eq!(record.flow_id.unwrap().to_string(), "019aaaac-a5da-7347-bb80-1089c1876100");
        assert_eq!(record.event, EventKind::Fail);
        assert_eq!(record.field("x"), Some(&Scalar::Int(1)));
        assert_eq!(record.field("deep"), Some(&Scalar::from(r#"{"a":[1]}"#)));
        assert_eq!(record.field("nothing"), None);
        assert_eq!(record.line, Some(7));
        assert_eq!(record.error.unwrap().kind, "Unavailable");
        assert_eq!(problems, Problems { duplicate_keys: 2, bad_values: 2 });
    }

    #[test]
    fn a_number_may_name_an_instance() {
        let (record, _) =
            read(r#"{"component":"backend","event":"start","instance":12808651013936080788}"#);
        assert_eq!(record.instance.as_deref(), Some("12808651013936080788"));
    }

    #[test]
    fn many_fields_decode_in_linear_time_with_duplicates_counted() {
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
        let mut record = Record::new("a", EventKind::State);
        record.fields =
            vec![("message".into(), "m".into()), ("x".into(), 1.into()), ("x".into(), 2.into())];
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
