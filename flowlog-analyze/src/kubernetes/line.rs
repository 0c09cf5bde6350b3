//! Lines of kubectl's output.

use crate::flow::LineRef;

/// A line without its envelopes.
pub(super) struct Line {
    pub at: LineRef,
    pub text: String,
}

/// Splits a row into its columns, at least two blanks apart.
pub(super) fn columns(row: &str) -> Vec<&str> {
    row.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}
