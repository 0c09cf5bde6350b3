//! Rendering of reports, with one module per output.

mod alert;
mod explanation;
mod flow_tree;
mod lint;
mod markdown;
mod style;
mod columns;
mod text;

use std::io::{self, Write};

use flowlog_schema::lint::LintReport;
use flowlog_schema::report::Report;
use serde::Serialize;

pub use alert::alert;
pub use explanation::explanation;
pub use flow_tree::{FlowTree, render_flow_tree};
pub use style::Style;

/// Output formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Output {
    /// For a terminal
    Text,
    /// One JSON object: schema/report.schema.json, for `lint` schema/lint.schema.json
    Json,
    /// Markdown for a pull request or an issue.
    Markdown,
}

/// Renders a report.
///
/// # Errors
/// Returns an error if writing fails.
pub fn report(report: &Report, output: Output, style: Style, to: &mut dyn Write) -> io::Result<()> {
    match output {
        Output::Text => to.write_all(text::render(report, style).as_bytes()),
        Output::Json => json(report, to),
        Output::Markdown => to.write_all(markdown::render(report).as_bytes()),
    }
}

/// Renders a lint report.
///
/// # Errors
/// Returns an error if writing fails.
pub fn lint_report(
    report: &LintReport,
    output: Output,
    style: Style,
    to: &mut dyn Write,
) -> io::Result<()> {
    match output {
        Output::Text => to.write_all(lint::text(report, style).as_bytes()),
        Output::Json => json(report, to),
        Output::Markdown => to.write_all(lint::markdown(report).as_bytes()),
    }
}

/// Writes JSON without buffering the whole text, which may name a hundred thousand flows.
fn json(report: &impl Serialize, mut to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, report)?;
    to.write_all(b"\n")
}
