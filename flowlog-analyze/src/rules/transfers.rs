//! Transfers of KV blocks: NIXL, UCX, the block manager, disaggregation.

use super::rule::RuleClass::{Error, Handled, Teardown, Waiting};
use super::rule::{Attribution::CodeOr, Attribution::Named, Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 6] = [
    Rule::new(
        "nixl_error",
        Error,
        Named("nixl"),
        &["nixl_err_", "nixlbackenderror", "nixlremotedisconnect", "nixl transfer failed", "nixl agent creation failed"],
    )
    .example(
        "2025-11-22T08:27:15.705Z ERROR engine.start: nixlBackendError('NIXL_ERR_BACKEND')",
        "2025-11-22T08:27:15.705Z  INFO engine.start: NIXL is available",
    ),
    Rule::new("ucx_teardown", Teardown, Named("nixl"), &[
        "were not flushed", "eps were not destroyed", "was not returned to mpool", "devx_obj_destroy",
    ])
        .example(
            "[1763800035.705274] [gpu-node-1:760  :0]      ucp_worker.c:2903 UCX  WARN  worker 0x7: 10 pending operations were not flushed",
            "[1763800035.705274] [gpu-node-1:760  :0]      ucp_worker.c:2903 UCX  ERROR  no transports",
        ),
    Rule::new(
        "kv_transfer_error",
        Error,
        Producer,
        &[
            "kvtransfererror", "kv transfer failed", "decode transfer failed", "prefill transfer failed",
            "failed to transfer kv", "bootstrap failed", "kvpoll.failed",
        ],
    )
    .example(
        "[2025-11-22 08:27:15 TP0] Decode transfer failed for request rank=0 decode_req.req.rid=7",
        "[2025-11-22 08:27:15 TP0] Decode batch. #running-req: 1",
    ),
    Rule::new("kvbm_waiting", Waiting, Named("kvbm"), &["ping timed out", "pinging workers", "waiting for workers to", "barrier timed out"])
        .and_any_of(&["block_manager", "kvbm", "zmqactivemessage"])
        .example(
            "2025-11-22T08:27:15.705Z  INFO dynamo_llm::block_manager::distributed::zmq: ZmqActiveMessageLeader: Ping timed out. Retrying...",
            "2025-11-22T08:27:15.705Z  INFO dynamo_llm::block_manager::distributed::zmq: all workers answered",
        ),
    Rule::new("kvbm_barrier", Error, CodeOr("kvbm"), &["leader barrier failed", "worker barrier failed", "barrier sync failed"]).example(
        "2025-11-22T08:27:15.705Z ERROR dynamo_llm::block_manager::distributed::leader: leader barrier failed: timed out",
        "2025-11-22T08:27:15.705Z  INFO dynamo_llm::block_manager::distributed::leader: leader barrier passed",
    ),
    Rule::new("transfer_retried", Handled, Producer, &["transfer timed out, retry", "re-registering memory", "retrying transfer"]).example(
        "2025-11-22T08:27:15.705Z ERROR engine.start: KV transfer timed out, retrying transfer",
        "2025-11-22T08:27:15.705Z ERROR engine.start: KV transfer timed out",
    ),
];
