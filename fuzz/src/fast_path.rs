//! What the fast paths read, beside what the decoders read.

use flowlog_schema::{FastRecord, FlowId, Record, RecordCache, SpanId, Time};

/// The time of a record and its flow, span and parent IDs.
type Ids = (Time, FlowId, SpanId, Option<SpanId>);

pub(crate) fn ids(fast: &FastRecord<'_>) -> Ids {
    (fast.time, fast.flow_id, fast.span_id, fast.parent_id)
}

/// Reads a line twice through a cache: the second time, its parts are known.
pub(crate) fn skims(line: &[u8]) -> [Option<Ids>; 2] {
    let mut cache = RecordCache::default();
    [0; 2].map(|_| {
        cache
            .decode(line, &mut |_, _| true)
            .map(|cached| (cached.time, cached.flow_id, cached.span_id, cached.parent_id))
    })
}

/// Asserts that a fast path read the same record as the decoder.
pub(crate) fn assert_agrees(fast: &FastRecord<'_>, record: &Record<'_>) {
    assert_eq!(
        (Some(fast.time), Some(fast.flow_id), Some(fast.span_id)),
        (record.time, record.flow_id, record.span_id)
    );
    assert_eq!(
        (fast.component, fast.state, fast.event),
        (&*record.component, record.state.as_deref(), record.event)
    );
}
