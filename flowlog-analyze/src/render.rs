//! Report to bytes: one file per output.

mod flow;
mod markdown;
mod paint;
mod text;

use flowlog_schema::report::Report;

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
        // A report of plain data always serializes.
        Output::Json => serde_json::to_string_pretty(report).unwrap_or_default() + "\n",
        Output::Markdown => markdown::render(report),
    }
}
