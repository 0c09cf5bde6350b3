//! Summary of an error message: its type and its message.

use std::borrow::Cow;

use super::error::{is_typed, typed};
use super::stack;

/// Summary of an error.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorSummary<'a> {
    /// Error type; empty if unknown.
    pub kind: &'a str,
    /// Message, or the frame that raised the error if there is no message.
    pub message: Cow<'a, str>,
}

/// Summarizes the error in some text: the first exception of a stack, the message of a panic, or
/// the text itself.
pub fn error_of(words: &str) -> ErrorSummary<'_> {
    let first = words.lines().next().unwrap_or_default();
    if let Some(stack) = stack::of(words) {
        // The stack was cut before its exception, which the text above it may name.
        let (kind, message) = if stack.kind.is_empty() {
            repr(first).unwrap_or((stack.kind, stack.message))
        } else {
            (stack.kind, stack.message)
        };
        let message =
            if message.is_empty() { Cow::Owned(stack.frame) } else { Cow::Borrowed(message) };
        return ErrorSummary { kind: if kind.is_empty() { "Exception" } else { kind }, message };
    }
    if let Some(root) = super::root_cause(words) {
        let (kind, message) = typed(root).unwrap_or(("", root));
        return ErrorSummary { kind, message: message.into() };
    }
    if first.contains(" panicked at ") {
        return ErrorSummary {
            kind: "panic",
            message: words.lines().nth(1).unwrap_or(first).into(),
        };
    }
    let (kind, message) = typed(first).or_else(|| repr(first)).unwrap_or(("", first));
    ErrorSummary { kind, message: if message.is_empty() { first } else { message }.into() }
}

/// Parses an error in Python's `TypeName('message')` form.
fn repr(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.trim_end().rsplit(": ").next()?.split_once('(')?;
    let message = rest.strip_suffix(')')?.trim_matches(['\'', '"', ',']);
    (flowlog_schema::is_error_type(kind) && is_typed(kind)).then_some((kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_summarized() {
        for (words, kind, message) in [
            ("ValueError: bad", "ValueError", "bad"),
            (
                "step failed: nixlBackendError('NIXL_ERR_BACKEND')",
                "nixlBackendError",
                "NIXL_ERR_BACKEND",
            ),
            ("AssertionError()", "AssertionError", "AssertionError()"),
            (
                "AssertionError()\nTraceback (most recent call last):\n  File \"/x/engine.py\", line 1, in step",
                "AssertionError",
                "engine.py:step",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError",
                "KeyError",
                "a.py:f",
            ),
            (
                "boot failed\na.B: x\n\tat a.C.d(C.java:7)\nCaused by: a.PoolException: no seat\n\t... 7 more",
                "a.PoolException",
                "no seat",
            ),
            ("thread 'main' panicked at x.rs:1:1:\nboom", "panic", "boom"),
            ("no type at all", "", "no type at all"),
        ] {
            assert_eq!(error_of(words), ErrorSummary { kind, message: message.into() }, "{words}");
        }
    }
}
