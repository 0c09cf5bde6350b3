//! Depth in the process stack at which a line was logged: of two failures within one clock tick,
//! the deeper came first.

use crate::event::ParsedEvent;

/// Layer in which a line was logged, the deepest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum StackLayer {
    /// A library below the engine, the kernel, or the machine.
    Library,
    /// A worker process of an engine, one per GPU.
    Worker,
    /// The engine's core.
    EngineCore,
    /// The caller of the engine, and everything else.
    #[default]
    Handler,
    /// Router and frontend.
    Frontend,
    /// The caller of the frontend.
    Client,
    /// A test or a step of a CI job.
    Step,
}

/// Substrings of process, module and file names, and their layers; the first match wins.
const NAMES: [(&str, StackLayer); 20] = [
    ("apiserver", StackLayer::Frontend),
    ("api_server", StackLayer::Frontend),
    ("api_router", StackLayer::Frontend),
    ("serving_", StackLayer::Frontend),
    ("tokenizer_manager", StackLayer::Handler),
    ("enginecore", StackLayer::EngineCore),
    ("engine_core", StackLayer::EngineCore),
    ("core.py", StackLayer::EngineCore),
    ("core_client", StackLayer::Handler),
    ("async_llm", StackLayer::Handler),
    ("scheduler", StackLayer::EngineCore),
    ("worker_tp", StackLayer::Worker),
    ("worker_pp", StackLayer::Worker),
    ("workerproc", StackLayer::Worker),
    ("vllmworkerprocess", StackLayer::Worker),
    ("rayworker", StackLayer::Worker),
    ("multiproc_executor", StackLayer::Worker),
    ("gpu_worker", StackLayer::Worker),
    ("gpu_model_runner", StackLayer::Worker),
    ("model_runner", StackLayer::Worker),
];

/// Returns the layer of an event from its format, its producer's process name, its target and its
/// component.
pub(super) fn of(format: &str, event: &ParsedEvent<'_>, process: &str) -> StackLayer {
    match format {
        "ucx" | "nixl" | "nccl" | "kernel" => return StackLayer::Library,
        // Text that no format accepts comes from a tool or a shell.
        "pytest" | "rust_tests" | "ci" | "exit_status" | "" => return StackLayer::Step,
        _ => {}
    }
    let named = |name: &str| {
        let name = name.to_ascii_lowercase();
        NAMES.iter().find(|(part, _)| name.contains(part)).map(|(_, layer)| *layer)
    };
    if let Some(layer) = named(process).or_else(|| named(&event.target)) {
        return layer;
    }
    match event.component.as_deref() {
        Some("frontend" | "router") => StackLayer::Frontend,
        Some("client") => StackLayer::Client,
        _ => StackLayer::Handler,
    }
}
