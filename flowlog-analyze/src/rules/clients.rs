//! Rules for failures that are not the system's fault: callers that send invalid requests or
//! disconnect, and cancelled jobs.

use super::rule::RuleClass::{CallerGone, Client};
use super::rule::{Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 3] = [
    Rule::new(
        "caller_disconnected",
        CallerGone,
        Producer,
        &[
            "client disconnect",
            "client closed",
            "client gone",
            "clientdisconnect",
            "broken pipe",
            "brokenpipe",
            "connection reset by peer",
            "aborted request",
            "request was aborted",
            "abort request",
            "cancelled by client",
            "canceled by client",
            "caller went away",
            "failed to publish response",
            "failed to send response",
            "failed to join writer task",
            "stopping request",
            "aborted by abortreq",
            "\" 499",
        ],
    )
    .none_of(&["etcd", "nats://", "nccl", "worker process", "panicked at"])
    .example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::pipeline::network::tcp::client: failed to join writer task: Broken pipe (os error 32)",
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::pipeline::network::tcp::client: failed to join reader task",
    ),
    Rule::new(
        "bad_request",
        Client,
        Producer,
        &[
            "400 bad request",
            "404 not found",
            "422 unprocessable",
            "401 unauthorized",
            "405 method not allowed",
            "bad request: ",
            "badrequesterror",
            "invalid_request_error",
            "maximum context length",
            "longer than the maximum model length",
            "exceeds the maximum allowed length",
            "model not found",
            "requestvalidationerror",
            "failed to deserialize the json body",
            "unsupported parameter",
        ],
    )
    .none_of(&["http://", "https://", "for url", "panicked at", "registry"])
    .example(
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 400 Bad Request",
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 500 Internal Server Error",
    ),
    Rule::new("job_cancelled", CallerGone, Producer, &[
        "the operation was canceled", "higher priority waiting request", "run was canceled", "job was cancelled",
        "cancelled at ",
    ])
        .example("##[error]The operation was canceled.", "##[error]The operation was not permitted."),
];
