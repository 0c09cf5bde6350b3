//! The text decoder accepts any bytes; decoded records survive a round trip through the encoder.

use flowlog_schema::{RecordCache, text};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(line: &[u8]) {
    let fast = text::decode_fast(line, &mut |_, _| true);
    let mut cache = RecordCache::default();
    let skims = [0; 2].map(|_| {
        cache
            .decode(line, &mut |_, _| true)
            .map(|cached| (cached.time, cached.flow_id, cached.span_id, cached.parent_id))
    });
    let Ok((record, _)) = text::decode(line) else {
        assert!(fast.is_none() && (skims == [None; 2] || line.first() == Some(&b'{')));
        return;
    };
    if line.first() != Some(&b'{') {
        for cached in skims {
            assert_eq!(
                cached,
                fast.map(|fast| (fast.time, fast.flow_id, fast.span_id, fast.parent_id))
            );
        }
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
    text::encode(&record, &mut written);
    let (again, _) = text::decode(&written).expect("an encoded record can be decoded");
    let mut twice = Vec::new();
    text::encode(&again, &mut twice);
    assert_eq!(written, twice);
}
