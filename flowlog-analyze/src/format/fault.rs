//! What an error's type and words tell: a list of names for each question that the diagnosis asks.

use std::borrow::Cow;

use flowlog_schema::DYNAMO_ERROR_TYPES;

use super::stack;

/// Whether a word before `: ` names an error: one of Dynamo's, or a name that ends as exceptions do.
///
/// A module path or a label has the same shape, so a free word counts only by its ending.
pub(super) fn is_typed(kind: &str) -> bool {
    let last = kind.rsplit(['.', ':']).next().unwrap_or_default();
    // `nixlBackendError`, but not `last_error`.
    let is_camel =
        || !last.contains('_') && (last.ends_with("Error") || last.ends_with("Exception"));
    if last.is_empty()
        || !(last.starts_with(|c: char| c.is_ascii_uppercase()) || kind.contains('.') || is_camel())
    {
        return false;
    }
    DYNAMO_ERROR_TYPES.contains(&last)
        || ["Error", "Exception", "Interrupt", "Timeout", "Failure"]
            .iter()
            .any(|end| last.ends_with(end))
}

/// The error in `<Type>: <message>`, where the type is one.
pub(super) fn typed(text: &str) -> Option<(&str, &str)> {
    let (kind, message) =
        text.split_once(": ").or_else(|| text.strip_suffix(':').map(|kind| (kind, "")))?;
    (flowlog_schema::is_error_type(kind) && is_typed(kind)).then_some((kind, message))
}

/// A type's name for comparison: `worker_disconnected` and `WorkerDisconnected` are one.
fn plain(kind: &str) -> String {
    let last = kind.rsplit(['.', ':']).next().unwrap_or(kind);
    last.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whose fault an error is where it is not the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// It asked for what cannot be had.
    Asked,
    /// It went away.
    Left,
}

/// Whether the caller is to blame, from HTTP status and type.
///
/// 4xx is the caller's fault except 408, 429 and 499; 499 says that the caller left.
pub fn caller_of(kind: &str, status: Option<u16>) -> Option<Caller> {
    match status {
        Some(499) => return Some(Caller::Left),
        Some(408 | 429) => return None,
        Some(400..=498) => return Some(Caller::Asked),
        Some(500..) => return None,
        _ => {}
    }
    let kind = plain(kind);
    match kind.as_str() {
        "cancelled"
        | "canceled"
        | "cancellederror"
        | "clientdisconnect"
        | "clientdisconnected"
        | "clientclosedrequest" => Some(Caller::Left),
        "invalidargument"
        | "notfound"
        | "modelnotfound"
        | "validation"
        | "validationerror"
        | "badrequest"
        | "malformedrequest"
        | "invalidrequest"
        | "unprocessableentity"
        | "unauthorized"
        | "forbidden"
        | "unsupported"
        | "notimplemented" => Some(Caller::Asked),
        _ => None,
    }
}

/// Types that say the other side was not there or did not answer in time.
const LOST: [&str; 28] = [
    "cannotconnect",
    "disconnected",
    "workerdisconnected",
    "connectiontimeout",
    "responsetimeout",
    "timeout",
    "timeouterror",
    "deadlineexceeded",
    "unavailable",
    "serviceunavailable",
    "backendengineshutdown",
    "connectionreset",
    "connectionreseterror",
    "connectionrefused",
    "connectionrefusederror",
    "connectionerror",
    "brokenpipe",
    "brokenpipeerror",
    "workerlost",
    "noinstances",
    "noresponders",
    "requesttimeout",
    "gatewaytimeout",
    "badgateway",
    "enginedeaderror",
    "streamended",
    "migrationlimitexhausted",
    "overloaded",
];

/// Types that say that it was nobody else.
const OWN: [&str; 6] = [
    "internal",
    "resourceexhausted",
    "invalidargument",
    "backendprotocol",
    "notfound",
    "unauthorized",
];

/// Words that say so where the type does not.
const LOST_WORDS: [&str; 18] = [
    "no answer",
    "no response",
    "ended before",
    "no prefill worker",
    "timed out",
    "timeout",
    "disconnected",
    "connection refused",
    "connection reset",
    "broken pipe",
    "stream ended before",
    "no workers available",
    "no backend worker",
    "no ready worker",
    "not ready to serve",
    "unreachable",
    "no responders",
    "connection closed",
];

/// Whether the error says that somebody else was lost: not there, gone, or silent past a deadline.
pub fn is_lost(kind: &str, message: &str, status: Option<u16>) -> bool {
    let name = plain(kind);
    if LOST.contains(&name.as_str()) {
        return true;
    }
    // The status stands in for a type that does not say what went wrong.
    if !OWN.contains(&name.as_str()) && matches!(status, Some(408 | 502..=504)) {
        return true;
    }
    let message = message.to_ascii_lowercase();
    LOST_WORDS.iter().any(|words| message.contains(words))
}

