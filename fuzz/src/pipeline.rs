//! The whole pipeline from any bytes, compressed or not, to a report: nothing fails, every line is
//! counted once, and the report does not depend on chunk boundaries or on the fast path.

use flowlog_analyze::ingest::IngestOptions;
use flowlog_analyze::render::{self, Output, Style};
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze, lint_logs};

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(sources) = Sources::from_texts([("fuzz.log", bytes)]) else { return };
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
        render::report(&report, output, Style::Never, &mut std::io::sink()).unwrap();
    }
    // The smallest chunks possible. For inputs that unpack to a lot they are larger, because
    // looking for the end of one long line would take quadratic time.
    let chunk = 64.max(report.input.bytes / 512);
    let ingest = IngestOptions {
        chunk,
        batch: 3,
        fast_path: false,
        spill_threshold: 0,
        ..IngestOptions::default()
    };
    assert_eq!(analyze(&sources, &Options { ingest, ..Options::default() }, &|_| {}), report);
    let lint = lint_logs(&sources, &Options::default(), 100.0, &|_| {});
    render::lint_report(&lint, Output::Markdown, Style::Never, &mut std::io::sink()).unwrap();
}
