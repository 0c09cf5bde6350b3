//! OTLP export: a flow's span becomes an OpenTelemetry span, a record a log record with an event
//! name.
//!
//! OpenTelemetry IDs are the flow's own, so that traces, logs and files join without a mapping.
//! Only [sampled](crate::Sampling) flows are sent; records without a flow are always sent. Emitting
//! never waits for the collector: spans and records that do not fit in the queue, or that the
//! collector does not accept within its timeout and retries, are counted
//! ([`Health::not_exported`](crate::Health::not_exported)) and reported in a `lost` record with
//! `sink=otlp`.
//!
//! | flowlog | OpenTelemetry |
//! |---|---|
//! | component, instance | `service.name`, `service.instance.id` |
//! | first version; all versions | `service.version`; `flowlog.version.NAME` |
//! | flow ID, span ID, parent ID | trace ID, span ID, parent span ID |
//! | kind of flow | span name; `flowlog.flow` of a log record |
//! | joined from another process, or served over HTTP; call sent to another process; otherwise | span kind `SERVER`; `CLIENT`; `INTERNAL` |
//! | `fail`, `cancel` | span status `ERROR`; `error.type` on the span, `exception.type` and `exception.message` on the log record |
//! | event, state, clock, number | event name `flowlog.EVENT`; `flowlog.state`, `flowlog.clock`, `flowlog.seq` |
//! | message, level, target, file, line | body, severity, `flowlog.target`, `code.file.path`, `code.line.number` |
//! | any other field | attribute of that name |

#[cfg(not(feature = "otlp"))]
mod disabled;
#[cfg(feature = "otlp")]
mod enabled;

use std::borrow::Cow;
use std::time::Duration;

use flowlog_schema::{Scalar, Time};

use crate::record_args::{RecordArgs, SpanHeader, SpanKind};

#[cfg(not(feature = "otlp"))]
pub(crate) use disabled::Exporter;
#[cfg(feature = "otlp")]
pub(crate) use enabled::Exporter;

/// Collector to export to, and the transport. Needs the feature `otlp`.
///
/// The endpoint is `http://HOST:PORT`. It defaults to `OTEL_EXPORTER_OTLP_ENDPOINT`, else to a
/// collector on this host. `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT` and `_COMPRESSION` are
/// honored. TLS is left to a collector on the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    pub(crate) endpoint: Option<String>,
    pub(crate) is_http: bool,
    pub(crate) queue: usize,
    pub(crate) delay: Duration,
}

impl Otlp {
    /// Exports over OTLP/gRPC, port 4317.
    pub fn grpc() -> Self {
        Self { endpoint: None, is_http: false, queue: 1 << 14, delay: Duration::from_secs(1) }
    }

    /// Exports over OTLP/HTTP with binary encoding, port 4318.
    ///
    /// The paths `/v1/traces` and `/v1/logs` are appended to the endpoint.
    pub fn http() -> Self {
        Self { is_http: true, ..Self::grpc() }
    }

    /// Sets the endpoint, which takes precedence over the environment.
    #[must_use]
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }

    /// Sets the maximum number of spans, and of records, that wait for the collector.
    ///
    /// The default is 16,384 of each.
    #[must_use]
    pub fn max_queue(self, most: usize) -> Self {
        Self { queue: most.max(1), ..self }
    }

    /// Sets how long the first item of a batch waits for others. The default is one second.
    #[must_use]
    pub fn max_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// Flow's span at its end.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "read by the exporter only"))]
pub(crate) struct FinishedSpan<'a> {
    pub(crate) header: &'a SpanHeader,
    /// `tracestate` members of other vendors.
    pub(crate) tracestate: &'a str,
    /// Whether the parent span is in another process.
    pub(crate) is_joined: bool,
    pub(crate) span_kind: SpanKind,
    pub(crate) began: Time,
    pub(crate) ended: Time,
    /// Last state of the flow.
    pub(crate) state: &'a str,
    /// Fields of the start record, and fields that were recorded later.
    pub(crate) exported_fields: &'a [(Cow<'static, str>, Scalar<'static>)],
    /// The record that ended the flow.
    pub(crate) args: &'a RecordArgs<'a>,
}
