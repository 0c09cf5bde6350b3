//! What an answer says of its flow.

use std::borrow::Cow;
use std::fmt::Display;

use flowlog_schema::ErrorInfo;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use percent_encoding::percent_decode;

use super::FlowBody;
use crate::context::Context;
use crate::failure::{Failure, dynamo_type, words};
use crate::flow::Flow;

/// Which end of the request this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server {
        /// Whether no body goes with the answer's head, whatever the handler made.
        is_bare: bool,
    },
    Client,
}

impl Side {
    /// The head of an answer is there: its body goes on with the flow.
    pub(super) fn answered<B: Body>(
        self,
        flow: Flow,
        mut answer: Response<B>,
    ) -> Response<FlowBody<B>> {
        flow.late("http.response.status_code", u32::from(answer.status().as_u16()));
        let verdict = Verdict::of(&answer);
        let Self::Server { is_bare } = self else {
            if let Some(clock) = Context::clock_of(answer.headers()) {
                flow.receive(clock);
            }
            return answer.map(|body| FlowBody::of(body, flow, self, verdict));
        };
        let is_bare =
            is_bare || matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // The caller is to say what it makes of it after this has been said: so it is, before the clock is read that goes with the answer.
        let handle = flow.handle();
        let flow = match &verdict {
            Verdict::Ok if !is_bare => Some(flow),
            known => {
                known.clone().end(flow);
                None
            }
        };
        handle.answer(answer.headers_mut());
        answer.map(|body| match flow {
            Some(flow) => FlowBody::of(body, flow, self, verdict),
            None => FlowBody::of_nothing(body),
        })
    }

    /// There is no answer, or no more of it.
    pub(super) fn failed(self, flow: Flow, error: &impl Display) {
        let words = words(error);
        let kind = dynamo_type(&words).unwrap_or_else(|| self.kind(&words));
        flow.fail_with(
            kind,
            words.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&words),
        );
    }

    /// Of an error that names no type of Dynamo's. A client's library tells no more than in words whether it found anybody.
    fn kind(self, words: &str) -> &'static str {
        let has = |any: &[&str]| any.iter().any(|part| words.contains(part));
        match self {
            Self::Server { .. } => "Unknown",
            Self::Client if has(&["timed out", "timeout", "deadline", "elapsed"]) => {
                "ResponseTimeout"
            }
            Self::Client if has(&["(Connect)", "refused", "dns error", "tcp connect"]) => {
                "CannotConnect"
            }
            Self::Client => "Disconnected",
        }
    }

    /// Why a flow is cancelled whose answer was dropped before its end.
    pub(super) fn left(self) -> &'static str {
        match self {
            Self::Server { .. } => "the caller went away before the answer's end",
            Self::Client => "the answer was not read to its end",
        }
    }
}

/// What is to become of a flow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Ok,
    /// The caller's fault; the status says so.
    Rejected,
    /// The caller left.
    Left,
    Failed(Failure),
}

impl Verdict {
    fn of<B>(answer: &Response<B>) -> Self {
        if let Some(failure) = answer.extensions().get::<Failure>() {
            return Self::Failed(failure.clone());
        }
        let status = answer.status();
        let failed = |kind| {
            Self::Failed(failure_of(
                kind,
                status.canonical_reason().unwrap_or("answered with an error").to_owned(),
            ))
        };
        match status.as_u16() {
            499 => Self::Left,
            408 | 504 => failed("ResponseTimeout"),
            429 => failed("ResourceExhausted"),
            502 | 503 => failed("Unavailable"),
            500.. => failed("Internal"),
            400.. => Self::Rejected,
            // An answer of gRPC's that is but a head.
            _ => of_grpc(answer.headers()).unwrap_or(Self::Ok),
        }
    }

    /// gRPC tells at the end how it went.
    pub(super) fn read_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(verdict) = of_grpc(trailers).filter(|_| *self == Self::Ok) {
            *self = verdict;
        }
    }

    pub(super) fn end(self, flow: Flow) {
        match self {
            Self::Ok | Self::Rejected => flow.end(),
            Self::Left => flow.cancel("the caller went away"),
            Self::Failed(failure) => flow.fail_of(&failure),
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

/// What `grpc-status` says, if it is there and not zero. Codes: <https://grpc.io/docs/guides/status-codes/>.
fn of_grpc(headers: &HeaderMap) -> Option<Verdict> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let kind = match code {
        "0" => return None,
        "1" => return Some(Verdict::Left),
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
    Some(Verdict::Failed(failure_of(
        kind,
        message.unwrap_or_else(|| format!("grpc-status {code}")),
    )))
}
