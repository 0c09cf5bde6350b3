//! The text form: `<time> <level> <component>/<instance> - <flow ID> - <event> <state> {...}
//! <tail>`.

mod decode;
mod encode;
mod fast_decode;

pub use decode::{NotText, decode};
pub use encode::encode;
pub use fast_decode::decode_fast;
pub(crate) use fast_decode::{ids, number, read, tail};

/// Unquoted keys in the braces that denote parts of the record. Fields with these names are quoted.
const RESERVED: [&str; 7] = ["flow", "span", "parent", "clock", "message", "error", "causes"];

/// Keys with a member of their own in the record. Fields with these names get the prefix `field.`.
const ORDINARY: [&str; 3] = ["target", "file", "line"];

/// Returns whether a word must be quoted in the braces.
fn is_special(word: &str) -> bool {
    word.chars().any(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '{' | '}' | '[' | ']' | '=' | '@' | '\\')
    })
}

/// Returns whether a word is a valid state: `[A-Za-z0-9_.:-]+`, except a lone `-`, which stands for
/// none.
fn is_state(word: &str) -> bool {
    !word.is_empty()
        && word != "-"
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}
