//! What the records of one span have in common.

use std::borrow::Cow;

use flowlog_schema::json::Stencil;
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{Event, FlowId, SpanId};

use crate::emitter::Inner;

/// What the records of one span have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) flow_id: Option<FlowId>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) flags: TraceFlags,
    pub(crate) stencil: Stencil,
}

impl Shared {
    pub(crate) fn new(
        emitter: &Inner,
        kind: Cow<'static, str>,
        flow_id: Option<FlowId>,
        span_id: Option<SpanId>,
        parent_id: Option<SpanId>,
        flags: TraceFlags,
    ) -> Self {
        let record = emitter.record(flow_id, span_id, parent_id, &kind, Event::State);
        let stencil = Stencil::of(&record);
        Self { flow_id, span_id, parent_id, kind, flags, stencil }
    }
}
