//! Flight files: whatever bytes they hold, and whatever is whole of them is a log that the analyzer reads.
#![no_main]

use flowlog_analyze::source::Sources;
use flowlog_schema::flight::{self, at};
use flowlog_schema::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Most bytes are no flight file; a small one that says so of itself is.
    let mut file = vec![0; flight::HEADER + 4 * 128 + 2 * flight::flow::BYTES];
    for (place, byte) in file.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let rest = bytes.get(1024..).unwrap_or_default();
    for (place, byte) in file[flight::HEADER..].iter_mut().zip(rest) {
        *place = *byte;
    }
    file[..8].copy_from_slice(flight::MAGIC);
    for (place, value) in
        [(at::VERSION, flight::VERSION), (at::SLOTS, 4), (at::SLOT_BYTES, 128), (at::FLOWS, 2)]
    {
        file[place..place + 4].copy_from_slice(&value.to_le_bytes());
    }
    let _ = flight::read(bytes);
    let Some(read) = flight::read(&file) else { panic!("a whole file is read") };
    assert!(read.records.len() <= 4 && read.open.len() <= 2);
    assert!(read.last.len() <= flight::LANES);
    for open in &read.open {
        let mut line = Vec::new();
        json::encode(&read.closing(open), &mut line);
        // A name that is no component's is no record; nothing else goes wrong.
        if let Ok((record, problems)) = json::decode(&line) {
            assert!(problems.bad_values == 0 && record.flow_id == Some(open.flow_id));
        }
    }
    let sources = Sources::of_texts([("a.flight", &file[..]), ("b.flight", bytes)]);
    assert!(sources.is_ok());
});
