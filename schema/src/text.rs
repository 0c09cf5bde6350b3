//! The text form: `<time> <level> <component>/<instance> - <flow id> - <event> <state> {...} <tail>`.

mod decode;
mod encode;
mod glance;

pub use decode::{NotText, decode};
pub use encode::encode;
pub use glance::glance;
pub(crate) use glance::{ids, number, read, tail};

/// Names that stand for a part of the record when they come unquoted before `=` in the braces.
const RESERVED: [&str; 7] = ["flow", "span", "parent", "clock", "message", "error", "causes"];

/// Ordinary keys that have a place of their own in the record.
const ORDINARY: [&str; 3] = ["target", "file", "line"];

/// Whether a word must be quoted to stand in the braces as itself.
fn is_special(word: &str) -> bool {
    word.chars().any(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '{' | '}' | '[' | ']' | '=' | '@' | '\\')
    })
}

/// Whether a state can stand in its place: `[A-Za-z0-9_.:-]+`, and not the lone `-` that means none.
fn is_state(word: &str) -> bool {
    !word.is_empty()
        && word != "-"
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}
