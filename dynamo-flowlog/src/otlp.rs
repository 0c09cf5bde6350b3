//! Flows for a trace backend, by OTLP: a flow's span becomes a span of OpenTelemetry's, a record a log record with an event name.
//!
//! Their ids are the flow's own, so that trace, logs and files join without a table. Only flows that are [sampled](crate::Sampling) are sent; what has no
//! flow is sent always. Nothing waits for the collector: what does not fit in the queue, and what the collector does not take within its
//! timeout and retries, is counted ([`Health::not_exported`](crate::Health::not_exported)) and said in a `lost` record with `sink=otlp`.
//!
//! | flowlog | OpenTelemetry |
//! |---|---|
//! | component, instance | `service.name`, `service.instance.id` |
//! | the first version; all of them | `service.version`; `flowlog.version.NAME` |
//! | flow id, span id, parent id | trace id, span id, parent span id |
//! | kind of flow | the span's name; `flowlog.flow` of a log record |
//! | joined from another process, or served over HTTP; a call that was sent; else | span kind `SERVER`; `CLIENT`; `INTERNAL` |
//! | `fail`, `cancel` | span status `ERROR`; `error.type` on the span, `exception.type` and `exception.message` on the log record |
//! | event, state, clock, number | event name `flowlog.EVENT`; `flowlog.state`, `flowlog.clock`, `flowlog.seq` |
//! | message, level, target, file, line | body, severity, `flowlog.target`, `code.file.path`, `code.line.number` |
//! | any other field | an attribute of that name |

#[cfg(not(feature = "otlp"))]
mod disabled;
#[cfg(feature = "otlp")]
mod enabled;

use std::borrow::Cow;
use std::time::Duration;

use flowlog_schema::{Scalar, Time};

use crate::said::Said;
use crate::shared::Shared;

#[cfg(not(feature = "otlp"))]
pub(crate) use disabled::Exporter;
#[cfg(feature = "otlp")]
pub(crate) use enabled::Exporter;

/// A collector, and how it is spoken to. Needs the feature `otlp`.
///
/// The endpoint is `http://HOST:PORT`; without one, it is what `OTEL_EXPORTER_OTLP_ENDPOINT` says, else a collector on this host.
/// `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT` and `_COMPRESSION` are honoured. TLS is left to the collector beside the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    pub(crate) endpoint: Option<String>,
    pub(crate) is_http: bool,
    pub(crate) queue: usize,
    pub(crate) delay: Duration,
}

impl Otlp {
    /// OTLP/gRPC, port 4317.
    pub fn grpc() -> Self {
        Self { endpoint: None, is_http: false, queue: 1 << 14, delay: Duration::from_secs(1) }
    }

    /// OTLP/HTTP in binary form, port 4318: `/v1/traces` and `/v1/logs` behind the endpoint.
    pub fn http() -> Self {
        Self { is_http: true, ..Self::grpc() }
    }

    /// That collector rather than the environment's.
    #[must_use]
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }

    /// Most spans, and most records, that wait for the collector: 16,384 of each unless said.
    #[must_use]
    pub fn queue(self, most: usize) -> Self {
        Self { queue: most.max(1), ..self }
    }

    /// How long the first of a batch waits for others: a second unless said.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// Which end of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
    Internal,
}

/// A flow's span at its end.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nobody is told"))]
pub(crate) struct Ended<'a> {
    pub(crate) shared: &'a Shared,
    /// Others' members of `tracestate`.
    pub(crate) others: &'a str,
    /// Whether its parent is another process's.
    pub(crate) is_joined: bool,
    pub(crate) role: Role,
    pub(crate) began: Time,
    pub(crate) ended: Time,
    /// The state that it was in last.
    pub(crate) state: &'a str,
    /// Fields of its start, and those that were told late.
    pub(crate) told: &'a [(Cow<'static, str>, Scalar<'static>)],
    /// How it ended.
    pub(crate) said: &'a Said<'a>,
}