/// Whether the error says that somebody waited long enough.
pub fn is_timeout(kind: &str, message: &str, status: Option<u16>) -> bool {
    let name = plain(kind);
    let message = message.to_ascii_lowercase();
    let says = |text: &str| {
        ["timeout", "timed out", "deadline exceeded", "deadlineexceeded"]
            .iter()
            .any(|words| text.contains(words))
    };
    says(&name)
        || says(&message)
        || (matches!(status, Some(408 | 504)) && !OWN.contains(&name.as_str()))
}

/// Words of the side that serves when the side that asked has gone.
const CALLER_GONE: [&str; 6] = [
    "client disconnect",
    "client gone",
    "caller gone",
    "failed to publish",
    "caller went away",
    "upstream cancelled",
];

/// Whether the error only says that the one who asked is no longer there.
pub fn is_caller_gone(kind: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    caller_of(kind, None) == Some(Caller::Left)
        || CALLER_GONE.iter().any(|words| message.contains(words))
}

/// What an error comes down to.
#[derive(Debug, PartialEq, Eq)]
pub struct Sign<'a> {
    /// Its type; empty where none is known.
    pub kind: &'a str,
    /// Its words; where it has none, the frame that it came from.
    pub message: Cow<'a, str>,
}

/// The error that some words tell: a stack's first exception, a panic's message, or the words.
pub fn error_of(words: &str) -> Sign<'_> {
    let first = words.lines().next().unwrap_or_default();
    if let Some(stack) = stack::of(words) {
        // A stack that was cut before its exception: the words above it may name that.
        let (kind, message) = if stack.kind.is_empty() {
            repr(first).unwrap_or((stack.kind, stack.message))
        } else {
            (stack.kind, stack.message)
        };
        let message =
            if message.is_empty() { Cow::Owned(stack.frame) } else { Cow::Borrowed(message) };
        return Sign { kind: if kind.is_empty() { "Exception" } else { kind }, message };
    }
    if first.contains(" panicked at ") {
        return Sign { kind: "panic", message: words.lines().nth(1).unwrap_or(first).into() };
    }
    let (kind, message) = typed(first).or_else(|| repr(first)).unwrap_or(("", first));
    Sign { kind, message: if message.is_empty() { first } else { message }.into() }
}

/// The error in Python's `TypeName('message')`.
fn repr(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.trim_end().rsplit(": ").next()?.split_once('(')?;
    let message = rest.strip_suffix(')')?.trim_matches(['\'', '"', ',']);
    (flowlog_schema::is_error_type(kind) && is_typed(kind)).then_some((kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_other_words() {
        for (text, is_type) in [
            ("Unavailable: Stream ended", true),
            ("nixl._bindings.nixlBackendError: NIXL_ERR_BACKEND", true),
            ("asyncio.exceptions.TimeoutError:", true),
            ("RuntimeError: CUDA out of memory", true),
            ("KVStoreDiscovery::list_and_watch: Emitting Removed", false),
            ("monitor_instance_source: The Sender is dropped", false),
            ("CONFIG_DUMP: {}", false),
            ("request completed", false),
            ("error: lower-case label", false),
        ] {
            assert_eq!(typed(text).is_some(), is_type, "{text}");
        }
    }

    #[test]
    fn what_words_come_down_to() {
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
            ("thread 'main' panicked at x.rs:1:1:\nboom", "panic", "boom"),
            ("no type at all", "", "no type at all"),
        ] {
            assert_eq!(error_of(words), Sign { kind, message: message.into() }, "{words}");
        }
    }

    #[test]
    fn whose_fault() {
        for (kind, status, expected) in [
            ("not_found", None, Some(Caller::Asked)),
            ("", Some(404), Some(Caller::Asked)),
            ("unavailable", Some(503), None),
            ("", Some(429), None),
            ("", Some(408), None),
            ("Internal", Some(499), Some(Caller::Left)),
            ("Cancelled", None, Some(Caller::Left)),
            ("InvalidArgument", Some(500), None),
            ("InvalidArgument", None, Some(Caller::Asked)),
            ("Internal", None, None),
        ] {
            assert_eq!(caller_of(kind, status), expected, "{kind} {status:?}");
        }
    }

    #[test]
    fn lost_and_left() {
        assert!(
            is_lost("worker_disconnected", "", None)
                && is_lost("", "request timed out after 5s", None)
                && is_lost("", "", Some(504))
        );
        assert!(
            is_timeout("ResponseTimeout", "", None)
                && is_timeout("", "request timed out after 5s", None)
                && is_timeout("", "", Some(504))
        );
        assert!(
            !is_timeout("Disconnected", "the peer is gone", Some(503))
                && !is_timeout("Internal", "boom", Some(504))
        );
        assert!(
            !is_lost("Internal", "index out of bounds", Some(503))
                && !is_lost("ResourceExhausted", "KV cache full", None)
        );
        assert!(
            is_caller_gone("Disconnected", "client disconnected")
                && !is_caller_gone("Disconnected", "worker gone")
        );
    }
}
