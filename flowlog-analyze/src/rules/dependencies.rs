//! Shared dependencies: etcd, NATS, the Kubernetes API.

use super::rule::RuleClass::{Error, Fatal, Handled, Healthy, StartFailure, Unreachable};
use super::rule::{Attribution::Named, Rule};

/// Phrases of a client that cannot reach a server.
const UNREACHABLE: &[&str] = &[
    "not reachable",
    "unreachable",
    "could not connect",
    "failed to connect",
    "cannot connect",
    "unable to connect",
    "unable to maintain lease",
    "keep-alive stream error",
    "failed to establish keep-alive",
    "failed to keep alive",
    "connection refused",
    "connect error",
    "connectionrefused",
    "disconnected from",
    "no route to host",
    "transport is closing",
    "lost connection to",
    "keep alive task failed",
    "keep-alive task failed",
    "failed to issue heartbeat",
    "stale connection",
    "keep-alive failed",
    "keepalive failed",
    "transport error",
    "lease not found",
    "lease expired",
    "requested lease not found",
    "context deadline exceeded",
];

/// Phrases that announce the end of the process, so that one line is enough.
const ENDS: &[&str] = &["application shutdown with error", "failed to initialize runtime"];

pub(super) const RULES: [Rule; 10] = [
    Rule::new("start_without_etcd", StartFailure, Named("etcd"), ENDS)
        .and_any_of(&["connect to etcd", "etcd server", "etcd client"])
        .example(
            "ERROR dynamo_runtime::worker: Application shutdown with error: Failed to connect to etcd server with config X",
            "ERROR dynamo_runtime::worker: Application shutdown with error: the model card is empty",
        ),
    Rule::new("start_without_nats", StartFailure, Named("nats"), ENDS)
        .and_any_of(&["connect to nats", "nats server", "nats client"])
        .example(
            "ERROR dynamo_runtime::worker: Application shutdown with error: Failed to connect to NATS server at nats://nats:4222",
            "ERROR dynamo_runtime::worker: Application shutdown with error: no such endpoint",
        ),
    Rule::new("etcd_out_of_space", Fatal, Named("etcd"), &["database space exceeded", "nospace"]).and_any_of(&["etcd", "mvcc"]).example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::transports::etcd: put failed: etcdserver: mvcc: database space exceeded",
        "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::transports::etcd: put done",
    ),
    Rule::new("etcd_leaderless", Unreachable, Named("etcd"), &[
        "etcdserver: no leader", "lost leader", "etcdserver: request timed out",
    ]).example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::transports::etcd: watch failed: etcdserver: no leader",
        "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::transports::etcd: leader elected",
    ),
    Rule::new("etcd_slow", Handled, Named("etcd"), &[
        "apply request took too long", "slow fdatasync", "leader failed to send out heartbeat on time",
    ])
        .example(
            r#"{"level":"warn","ts":"2025-11-22T08:27:15.705Z","caller":"etcdserver/util.go:170","msg":"apply request took too long","took":"2s"}"#,
            r#"{"level":"warn","ts":"2025-11-22T08:27:15.705Z","caller":"etcdserver/util.go:170","msg":"snapshot took its time"}"#,
        ),
    Rule::new("etcd_works", Healthy, Named("etcd"), &[
        "established keep-alive stream", "watch stream established", "resynced discovery state",
        "elected leader",
    ]).none_of(&["failed"]).example(
        "2025-11-22T08:27:15.705Z DEBUG dynamo_runtime::transports::etcd::lease: Established keep-alive stream",
        "2025-11-22T08:27:15.705Z  WARN dynamo_runtime::transports::etcd::lease: Failed to establish keep-alive stream",
    ),
    Rule::new("etcd_unreachable", Unreachable, Named("etcd"), UNREACHABLE).and_any_of(&["etcd"]).none_of(ENDS).example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::transports::etcd::lease: Unable to maintain lease. Check etcd server status",
        "2025-11-22T08:27:15.705Z  WARN dynamo_runtime::pipeline: connection refused by upstream",
    ),
    Rule::new("controller_error", Error, Named("operator"), &[
        "reconciler error", "failed to reconcile", "[operation: sync", "failed to sync pod",
    ]).example(
        "    Description:        failed to sync PodGangMap: [Operation: Sync, Code: ERR_NO_ENTRIES] message: x has no entries",
        "2025-11-22T08:27:15Z\tINFO\tsetup\tstarting reconciler",
    ),
    Rule::new("nats_rejected", Fatal, Named("nats"), &["jetstream not enabled",
            "jetstream not available",
            "maximum payload violation", "max payload exceeded", "maximum payload exceeded", "nats: authorization violation"])
        .example(
            "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::transports::nats: publish failed: nats: maximum payload exceeded",
            "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::transports::nats: payload published",
        ),
    Rule::new("nats_unreachable", Unreachable, Named("nats"), UNREACHABLE).and_any_of(&[
        "nats",
    ]).none_of(&["etcd", "application shutdown with error", "failed to initialize runtime"]).example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::transports::nats: Failed to connect to NATS: nats://nats:4222: connection refused",
        "2025-11-22T08:27:15.705Z  INFO dynamo_runtime::transports::nats: connected to nats://nats:4222",
    ),
];
