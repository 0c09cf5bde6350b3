//! `key=value` pairs, as logfmt writes them, with keys of any name.

use super::super::fields::{LogFields, Value};
use super::super::plain::{split_quoted, unescape};

/// Returns whether a text begins with two pairs.
pub(super) fn begins(text: &str) -> bool {
    let mut rest = text;
    for _ in 0..2 {
        match pair(rest) {
            Some((_, _, behind)) => rest = behind,
            None => return false,
        }
    }
    true
}

/// Adds the pairs of a text, up to the first word that is none.
pub(super) fn read<'a>(text: &'a str, fields: &mut LogFields<'a>) {
    let mut rest = text;
    while let Some((key, value, behind)) = pair(rest) {
        let name = match key {
            "when" | "at" => "time",
            "svc" => "service",
            _ => key,
        };
        let value = match value.parse::<f64>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Text(unescape(value)),
        };
        fields.add(name, value);
        rest = behind;
    }
}

/// Splits off a pair. Returns its key, its value without quotes, and the rest.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches([' ', ',', ';']);
    let end =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@')))?;
    let key = text.get(..end).filter(|key| !key.is_empty())?;
    let rest = text.get(end..)?.strip_prefix('=')?;
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, rest) = split_quoted(quoted)?;
        return Some((key, value, rest));
    }
    let end = rest.find([' ', ',', ';']).unwrap_or(rest.len());
    Some((key, rest.get(..end)?, rest.get(end..)?))
}
