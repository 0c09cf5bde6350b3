//! Our words to OpenTelemetry's.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use flowlog_schema::json::Line;
use flowlog_schema::{Event, Level, Scalar, Time};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::emitter::Inner;
use crate::otlp::{Ended, Role};
use crate::shared::Shared;

/// The process: what it is in our words, and what `OTEL_RESOURCE_ATTRIBUTES` says besides.
pub(super) fn resource(emitter: &Inner) -> Resource {
    let own =
        |name: &'static str, value: Option<String>| value.map(|value| KeyValue::new(name, value));
    let mut attributes = vec![KeyValue::new("process.pid", i64::from(std::process::id()))];
    attributes.extend(own("service.instance.id", emitter.instance.clone()));
    attributes.extend(own(
        "service.version",
        emitter.versions.first().map(|(_, version)| version.clone()),
    ));
    attributes
        .extend(own("host.name", Some(crate::system::host()).filter(|host| !host.is_empty())));
    attributes.extend(
        emitter.versions.iter().map(|(name, version)| {
            KeyValue::new(format!("flowlog.version.{name}"), version.clone())
        }),
    );
    Resource::builder()
        .with_attributes(attributes)
        .with_service_name(emitter.component.clone())
        .build()
}

/// A flow's span; `None` where it has no id, which does not happen.
pub(super) fn span(scope: &InstrumentationScope, ended: &Ended<'_>) -> Option<SpanData> {
    let shared = ended.shared;
    let mut attributes: Vec<KeyValue> =
        ended.told.iter().map(|(name, value)| attribute(name, value)).collect();
    attributes.extend(ended.said.fields.iter().map(|(name, value)| attribute(name, value)));
    if !ended.state.is_empty() {
        attributes.push(KeyValue::new("flowlog.state", ended.state.to_owned()));
    }
    let status = match ended.said.error {
        None => Status::Unset,
        Some(error) => {
            attributes.push(KeyValue::new("error.type", error.kind.to_string()));
            Status::error(error.message.to_string())
        }
    };
    let span_kind = match ended.role {
        Role::Server => SpanKind::Server,
        Role::Client => SpanKind::Client,
        Role::Internal => SpanKind::Internal,
    };
    let (trace_id, flags) =
        (TraceId::from(shared.flow_id?.as_u128()), TraceFlags::new(shared.flags.byte()));
    let span_id = SpanId::from(shared.span_id?.as_u64());
    let state = TraceState::from_str(ended.others).unwrap_or_default();
    Some(SpanData {
        span_context: SpanContext::new(trace_id, span_id, flags, false, state),
        parent_span_id: shared
            .parent_id
            .map_or(SpanId::INVALID, |parent| SpanId::from(parent.as_u64())),
        parent_span_is_remote: ended.is_joined,
        span_kind,
        name: shared.kind.clone(),
        start_time: moment(ended.began),
        end_time: moment(ended.ended),
        attributes: once(attributes),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    })
}

/// A record.
pub(super) fn record(logger: &SdkLogger, shared: &Shared, line: &Line<'_>) -> SdkLogRecord {
    let mut record = logger.create_log_record();
    record.set_event_name(name(line.event));
    record.set_timestamp(moment(line.time));
    record.set_observed_timestamp(moment(line.time));
    let (severity, text) = severity(line.level);
    record.set_severity_number(severity);
    record.set_severity_text(text);
    if let (Some(flow_id), Some(span_id)) = (shared.flow_id, shared.span_id) {
        let flags = Some(TraceFlags::new(shared.flags.byte()));
        record.set_trace_context(
            TraceId::from(flow_id.as_u128()),
            SpanId::from(span_id.as_u64()),
            flags,
        );
    }
    if !line.message.is_empty() {
        record.set_body(line.message.to_owned().into());
    }
    let mut put =
        |name: Cow<'static, str>, value: AnyValue| record.add_attribute(Key::from(name), value);
    let mut text = |name: &'static str, value: &str| {
        if !value.is_empty() {
            put(name.into(), value.to_owned().into());
        }
    };
    text("flowlog.flow", &shared.kind);
    text("flowlog.state", line.state);
    text("flowlog.clock", &line.clock.to_string());
    if let Some(place) = line.place {
        text("flowlog.target", place.target);
        text("code.file.path", place.file.unwrap_or_default());
    }
    if let Some(error) = line.error {
        text("exception.type", &error.kind);
        text("exception.message", &error.message);
        text("flowlog.causes", &error.causes.join("; "));
    }
    if let Some(at) = line.place.and_then(|place| place.line) {
        put("code.line.number".into(), AnyValue::Int(at.into()));
    }
    put("flowlog.seq".into(), AnyValue::Int(line.number.try_into().unwrap_or(i64::MAX)));
    for (at, (name, value)) in line.fields.iter().enumerate() {
        if !line.fields.iter().take(at).any(|(earlier, _)| earlier == name) {
            put(Cow::Owned((*name).to_owned()), any(value));
        }
    }
    record
}

/// Event names are of a small set (<https://opentelemetry.io/docs/specs/semconv/general/events/>).
fn name(event: Event) -> &'static str {
    match event {
        Event::Start => "flowlog.start",
        Event::State => "flowlog.state",
        Event::End => "flowlog.end",
        Event::Fail => "flowlog.fail",
        Event::Cancel => "flowlog.cancel",
        Event::Sample => "flowlog.sample",
        Event::Process => "flowlog.process",
        Event::Lost => "flowlog.lost",
    }
}

fn severity(level: Level) -> (Severity, &'static str) {
    let severity = match level {
        Level::Trace => Severity::Trace,
        Level::Debug => Severity::Debug,
        Level::Info => Severity::Info,
        Level::Warn => Severity::Warn,
        Level::Error => Severity::Error,
    };
    (severity, level.as_str())
}

fn moment(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(time.0).unwrap_or(0))
}

/// Of two with one name the later: it is what is known in the end.
fn once(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.reverse();
    let mut kept: Vec<KeyValue> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        if !kept.iter().any(|other| other.key == attribute.key) {
            kept.push(attribute);
        }
    }
    kept.reverse();
    kept
}

fn attribute(name: &str, value: &Scalar<'_>) -> KeyValue {
    let value = match any(value) {
        AnyValue::Int(value) => Value::I64(value),
        AnyValue::Double(value) => Value::F64(value),
        AnyValue::Boolean(value) => Value::Bool(value),
        AnyValue::String(value) => Value::String(value),
        _ => Value::String(StringValue::from("")),
    };
    KeyValue::new(name.to_owned(), value)
}

fn any(value: &Scalar<'_>) -> AnyValue {
    match value {
        Scalar::Text(text) => AnyValue::String(text.to_string().into()),
        Scalar::Int(value) => AnyValue::Int(*value),
        // OTLP has whole numbers of 64 bits with a sign only.
        Scalar::Uint(value) => i64::try_from(*value)
            .map_or_else(|_| AnyValue::String(value.to_string().into()), AnyValue::Int),
        Scalar::Float(value) => AnyValue::Double(*value),
        Scalar::Bool(value) => AnyValue::Boolean(*value),
    }
}
