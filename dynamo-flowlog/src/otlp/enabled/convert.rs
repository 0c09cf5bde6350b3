//! Converts flowlog spans and records to OpenTelemetry types.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use flowlog_schema::json::RecordData;
use flowlog_schema::{EventKind, Level, Scalar, Time};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::otlp::FinishedSpan;
use crate::record_args::SpanHeader;
use crate::record_args::SpanKind as Kind;

/// Builds the process's resource: its own attributes, and those in `OTEL_RESOURCE_ATTRIBUTES`.
pub(super) fn resource(emitter: &crate::resource::Resource) -> Resource {
    let own =
        |name: &'static str, value: Option<String>| value.map(|value| KeyValue::new(name, value));
    let mut attributes = vec![KeyValue::new("process.pid", i64::from(std::process::id()))];
    attributes.extend(own("service.instance.id", emitter.instance.clone()));
    attributes.extend(own(
        "service.version",
        emitter.versions.first().map(|(_, version)| version.clone()),
    ));
    attributes
        .extend(own("host.name", Some(crate::platform::host()).filter(|host| !host.is_empty())));
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

/// Converts a finished span; `None` if it has no ID, which does not happen.
pub(super) fn span(scope: &InstrumentationScope, ended: &FinishedSpan<'_>) -> Option<SpanData> {
    let header = ended.header;
    let mut attributes: Vec<KeyValue> =
        ended.exported_fields.iter().map(|(name, value)| attribute(name, value)).collect();
    attributes.extend(ended.args.fields.iter().map(|(name, value)| attribute(name, value)));
    if !ended.state.is_empty() {
        attributes.push(KeyValue::new("flowlog.state", ended.state.to_owned()));
    }
    let status = match ended.args.error {
        None => Status::Unset,
        Some(error) => {
            attributes.push(KeyValue::new("error.type", error.kind.to_string()));
            Status::error(error.message.to_string())
        }
    };
    let span_kind = match ended.span_kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    let (trace_id, flags) =
        (TraceId::from(header.flow_id?.as_u128()), TraceFlags::new(header.flags.byte()));
    let span_id = SpanId::from(header.span_id?.as_u64());
    let state = TraceState::from_str(ended.tracestate).unwrap_or_default();
    Some(SpanData {
        span_context: SpanContext::new(trace_id, span_id, flags, false, state),
        parent_span_id: header
            .parent_id
            .map_or(SpanId::INVALID, |parent| SpanId::from(parent.as_u64())),
        parent_span_is_remote: ended.is_joined,
        span_kind,
        name: header.kind.clone(),
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

/// Converts a record to a log record.
pub(super) fn record(
    logger: &SdkLogger,
    header: &SpanHeader,
    line: &RecordData<'_>,
) -> SdkLogRecord {
    let mut record = logger.create_log_record();
    record.set_event_name(name(line.event));
    record.set_timestamp(moment(line.time));
    record.set_observed_timestamp(moment(line.time));
    let (severity, text) = severity(line.level);
    record.set_severity_number(severity);
    record.set_severity_text(text);
    if let (Some(flow_id), Some(span_id)) = (header.flow_id, header.span_id) {
        let flags = Some(TraceFlags::new(header.flags.byte()));
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
    text("flowlog.flow", &header.kind);
    text("flowlog.state", line.state);
    text("flowlog.clock", &line.clock.to_string());
    if let Some(place) = line.location {
        text("flowlog.target", place.target);
        text("code.file.path", place.file.unwrap_or_default());
    }
    if let Some(error) = line.error {
        text("exception.type", &error.kind);
        text("exception.message", &error.message);
        text("flowlog.causes", &error.causes.join("; "));
    }
    if let Some(at) = line.location.and_then(|place| place.line) {
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

/// Returns the event name, one of a small set as OpenTelemetry requires
/// (<https://opentelemetry.io/docs/specs/semconv/general/events/>).
fn name(event: EventKind) -> &'static str {
    match event {
        EventKind::Start => "flowlog.start",
        EventKind::State => "flowlog.state",
        EventKind::End => "flowlog.end",
        EventKind::Fail => "flowlog.fail",
        EventKind::Cancel => "flowlog.cancel",
        EventKind::Sample => "flowlog.sample",
        EventKind::Process => "flowlog.process",
        EventKind::Lost => "flowlog.lost",
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

/// Removes duplicate names, keeping the last value of each because it is the final one.
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
        // OTLP integers are signed 64-bit values; larger ones are sent as text.
        Scalar::Uint(value) => i64::try_from(*value)
            .map_or_else(|_| AnyValue::String(value.to_string().into()), AnyValue::Int),
        Scalar::Float(value) => AnyValue::Double(*value),
        Scalar::Bool(value) => AnyValue::Boolean(*value),
    }
}
