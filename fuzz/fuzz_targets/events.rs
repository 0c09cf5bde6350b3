//! Every wrapper and every format takes any bytes, and every line counts once.
#![no_main]

use flowlog_analyze::events::{Event, NeedsPast, read_events};
use flowlog_analyze::format;
use flowlog_analyze::lines::{Chunk, lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // In every other log nothing goes on from the first half into the second.
    let rested = lines(bytes)
        .map(|(at, _)| at as u64)
        .find(|at| 2 * at >= bytes.len() as u64)
        .filter(|_| bytes.len() % 4 > 1);
    let chunk = Chunk {
        start: 0,
        own: 0,
        bytes: bytes.to_vec(),
        labelled: bytes.len() % 2 == 1,
        knows_past: true,
        rested,
    };
    let mut count = 0;
    let read: Result<u64, NeedsPast> =
        read_events(&chunk, &mut |_| Ok(None), &mut |event: &Event<'_>| {
            count += event.lines;
            let text = String::from_utf8_lossy(&event.text);
            let (_, observation) = format::read(&text);
            if let Some(observation) = observation {
                let _ = format::error_of(&observation.message);
            }
            Ok(())
        });
    assert_eq!(read.map(|own| own as usize), Ok(lines(bytes).count()));
    assert_eq!(count as usize, lines(bytes).count());
});
