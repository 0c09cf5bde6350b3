//! What both of Dynamo's formats share: span names, terminal lines, ids.
//!
//! Dynamo 1.6.1: `lib/runtime/src/logging.rs` (span events), `push_router.rs` and `route_span.rs` (routing),
//! `lib/llm/src/http/service/metrics.rs` (`request completed`), `push_handler.rs` (the worker's side).

use std::borrow::Cow;

use super::fault::{Caller, caller_of, typed};
use super::stack;
use crate::observation::{Fault, Said};

/// Spans that are one component's share of a request, by name.
pub(super) fn component_of(span_name: &str) -> Option<&'static str> {
    match span_name {
        "http-request" => Some("frontend"),
        "handle_payload" => Some("backend"),
        name if name.starts_with("router.") || name.contains(".router.") => Some("router"),
        _ => None,
    }
}

/// What a span does, which stands for its state: the endpoint of a request, else the span's own name.
///
/// A health check and a chat completion are both `http-request`, but no peers.
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

/// What a line's words and outcome fields say of its span.
pub(super) struct Words<'a> {
    pub span_name: &'a str,
    pub message: &'a str,
    pub outcome: Option<&'a str>,
    pub error_type: Option<&'a str>,
    /// Whatever else tells the error: `error`, `err`, `error_detail`, `otel.status_description`.
    pub error: Option<&'a str>,
    pub status: Option<&'a str>,
}

impl Words<'_> {
    /// The line's meaning.
    pub(super) fn said(&self) -> Said<'static> {
        match self.message {
            "SPAN_CREATED" | "SPAN_FIRST_ENTRY" => Said::Open,
            "SPAN_CLOSED" => self.outcome_said().unwrap_or(Said::Closed),
            "request received" if self.span_name == "http-request" => Said::Streaming,
            "request completed" | "request completed with error" => {
                self.outcome_said().unwrap_or(Said::End)
            }
            "route request completed" => self.outcome_said().unwrap_or(Said::End),
            "route request failed" => Said::Fail(self.fault()),
            "route request cancelled" => Said::Cancel,
            "http response sent" => match self.status.and_then(|status| status.parse::<u16>().ok())
            {
                Some(status @ 400..) => {
                    let fault = Fault { status: Some(status), ..self.fault() };
                    if caller_of("", Some(status)) == Some(Caller::Left) {
                        Said::Cancel
                    } else {
                        Said::Fail(fault)
                    }
                }
                _ => Said::Answered,
            },
            message
                if message.starts_with("migration retry scheduled")
                    || message.contains("recreating stream")
                    || message.starts_with("Creating new stream")
                    || message.starts_with("Remote prefill failed, falling back") =>
            {
                Said::Recreated
            }
            message => self.distress(message).unwrap_or(Said::Word),
        }
    }

    /// The meaning of `request.outcome`, `status` and `error_type`.
    fn outcome_said(&self) -> Option<Said<'static>> {
        let word = self.outcome.or(self.status)?;
        if let Ok(status) = word.parse::<u16>() {
            return Some(if status < 400 {
                Said::End
            } else {
                Said::Fail(Fault { status: Some(status), ..self.fault() })
            });
        }
        Some(match word {
            "success" | "ok" | "completed" => Said::End,
            "cancelled" | "canceled" => Said::Cancel,
            _ if self.error_type == Some("cancelled") => Said::Cancel,
            _ => Said::Fail(self.fault()),
        })
    }

    fn fault(&self) -> Fault<'static> {
        let kind = self
            .error_type
            .or(self.outcome.filter(|outcome| *outcome != "error"))
            .unwrap_or_default();
        let message = self.error.or(self.error_type).unwrap_or(self.message);
        Fault {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(first_line(message).to_owned()),
            status: None,
        }
    }

    fn distress(&self, message: &str) -> Option<Said<'static>> {
        let fault = |kind: &str, message: &str| Fault {
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
            return Some(Said::Distress { fault: fault(kind, &words), traceback: true });
        }
        // What the frontend answers its caller with.
        let answered =
            || message.strip_prefix("Internal server error: ").map(|words| ("Internal", words));
        let (kind, words) =
            typed(message).or_else(answered).or_else(|| self.error.and_then(typed))?;
        Some(Said::Distress { fault: fault(kind, words), traceback: false })
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(
        span_name: &str,
        message: &str,
        outcome: Option<&str>,
        error_type: Option<&str>,
        status: Option<&str>,
    ) -> String {
        let words = Words { span_name, message, outcome, error_type, error: None, status };
        match words.said() {
            Said::Fail(fault) => format!("Fail {} {:?}", fault.kind, fault.status),
            Said::Distress { fault, traceback } => format!("Distress {} {traceback}", fault.kind),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn terminal_lines() {
        let http = "http-request";
        for (span, message, outcome, error_type, status, expected) in [
            (http, "SPAN_FIRST_ENTRY", None, None, None, "Open"),
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
                "Recreated",
            ),
            (http, "http response sent", None, None, Some("200"), "Answered"),
            (http, "http response sent", None, None, Some("404"), "Fail  Some(404)"),
            (http, "http response sent", None, None, Some("499"), "Cancel"),
            (http, "request received", None, None, None, "Streaming"),
            ("handle_payload", "request received", None, None, None, "Word"),
            (http, "Stream disconnected, recreating stream", None, None, None, "Recreated"),
            (http, "Unavailable: Stream ended", None, None, None, "Distress Unavailable false"),
            (
                http,
                "boom\nTraceback (most recent call last):\n  File \"a\"\nValueError: bad",
                None,
                None,
                None,
                "Distress ValueError true",
            ),
            (
                http,
                "Internal server error: Failed to generate completions: gone",
                None,
                None,
                None,
                "Distress Internal false",
            ),
            (http, "Selected worker", None, None, None, "Word"),
        ] {
            assert_eq!(
                said(span, message, outcome, error_type, status),
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
