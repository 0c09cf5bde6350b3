//! Where a flow comes from, and the emitter that it writes to.

use dynamo_flowlog::{Emitter, FlowHandle};

use crate::headers::Pairs;

/// The emitter that a flow writes to.
#[derive(Debug, Clone)]
pub(crate) enum EmitterRef {
    /// The process's own emitter, looked up when the flow starts: a decorator is evaluated when its
    /// module is loaded, before `flowlog.init`. The first flow of this emitter joins the flow that
    /// the process was started in.
    Own,
    /// An additional emitter.
    Other(Emitter),
}

impl EmitterRef {
    pub(crate) fn emitter(&self) -> Option<Emitter> {
        match self {
            Self::Own => Emitter::global().cloned(),
            Self::Other(emitter) => Some(emitter.clone()),
        }
    }
}

/// How a flow starts.
#[derive(Debug, Clone)]
pub(crate) enum FlowSource {
    /// As a new flow, unless it joins the flow that the process was started in or the trace of
    /// OpenTelemetry's current span.
    New,
    /// From the headers that a caller sent.
    Headers(Pairs),
    /// As a child of another flow.
    Child(FlowHandle),
    /// In Rust code, which also ends it.
    Handle(FlowHandle),
}
