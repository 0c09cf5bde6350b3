//! The parts of a record: what all records of a span share, and what one record adds.

use std::borrow::Cow;

use flowlog_schema::json::{CodeLocation, RecordTemplate};
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{ErrorInfo, EventKind, FlowId, Level, Scalar, SpanId};

use crate::resource::Resource;

/// Which end of a call a span is, as in OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// The span answers another process.
    Server,
    /// The span waits for another process.
    Client,
    /// Both ends are in this process, or unknown.
    Internal,
}

/// The fields that all records of one span share, with their encoding.
#[derive(Debug)]
pub(crate) struct SpanHeader {
    pub(crate) flow_id: Option<FlowId>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) flags: TraceFlags,
    pub(crate) template: RecordTemplate,
}

impl SpanHeader {
    pub(crate) fn new(
        resource: &Resource,
        kind: Cow<'static, str>,
        flow_id: Option<FlowId>,
        span_id: Option<SpanId>,
        parent_id: Option<SpanId>,
        flags: TraceFlags,
    ) -> Self {
        let record = resource.new_record(flow_id, span_id, parent_id, &kind, EventKind::State);
        let template = RecordTemplate::of(&record);
        Self { flow_id, span_id, parent_id, kind, flags, template }
    }
}

/// The fields that one record of a span adds to its [`SpanHeader`].
pub(crate) struct RecordArgs<'a> {
    pub(crate) event: EventKind,
    pub(crate) level: Level,
    pub(crate) location: Option<CodeLocation<'a>>,
    pub(crate) message: &'a str,
    /// The new state; empty to keep the span's current one.
    pub(crate) state: &'a str,
    pub(crate) error: Option<&'a ErrorInfo<'a>>,
    pub(crate) fields: &'a [(&'a str, Scalar<'a>)],
}

impl RecordArgs<'_> {
    /// Returns arguments for an event, at its usual level and with nothing else set.
    pub(crate) fn of(event: EventKind) -> Self {
        let level = match event {
            EventKind::Fail => Level::Error,
            EventKind::Cancel => Level::Warn,
            _ => Level::Info,
        };
        Self { event, level, location: None, message: "", state: "", error: None, fields: &[] }
    }
}
