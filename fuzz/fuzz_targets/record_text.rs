//! The text decoder takes any bytes; what it reads, the encoder writes back to the same record.
#![no_main]

use flowlog_schema::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok((record, _)) = text::decode(line) else { return };
    let mut written = Vec::new();
    text::encode(&record, &mut written);
    let (again, _) = text::decode(&written).expect("what was written can be read");
    let mut twice = Vec::new();
    text::encode(&again, &mut twice);
    assert_eq!(written, twice);
});
