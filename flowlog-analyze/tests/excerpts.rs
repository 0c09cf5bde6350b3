//! Excerpts as people paste them, without flow IDs: what failed first, the evidence for it, and
//! lines that must not implicate any component.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::ingest::IngestOptions;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{Report, RunOutcome};

/// Description of the case, the log, and the expected answer: `failed COMPONENT`, or another
/// outcome.
const CASES: [(&str, &str, &str); 47] = [
    (
        "a worker before its engine core within one second, although the core logs first",
        "(EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7] EngineCore hit an exception.\n\
         (Worker_TP0 pid=10) ERROR 11-22 08:27:15 [multiproc_executor.py:7] WorkerProc hit an exception.\n\
         (APIServer pid=1) ERROR 11-22 08:27:15 [async_llm.py:7] EngineDeadError: EngineCore encountered an issue.\n",
        "failed vllm (Worker_TP0)",
    ),
    (
        "only a relayed error: the component that it names",
        "(APIServer pid=1) ERROR 11-22 08:27:15 [api_router.py:7] EngineDeadError: EngineCore encountered an issue. See stack trace (above).\n\
         (APIServer pid=1) INFO:     10.0.0.1:5 - \"POST /v1/completions HTTP/1.1\" 500 Internal Server Error\n",
        "failed vllm",
    ),
    (
        "a library below the engine that fails a few milliseconds earlier",
        "[1763800035.705274] [gpu-1:76:0]   ib_device.c:1332 UCX  ERROR   ibv_create_ah failed: Connection timed out\n\
         2025-11-22T08:27:15.709Z ERROR engine.start: step failed\nTraceback (most recent call last):\n  File \"/x/vllm/engine.py\", line 1, in step\nRuntimeError: transfer\n",
        "failed nixl",
    ),
    (
        "the first block of an exception chain",
        "2025-11-22T08:27:15.709Z ERROR worker.run: failed\nTraceback (most recent call last):\n  File \"/x/site-packages/sglang/srt/s.py\", line 1, in f\nValueError: a\n\n\
         During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/x/site-packages/dynamo/frontend/main.py\", line 1, in g\nRuntimeError: b\n",
        "failed sglang",
    ),
    (
        "the last cause of an anyhow chain",
        "ERROR dynamo_runtime::worker: Application shutdown with error: starting\n\nCaused by:\n    0: creating lease\n    1: connect to etcd: tcp connect error: Connection refused (os error 111)\n",
        "failed etcd",
    ),
    (
        "a traceback logged line by line at DEBUG",
        "2025-11-22T08:27:15.252Z DEBUG dynamo_run::subprocess:   File \"/x/vllm/engine.py\", line 5, in run\n\
         2025-11-22T08:27:15.252Z DEBUG dynamo_run::subprocess:     engine = make(\n",
        "failed vllm",
    ),
    (
        "a stack trace without a time before the first timestamp, attributed to the next process that logs",
        "  File \"uvloop/loop.pyx\", line 7, in run\nRuntimeError: the loop ended\n\
         2025-11-22T08:27:15.752Z  INFO serve.exit: [PrefillWorker:1] Running shutdown hooks on exit\n\
         2025-11-22T08:27:16.087Z  INFO serve.exit: [Frontend:1] Shutdown hooks completed successfully\n",
        "failed prefill",
    ),
    (
        "a panic, attributed by its source file",
        "thread 'tokio-runtime-worker' (7) panicked at /work/lib/llm/src/http/service/s.rs:1:2:\ncould not bind to address: 0.0.0.0:8000\n\
         INFO 11-22 08:27:15 [x.py:1] vLLM is here too\n",
        "failed frontend",
    ),
    (
        "a message repeated at a steady interval without progress",
        "2025-11-22T08:27:04.158Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:05.159Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.161Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n",
        "failed kvbm",
    ),
    (
        "the same repeated message, followed by progress",
        "2025-11-22T08:27:04.158Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:05.159Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.161Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.961Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: ping successful\n",
        "healthy",
    ),
    (
        "occasional waiting is not a stall",
        "2025-11-22T08:27:04.158Z  INFO planner.run: Waiting for metrics\n2025-11-22T08:27:05.158Z  INFO planner.run: Waiting for metrics\n\
         2025-11-22T08:27:55.158Z  INFO planner.run: Waiting for metrics\n2025-11-22T08:27:56.158Z  INFO planner.run: idle\n",
        "healthy",
    ),
    (
        "a stop before all others, with work in flight and no signal",
        "2025-11-22T08:27:10.736Z  INFO engine.add: Added request 2c9d47e6-0b8f-4d13-9a75-e81f60c3b4d2.\n\
         2025-11-22T08:27:11.132Z  INFO watcher.stop: dynamo_Planner stopped\n\
         2025-11-22T08:27:11.136Z  INFO worker.stop: [VllmWorker:1] Received shutdown signal, shutting down\n\
         2025-11-22T08:27:11.137Z  INFO dynamo_runtime::pipeline: Waiting for 2 inflight requests to complete\n",
        "failed planner",
    ),
    (
        "the same stop after a signal",
        "2025-11-22T08:27:10.736Z  INFO engine.add: Added request 2c9d47e6-0b8f-4d13-9a75-e81f60c3b4d2.\n\
         2025-11-22T08:27:11.100Z  INFO serve.main: Received SIGTERM\n\
         2025-11-22T08:27:11.132Z  INFO watcher.stop: dynamo_Planner stopped\n\
         2025-11-22T08:27:11.136Z  INFO worker.stop: [VllmWorker:1] shutting down\n",
        "healthy",
    ),
    (
        "a requested shutdown that logs many errors",
        "2025-11-22T08:27:15.100Z  INFO worker.main: Received SIGTERM, shutting down\n\
         2025-11-22T08:27:15.300Z ERROR dynamo_runtime::pipeline: Failed to unregister: channel closed\n\
         2025-11-22T08:27:15.400Z ERROR worker.main: task failed\nTraceback (most recent call last):\n  File \"/x/vllm/engine.py\", line 1, in f\nasyncio.exceptions.CancelledError\n\
         (EngineCore pid=9) ERROR 11-22 08:27:16 [core.py:7] EngineCore encountered a fatal error.\n",
        "healthy",
    ),
    (
        "Ctrl-C, and the stack traces that follow",
        "^CProcess Worker-0:\nTraceback (most recent call last):\n  File \"/x/vllm/worker.py\", line 7, in loop\n    poll()\nKeyboardInterrupt\n",
        "healthy",
    ),
    (
        "errors caused only by a disconnected client",
        "2025-11-22T08:27:15.188Z ERROR dynamo_runtime::pipeline::network::tcp::client: failed to join writer task: Broken pipe (os error 32)\n",
        "cancelled",
    ),
    (
        "an invalid request",
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 400 Bad Request\n\
         ERROR 11-22 08:27:15 [serving.py:7] BadRequestError: This model's maximum context length is 4096 tokens\n",
        "healthy",
    ),
    (
        "a conflict that the operator retries",
        "2025-11-22T08:27:15Z\tERROR\tReconciler error\t{\"error\": \"Operation cannot be fulfilled on pods \\\"a\\\": the object has been modified\"}\n",
        "healthy",
    ),
    (
        "an operator error that is not retried",
        "2025-11-22T08:27:15Z\tERROR\tFailed to get scale\t{\"error\": \"podcliques \\\"a\\\" not found\"}\n",
        "failed operator",
    ),
    (
        "a program that logs everything as an error",
        "2025-11-22 08:27:15,114 - ERROR - __main__: Request 3 Chunk bytes: b'data: x'\n2025-11-22 08:27:15,214 - ERROR - __main__: Request 3 returning\n",
        "inconclusive",
    ),
    (
        "a health check that fails before the endpoint is ready",
        "2025-11-22T08:27:11.026Z ERROR dynamo_runtime::health_check: Health check request failed for generate: no responders\n\
         2025-11-22T08:27:21.091Z  INFO dynamo_runtime::health_check: Health check successful for generate\n",
        "healthy",
    ),
    (
        "a stream that was restarted, without an ID",
        "2025-11-22T08:27:15.784Z  WARN http-request: dynamo_llm::migration: Stream disconnected... recreating stream... Disconnected: Stream ended\n",
        "recovered",
    ),
    (
        "a dependency that recovers",
        "2025-11-22T08:27:15.402Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=1\n\
         2025-11-22T08:27:15.903Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=2\n\
         2025-11-22T08:27:17.410Z  INFO dynamo_runtime::transports::etcd::lease: keep alive re-established\n",
        "recovered",
    ),
    (
        "a dependency that stays unavailable, although others fail because of it",
        "2025-11-22T08:27:15.402Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=1\n\
         2025-11-22T08:27:15.903Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=2\n\
         2025-11-22T08:27:16.001Z ERROR dynamo_llm::http::service: Internal server error: no instances found\n",
        "failed etcd",
    ),
    (
        "an image pull failure is attributed to the workload",
        "worker-0   0/1   ImagePullBackOff   0   20m\n##[error]Process completed with exit code 1.\n",
        "failed worker",
    ),
    (
        "a build that fails",
        "#8 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\nERROR: failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\n",
        "failed docker_build",
    ),
    (
        "a full disk behind a component's traceback",
        "2025-11-22T08:27:15.188Z ERROR worker.main: failed to write\nTraceback (most recent call last):\n  File \"/x/vllm/cache.py\", line 1, in f\nOSError: [Errno 28] No space left on device\n",
        "failed infra_fail",
    ),
    (
        "a failed test without a log that explains it",
        "E       AssertionError: expected 2, got 1\nFAILED tests/test_a.py::test_b - AssertionError\n== 1 failed, 2 passed in 1.0s ==\n##[error]Process completed with exit code 1.\n",
        "failed test_fail",
    ),
    (
        "an unknown error message from a reliable logger",
        "2025-11-22T08:27:16.000000Z ERROR dynamo_llm::kv_router: the indexer ate itself\n",
        "failed router",
    ),
    (
        "a test that prints a panic and passes",
        "thread 'b' panicked at src/b.rs:1:1:\nas it should\ntest b ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; finished in 0.00s\n",
        "healthy",
    ),
    (
        "a dependency, although a consequence follows much later",
        "2025-11-22T08:27:16.000Z ERROR async_nats::connector: failed to connect to nats://nats:4222: Connection refused (os error 111)\n\
         2025-11-22T08:27:18.000Z ERROR async_nats::connector: failed to connect to nats://nats:4222: Connection refused (os error 111)\n\
         2025-11-22T08:28:58.000Z ERROR dynamo_llm::http::service::openai: Internal server error: no responders\n",
        "failed nats",
    ),
    (
        "the innermost library of an engine's core",
        "(EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7] EngineCore encountered a fatal error.\n\
         (EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7] Traceback (most recent call last):\n\
         (EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7]   File \"/x/site-packages/vllm/core.py\", line 1, in run\n\
         (EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7] nixl._bindings.nixlRemoteDisconnectError: NIXL_ERR_REMOTE_DISCONNECT\n",
        "failed nixl",
    ),
    (
        "ordinary scale-down events of the cluster",
        "5m3s        Normal    Killing            pod/worker-0     Stopping container main\n\
         5m1s        Warning   Unhealthy          pod/worker-0     Readiness probe failed: connection refused\n",
        "healthy",
    ),
    (
        "a job's client that times out before the step fails",
        "error: timed out waiting for the condition on pods/vllm-decode-0\n##[error]Process completed with exit code 1.\n",
        "failed backend",
    ),
    (
        "a kill that only a watcher reports, at DEBUG",
        "2025-11-22T08:27:03.420Z  INFO worker.generate: [VllmWorker:1] Loaded the model\n\
         2025-11-22T08:27:05.003Z DEBUG watcher.reap: process 31877 was killed by signal 9\n\
         2025-11-22T08:27:06.118Z ERROR chat: dynamo_llm::http::service::openai: Internal server error: no responders\n",
        "failed vllm",
    ),
    (
        "a service killed by a signal",
        "prefill-worker-1 exited with code 139\nfrontend-1 exited with code 0\n",
        "failed prefill",
    ),
    (
        "a load that failed and was retried",
        "(EngineCore pid=9) ERROR 11-22 08:27:15 [nixl_connector.py:8] zmq.error.Again: Resource temporarily unavailable\n\
         (EngineCore pid=9) WARNING 11-22 08:27:15 [scheduler.py:1] Recovered from KV load failure: 1 request(s) rescheduled\n",
        "recovered",
    ),
    (
        "a rejected and a successful request, by status",
        "2025-11-22T08:27:08.514Z ERROR http-request: dynamo_llm::http::service::metrics: request completed with error request_id=5d4c9d55-9c3c-4c0a-a1c8-0f6fa51ff0f1 status=400 error_type=validation\n\
         2025-11-22T08:27:10.944Z  INFO http-request: dynamo_llm::http::service::metrics: request completed request_id=0b6b2f49-13f6-4d63-8fa3-1ea1c3eb0a0d status=200\n",
        "healthy",
    ),
    (
        "a line after zero bytes",
        "INFO 11-22 08:27:15 [x.py:1] fine\n\0\0\0\0\0\0\0\0ERROR 11-22 08:27:16 [core.py:1] RuntimeError: CUDA error: lost\n",
        "failed vllm",
    ),
    (
        "routine lines only",
        "INFO 11-22 08:27:15 [x.py:1] Automatically detected platform cuda.\nloading weights: 50 %\n",
        "healthy",
    ),
    (
        "events of a pod, pasted through grep, and the log of a service that stopped when it was asked to",
        "$ kubectl -n shop describe pod cart-0 | grep -nE 'Unhealthy|BackOff'\n\
         61:  Warning  Unhealthy  10s (x14 over 3m10s)  kubelet  Liveness probe failed: connection refused\n\
         62:  Warning  BackOff    9s (x11 over 2m34s)   kubelet  Back-off restarting failed container app in pod cart-0_shop(0b7)\n\
         $ kubectl -n shop logs cart-0 --previous\n\
         INFO:     Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)\n\
         INFO:     Shutting down\n\
         INFO:     Application shutdown complete.\n",
        "failed cart (cart-0)",
    ),
    (
        "events whose pod is only in the command",
        "$ kubectl describe pod/cart-7d9f8b6c5d-x2x4z\n\
         Events:\n  Type     Reason   Age   From     Message\n  ----     ------   ----  ----     -------\n  \
         Warning  Failed   3m (x4 over 5m)  kubelet  Failed to pull image \"shop/cart:9\": manifest unknown\n",
        "failed cart (cart-7d9f8b6c5d-x2x4z)",
    ),
    (
        "a step of an image build, whose command has words of its own",
        " => CACHED [build 2/9] COPY . .\n => ERROR [build 3/9] RUN if test -f a; then make; else echo Skipping; fi  0.4s\n\
         ------\n0.354 the wheel is too large\n",
        "failed docker_build",
    ),
    (
        "a CI job that cannot reach a public host",
        "2025-11-22T08:27:15.7050000Z ##[error]Several errors returned\n\
         2025-11-22T08:27:15.7060000Z ##[error]connect ETIMEDOUT 203.0.113.7:443\n",
        "failed infra_fail",
    ),
    (
        "an admission webhook that does not answer",
        "Error: Internal error occurred: failed calling webhook \"validate.models.example\": failed to call webhook: Post \"https://models.serving.svc:443/v\": EOF\n",
        "failed k8s",
    ),
    (
        "a leader that hands over, in order",
        "{\"level\":\"info\",\"ts\":1763800035.1,\"caller\":\"raft/node.go:312\",\"msg\":\"raft.node: 7a lost leader 7a at term 4\"}\n\
         {\"level\":\"info\",\"ts\":1763800035.2,\"caller\":\"raft/node.go:306\",\"msg\":\"raft.node: 7a elected leader 9c at term 4\"}\n",
        "recovered",
    ),
    (
        "a panic in a log that says nothing else of its program",
        "starting\nthread 'worker-3' panicked at src/router.rs:589:79:\ncalled `Option::unwrap()` on a `None` value\n",
        "failed router",
    ),
];

