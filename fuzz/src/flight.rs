//! Flight files with any bytes: the parser never fails, and the analyzer can read the intact
//! records.

use flowlog_analyze::source::Sources;
use flowlog_schema::flight::{self, at};
use flowlog_schema::json;

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(bytes: &[u8]) {
    // Most inputs do not form a flight file, so give one small file a valid header.
    let mut file = vec![0; flight::HEADER_BYTES + 4 * 128 + 2 * flight::flow::SLOT_BYTES];
    for (place, byte) in file.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let rest = bytes.get(1024..).unwrap_or_default();
    for (place, byte) in file[flight::HEADER_BYTES..].iter_mut().zip(rest) {
        *place = *byte;
    }
    file[..8].copy_from_slice(flight::MAGIC);
    for (place, value) in
        [(at::VERSION, flight::VERSION), (at::SLOTS, 4), (at::SLOT_BYTES, 128), (at::FLOWS, 2)]
    {
        file[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    let _ = flight::read(bytes);
    let Some(read) = flight::read(&file) else { panic!("a file with a valid header must be read") };
    assert!(read.records.len() <= 4 && read.open.len() <= 2);
    assert!(read.last.len() <= flight::COUNTER_STRIPES);
    for open in &read.open {
        let mut line = Vec::new();
        json::encode(&read.closing_record(open), &mut line);
        // A name that is not a valid component makes no record; nothing else may go wrong.
        if let Ok((record, problems)) = json::decode(&line) {
            assert!(problems.bad_values == 0 && record.flow_id == Some(open.flow_id));
        }
    }
    let sources = Sources::from_texts([("a.flight", &file[..]), ("b.flight", bytes)]);
    assert!(sources.is_ok());
}
