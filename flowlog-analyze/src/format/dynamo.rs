//! Common parts of both Dynamo formats: span names, terminal lines, IDs.
//!
//! Dynamo 1.6.1: `lib/runtime/src/logging.rs` (span events), `push_router.rs` and `route_span.rs`
//! (routing), `lib/llm/src/http/service/metrics.rs` (`request completed`), `push_handler.rs` (the
//! worker's side).

use std::borrow::Cow;

use super::error::{ClientFault, client_fault, typed, typed_in};
use super::stack;
use crate::event::{ErrorDetail, SpanUpdate};

/// Returns the component for the name of a span that is one component's share of a request.
pub(super) fn component_of(span_name: &str) -> Option<&'static str> {
    match span_name {
        "http-request" => Some("frontend"),
        "handle_payload" => Some("backend"),
        name if name.starts_with("router.") || name.contains(".router.") => Some("router"),
        _ => None,
    }
}

/// Returns the operation of a span, which serves as its state: the path or endpoint of a request,
/// or else the span's own name.
///
/// A health check and a chat completion are both `http-request`, but are not comparable.
pub(super) fn state_of<'a>(
    span_name: &str,
    endpoint: Option<&str>,
    uri: Option<&str>,
) -> Option<Cow<'a, str>> {
    let of = match span_name {
        "" => return None,
        "http-request" => uri.map(|uri| uri.split('?').next().unwrap_or(uri)),
        "handle_payload" => endpoint,
        _ => None,
    };
    Some(Cow::Owned(of.or_else(|| span_name.rsplit('.').next()).unwrap_or(span_name).to_owned()))
}

/// Message and outcome fields of a line, which determine its effect on the span.
pub(super) struct EventFields<'a> {
    pub span_name: &'a str,
    pub message: &'a str,
    pub outcome: Option<&'a str>,
    pub error_type: Option<&'a str>,
    /// Error in another field: `error`, `err` or `error_detail`.
    pub error: Option<&'a str>,
    pub status: Option<&'a str>,
}

