//! The JSON decoder takes any bytes; what it reads, the encoder writes back to the same record.
#![no_main]

use flowlog_schema::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let _ = json::flat(line);
    let Ok((record, _)) = json::decode(line) else { return };
    let mut written = Vec::new();
    json::encode(&record, &mut written);
    let (again, problems) = json::decode(&written).expect("what was written can be read");
    assert!(problems.is_empty());
    let mut twice = Vec::new();
    json::encode(&again, &mut twice);
    assert_eq!(written, twice);
});
