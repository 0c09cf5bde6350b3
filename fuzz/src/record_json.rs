//! The JSON decoder accepts any bytes; decoded records survive a round trip through the encoder.

use flowlog_schema::{RecordCache, json};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(line: &[u8]) {
    let _ = json::flat_object(line);
    let fast = json::decode_fast(line, &mut |_, _| true);
    let mut cache = RecordCache::default();
    let skims = [0; 2].map(|_| {
        cache
            .decode(line, &mut |_, _| true)
            .map(|cached| (cached.time, cached.flow_id, cached.span_id, cached.parent_id))
    });
    let Ok((record, _)) = json::decode(line) else {
        assert!(fast.is_none() && skims == [None; 2]);
        return;
    };
    for cached in skims {
        assert_eq!(
            cached,
            fast.map(|fast| (fast.time, fast.flow_id, fast.span_id, fast.parent_id))
        );
    }
    if let Some(fast) = fast {
        assert_eq!(
            (Some(fast.time), Some(fast.flow_id), Some(fast.span_id)),
            (record.time, record.flow_id, record.span_id)
        );
        assert_eq!(
            (fast.component, fast.state, fast.event),
            (&*record.component, record.state.as_deref(), record.event)
        );
    }
    let mut written = Vec::new();
    json::encode(&record, &mut written);
    let (again, problems) = json::decode(&written).expect("an encoded record can be decoded");
    assert!(problems.is_empty());
    let mut twice = Vec::new();
    json::encode(&again, &mut twice);
    assert_eq!(written, twice);
}
