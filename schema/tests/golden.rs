//! Golden lines: one for each event and each field, in both forms. Lines of version 1 stay readable
//! forever.
//!
//! `FLOWLOG_BLESS=1 cargo test -p flowlog-schema` regenerates them. A change in them is a change of
//! the contract.

use std::borrow::Cow;
use std::path::PathBuf;

use flowlog_schema::{
    Clock, ErrorInfo, EventKind, FlowId, Level, Record, Scalar, SpanId, Time, json, text,
};

fn base(event: EventKind) -> Record<'static> {
    let mut record = Record::new("router", event);
    record.time = Time::parse("2025-11-22T08:27:15.705274Z");
    record.level = Some(Level::Info);
    record.instance = Some("router-0".into());
    record.flow_id = FlowId::parse("019aaaac-a5da-7347-bb80-1089c1876100").ok();
    record.flow = Some("chat_completion".into());
    record.span_id = SpanId::parse("24b5dddcfdbbee4f").ok();
    record.parent_id = SpanId::parse("8e201852647d2d09").ok();
    record.clock = Clock::parse("019aaaacb23c001a");
    record
}

fn error(kind: &'static str, message: &'static str) -> Option<ErrorInfo<'static>> {
    Some(ErrorInfo { kind: kind.into(), message: message.into(), causes: Vec::new() })
}

