//! Excerpts as people paste them, without a flow to follow: what failed first, by which evidence, and what must accuse nobody.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it did not expect")]

use flowlog_analyze::ingest::Plan;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::{Report, RunOutcome};

/// What is tested, the log, and the answer: `failed COMPONENT`, or another outcome.
const CASES: [(&str, &str, &str); 40] = [
    (
        "a worker before its engine core within one second, though the core is heard first",
        "(EngineCore pid=9) ERROR 11-22 08:27:15 [core.py:7] EngineCore hit an exception.\n\
         (Worker_TP0 pid=10) ERROR 11-22 08:27:15 [multiproc_executor.py:7] WorkerProc hit an exception.\n\
         (APIServer pid=1) ERROR 11-22 08:27:15 [async_llm.py:7] EngineDeadError: EngineCore encountered an issue.\n",
        "failed vllm (Worker_TP0)",
    ),
    (
        "only a relay is left: who it tells of",
        "(APIServer pid=1) ERROR 11-22 08:27:15 [api_router.py:7] EngineDeadError: EngineCore encountered an issue. See stack trace (above).\n\
         (APIServer pid=1) INFO:     10.0.0.1:5 - \"POST /v1/completions HTTP/1.1\" 500 Internal Server Error\n",
        "failed vllm",
    ),
    (
        "the library below the engine by a few milliseconds",
        "[1763800035.705274] [gpu-1:76:0]   ib_device.c:1332 UCX  ERROR   ibv_create_ah failed: Connection timed out\n\
         2025-11-22T08:27:15.709Z ERROR engine.start: step failed\nTraceback (most recent call last):\n  File \"/x/vllm/engine.py\", line 1, in step\nRuntimeError: transfer\n",
        "failed nixl",
    ),
    (
        "the first block of a chain",
        "2025-11-22T08:27:15.709Z ERROR worker.run: failed\nTraceback (most recent call last):\n  File \"/x/site-packages/sglang/srt/s.py\", line 1, in f\nValueError: a\n\n\
         During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/x/site-packages/dynamo/frontend/main.py\", line 1, in g\nRuntimeError: b\n",
        "failed sglang",
    ),
    (
        "the last cause of a chain of anyhow",
        "ERROR dynamo_runtime::worker: Application shutdown with error: starting\n\nCaused by:\n    0: creating lease\n    1: connect to etcd: tcp connect error: Connection refused (os error 111)\n",
        "failed etcd",
    ),
    (
        "a traceback at DEBUG, line by line",
        "2025-11-22T08:27:15.252Z DEBUG dynamo_run::subprocess:   File \"/x/vllm/engine.py\", line 5, in run\n\
         2025-11-22T08:27:15.252Z DEBUG dynamo_run::subprocess:     engine = make(\n",
        "failed vllm",
    ),
    (
        "a stack without a time before the first stamp, by who speaks next",
        "  File \"uvloop/loop.pyx\", line 7, in run\nRuntimeError: the loop ended\n\
         2025-11-22T08:27:15.752Z  INFO serve.exit: [PrefillWorker:1] Running shutdown hooks on exit\n\
         2025-11-22T08:27:16.087Z  INFO serve.exit: [Frontend:1] Shutdown hooks completed successfully\n",
        "failed prefill",
    ),
    (
        "a panic, by the file that it names",
        "thread 'tokio-runtime-worker' (7) panicked at /work/lib/llm/src/http/service/s.rs:1:2:\ncould not bind to address: 0.0.0.0:8000\n\
         INFO 11-22 08:27:15 [x.py:1] vLLM is here too\n",
        "failed frontend",
    ),
    (
        "a steady beat without progress",
        "2025-11-22T08:27:04.158Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:05.159Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.161Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n",
        "failed kvbm",
    ),
    (
        "the same beat, and then it goes on",
        "2025-11-22T08:27:04.158Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:05.159Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.161Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: Ping timed out. Retrying...\n\
         2025-11-22T08:27:06.961Z  INFO dynamo_llm::block_manager::distributed::zmq: Leader: ping successful\n",
        "healthy",
    ),
    (
        "who waits now and then only waits",
        "2025-11-22T08:27:04.158Z  INFO planner.run: Waiting for metrics\n2025-11-22T08:27:05.158Z  INFO planner.run: Waiting for metrics\n\
         2025-11-22T08:27:55.158Z  INFO planner.run: Waiting for metrics\n2025-11-22T08:27:56.158Z  INFO planner.run: idle\n",
        "healthy",
    ),
    (
        "a stop before every other, with work in flight and no order",
        "2025-11-22T08:27:10.736Z  INFO engine.add: Added request 2c9d47e6-0b8f-4d13-9a75-e81f60c3b4d2.\n\
         2025-11-22T08:27:11.132Z  INFO watcher.stop: dynamo_Planner stopped\n\
         2025-11-22T08:27:11.136Z  INFO worker.stop: [VllmWorker:1] Received shutdown signal, shutting down\n\
         2025-11-22T08:27:11.137Z  INFO dynamo_runtime::pipeline: Waiting for 2 inflight requests to complete\n",
        "failed planner",
    ),
    (
        "the same stop after an order",
        "2025-11-22T08:27:10.736Z  INFO engine.add: Added request 2c9d47e6-0b8f-4d13-9a75-e81f60c3b4d2.\n\
         2025-11-22T08:27:11.100Z  INFO serve.main: Received SIGTERM\n\
         2025-11-22T08:27:11.132Z  INFO watcher.stop: dynamo_Planner stopped\n\
         2025-11-22T08:27:11.136Z  INFO worker.stop: [VllmWorker:1] shutting down\n",
        "healthy",
    ),
    (
        "a loud shutdown that somebody ordered",
        "2025-11-22T08:27:15.100Z  INFO worker.main: Received SIGTERM, shutting down\n\
         2025-11-22T08:27:15.300Z ERROR dynamo_runtime::pipeline: Failed to unregister: channel closed\n\
         2025-11-22T08:27:15.400Z ERROR worker.main: task failed\nTraceback (most recent call last):\n  File \"/x/vllm/engine.py\", line 1, in f\nasyncio.exceptions.CancelledError\n\
         (EngineCore pid=9) ERROR 11-22 08:27:16 [core.py:7] EngineCore encountered a fatal error.\n",
        "healthy",
    ),
    (
        "Ctrl-C, and the stacks that it leaves",
        "^CProcess Worker-0:\nTraceback (most recent call last):\n  File \"/x/vllm/worker.py\", line 7, in loop\n    poll()\nKeyboardInterrupt\n",
        "healthy",
    ),
    (
        "who shouts only because the caller left",
        "2025-11-22T08:27:15.188Z ERROR dynamo_runtime::pipeline::network::tcp::client: failed to join writer task: Broken pipe (os error 32)\n",
        "cancelled",
    ),
    (
        "what the caller asked wrongly",
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 400 Bad Request\n\
         ERROR 11-22 08:27:15 [serving.py:7] BadRequestError: This model's maximum context length is 4096 tokens\n",
        "healthy",
    ),
    (
        "a conflict that the operator tries again",
        "2025-11-22T08:27:15Z\tERROR\tReconciler error\t{\"error\": \"Operation cannot be fulfilled on pods \\\"a\\\": the object has been modified\"}\n",
        "healthy",
    ),
    (
        "an error of the operator that it does not",
        "2025-11-22T08:27:15Z\tERROR\tFailed to get scale\t{\"error\": \"podcliques \\\"a\\\" not found\"}\n",
        "failed operator",
    ),
    (
        "a program that prints all it says as an error",
        "2025-11-22 08:27:15,114 - ERROR - __main__: Request 3 Chunk bytes: b'data: x'\n2025-11-22 08:27:15,214 - ERROR - __main__: Request 3 returning\n",
        "healthy",
    ),
    (
        "a health check that fails before the endpoint is there",
        "2025-11-22T08:27:11.026Z ERROR dynamo_runtime::health_check: Health check request failed for generate: no responders\n\
         2025-11-22T08:27:21.091Z  INFO dynamo_runtime::health_check: Health check successful for generate\n",
        "healthy",
    ),
    (
        "a stream made anew, without an id",
        "2025-11-22T08:27:15.784Z  WARN http-request: dynamo_llm::migration: Stream disconnected... recreating stream... Disconnected: Stream ended\n",
        "recovered",
    ),
    (
        "a dependency that comes back",
        "2025-11-22T08:27:15.402Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=1\n\
         2025-11-22T08:27:15.903Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=2\n\
         2025-11-22T08:27:17.410Z  INFO dynamo_runtime::transports::etcd::lease: keep alive re-established\n",
        "recovered",
    ),
    (
        "one that stays away, whoever starts to fail for it",
        "2025-11-22T08:27:15.402Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=1\n\
         2025-11-22T08:27:15.903Z  WARN dynamo_runtime::transports::etcd::lease: Keep-alive stream error attempt=2\n\
         2025-11-22T08:27:16.001Z ERROR dynamo_llm::http::service: Internal server error: no instances found\n",
        "failed etcd",
    ),
    (
        "an image that cannot be pulled is the cluster's",
        "worker-0   0/1   ImagePullBackOff   0   20m\n##[error]Process completed with exit code 1.\n",
        "failed k8s",
    ),
    (
        "a build that fails",
        "#8 ERROR: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\nERROR: failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2\n",
        "failed docker_build",
    ),
    (
        "a disk that is full, behind a traceback of somebody's",
        "2025-11-22T08:27:15.188Z ERROR worker.main: failed to write\nTraceback (most recent call last):\n  File \"/x/vllm/cache.py\", line 1, in f\nOSError: [Errno 28] No space left on device\n",
        "failed infra_fail",
    ),
    (
        "a test that fails where no log says why",
        "E       AssertionError: expected 2, got 1\nFAILED tests/test_a.py::test_b - AssertionError\n== 1 failed, 2 passed in 1.0s ==\n##[error]Process completed with exit code 1.\n",
        "failed test_fail",
    ),
    (
        "words that nobody foresaw, of a logger that means what it says",
        "2025-11-22T08:27:16.000000Z ERROR dynamo_llm::kv_router: the indexer ate itself\n",
        "failed router",
    ),
    (
        "a test that prints a panic and passes",
        "thread 'b' panicked at src/b.rs:1:1:\nas it should\ntest b ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; finished in 0.00s\n",
        "healthy",
    ),
    (
        "a dependency, though an echo comes long after it",
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
        "an ordinary scaling down, as the cluster tells it",
        "5m3s        Normal    Killing            pod/worker-0     Stopping container main\n\
         5m1s        Warning   Unhealthy          pod/worker-0     Readiness probe failed: connection refused\n",
        "healthy",
    ),
    (
        "a client of the job that gives up before the step does",
        "error: timed out waiting for the condition on pods/vllm-decode-0\n##[error]Process completed with exit code 1.\n",
        "failed backend",
    ),
    (
        "a kill that only a watcher tells of, at DEBUG",
        "2025-11-22T08:27:03.420Z  INFO worker.generate: [VllmWorker:1] Loaded the model\n\
         2025-11-22T08:27:05.003Z DEBUG watcher.reap: process 31877 was killed by signal 9\n\
         2025-11-22T08:27:06.118Z ERROR chat: dynamo_llm::http::service::openai: Internal server error: no responders\n",
        "failed vllm",
    ),
    (
        "a service that died of a signal",
        "prefill-worker-1 exited with code 139\nfrontend-1 exited with code 0\n",
        "failed prefill",
    ),
    (
        "a load that failed and was done again",
        "(EngineCore pid=9) ERROR 11-22 08:27:15 [nixl_connector.py:8] zmq.error.Again: Resource temporarily unavailable\n\
         (EngineCore pid=9) WARNING 11-22 08:27:15 [scheduler.py:1] Recovered from KV load failure: 1 request(s) rescheduled\n",
        "recovered",
    ),
    (
        "a request that is refused, and one that is served, by their statuses",
        "2025-11-22T08:27:08.514Z ERROR http-request: dynamo_llm::http::service::metrics: request completed with error request_id=5d4c9d55-9c3c-4c0a-a1c8-0f6fa51ff0f1 status=400 error_type=validation\n\
         2025-11-22T08:27:10.944Z  INFO http-request: dynamo_llm::http::service::metrics: request completed request_id=0b6b2f49-13f6-4d63-8fa3-1ea1c3eb0a0d status=200\n",
        "healthy",
    ),
    (
        "what was written over zero bytes",
        "INFO 11-22 08:27:15 [x.py:1] fine\n\0\0\0\0\0\0\0\0ERROR 11-22 08:27:16 [core.py:1] RuntimeError: CUDA error: lost\n",
        "failed vllm",
    ),
    (
        "nothing but chatter",
        "INFO 11-22 08:27:15 [x.py:1] Automatically detected platform cuda.\nloading weights: 50 %\n",
        "healthy",
    ),
];

fn report(log: &str) -> Report {
    analyze(
        &Sources::of_texts([("input.log", log.as_bytes())]).unwrap(),
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
fn what_people_paste() {
    let mut wrong = Vec::new();
    for (what, log, expected) in &CASES {
        let found = answer(&report(log));
        // The instance counts where the case names one.
        let plain =
            if expected.contains('(') { found.as_str() } else { found.split(" (").next().unwrap() };
        if plain != *expected {
            wrong.push(format!("{what}: {found}, not {expected}\n{log}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_failure_is_proved_by_its_line() {
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
fn the_cut_changes_nothing() {
    for (what, log, _) in &CASES {
        let sources = Sources::of_texts([("input.log", log.as_bytes())]).unwrap();
        let whole = analyze(&sources, &Options::default(), &|_| {});
        for chunk in [40, 150] {
            let options =
                Options { plan: Plan { chunk, batch: 2, ..Plan::default() }, ..Options::default() };
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
