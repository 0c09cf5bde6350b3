//! The process that emits, as its records and its OTLP resource name it.

use flowlog_schema::{EventKind, FlowId, Record, SpanId};

/// Component, instance and versions of the process.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    /// Lower case.
    pub(crate) component: String,
    pub(crate) instance: Option<String>,
    /// Name and version, in the order in which they were added.
    pub(crate) versions: Vec<(String, String)>,
}

impl Resource {
    /// Returns a record of this process, with everything but its time, state and fields.
    pub(crate) fn new_record<'a>(
        &'a self,
        flow_id: Option<FlowId>,
        span_id: Option<SpanId>,
        parent_id: Option<SpanId>,
        kind: &'a str,
        event: EventKind,
    ) -> Record<'a> {
        let mut record = Record::new(self.component.as_str(), event);
        record.target = Some("flowlog".into());
        record.instance = self.instance.as_deref().map(Into::into);
        record.flow_id = flow_id;
        record.flow = Some(kind).filter(|kind| !kind.is_empty()).map(Into::into);
        record.versions =
            self.versions.iter().map(|(name, version)| (name.into(), version.into())).collect();
        record.span_id = span_id;
        record.parent_id = parent_id;
        record
    }
}
