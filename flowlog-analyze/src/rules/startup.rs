//! Rules for processes that could not start, that are ready, and that work.

use super::rule::RuleClass::{Healthy, Ready, StartFailure};
use super::rule::{Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 8] = [
    Rule::new(
        "port_in_use",
        StartFailure,
        Producer,
        &[
            "address already in use",
            "failed to bind",
            "could not bind",
            "cannot bind",
            "error while attempting to bind",
            "port is already allocated",
        ],
    )
    .example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_llm::http::service: Failed to bind server to address 0.0.0.0:8000",
        "2025-11-22T08:27:15.705Z  INFO dynamo_llm::http::service: bound to 0.0.0.0:8000",
    ),
    Rule::new("application_failed", StartFailure, Producer, &["application shutdown with error", "application startup failed"])
        .example(
            "ERROR dynamo_runtime::worker: Application shutdown with error: the model card is empty",
            "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::worker: Application shutdown complete",
        ),
    Rule::new(
        "cannot_start",
        StartFailure,
        Producer,
        &["failed to start", "could not start", "failed to initialize", "failed to launch", "unable to start"],
    )
    .example(
        "2025-11-22T08:27:15.705Z ERROR worker.main: failed to start the endpoint",
        "2025-11-22T08:27:15.705Z ERROR worker.main: Failed to start instance removal watcher (will retry)",
    ),
    Rule::new(
        "model_unavailable",
        StartFailure,
        Producer,
        &[
            "failed to pre-fetch model",
            "failed to fetch model",
            "failed to download model",
            "is not a valid model identifier",
            "cannot access gated repo",
            "you are trying to access a gated repo",
            "repository not found for url",
            "does not appear to have a file named",
            "failed to load model",
            "no such model path",
            "model path does not exist",
            "error adding model from discovery",
        ],
    )
    .example(
        "2025-11-22T08:27:15.705Z ERROR worker.main: failed to fetch model meta/x: 401",
        "2025-11-22T08:27:15.705Z  INFO worker.main: fetched model meta/x",
    ),
    Rule::new(
        "module_missing",
        StartFailure,
        Producer,
        &[
            "modulenotfounderror: ",
            "importerror: ",
            "cannot open shared object file",
            "undefined symbol: ",
            "unrecognized arguments: ",
            "command not found",
        ],
    )
    .none_of(&["using internal", "no plugin found", "falling back to"])
    .example(
        "Traceback (most recent call last):\n  File \"/app/run.py\", line 1, in <module>\nModuleNotFoundError: No module named 'nixl'",
        "2025-11-22T08:27:15.705Z  INFO worker.main: module nixl found",
    ),
    Rule::new(
        "ready_to_serve",
        Ready,
        Producer,
        &[
            "chat endpoints enabled",
            "worker ready",
            "application startup complete",
            "fired up and ready to roll",
            "server is ready",
            "starting to serve",
        ],
    )
    .example(
        "2025-11-22T08:27:15.705Z  INFO dynamo_llm::http::service: chat endpoints enabled",
        "2025-11-22T08:27:15.705Z  INFO dynamo_llm::http::service: chat endpoints disabled",
    ),
    Rule::new("all_tests_passed", Healthy, Producer, &[" passed"])
        .and_any_of(&[" in ", " flaky", "test run"])
        .none_of(&[" failed", " error", "passed to"])
        .example("=================== 5 passed, 1 rerun in 302.11s (0:05:02) ===================", "== 12 passed, 1 failed in 1.0s =="),
    Rule::new(
        "healthy",
        Healthy,
        Producer,
        &[
            " 200 ok",
            "status=success",
            "successful",
            "successfully",
            "startup complete",
            "reconnected",
            "re-established",
            "test result: ok",
            "model loaded",
            "reestablished",
            "became leader",
            "response sent status=200",
            "data: [done]",
            "request completed",
            "checks passed",
            "job succeeded",
        ],
    )
    .none_of(&["/health", "/metrics", "/live", "get /v1/models", "unsuccessful", "not successful", "status=error"])
    .example(
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 200 OK",
        "INFO:     10.0.0.1:5 - \"GET /health HTTP/1.1\" 200 OK",
    ),
];
