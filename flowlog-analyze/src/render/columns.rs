//! Aligned columns of text.

use unicode_width::UnicodeWidthStr;

/// Formats rows of cells as aligned columns, indented by two.
///
/// The first column is right-aligned. Columns that are empty in all rows are omitted.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (at, (cell, width)) in
            row.iter().zip(&widths).enumerate().filter(|(_, (_, width))| **width > 0)
        {
            let pad = " ".repeat(width - cell.width());
            let cell = if at == 0 { format!(" {pad}{cell} ") } else { format!(" {cell}{pad} ") };
            line.push_str(&cell);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
