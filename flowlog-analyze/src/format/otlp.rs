//! OTLP as JSON lines, as a collector's file exporter writes it: each line has many logs or spans.

use std::borrow::Cow;

use flowlog_schema::{Level, SpanId};
use serde_json::Value;

use super::fields::is_name;
use super::{EventStart, Example, LogFormat, lifecycle};
use crate::event::{ErrorDetail, FlowKey, ParsedEvent, SpanRef, SpanUpdate};
use crate::timestamp::Timestamp;

/// Lines of `resourceLogs` and `resourceSpans`.
pub(super) const OTLP: LogFormat = LogFormat {
    name: "otlp_json",
    classify_start: |line| is_otlp(line).then_some(EventStart::Whole),
    read: |text| events(text)?.into_iter().next(),
    examples: &[
        Example {
            text: r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}},{"key":"k8s.pod.name","value":{"stringValue":"cart-0"}}]},"scopeLogs":[{"scope":{"name":"a.b"},"logRecords":[{"timeUnixNano":"1763800035705000000","severityNumber":17,"body":{"stringValue":"no such item"},"traceId":"4bf92f3577b34da6a3ce929d0e0e4736"}]}]}]}"#,
            expected: "2025-11-22T08:27:15.705000Z ERROR cart /cart-0 a.b: no such item flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
        Example {
            text: r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","parentSpanId":"","name":"GET /cart","startTimeUnixNano":"1763800035705000000","endTimeUnixNano":"1763800036705000000","status":{"code":2,"message":"boom"}}]}]}]}"#,
            expected: "2025-11-22T08:27:15.705000Z cart GET /cart flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
    ],
};

fn is_otlp(line: &[u8]) -> bool {
    line.starts_with(b"{\"resourceLogs\":") || line.starts_with(b"{\"resourceSpans\":")
}

