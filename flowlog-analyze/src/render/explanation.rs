//! The explanation of a failure or a flow: every step, and the alternatives that were rejected.

use std::fmt::Write;
use std::io;

use super::style::Style;
use super::text;
use crate::diagnose::name_of;
use crate::evidence::sanitize;
use crate::report::Explained;

/// Renders an explanation as text or JSON.
///
/// # Errors
/// Returns an error if writing fails.
pub fn explanation(
    explained: &Explained,
    as_json: bool,
    style: Style,
    to: &mut dyn io::Write,
) -> io::Result<()> {
    if as_json {
        return super::json(explained, to);
    }
    to.write_all(text_of(explained, style).as_bytes())
}

fn text_of(explained: &Explained, style: Style) -> String {
    let why = &explained.why;
    let mut out = String::new();
    let summary = format!("{} {}", explained.id, explained.summary);
    let _ = writeln!(out, "{}", style.bold(&sanitize(&summary, 400)));
    text::why(&mut out, why, usize::MAX, style);
    if !why.contradicted_by.is_empty() {
        let _ = writeln!(out, "\n{} {}", style.bold("Contradicted by"), why.contradicted_by);
    }
    if !why.rejected.is_empty() {
        let _ = writeln!(out, "\n{}", style.bold("Ruled out"));
    }
    for rejected in &why.rejected {
        let name = name_of(&rejected.component, rejected.instance.as_deref());
        let place = text::place(rejected.evidence.as_ref(), style);
        let _ =
            writeln!(out, "  {}: {}{place}", sanitize(&name, 100), sanitize(&rejected.reason, 300));
    }
    out
}
