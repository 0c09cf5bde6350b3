//! Dynamo's JSONL format (`DYN_LOGGING_JSONL=1`) in all versions.

use std::borrow::Cow;

use flowlog_schema::{Level, Scalar, SpanId, Time, json};

use super::plain::is_object;
use super::{EventStart, Example, LogFormat, dynamo, flowlog, lifecycle};
use crate::event::{FlowKey, ParsedEvent, SpanRef, span_key};
use crate::timestamp::Timestamp;

/// Dynamo's JSONL format.
pub(super) const JSON: LogFormat = LogFormat {
    name: "dynamo_json",
    classify_start: |line| is_object(line).then_some(EventStart::Whole),
    read,
    examples: &[
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"log","message":"worker initialized","log.line":191}"#,
            expected: "2025-11-22T08:27:15.705274Z INFO log: worker initialized",
        },
        Example {
            text: r#"{"timestamp":"2025-11-22T08:27:15.705274Z","level":"WARN","target":"log","message":"up"}"#,
            expected: "2025-11-22T08:27:15.705274Z WARN log: up",
        },
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"dynamo_runtime::logging","message":"SPAN_CREATED","span_name":"http-request","span_id":"6959a1b2d1ee41a5","trace_id":"019aaaaca5da7347bb801089c1876100"}"#,
            expected: "2025-11-22T08:27:15.705274Z INFO frontend dynamo_runtime::logging: SPAN_CREATED flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
    ],
};

/// Parses an object with a time, a level, a target and a message that is not a flowlog record.
fn read(line: &str) -> Option<ParsedEvent<'_>> {
    if !line.starts_with('{') {
        return None;
    }
    let (fields, problems) = json::flat_object(line.as_bytes()).ok()?;
    let mut data = EventData::default();
    for (name, value) in fields {
        data.take(&name, value);
    }
    let level = Level::parse(&data.level?)?;
    let time = Time::parse(&data.time?)?;
    let message = data.message?;
    data.target.as_ref()?;
    if data.event && flowlog::json(line).is_some() {
        return None;
    }

    let span_name = data.span_name.as_deref().unwrap_or_default();
    let request = data.request_id.as_deref().and_then(FlowKey::parse);
    let trace = data.trace_id.as_deref().and_then(FlowKey::parse);
    let has_trace_id = trace.is_some();
    let flows: Vec<FlowKey> = trace.into_iter().chain(request).collect();
    let in_worker = span_name == "handle_payload";
    let component = match dynamo::component_of(span_name) {
        Some(_) if in_worker && data.component.is_some() => data.component.clone(),
        Some(name) => Some(Cow::Borrowed(name)),
        None => None,
    };
    let instance = if in_worker { data.instance_id.clone() } else { None };
    let span =
        (!flows.is_empty() && (!span_name.is_empty() || data.span_id.is_some())).then(|| SpanRef {
            key: data.span_id.as_deref().and_then(|id| SpanId::parse(id).ok()).map_or_else(
                || span_key(&[span_name, instance.as_deref().unwrap_or_default()]),
                SpanId::as_u64,
            ),
            is_inferred: data.span_id.is_none(),
            parent: data
                .parent_id
                .as_deref()
                .and_then(|id| SpanId::parse(id).ok())
                .map(SpanId::as_u64),
            component: component.clone(),
            instance: instance.clone(),
            callee: data.worker_id.clone(),
        });
    let update = dynamo::EventFields {
        span_name,
        message: &message,
        outcome: data.outcome.as_deref(),
        error_type: data.error_type.as_deref(),
        error: data.error.as_deref(),
        status: data.status.as_deref(),
    }
    .update();
    let state = dynamo::state_of(span_name, data.endpoint.as_deref(), data.uri.as_deref());
    let process = if flows.is_empty() { lifecycle::of_message(&message) } else { None };
    Some(ParsedEvent {
        time: Some(Timestamp::exact(time.0)),
        level: Some(level),
        flows,
        has_trace_id,
        span,
        update,
        component,
        instance,
        state,
        target: data.target.unwrap_or_default(),
        message,
        error: data.error,
        process,
        problems,
        ..ParsedEvent::default()
    })
}

/// Fields that this format interprets.
#[derive(Default)]
struct EventData<'a> {
    time: Option<Cow<'a, str>>,
    level: Option<Cow<'a, str>>,
    target: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    span_name: Option<Cow<'a, str>>,
    span_id: Option<Cow<'a, str>>,
    parent_id: Option<Cow<'a, str>>,
    trace_id: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    component: Option<Cow<'a, str>>,
    instance_id: Option<Cow<'a, str>>,
    worker_id: Option<Cow<'a, str>>,
    outcome: Option<Cow<'a, str>>,
    error_type: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
    status: Option<Cow<'a, str>>,
    endpoint: Option<Cow<'a, str>>,
    uri: Option<Cow<'a, str>>,
    event: bool,
}

impl<'a> EventData<'a> {
    fn take(&mut self, name: &str, value: Scalar<'a>) {
        let slot = match name {
            "time" | "timestamp" => &mut self.time,
            "level" => &mut self.level,
            "target" => &mut self.target,
            "message" => &mut self.message,
            "span_name" => &mut self.span_name,
            "span_id" => &mut self.span_id,
            "parent_id" => &mut self.parent_id,
            "trace_id" => &mut self.trace_id,
            "request_id" => &mut self.request_id,
            "component" => &mut self.component,
            "instance_id" => &mut self.instance_id,
            "worker_id" => &mut self.worker_id,
            "request.outcome" => &mut self.outcome,
            "error.type" | "error_type" => &mut self.error_type,
            "error" | "err" | "error_detail" => &mut self.error,
            "status" => &mut self.status,
            "endpoint" => &mut self.endpoint,
            "uri" => &mut self.uri,
            "event" => {
                self.event = true;
                return;
            }
            _ => return,
        };
        if slot.is_some() {
            return;
        }
        *slot = Some(match value {
            Scalar::Text(text) => text,
            other => Cow::Owned(other.to_text().into_owned()),
        });
    }
}
