//! Every format takes any bytes, and every line counts once.
#![no_main]

use flowlog_analyze::format::read_events;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = 0;
    read_events(bytes, |block, _, _, _| lines += block.lines);
    assert_eq!(lines as usize, flowlog_analyze::lines::lines(bytes).count());
});