fn report(log: &str) -> Report {
    analyze(
        &Sources::from_texts([("input.log", log.as_bytes())]).unwrap(),
        &Options::default(),
        &|_| {},
    )
}

fn answer(report: &Report) -> String {
    let verdict = &report.verdict;
    let instance =
        verdict.instance.as_deref().map(|instance| format!(" ({instance})")).unwrap_or_default();
    match verdict.outcome {
        RunOutcome::Failed => {
            format!("failed {}{instance}", verdict.component.as_deref().unwrap_or("-"))
        }
        other => other.as_str().to_owned(),
    }
}

#[test]
fn pasted_excerpts() {
    let mut wrong = Vec::new();
    for (what, log, expected) in &CASES {
        let found = answer(&report(log));
        // The instance is compared only if the case names one.
        let plain =
            if expected.contains('(') { found.as_str() } else { found.split(" (").next().unwrap() };
        if plain != *expected {
            wrong.push(format!("{what}: found {found}, expected {expected}\n{log}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn failures_have_evidence_in_the_log() {
    for (what, log, expected) in &CASES {
        let verdict = report(log).verdict;
        assert_eq!(
            verdict.evidence.is_empty(),
            !(expected.starts_with("failed") || *expected == "recovered"),
            "{what}"
        );
        for line in &verdict.evidence {
            let number = usize::try_from(line.line).unwrap();
            assert!(number >= 1 && number <= log.lines().count(), "{what}");
        }
    }
}

#[test]
fn chunking_does_not_change_the_report() {
    for (what, log, _) in &CASES {
        let sources = Sources::from_texts([("input.log", log.as_bytes())]).unwrap();
        let whole = analyze(&sources, &Options::default(), &|_| {});
        for chunk in [40, 150] {
            let options = Options {
                ingest: IngestOptions { chunk, batch: 2, ..IngestOptions::default() },
                ..Options::default()
            };
            assert_eq!(analyze(&sources, &options, &|_| {}), whole, "{what}, chunks of {chunk}");
        }
    }
}

#[test]
fn a_long_stack_keeps_its_exception() {
    let frames: String = (0..200)
        .map(|at| {
            format!("  File \"/x/site-packages/vllm/v1/worker/model_runner.py\", line {at}, in forward\n    return self.next(hidden)\n")
        })
        .collect();
    let log = format!(
        "Traceback (most recent call last):\n{frames}torch.OutOfMemoryError: CUDA out of memory.\n"
    );
    assert_eq!(report(&log).failures[0].error_type.as_deref(), Some("torch.OutOfMemoryError"));
}
