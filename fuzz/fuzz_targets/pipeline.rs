//! The whole way from any bytes, packed or not, to a report: nothing fails, every line counts once, and the report does
//! not depend on where the input is cut, nor on whether lines are known at sight.
#![no_main]

use flowlog_analyze::ingest::Plan;
use flowlog_analyze::render::{self, Output, Paint};
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(sources) = Sources::of_texts([("fuzz.log", bytes)]) else { return };
    let report = analyze(&sources, &Options::default(), &|_| {});
    assert_eq!(report.input.formats.values().sum::<u64>(), report.input.lines);
    let flows = &report.flows;
    assert_eq!(
        flows.total,
        flows.ok
            + flows.failed
            + flows.recovered
            + flows.cancelled
            + flows.rejected
            + flows.unfinished
    );
    for output in [Output::Text, Output::Json, Output::Markdown] {
        render::report(&report, output, Paint::Never, &mut std::io::sink()).unwrap();
    }
    // As small as it gets; of what unpacks to much, not so small that looking for the end of one long line takes the square of it.
    let chunk = 64.max(report.input.bytes / 512);
    let plan = Plan { chunk, batch: 3, by_sight: false, at_hand: 0, ..Plan::default() };
    assert_eq!(analyze(&sources, &Options { plan, ..Options::default() }, &|_| {}), report);
    let lint = check(&sources, &Options::default(), 100.0, &|_| {});
    render::lint_report(&lint, Output::Markdown, Paint::Never, &mut std::io::sink()).unwrap();
});
