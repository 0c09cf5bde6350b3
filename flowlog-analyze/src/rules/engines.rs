//! Engines and the GPUs below them: vLLM, SGLang, TensorRT-LLM, CUDA, NCCL.

use super::rule::RuleClass::{Fatal, Killed, Panic, Relay};
use super::rule::{Attribution::CodeOr, Attribution::Named, Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 16] = [
    Rule::new("panicked", Panic, Producer, &[" panicked at ", "fatal python error: ", "panicked with message"]).example(
        "thread 'tokio-runtime-worker' (8229) panicked at src/lib.rs:1:138:\nboom",
        "2025-11-22T08:27:15.705Z  INFO worker.main: no thread panicked",
    ),
    Rule::new(
        "vllm_engine_dead",
        Relay,
        Named("vllm"),
        &[
            "enginedeaderror",
            "enginecore encountered an issue",
            "engine core initialization failed",
            "workerproc initialization failed due to an exception in a background process",
            "background loop has errored already",
            "engine loop is not running",
            "engine process failed to start",
            "engine is dead",
            "due to an exception in a background process",
        ],
    )
    .example(
        "ERROR 11-22 08:27:15 [async_llm.py:1] EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "ERROR 11-22 08:27:15 [core.py:1] EngineCore hit an exception.",
    ),
    Rule::new(
        "vllm_engine_core",
        Fatal,
        CodeOr("vllm"),
        &[
            "enginecore encountered a fatal error", "enginecore failed to start", "enginecore hit an exception",
            "engine core proc", "mqllmengine terminated",
        ],
    )
    .example(
        "ERROR 11-22 08:27:15 [core.py:1] EngineCore encountered a fatal error.",
        "INFO 11-22 08:27:15 [core.py:1] EngineCore waiting for work.",
    ),
    Rule::new(
        "vllm_worker",
        Fatal,
        CodeOr("vllm"),
        &[
            "workerproc hit an exception", "workerproc failed to start", "died unexpectedly, shutting down executor",
            "worker proc vllmworker", "exception in worker vllmworkerprocess",
        ],
    )
    .example(
        "(VllmWorker rank=1 pid=7) ERROR 11-22 08:27:15 [multiproc_executor.py:1] WorkerProc hit an exception.",
        "INFO 11-22 08:27:15 [multiproc_executor.py:1] WorkerProc is ready.",
    ),
    Rule::new("sglang_child_quit", Relay, Named("sglang"), &["received sigquit from a child process", "child process unexpectedly failed"])
        .example(
            "[2025-11-22 08:27:15] Received sigquit from a child process. It usually means the child failed.",
            "[2025-11-22 08:27:15] Received request from a child process",
        ),
    Rule::new(
        "sglang_scheduler",
        Fatal,
        CodeOr("sglang"),
        &[
            "scheduler hit an exception", "detokenizermanager hit an exception", "tokenizermanager hit an exception",
            "watchdog timeout (self.watchdog", "token_to_kv_pool_allocator memory leak",
        ],
    )
    .example(
        "[2025-11-22 08:27:15 TP0] Scheduler hit an exception: Traceback (most recent call last):\n  File \"/a/sglang/srt/managers/scheduler.py\", line 1, in f\nValueError: x",
        "[2025-11-22 08:27:15 TP0] Scheduler is idle",
    ),
    Rule::new(
        "trtllm_executor",
        Fatal,
        CodeOr("trtllm"),
        &[
            "failed to initialize executor", "executor worker returned error", "executor worker died",
            "encountered an error in forward function", "[tensorrt-llm][error]",
        ],
    )
    .example(
        "[11/22/2025-08:27:15] [TRT-LLM] [RANK 0] [E] Failed to initialize executor on rank 0: out of pages",
        "[11/22/2025-08:27:15] [TRT-LLM] [RANK 0] [I] Initialized executor on rank 0",
    ),
    Rule::new("mpi_abort", Relay, CodeOr("trtllm"), &["mpi_abort was invoked", "mpi_abort(", "called mpi_abort"]).example(
        "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD",
        "MPI_INIT was invoked on rank 0",
    ),
    Rule::new(
        "cuda_out_of_memory",
        Fatal,
        Producer,
        &[
            "cuda out of memory", "torch.outofmemoryerror", "cudaerrormemoryallocation",
            "no available memory for the cache blocks", "failed to allocate kv cache",
        ],
    )
    .example(
        "ERROR 11-22 08:27:15 [worker.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "INFO 11-22 08:27:15 [worker.py:1] Memory profiling took 2 s",
    ),
    Rule::new(
        "cuda_error",
        Fatal,
        Producer,
        &[
            "cuda error: ", "illegal memory access", "device-side assert", "cuda_error_", "cublas_status_", "cudnn_status_",
            "uncorrectable ecc error", "no cuda gpus are available",
        ],
    )
    .none_of(&["cuda out of memory"])
    .example(
        "ERROR 11-22 08:27:15 [worker.py:1] RuntimeError: CUDA error: an illegal memory access was encountered",
        "INFO 11-22 08:27:15 [worker.py:1] CUDA graphs captured",
    ),
    Rule::new(
        "nccl_error",
        Fatal,
        CodeOr("nccl"),
        &[
            "nccl error", "ncclinternalerror", "ncclsystemerror", "ncclunhandledcudaerror", "ncclremoteerror",
            "ncclinvalidusage", "nccl warn", "watchdog caught collective operation timeout", "distbackenderror",
        ],
    )
    .none_of(&["nccl_debug is set"])
    .example(
        "RuntimeError: NCCL error: remote process exited or there was a network error",
        "INFO 11-22 08:27:15 [pynccl.py:1] vLLM is using nccl==2.27.3",
    ),
    Rule::new("crashed", Fatal, Producer, &[
        "segmentation fault", "code=dumped", "code=killed, status=9", "failed with result 'signal'", "caught signal 4 (", "caught signal 6 (",
        "caught signal 7 (", "caught signal 8 (", "caught signal 11",
        "core dumped", "sigsegv", "sigabrt", "double free or corruption", "terminate called after throwing",
        "*** process received signal ***", "signal: aborted (6)", "memory access fault by gpu",
    ])
        .example(
            "[gpu-node-1:594314:0:594797] Caught signal 11 (Segmentation fault: address not mapped to object)",
            "2025-11-22T08:27:15.705Z  INFO worker.main: segmentation of the prompt is done",
        ),
    Rule::new("assertion_failed", Fatal, Producer, &["assertion `", "assertion '", "assertion \""])
        .and_any_of(&["` failed", "' failed", "\" failed"])
        .example(
            "worker: pool.c:80: take: Assertion `pool->free > 0' failed.",
            "2025-11-22T08:27:15.705Z  INFO worker.main: assertion `free > 0' holds",
        ),
    Rule::new("heartbeat_lost", Relay, Producer, &[
        "heartbeat timeout", "missed heartbeat", "heartbeat failed", "no heartbeat received",
    ]).example(
        "2025-11-22T08:27:15.705Z ERROR worker.main: heartbeat timeout of rank 1",
        "2025-11-22T08:27:15.705Z  INFO worker.main: heartbeat sent",
    ),
    Rule::new("see_above", Relay, Producer, &[
        "see stack trace", "root cause above", "see above for", "see the above", "see root cause",
    ]).example(
        "2025-11-22T08:27:15.705Z ERROR worker.main: startup failed, see stack trace",
        "2025-11-22T08:27:15.705Z  INFO worker.main: traces are on",
    ),
    Rule::new(
        "killed_by_signal",
        Killed,
        Producer,
        &[
            "exited with code 134", "exited with code 135", "exited with code 137", "exited with code 139", "exit code 134", "exit code 139",
            "exit code: 134", "exit code: 139", "exit code: -6", "exit code: -11", "exited on signal 6", "exited on signal 11", "killed by signal",
        ],
    )
    .example("worker-0 exited with code 139", "worker-0 exited with code 1"),
];
