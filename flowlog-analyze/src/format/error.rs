//! Classification of errors by their type and message: one list of names per question that the
//! diagnosis asks.

use flowlog_schema::DYNAMO_ERROR_TYPES;

/// Returns whether a word before `: ` names an error: one of Dynamo's, or a name with the suffix of
/// an exception.
///
/// A module path or a label looks the same, so any other word counts only by its suffix.
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

/// Splits `<Type>: <message>`, if the type is one of an error.
pub(super) fn typed(text: &str) -> Option<(&str, &str)> {
    let (kind, message) =
        text.split_once(": ").or_else(|| text.strip_suffix(':').map(|kind| (kind, "")))?;
    (flowlog_schema::is_error_type(kind) && is_typed(kind)).then_some((kind, message))
}

/// Returns the error that ends a line: `failed to connect: Unavailable: no responders`.
pub(super) fn typed_in(line: &str) -> Option<(&str, &str)> {
    let ends = |mark: &'static str| line.match_indices(mark).take(MAX_CONTEXTS);
    ends("] ")
        .chain(ends(": "))
        .find_map(|(at, mark)| typed(line.get(at + mark.len()..).unwrap_or_default()))
}

/// Maximum number of contexts before an error.
const MAX_CONTEXTS: usize = 4;

/// Normalizes the name of a type for comparison: `worker_disconnected` and `WorkerDisconnected` are
/// equal.
fn plain(kind: &str) -> String {
    let last = kind.rsplit(['.', ':']).next().unwrap_or(kind);
    last.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Fault of a client, for an error that is not the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// The client sent a request that cannot be served.
    BadRequest,
    /// The client disconnected.
    Disconnected,
}

/// Returns the client's fault, if the HTTP status or the error type shows one.
///
/// A 4xx status is a bad request except 408, 429 and 499; 499 means that the client disconnected.
pub fn client_fault(kind: &str, status: Option<u16>) -> Option<ClientFault> {
    match status {
        Some(499) => return Some(ClientFault::Disconnected),
        Some(408 | 429) => return None,
        Some(400..=498) => return Some(ClientFault::BadRequest),
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
        | "clientclosedrequest" => Some(ClientFault::Disconnected),
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
        | "notimplemented" => Some(ClientFault::BadRequest),
        _ => None,
    }
}

/// Error types that indicate that the other side was absent or did not respond in time.
const LOST_TYPES: [&str; 28] = [
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

/// Error types that indicate that no other component was involved.
const OWN_TYPES: [&str; 6] = [
    "internal",
    "resourceexhausted",
    "invalidargument",
    "backendprotocol",
    "notfound",
    "unauthorized",
];

/// Message phrases that indicate that the other side was lost, for types that do not.
const LOST_PHRASES: [&str; 17] = [
    "no answer",
    "no response",
    "ended before",
    "no prefill worker",
    "timed out",
    "timeout",
    "disconnected",
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

/// Types of a connection that no process accepted, in the form of [`plain`].
const REFUSED_TYPES: [&str; 5] = [
    "cannotconnect",
    "connectionrefused",
    "connectionrefusederror",
    "connecterror",
    "clientconnectorerror",
];

/// Message phrases for a connection that no process accepted.
const REFUSED_PHRASES: [&str; 11] = [
    "connection refused",
    "econnrefused",
    "tcp connect",
    "connect error",
    "error (connect)",
    "connect failed",
    "failed to connect",
    "could not connect",
    "cannot connect",
    "unable to connect",
    "no route to host",
];

/// Returns whether the error indicates that another component was lost: absent, gone, or silent
/// past a deadline.
pub fn is_lost(kind: &str, message: &str, status: Option<u16>) -> bool {
    let name = plain(kind);
    if LOST_TYPES.contains(&name.as_str()) {
        return true;
    }
    // The status substitutes for a type that does not show what went wrong.
    if !is_own(kind) && matches!(status, Some(408 | 502..=504)) {
        return true;
    }
    let message = message.to_ascii_lowercase();
    LOST_PHRASES.iter().chain(&REFUSED_PHRASES).any(|words| message.contains(words))
}

/// Returns whether the type of an error indicates that no other component was involved.
pub fn is_own(kind: &str) -> bool {
    OWN_TYPES.contains(&plain(kind).as_str())
}

/// Phrases of a caller that tries again after a call failed.
const RETRY_PHRASES: [&str; 6] = [
    "retrying ",
    "recreating stream",
    "trying another",
    "trying the next",
    "failing over",
    "fail over to",
];

/// Returns whether a warning reports that a call failed, in the words of [`is_lost`], with the type of
/// such an error as a word, or by announcing another attempt.
pub fn reports_failed_call(message: &str) -> bool {
    let is_type = |word: &str| LOST_TYPES.contains(&plain(word).as_str());
    if is_lost("", message, None) {
        return true;
    }
    let lower = message.to_ascii_lowercase();
    RETRY_PHRASES.iter().any(|words| lower.contains(words))
        || message
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.bytes().any(|byte| byte.is_ascii_uppercase()))
            .any(is_type)
}

/// Returns whether the error indicates that no process accepted a connection.
pub fn is_refused(kind: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    REFUSED_TYPES.contains(&plain(kind).as_str())
        || REFUSED_PHRASES.iter().any(|words| message.contains(words))
}

/// Returns whether the error indicates a timeout.
pub fn is_timeout(kind: &str, message: &str, status: Option<u16>) -> bool {
    let name = plain(kind);
    let message = message.to_ascii_lowercase();
    let says = |text: &str| {
        ["timeout", "timed out", "deadline exceeded", "deadlineexceeded"]
            .iter()
            .any(|words| text.contains(words))
    };
    says(&name) || says(&message) || (matches!(status, Some(408 | 504)) && !is_own(kind))
}

/// Phrases that a callee logs when its caller is gone.
const CALLER_GONE: [&str; 6] = [
    "client disconnect",
    "client gone",
    "caller gone",
    "failed to publish",
    "caller went away",
    "upstream cancelled",
];

/// Returns whether the error indicates only that the caller is gone.
pub fn is_caller_gone(kind: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    client_fault(kind, None) == Some(ClientFault::Disconnected)
        || CALLER_GONE.iter().any(|words| message.contains(words))
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
    fn client_faults() {
        for (kind, status, expected) in [
            ("not_found", None, Some(ClientFault::BadRequest)),
            ("", Some(404), Some(ClientFault::BadRequest)),
            ("unavailable", Some(503), None),
            ("", Some(429), None),
            ("", Some(408), None),
            ("Internal", Some(499), Some(ClientFault::Disconnected)),
            ("Cancelled", None, Some(ClientFault::Disconnected)),
            ("InvalidArgument", Some(500), None),
            ("InvalidArgument", None, Some(ClientFault::BadRequest)),
            ("Internal", None, None),
        ] {
            assert_eq!(client_fault(kind, status), expected, "{kind} {status:?}");
        }
    }

    #[test]
    fn lost_callees_timeouts_and_gone_callers() {
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
