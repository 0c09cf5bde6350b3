//! Routine output of engines, servers and libraries: statistics, health checks, progress, and
//! occasionally a warning or a handled exception. None of it indicates a failure.

use std::fmt::Write as _;

/// Kind of process that produces routine output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseSource {
    /// Dynamo's frontend and router, in Dynamo's readable format, along with uvicorn.
    Frontend,
    /// vLLM worker.
    Vllm,
    /// SGLang worker.
    Sglang,
    /// TensorRT-LLM worker.
    TensorrtLlm,
    /// etcd and NATS.
    Dependencies,
}

impl NoiseSource {
    /// All noise sources.
    pub const ALL: [Self; 5] =
        [Self::Frontend, Self::Vllm, Self::Sglang, Self::TensorrtLlm, Self::Dependencies];
}

/// Appends the output of a process at a time, in microseconds since the Unix epoch: one line, or a
/// warning with its traceback.
pub fn write_noise(random: &mut fastrand::Rng, source: NoiseSource, micros: i64, out: &mut String) {
    let time = flowlog_schema::Time(micros * 1_000).to_string();
    let (date, clock, fraction) = (&time[..10], &time[11..19], &time[20..26]);
    let (year, month, day) = (&date[..4], &date[5..7], &date[8..10]);
    let n = |random: &mut fastrand::Rng, most: u32| random.u32(0..most);
    let f = |random: &mut fastrand::Rng, most: u32| {
        format!("{}.{}", random.u32(0..most), random.u32(0..10))
    };
    // One line in two thousand is unusual.
    let odd = random.u32(0..2_000) == 0;
    // Writing to a string cannot fail.
    let _ = match (source, random.u32(0..4)) {
        (NoiseSource::Frontend, _) if odd => {
            writeln!(
                out,
                "{time}  WARN dynamo_llm::http::service::disconnect: stream dropped early, closing after={}ms",
                n(random, 900)
            )
        }
        (NoiseSource::Frontend, 0) => writeln!(
            out,
            "{time} DEBUG dynamo_llm::kv_router::scheduler: formula for dp_rank=0 with {} cached blocks: {} = {} * prefill_blocks + decode_blocks",
            n(random, 40),
            f(random, 300),
            f(random, 2)
        ),
        (NoiseSource::Frontend, 1) => writeln!(
            out,
            "{time} DEBUG dynamo_llm::kv_router::publisher: processed active load update, {} blocks, usage {}",
            n(random, 5_000),
            f(random, 100)
        ),
        (NoiseSource::Frontend, 2) => {
            writeln!(
                out,
                "{time} TRACE dynamo_runtime::metrics: scraped {} series in {} us",
                n(random, 900),
                n(random, 9_000)
            )
        }
        (NoiseSource::Frontend, _) => writeln!(
            out,
            "INFO:     10.0.{}.{}:{} - \"GET /health HTTP/1.1\" 200 OK",
            n(random, 4),
            n(random, 250),
            30_000 + n(random, 30_000)
        ),
        (NoiseSource::Vllm, _) if odd => writeln!(
            out,
            "WARNING {month}-{day} {clock} [serving_chat.py:512] Error in preprocessing prompt inputs, answered by hand\n\
             WARNING {month}-{day} {clock} [serving_chat.py:512] Traceback (most recent call last):\n\
             WARNING {month}-{day} {clock} [serving_chat.py:512]   File \"/opt/vllm/entrypoints/openai/serving_chat.py\", line {}, in create_chat_completion\n\
             WARNING {month}-{day} {clock} [serving_chat.py:512] ValueError: prompt is longer than the window by {} tokens",
            200 + n(random, 90),
            n(random, 900)
        ),
        (NoiseSource::Vllm, 0 | 1) => writeln!(
            out,
            "INFO {month}-{day} {clock} [loggers.py:118] Engine 000: Avg prompt throughput: {} tokens/s, Avg generation throughput: {} tokens/s, Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {}%, Prefix cache hit rate: {}%",
            f(random, 3_000),
            f(random, 900),
            n(random, 64),
            n(random, 12),
            f(random, 100),
            f(random, 100)
        ),
        (NoiseSource::Vllm, 2) => writeln!(
            out,
            "DEBUG {month}-{day} {clock} [core.py:{}] EngineCore loop active.",
            300 + n(random, 3)
        ),
        (NoiseSource::Vllm, _) => writeln!(
            out,
            "INFO {month}-{day} {clock} [kv_cache_utils.py:{}] GPU KV cache size: {} tokens, {} free",
            800 + n(random, 2),
            100_000 + n(random, 9_000),
            n(random, 90_000)
        ),
        (NoiseSource::Sglang, _) if odd => writeln!(
            out,
            "[{date} {clock} TP0] KV cache pool is nearly full, retract {} requests, #new_token_ratio: 0.{}",
            n(random, 9),
            n(random, 99)
        ),
        (NoiseSource::Sglang, 0 | 1) => writeln!(
            out,
            "[{date} {clock} TP0] Decode batch, #running-req: {}, #token: {}, token usage: 0.{:02}, cuda graph: True, gen throughput (token/s): {}, #queue-req: {}",
            n(random, 64),
            n(random, 60_000),
            n(random, 99),
            f(random, 4_000),
            n(random, 9)
        ),
        (NoiseSource::Sglang, _) => writeln!(
            out,
            "[{date} {clock} TP0] Prefill batch, #new-seq: {}, #new-token: {}, #cached-token: {}, token usage: 0.{:02}, #running-req: {}, #queue-req: {}",
            n(random, 9),
            n(random, 8_000),
            n(random, 4_000),
            n(random, 99),
            n(random, 64),
            n(random, 9)
        ),
        (NoiseSource::TensorrtLlm, _) if odd => {
            writeln!(
                out,
                "[{month}/{day}/{year}-{clock}] [TRT-LLM] [W] Block reuse is off for {} requests with images",
                n(random, 9)
            )
        }
        (NoiseSource::TensorrtLlm, 3) => writeln!(
            out,
            "[{month}/{day}/{year}-{clock}] [TRT-LLM] [I] [MemUsageChange] Allocated {} GiB for the KV cache ({} pages).",
            f(random, 60),
            n(random, 9_000)
        ),
        (NoiseSource::TensorrtLlm, _) => writeln!(
            out,
            "[{month}/{day}/{year}-{clock}] [TRT-LLM] [RANK 0] [I] iter = {}, host_step_time = {}ms, num_scheduled_requests: {}, num_ctx_tokens: {}, num_generation_tokens: {}",
            n(random, 90_000),
            f(random, 90),
            n(random, 64),
            n(random, 8_000),
            n(random, 64)
        ),
        (NoiseSource::Dependencies, 0 | 1) => writeln!(
            out,
            r#"{{"level":"info","ts":"{time}","caller":"mvcc/index.go:{}","msg":"compact tree index","revision":{}}}"#,
            214 + n(random, 2),
            n(random, 90_000)
        ),
        (NoiseSource::Dependencies, _) => {
            writeln!(
                out,
                "[1] {year}/{month}/{day} {clock}.{fraction} [INF] JetStream cluster usage: {} streams, {} bytes",
                n(random, 40),
                n(random, 900_000)
            )
        }
    };
}