/// Returns every event of a line: one for a log, two for a span, when it starts and when it ends.
pub fn events(text: &str) -> Option<Vec<ParsedEvent<'static>>> {
    if !is_otlp(text.as_bytes()) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let mut found = Vec::new();
    for resource in items(&value, "resourceLogs") {
        let (component, instance) = producer(resource);
        for scope in items(resource, "scopeLogs") {
            let target = text_at(scope, "/scope/name");
            for log in items(scope, "logRecords") {
                let event = log_event(log, &target);
                found.push(named(event, &component, &instance));
            }
        }
    }
    for resource in items(&value, "resourceSpans") {
        let (component, instance) = producer(resource);
        for scope in items(resource, "scopeSpans") {
            for span in items(scope, "spans") {
                let events = span_events(span, &component, &instance);
                found.extend(events.map(|event| named(event, &component, &instance)));
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text_at(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the text of an attribute.
fn attribute(value: &Value, name: &str) -> Option<String> {
    let found = items(value, "attributes")
        .find(|attribute| attribute.get("key").and_then(Value::as_str) == Some(name))?;
    let value = found.get("value")?;
    ["stringValue", "intValue", "doubleValue", "boolValue"].iter().find_map(|key| {
        let value = value.get(key)?;
        Some(value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
    })
}

/// Returns component and instance of a resource.
fn producer(resource: &Value) -> (Option<String>, Option<String>) {
    let Some(attributes) = resource.get("resource") else { return (None, None) };
    let get = |names: &[&str]| {
        names.iter().find_map(|name| attribute(attributes, name)).filter(|name| is_name(name))
    };
    let component = get(&["service.name", "k8s.deployment.name", "k8s.container.name"]);
    let instance = get(&["k8s.pod.name", "service.instance.id", "host.name", "container.id"]);
    (component.map(|name| name.to_ascii_lowercase()), instance)
}

fn named(
    event: ParsedEvent<'static>,
    component: &Option<String>,
    instance: &Option<String>,
) -> ParsedEvent<'static> {
    ParsedEvent {
        component: component.clone().map(Cow::Owned),
        instance: instance.clone().map(Cow::Owned),
        ..event
    }
}

/// Parses nanoseconds since the epoch, which JSON has as text.
fn time(value: &Value, key: &str) -> Option<Timestamp> {
    let value = value.get(key)?;
    let ns = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_i64())?;
    (ns > 0).then(|| Timestamp::exact(ns))
}

fn flow(value: &Value) -> Vec<FlowKey> {
    let id = text_at(value, "/traceId");
    let is_nothing = id.bytes().all(|byte| byte == b'0');
    FlowKey::parse(&id).filter(|_| !is_nothing).into_iter().collect()
}

fn log_event(log: &Value, target: &str) -> ParsedEvent<'static> {
    let number = log.get("severityNumber").and_then(Value::as_i64).unwrap_or(0);
    let level = match number {
        1..=4 => Some(Level::Trace),
        5..=8 => Some(Level::Debug),
        9..=12 => Some(Level::Info),
        13..=16 => Some(Level::Warn),
        17.. => Some(Level::Error),
        _ => super::plain::level(&text_at(log, "/severityText")),
    };
    let body = log.get("body");
    let message = body
        .and_then(|body| body.get("stringValue"))
        .and_then(Value::as_str)
        .map_or_else(|| body.map(ToString::to_string).unwrap_or_default(), ToOwned::to_owned);
    let flows = flow(log);
    ParsedEvent {
        time: time(log, "timeUnixNano").or_else(|| time(log, "observedTimeUnixNano")),
        level,
        has_trace_id: !flows.is_empty(),
        flows,
        target: Cow::Owned(target.to_owned()),
        process: lifecycle::of_message(&message),
        message: Cow::Owned(message),
        error: exception(log).map(Cow::Owned),
        ..ParsedEvent::default()
    }
}

/// Returns the exception that attributes describe: type, message and stack.
fn exception(value: &Value) -> Option<String> {
    let get = |name| attribute(value, name);
    let (kind, message) = (get("exception.type"), get("exception.message"));
    let stack = get("exception.stacktrace");
    let words: Vec<String> = [kind, message].into_iter().flatten().collect();
    match (words.is_empty(), stack) {
        (true, stack) => stack,
        (false, Some(stack)) => Some(format!("{}\n{stack}", words.join(": "))),
        (false, None) => Some(words.join(": ")),
    }
}

fn span_events(
    span: &Value,
    component: &Option<String>,
    instance: &Option<String>,
) -> impl Iterator<Item = ParsedEvent<'static>> {
    let id = |path: &str| SpanId::parse(&text_at(span, path)).ok().map(SpanId::as_u64);
    let flows = flow(span);
    let name = text_at(span, "/name");
    let key = id("/spanId").filter(|_| !flows.is_empty());
    let reference = key.map(|key| SpanRef {
        key,
        is_inferred: false,
        parent: id("/parentSpanId"),
        component: component.clone().map(Cow::Owned),
        instance: instance.clone().map(Cow::Owned),
        callee: None,
    });
    let status = span.pointer("/status/code");
    let has_failed = status.and_then(Value::as_i64) == Some(2)
        || status.and_then(Value::as_str) == Some("STATUS_CODE_ERROR");
    let update = if has_failed {
        let error = items(span, "events").find_map(exception);
        let message = error.unwrap_or_else(|| text_at(span, "/status/message"));
        let (kind, words) = super::line_error(message.lines().next().unwrap_or_default());
        let words = if words.is_empty() { &name } else { words };
        let status = ["http.response.status_code", "http.status_code"]
            .iter()
            .find_map(|name| attribute(span, name)?.parse().ok());
        SpanUpdate::Fail(ErrorDetail {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(words.to_owned()),
            status,
        })
    } else {
        SpanUpdate::End
    };
    let event = |time: Option<Timestamp>, update: SpanUpdate<'static>| ParsedEvent {
        time,
        flows: flows.clone(),
        has_trace_id: !flows.is_empty(),
        span: reference.clone(),
        update,
        state: Some(Cow::Owned(state(&name))),
        message: Cow::Owned(name.clone()),
        ..ParsedEvent::default()
    };
    let events = [
        event(time(span, "startTimeUnixNano"), SpanUpdate::Start),
        event(time(span, "endTimeUnixNano"), update),
    ];
    events.into_iter().filter(|event| event.span.is_some())
}

/// Returns the name of a span as a state: without blanks.
fn state(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("_")
}
