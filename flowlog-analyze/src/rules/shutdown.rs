//! Rules for the end of runs and processes: signals, stopping, work in flight, and shutdown noise.

use super::rule::RuleClass::{Stop, StopRequested, Teardown, WorkInFlight};
use super::rule::{Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 4] = [
    Rule::new(
        "stop_requested",
        StopRequested,
        Producer,
        &[
            "sigterm",
            "sigint",
            "sighup",
            "received signal",
            "received shutdown signal",
            "shutdown signal received",
            "keyboardinterrupt",
            "ctrl-c",
            "ctrl+c",
            "^c",
            "caught signal 15",
            "received termination signal",
            "stop requested",
            "stopping container",
            "scaled down replica set",
            "shutdown requested",
        ],
    )
    .none_of(&["panicked at", "handler", "install", "register", "process received signal", "ignored", "ctrl+c to ", "ctrl-c to "])
    .example(
        "2025-11-22T08:27:15.705Z  INFO worker.main: Received SIGTERM, shutting down",
        "2025-11-22T08:27:15.705Z  INFO worker.main: Received a prompt",
    ),
    Rule::new("in_flight", WorkInFlight, Producer, &[
        "inflight requests to complete", "in-flight requests to complete", "requests in flight", "added request", "prefilling ",
    ])
        .none_of(&["waiting for 0 inflight", "waiting for 0 in-flight", "no requests in flight", "0 requests in flight"])
        .example(
            "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::pipeline::network::ingress::push_endpoint: Waiting for 2 inflight requests to complete",
            "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::pipeline::network::ingress::push_endpoint: Waiting for 0 inflight requests to complete",
        ),
    Rule::new("stopping", Stop, Producer, &[" stopped", "exiting", "shutting down", "shutdown complete", "shutdown hooks", "terminated"])
        .none_of(&["not stopped"])
        .example(
            "2025-11-22T08:27:15.705Z  INFO watcher._stop: dynamo_Planner stopped",
            "2025-11-22T08:27:15.705Z  INFO watcher._start: dynamo_Planner started",
        ),
    Rule::new(
        "shutdown_noise",
        Teardown,
        Producer,
        &[
            "event loop is closed",
            "cancellederror",
            "destroy_process_group",
            "leaked semaphore",
            "leaked shared_memory",
            "task was destroyed but it is pending",
            "resource_tracker",
            "exception ignored in",
            "sys.meta_path is none",
            "interpreter shutdown",
            "can't register atexit after shutdown",
            "during shutdown",
            "while shutting down",
            "exit code: -15",
            "exit code -15",
            "exit code: 143",
            "exit code 143",
            "exited with code 143",
        ],
    )
    .example(
        "ERROR 11-22 08:27:15 [client.py:1] asyncio.exceptions.CancelledError",
        "ERROR 11-22 08:27:15 [client.py:1] asyncio.exceptions.TimeoutError",
    ),
];
