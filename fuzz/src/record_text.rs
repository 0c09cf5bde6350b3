//! The text decoder accepts any bytes; decoded records survive a round trip through the encoder.

use flowlog_schema::text;

use crate::fast_path::{assert_agrees, ids, skims};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(line: &[u8]) {
    let fast = text::decode_fast(line, &mut |_, _| true);
    let skims = skims(line);
    let Ok((record, _)) = text::decode(line) else {
        assert!(fast.is_none() && (skims == [None; 2] || line.first() == Some(&b'{')));
        return;
    };
    if line.first() != Some(&b'{') {
        for cached in skims {
            assert_eq!(cached, fast.as_ref().map(ids));
        }
    }
    if let Some(fast) = &fast {
        assert_agrees(fast, &record);
    }
    let mut written = Vec::new();
    text::encode(&record, &mut written);
    let (again, _) = text::decode(&written).expect("an encoded record can be decoded");
    let mut twice = Vec::new();
    text::encode(&again, &mut twice);
    assert_eq!(written, twice);
}