impl EventFields<'_> {
    /// Returns the line's effect on its span.
    pub(super) fn update(&self) -> SpanUpdate<'static> {
        match self.message {
            "SPAN_CREATED" | "SPAN_FIRST_ENTRY" => SpanUpdate::Start,
            "SPAN_CLOSED" => self.outcome_update().unwrap_or(SpanUpdate::Closed),
            "request received" if self.span_name == "http-request" => SpanUpdate::Streaming,
            "request completed" | "request completed with error" => {
                self.outcome_update().unwrap_or(SpanUpdate::End)
            }
            "route request completed" => self.outcome_update().unwrap_or(SpanUpdate::End),
            "route request failed" => SpanUpdate::Fail(self.error_detail()),
            "route request cancelled" => SpanUpdate::Cancel,
            "http response sent" => match self.status.and_then(|status| status.parse::<u16>().ok())
            {
                Some(status @ 400..) => {
                    let error_detail = ErrorDetail { status: Some(status), ..self.error_detail() };
                    if client_fault("", Some(status)) == Some(ClientFault::Disconnected) {
                        SpanUpdate::Cancel
                    } else {
                        SpanUpdate::Fail(error_detail)
                    }
                }
                _ => SpanUpdate::Responded,
            },
            message
                if message.starts_with("migration retry scheduled")
                    || message.contains("recreating stream")
                    || message.starts_with("Creating new stream")
                    || message.starts_with("Remote prefill failed, falling back") =>
            {
                SpanUpdate::Restarted
            }
            message => self.error_logged(message).unwrap_or(SpanUpdate::Message),
        }
    }

    /// Interprets `request.outcome`, `status` and `error_type`.
    fn outcome_update(&self) -> Option<SpanUpdate<'static>> {
        let word = self.outcome.or(self.status)?;
        if let Ok(status) = word.parse::<u16>() {
            return Some(if status < 400 {
                SpanUpdate::End
            } else {
                SpanUpdate::Fail(ErrorDetail { status: Some(status), ..self.error_detail() })
            });
        }
        Some(match word {
            "success" | "ok" | "completed" => SpanUpdate::End,
            "cancelled" | "canceled" => SpanUpdate::Cancel,
            _ if self.error_type == Some("cancelled") => SpanUpdate::Cancel,
            _ => SpanUpdate::Fail(self.error_detail()),
        })
    }

    fn error_detail(&self) -> ErrorDetail<'static> {
        let kind = self
            .error_type
            .or(self.outcome.filter(|outcome| *outcome != "error"))
            .unwrap_or_default();
        let message = self.error.or(self.error_type).unwrap_or(self.message);
        ErrorDetail {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(first_line(message).to_owned()),
            status: None,
        }
    }

    fn error_logged(&self, message: &str) -> Option<SpanUpdate<'static>> {
        let error_detail = |kind: &str, message: &str| ErrorDetail {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(first_line(message).to_owned()),
            status: None,
        };
        let stack = |text| {
            stack::of(text).map(|stack| {
                (
                    stack.kind,
                    if stack.message.is_empty() { stack.frame } else { stack.message.to_owned() },
                )
            })
        };
        if let Some((kind, words)) = stack(message).or_else(|| self.error.and_then(stack)) {
            return Some(SpanUpdate::ErrorLogged {
                error_detail: error_detail(kind, &words),
                traceback: true,
            });
        }
        // The frontend's error response to its caller.
        let answered =
            || message.strip_prefix("Internal server error: ").map(|words| ("Internal", words));
        let (kind, words) = typed(message)
            .or_else(answered)
            .or_else(|| self.error.and_then(typed))
            .or_else(|| typed_in(first_line(message)))?;
        Some(SpanUpdate::ErrorLogged { error_detail: error_detail(kind, words), traceback: false })
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(
        span_name: &str,
        message: &str,
        outcome: Option<&str>,
        error_type: Option<&str>,
        status: Option<&str>,
    ) -> String {
        let words = EventFields { span_name, message, outcome, error_type, error: None, status };
        match words.update() {
            SpanUpdate::Fail(error_detail) => {
                format!("Fail {} {:?}", error_detail.kind, error_detail.status)
            }
            SpanUpdate::ErrorLogged { error_detail, traceback } => {
                format!("ErrorLogged {} {traceback}", error_detail.kind)
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn terminal_lines() {
        let http = "http-request";
        for (span, message, outcome, error_type, status, expected) in [
            (http, "SPAN_FIRST_ENTRY", None, None, None, "Start"),
            (http, "SPAN_CLOSED", None, None, None, "Closed"),
            (http, "SPAN_CLOSED", Some("success"), None, None, "End"),
            (
                "router.route_request",
                "SPAN_CLOSED",
                Some("worker_disconnected"),
                Some("disconnected"),
                None,
                "Fail disconnected None",
            ),
            (
                "router.route_request",
                "route request failed",
                Some("worker_disconnected"),
                Some("disconnected"),
                None,
                "Fail disconnected None",
            ),
            ("router.route_request", "route request completed", Some("success"), None, None, "End"),
            (
                "router.route_request",
                "route request cancelled",
                Some("cancelled"),
                None,
                None,
                "Cancel",
            ),
            (
                http,
                "request completed",
                Some("error"),
                Some("not_found"),
                Some("error"),
                "Fail not_found None",
            ),
            (
                http,
                "request completed",
                Some("cancelled"),
                Some("cancelled"),
                Some("cancelled"),
                "Cancel",
            ),
            (
                http,
                "request completed",
                None,
                Some("unavailable"),
                Some("error"),
                "Fail unavailable None",
            ),
            ("handle_payload", "request completed", None, None, None, "End"),
            (http, "request completed", None, None, Some("200"), "End"),
            (
                http,
                "request completed with error",
                None,
                Some("validation"),
                Some("400"),
                "Fail validation Some(400)",
            ),
            (
                http,
                "Remote prefill failed, falling back to decode-only.",
                None,
                None,
                None,
                "Restarted",
            ),
            (http, "http response sent", None, None, Some("200"), "Responded"),
            (http, "http response sent", None, None, Some("404"), "Fail  Some(404)"),
            (http, "http response sent", None, None, Some("499"), "Cancel"),
            (http, "request received", None, None, None, "Streaming"),
            ("handle_payload", "request received", None, None, None, "Message"),
            (http, "Stream disconnected, recreating stream", None, None, None, "Restarted"),
            (http, "Unavailable: Stream ended", None, None, None, "ErrorLogged Unavailable false"),
            (
                http,
                "boom\nTraceback (most recent call last):\n  File \"a\"\nValueError: bad",
                None,
                None,
                None,
                "ErrorLogged ValueError true",
            ),
            (
                http,
                "Internal server error: Failed to generate completions: gone",
                None,
                None,
                None,
                "ErrorLogged Internal false",
            ),
            (http, "Selected worker", None, None, None, "Message"),
        ] {
            assert_eq!(
                update(span, message, outcome, error_type, status),
                expected,
                "{span} {message}"
            );
        }
    }

    #[test]
    fn components() {
        assert_eq!(component_of("http-request"), Some("frontend"));
        assert_eq!(component_of("router.route_request"), Some("router"));
        assert_eq!(component_of("engine.generate"), None);
    }
}
