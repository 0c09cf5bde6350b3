//! Report to bytes: one file per output.

mod alert;
mod flow;
mod lint;
mod markdown;
mod paint;
mod table;
mod text;

use std::io::{self, Write};

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
///
/// # Errors
/// Whatever writing says.
pub fn report(report: &Report, output: Output, paint: Paint, to: &mut dyn Write) -> io::Result<()> {
    match output {
        Output::Text => to.write_all(text::render(report, paint).as_bytes()),
        Output::Json => json(report, to),
        Output::Markdown => to.write_all(markdown::render(report).as_bytes()),
    }
}

/// Renders what was found of the logs themselves.
///
/// # Errors
/// Whatever writing says.
pub fn lint_report(
    report: &LintReport,
    output: Output,
    paint: Paint,
    to: &mut dyn Write,
) -> io::Result<()> {
    match output {
        Output::Text => to.write_all(lint::text(report, paint).as_bytes()),
        Output::Json => json(report, to),
        Output::Markdown => to.write_all(lint::markdown(report).as_bytes()),
    }
}

/// Never the whole text at once: it may name a hundred thousand flows.
fn json(report: &impl Serialize, mut to: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, report)?;
    to.write_all(b"\n")
}
