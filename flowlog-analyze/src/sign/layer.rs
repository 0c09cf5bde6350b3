//! How deep in the stack of processes a line was said: of two failures within one tick of the clock the deeper came first.

use crate::observation::Observation;

/// Where a line was said, the deepest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Layer {
    /// A library below the engine, the kernel, the machine.
    Library,
    /// A worker process of an engine, one for each GPU.
    Worker,
    /// The engine's core.
    EngineCore,
    /// Who calls the engine, and everybody else.
    #[default]
    Handler,
    /// Router and frontend.
    Frontend,
    /// Who calls the frontend.
    Client,
    /// A test or a step of a CI job.
    Step,
}

/// A word of a process's, module's or file's name, and its layer; the first counts.
const NAMES: [(&str, Layer); 20] = [
    ("apiserver", Layer::Frontend),
    ("api_server", Layer::Frontend),
    ("api_router", Layer::Frontend),
    ("serving_", Layer::Frontend),
    ("tokenizer_manager", Layer::Handler),
    ("enginecore", Layer::EngineCore),
    ("engine_core", Layer::EngineCore),
    ("core.py", Layer::EngineCore),
    ("core_client", Layer::Handler),
    ("async_llm", Layer::Handler),
    ("scheduler", Layer::EngineCore),
    ("worker_tp", Layer::Worker),
    ("worker_pp", Layer::Worker),
    ("workerproc", Layer::Worker),
    ("vllmworkerprocess", Layer::Worker),
    ("rayworker", Layer::Worker),
    ("multiproc_executor", Layer::Worker),
    ("gpu_worker", Layer::Worker),
    ("gpu_model_runner", Layer::Worker),
    ("model_runner", Layer::Worker),
];

/// The layer of what an observation says, in a format, by a process of its speaker's.
pub(super) fn of(format: &str, observation: &Observation<'_>, process: &str) -> Layer {
    match format {
        "ucx" | "nixl" | "nccl" | "kernel" => return Layer::Library,
        // What no format takes, a tool or a shell said.
        "pytest" | "rust_tests" | "ci" | "exit_status" | "" => return Layer::Step,
        _ => {}
    }
    let named = |name: &str| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().find(|(part, _)| name.contains(part)).map(|(_, layer)| *layer)
    };
    if let Some(layer) = named(process).or_else(|| named(&observation.target)) {
        return layer;
    }
    match observation.component.as_deref() {
        Some("frontend" | "router") => Layer::Frontend,
        Some("client") => Layer::Client,
        _ => Layer::Handler,
    }
}
