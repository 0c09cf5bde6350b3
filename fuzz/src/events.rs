//! Every envelope and every format accepts any bytes, and every line is counted once.

use flowlog_analyze::envelope::Layout;
use flowlog_analyze::format;
use flowlog_analyze::lines::{Chunk, lines};
use flowlog_analyze::multiline::{NeedsLookbehind, RawEvent, read_events};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(bytes: &[u8]) {
    // In half of the inputs, no event continues across the middle.
    let quiescent_at = lines(bytes)
        .map(|(at, _)| at as u64)
        .find(|at| 2 * at >= bytes.len() as u64)
        .filter(|_| bytes.len() % 4 > 1);
    let layout = match bytes.len() % 3 {
        0 => Layout::Plain,
        1 => Layout::TaskLabels,
        _ => Layout::of(bytes, format::understanding),
    };
    let chunk = Chunk {
        start: 0,
        chunk_start: 0,
        end: bytes.len() as u64,
        bytes: bytes.to_vec(),
        layout,
        has_lookbehind: true,
        quiescent_at,
    };
    let mut count = 0;
    let read: Result<u64, NeedsLookbehind> =
        read_events(&chunk, &mut |_| Ok(None), &mut |event: &RawEvent<'_>| {
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
}
