//! Dynamo's JSONL: `DYN_LOGGING_JSONL=1`, of any generation.

use std::borrow::Cow;

use flowlog_schema::{Level, Scalar, SpanId, Time, json};

use super::words::is_object;
use super::{Begin, Example, Recogniser, dynamo, flowlog, process};
use crate::observation::{FlowKey, Observation, SpanRef, span_key};
use crate::stamp::Stamp;

/// Dynamo's JSONL.
pub(super) const JSON: Recogniser = Recogniser {
    name: "dynamo_json",
    begins: |line| is_object(line).then_some(Begin::Whole),
    read,
    examples: &[
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"log","message":"worker initialized","log.line":191}"#,
            tells: "2025-11-22T08:27:15.705274Z INFO log: worker initialized",
        },
        Example {
            text: r#"{"timestamp":"2025-11-22T08:27:15.705274Z","level":"WARN","target":"log","message":"up"}"#,
            tells: "2025-11-22T08:27:15.705274Z WARN log: up",
        },
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"INFO","target":"dynamo_runtime::logging","message":"SPAN_CREATED","span_name":"http-request","span_id":"6959a1b2d1ee41a5","trace_id":"019aaaaca5da7347bb801089c1876100"}"#,
            tells: "2025-11-22T08:27:15.705274Z INFO frontend dynamo_runtime::logging: SPAN_CREATED flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
    ],
};

/// Takes an object with a time, a level and a message that is no flowlog record.
fn read(line: &str) -> Option<Observation<'_>> {
    if !line.starts_with('{') {
        return None;
    }
    let (fields, problems) = json::flat(line.as_bytes()).ok()?;
    let mut seen = Seen::default();
    for (name, value) in fields {
        seen.take(&name, value);
    }
    let level = Level::parse(&seen.level?)?;
    let time = Time::parse(&seen.time?)?;
    let message = seen.message?;
    if seen.event && flowlog::json(line).is_some() {
        return None;
    }

    let span_name = seen.span_name.as_deref().unwrap_or_default();
    let request = seen.request_id.as_deref().and_then(FlowKey::parse);
    let trace = seen.trace_id.as_deref().and_then(FlowKey::parse);
    let traced = trace.is_some();
    let flows: Vec<FlowKey> = trace.into_iter().chain(request).collect();
    let in_worker = span_name == "handle_payload";
    let component = match dynamo::component_of(span_name) {
        Some(_) if in_worker && seen.component.is_some() => seen.component.clone(),
        Some(name) => Some(Cow::Borrowed(name)),
        None => None,
    };
    let instance = if in_worker { seen.instance_id.clone() } else { None };
    let span =
        (!flows.is_empty() && (!span_name.is_empty() || seen.span_id.is_some())).then(|| SpanRef {
            key: seen.span_id.as_deref().and_then(|id| SpanId::parse(id).ok()).map_or_else(
                || span_key(&[span_name, instance.as_deref().unwrap_or_default()]),
                SpanId::as_u64,
            ),
            parent: seen
                .parent_id
                .as_deref()
                .and_then(|id| SpanId::parse(id).ok())
                .map(SpanId::as_u64),
            component: component.clone(),
            instance: instance.clone(),
            callee: seen.worker_id.clone(),
        });
    let said = dynamo::Words {
        span_name,
        message: &message,
        outcome: seen.outcome.as_deref(),
        error_type: seen.error_type.as_deref(),
        error: seen.error.as_deref(),
        status: seen.status.as_deref(),
    }
    .said();
    let state = dynamo::state_of(span_name, seen.endpoint.as_deref(), seen.uri.as_deref());
    let process = if flows.is_empty() { process::of_message(&message) } else { None };
    Some(Observation {
        time: Some(Stamp::exact(time.0)),
        level: Some(level),
        flows,
        traced,
        span,
        said,
        component,
        instance,
        state,
        target: seen.target.unwrap_or_default(),
        message,
        error: seen.error,
        process,
        problems,
        ..Observation::default()
    })
}

/// The fields that mean something here.
#[derive(Default)]
struct Seen<'a> {
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

impl<'a> Seen<'a> {
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