/// Builds one record for each event, then one for each part of a record with its most awkward
/// values.
fn records() -> Vec<Record<'static>> {
    let of = |event, change: fn(&mut Record<'static>)| {
        let mut record = base(event);
        change(&mut record);
        record
    };
    let versions =
        |record: &mut Record<'static>| record.versions = vec![("router".into(), "0.7.0".into())];
    vec![
        of(EventKind::Start, versions),
        of(EventKind::State, |r| r.state = Some("select_worker".into())),
        of(EventKind::End, |r| r.message = Some("routed".into())),
        of(EventKind::Fail, |r| {
            r.level = Some(Level::Error);
            r.state = Some("select_worker".into());
            r.versions = vec![("router".into(), "0.7.0".into())];
            r.error = error("Unavailable", "no ready worker for model \"tiny\"");
        }),
        of(EventKind::Cancel, |r| r.error = error("Cancelled", "client disconnected")),
        of(EventKind::Sample, |r| {
            r.flow_id = None;
            (r.flow, r.span_id, r.parent_id) = (None, None, None);
            r.fields = vec![("rss_bytes".into(), 123_456_789.into()), ("load".into(), 0.5.into())];
        }),
        of(EventKind::Process, |r| {
            r.flow_id = None;
            (r.flow, r.span_id, r.parent_id) = (None, None, None);
            r.state = Some("start".into());
            r.fields = vec![("pid".into(), 7.into()), ("host".into(), "node-1".into())];
        }),
        of(EventKind::Lost, |r| {
            r.flow_id = None;
            (r.flow, r.span_id, r.parent_id) = (None, None, None);
            r.fields = vec![("count".into(), 3.into())];
        }),
        of(EventKind::State, |r| *r = Record::new("a", EventKind::State)),
        of(EventKind::State, |r| {
            r.level = Some(Level::Trace);
            r.target = Some("dynamo_llm::kv_router".into());
            r.file = Some("src/kv router.rs".into());
            r.line = Some(42);
        }),
        of(EventKind::State, |r| r.instance = Some("pod 7/100%".into())),
        of(EventKind::State, |r| r.message = Some("  two\nlines \\ and a tab\t\u{1b}[31m ".into())),
        of(EventKind::Fail, |r| r.message = Some("Type: not an error".into())),
        of(EventKind::Fail, |r| r.error = error("Internal", "")),
        of(EventKind::Fail, |r| {
            r.error = Some(ErrorInfo {
                kind: "std::io::Error".into(),
                message: "gone: \"away\"".into(),
                causes: vec!["tcp connect error".into(), "Connection refused [111] \"x\"".into()],
            });
        }),
        of(EventKind::State, |r| {
            r.level = Some(Level::Warn);
            r.error = error("Disconnected", "handled by a retry");
            r.message = Some("retrying".into());
        }),
        of(EventKind::State, |r| {
            r.versions = vec![
                ("@scope/pkg".into(), "1.0 beta".into()),
                ("two words".into(), "=1".into()),
                ("plain".into(), "1".into()),
            ];
        }),
        of(EventKind::State, |r| {
            r.fields = vec![
                ("text".into(), "plain".into()),
                ("empty".into(), "".into()),
                ("number_like".into(), "12".into()),
                ("bool_like".into(), "true".into()),
                ("special".into(), "a b\"c{d}[e]=@\\\u{7}".into()),
                ("int".into(), (-7).into()),
                ("uint".into(), Scalar::Uint(u64::MAX)),
                ("float".into(), 1.5e300.into()),
                ("whole_float".into(), 2.0.into()),
                ("bool".into(), true.into()),
                ("two words".into(), 1.into()),
                ("span".into(), "not the span".into()),
                ("causes".into(), "[]".into()),
            ];
        }),
    ]
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn lines(encode: fn(&Record<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records() {
        encode(&record, &mut out);
        out.push(b'\n');
    }
    out
}

#[test]
fn encoders_produce_the_golden_lines() {
    for (name, written) in
        [("records.jsonl", lines(json::encode)), ("records.log", lines(text::encode))]
    {
        if std::env::var_os("FLOWLOG_BLESS").is_some() {
            std::fs::write(golden(name), &written).unwrap();
        }
        let expected = std::fs::read(golden(name)).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            String::from_utf8(expected).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn decoders_parse_the_golden_lines() {
    let expected = records();
    let jsonl = std::fs::read(golden("records.jsonl")).unwrap();
    let log = std::fs::read(golden("records.log")).unwrap();
    let read: Vec<_> = jsonl
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| json::decode(l).unwrap())
        .collect();
    let text: Vec<_> = log
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| text::decode(l).unwrap())
        .collect();
    assert_eq!((read.len(), text.len()), (expected.len(), expected.len()));
    for ((from_json, from_text), expected) in read.iter().zip(&text).zip(&expected) {
        assert_eq!(&from_json.0, expected);
        assert_eq!(&from_text.0, expected);
        assert!(from_json.1.is_empty() && from_text.1.is_empty());
    }
}

#[test]
fn golden_records_cover_every_event_and_field() {
    let records = records();
    for event in EventKind::ALL {
        assert!(records.iter().any(|r| r.event == event), "{event:?}");
    }
    type Has = fn(&Record<'_>) -> bool;
    let has: [(&str, Has); 17] = [
        ("time", |r| r.time.is_some()),
        ("level", |r| r.level.is_some()),
        ("target", |r| r.target.is_some()),
        ("file", |r| r.file.is_some()),
        ("line", |r| r.line.is_some()),
        ("message", |r| r.message.is_some()),
        ("instance", |r| r.instance.is_some()),
        ("flow_id", |r| r.flow_id.is_some()),
        ("no flow_id", |r| r.flow_id.is_none()),
        ("flow", |r| r.flow.is_some()),
        ("state", |r| r.state.is_some()),
        ("versions", |r| !r.versions.is_empty()),
        ("span_id", |r| r.span_id.is_some()),
        ("parent_id", |r| r.parent_id.is_some()),
        ("clock", |r| r.clock.is_some()),
        ("error", |r| r.error.as_ref().is_some_and(|e| !e.causes.is_empty())),
        ("fields", |r| !r.fields.is_empty()),
    ];
    for (name, has) in has {
        assert!(records.iter().any(has), "{name}");
    }
    assert!(records.iter().all(|r| matches!(r.component, Cow::Borrowed(_))));
}
