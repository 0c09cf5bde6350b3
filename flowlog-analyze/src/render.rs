//! Report to bytes: one file per output.

mod alert;
mod flow;
mod lint;
mod markdown;
mod paint;
mod table;
mod text;

use flowlog_schema::lint::LintReport;
use flowlog_schema::report::Report;
use serde::Serialize;

pub use alert::alert;
pub use flow::{FlowPicture, picture};
pub use paint::Paint;

/// The outputs of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For a person at a terminal.
    Text,
    /// For a program.
    Json,
    /// For a pull request or an issue.
    Markdown,
}

/// Renders a report.
pub fn report(report: &Report, output: Output, paint: Paint) -> String {
    match output {
        Output::Text => text::render(report, paint),
        Output::Json => json(report),
        Output::Markdown => markdown::render(report),
    }
}

/// Renders what was found of the logs themselves.
pub fn lint_report(report: &LintReport, output: Output, paint: Paint) -> String {
    match output {
        Output::Text => lint::text(report, paint),
        Output::Json => json(report),
        Output::Markdown => lint::markdown(report),
    }
}

/// A report of plain data always serializes.
fn json(report: &impl Serialize) -> String {
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
