//! The JSON decoder accepts any bytes; decoded records survive a round trip through the encoder.

use flowlog_schema::json;

use crate::fast_path::{assert_agrees, ids, skims};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(line: &[u8]) {
    let _ = json::flat_object(line);
    let fast = json::decode_fast(line, &mut |_, _| true);
    let skims = skims(line);
    let Ok((record, _)) = json::decode(line) else {
        assert!(fast.is_none() && skims == [None; 2]);
        return;
    };
    for cached in skims {
        assert_eq!(cached, fast.as_ref().map(ids));
    }
    if let Some(fast) = &fast {
        assert_agrees(fast, &record);
    }
    let mut written = Vec::new();
    json::encode(&record, &mut written);
    let (again, problems) = json::decode(&written).expect("an encoded record can be decoded");
    assert!(problems.is_empty());
    let mut twice = Vec::new();
    json::encode(&again, &mut twice);
    assert_eq!(written, twice);
}
