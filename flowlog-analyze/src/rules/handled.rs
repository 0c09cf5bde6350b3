//! Rules for problems handled where they were detected, and for waiting.

use super::rule::RuleClass::{Handled, Recovered, Waiting};
use super::rule::{Attribution::Named, Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 7] = [
    Rule::new("optimistic_lock", Handled, Producer, &[
        "the object has been modified", "operation cannot be fulfilled on", "please apply your changes to the latest version",
    ])
        .example(
            "2025-11-22T08:27:15Z\tERROR\tReconciler error\t{\"error\": \"Operation cannot be fulfilled on pods \\\"a\\\": the object has been modified\"}",
            "2025-11-22T08:27:15Z\tERROR\tReconciler error\t{\"error\": \"pods \\\"a\\\" not found\"}",
        ),
    Rule::new(
        "retried",
        Handled,
        Producer,
        &[
            "will retry", "retrying in ", "retry in ", "will be retried", "trying again", "falling back to", "fallback to",
            "using default", "skipping", "ignoring", "continuing without", "non-fatal", "not fatal",
        ],
    )
    .none_of(&["panicked at", "traceback (most recent"])
    .example(
        "2025-11-22T08:27:15.705Z ERROR worker.main: metrics endpoint is busy, will retry",
        "2025-11-22T08:27:15.705Z ERROR worker.main: metrics endpoint is busy, giving up",
    ),
    Rule::new("only_a_warning", Handled, Producer, &[
        "deprecated", "futurewarning", "deprecationwarning", "userwarning", "runtimewarning", "is experimental",
    ])
        .none_of(&["panicked at", "traceback (most recent"])
        .example(
            "2025-11-22T08:27:15.705Z ERROR worker.main: the flag --x is deprecated",
            "2025-11-22T08:27:15.705Z ERROR worker.main: the flag --x is unknown",
        ),
    Rule::new("stream_recreated", Recovered, Named("backend"), &[
        "recreating stream", "creating new stream", "migration retry scheduled", "migrating request to", "request migrated",
    ]).example(
        "2025-11-22T08:27:15.705Z  WARN http-request: dynamo_llm::migration: Stream disconnected... recreating stream...",
        "2025-11-22T08:27:15.705Z  WARN http-request: dynamo_llm::migration: Stream disconnected, migration limit exhausted",
    ),
    Rule::new(
        "waiting",
        Waiting,
        Producer,
        &[
            "timed out. retrying", "waiting for", "still waiting", "not ready yet", "reconnecting", "no progress",
            "has not started yet", "waited for", "returning 0 instances",
        ],
    )
    .none_of(&["waiting for 0 ", "waiting for request", "waiting for work", "inflight requests"])
    .example(
        "2025-11-22T08:27:15.705Z  INFO worker.main: Waiting for the prefill workers to register",
        "2025-11-22T08:27:15.705Z  INFO worker.main: Waiting for requests",
    ),
    Rule::new("desired_versus_observed", Waiting, Producer, &["required: ", "desired: ", "expected: ", "desired replicas"])
        .and_any_of(&["current: ", "observed: ", "ready: ", "available: ", "got: "])
        .example(
            "2025-11-22T08:27:15.705Z  INFO worker.main: workers Current: 0, Required: 1",
            "2025-11-22T08:27:15.705Z  INFO worker.main: parameters required: none",
        ),
    Rule::new("recovered", Recovered, Producer, &["recovered from"]).none_of(&[" 0 request(s) rescheduled", "request(s) failed"]).example(
        "WARNING 11-22 08:27:15 [scheduler.py:1] Recovered from KV load failure: 1 request(s) rescheduled (64 tokens affected).",
        "WARNING 11-22 08:27:15 [scheduler.py:1] Recovered from KV load failure: 0 request(s) rescheduled, 1 request(s) failed",
    ),
];
