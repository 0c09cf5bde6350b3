//! Maps responses to the outcome of their flow.

use std::borrow::Cow;
use std::fmt::Display;

use flowlog_schema::ErrorInfo;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use percent_encoding::percent_decode;

use super::FlowBody;
use crate::context::Context;
use crate::failure::{Failure, dynamo_type, message_of};
use crate::flow::Flow;
use crate::record_args::SpanKind;

/// One end of an HTTP exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) span_kind: SpanKind,
    /// Whether the request was `HEAD`: a server then discards the body of its response.
    pub(super) has_no_body: bool,
}

impl Exchange {
    /// Handles a response head: records the status and attaches the flow to the body.
    pub(super) fn on_response<B: Body>(
        self,
        flow: Flow,
        mut response: Response<B>,
    ) -> Response<FlowBody<B>> {
        flow.record("http.response.status_code", u32::from(response.status().as_u16()));
        let outcome = ResponseOutcome::of(&response);
        if self.span_kind == SpanKind::Client {
            if let Some(clock) = Context::clock_of(response.headers()) {
                flow.merge_clock(clock);
            }
            return response.map(|body| FlowBody::of(body, flow, self, outcome));
        }
        let has_no_body = self.has_no_body
            || matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // The caller's next records must be ordered after the end of this flow: end it before
        // reading the clock that is sent with the response.
        let handle = flow.handle();
        let flow = match &outcome {
            ResponseOutcome::Ok if !has_no_body => Some(flow),
            known => {
                known.clone().end(flow);
                None
            }
        };
        handle.inject_response(response.headers_mut());
        response.map(|body| match flow {
            Some(flow) => FlowBody::of(body, flow, self, outcome),
            None => FlowBody::without_flow(body),
        })
    }

    /// Fails the flow with an error of the service or of the response body.
    pub(super) fn on_error(self, flow: Flow, error: &impl Display) {
        let text = message_of(error);
        let kind = dynamo_type(&text).unwrap_or_else(|| self.kind(&text));
        flow.fail_with(
            kind,
            text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text),
        );
    }

    /// Classifies an error that names no Dynamo error type. Client libraries describe a connection
    /// failure only in the error text.
    fn kind(self, text: &str) -> &'static str {
        let has = |any: &[&str]| any.iter().any(|part| text.contains(part));
        match self.span_kind {
            SpanKind::Server | SpanKind::Internal => "Unknown",
            SpanKind::Client if has(&["timed out", "timeout", "deadline", "elapsed"]) => {
                "ResponseTimeout"
            }
            SpanKind::Client if has(&["(Connect)", "refused", "dns error", "tcp connect"]) => {
                "CannotConnect"
            }
            SpanKind::Client => "Disconnected",
        }
    }

    /// Reason for cancelling a flow if its response was dropped before its end.
    pub(super) fn cancel_reason(self) -> &'static str {
        match self.span_kind {
            SpanKind::Server | SpanKind::Internal => {
                "the caller went away before the response ended"
            }
            SpanKind::Client => "the response was not read to the end",
        }
    }
}

/// Outcome of a flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ResponseOutcome {
    Ok,
    /// Rejected with a status that puts the fault on the caller.
    Rejected,
    /// The caller disconnected.
    CallerGone,
    Failed(Failure),
}

impl ResponseOutcome {
    fn of<B>(response: &Response<B>) -> Self {
        if let Some(failure) = response.extensions().get::<Failure>() {
            return Self::Failed(failure.clone());
        }
        let status = response.status();
        let failed = |kind| {
            Self::Failed(failure_of(
                kind,
                status.canonical_reason().unwrap_or("error response").to_owned(),
            ))
        };
        match status.as_u16() {
            499 => Self::CallerGone,
            408 | 504 => failed("ResponseTimeout"),
            429 => failed("ResourceExhausted"),
            502 | 503 => failed("Unavailable"),
            500.. => failed("Internal"),
            400.. => Self::Rejected,
            // A gRPC response that consists of a head only has `grpc-status` there.
            _ => of_grpc(response.headers()).unwrap_or(Self::Ok),
        }
    }

    /// Reads the gRPC status, which is sent in the trailers.
    pub(super) fn read_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(outcome) = of_grpc(trailers).filter(|_| *self == Self::Ok) {
            *self = outcome;
        }
    }

    pub(super) fn end(self, flow: Flow) {
        match self {
            Self::Ok | Self::Rejected => flow.end(),
            Self::CallerGone => flow.cancel("the caller went away"),
            Self::Failed(failure) => flow.fail_from(&failure),
        }
    }
}

fn failure_of(kind: &'static str, message: String) -> Failure {
    Failure(ErrorInfo {
        kind: Cow::Borrowed(kind),
        message: Cow::Owned(message),
        causes: Vec::new(),
    })
}

/// Maps a non-zero `grpc-status` to an outcome. Codes: <https://grpc.io/docs/guides/status-codes/>.
fn of_grpc(headers: &HeaderMap) -> Option<ResponseOutcome> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let kind = match code {
        "0" => return None,
        "1" => return Some(ResponseOutcome::CallerGone),
        "4" => "ResponseTimeout",
        "3" | "6" | "9" | "11" => "InvalidArgument",
        "5" => "NotFound",
        "7" | "16" => "Unauthorized",
        "8" => "ResourceExhausted",
        "12" | "13" | "15" => "Internal",
        "14" => "Unavailable",
        _ => "Unknown",
    };
    let message = headers
        .get("grpc-message")
        .map(|message| percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned());
    Some(ResponseOutcome::Failed(failure_of(
        kind,
        message.unwrap_or_else(|| format!("grpc-status {code}")),
    )))
}
