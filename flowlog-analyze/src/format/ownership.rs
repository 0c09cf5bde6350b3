//! Ownership of the code that a line shows: by the frames of its stack, by the logging module, or
//! by the source file that it names.
//!
//! The innermost part with an owner decides: an error that NIXL raises inside vLLM is NIXL's.

use super::stack;

/// Parts of paths and the component that owns the code there. The leftmost match in a path wins: a
/// package belongs to its owner, whatever it wraps.
const PATHS: [(&str, &str); 31] = [
    ("/nixl/", "nixl"),
    ("/nixl_cu", "nixl"),
    ("nixl_connect/", "nixl"),
    ("/kvbm/", "kvbm"),
    ("/block_manager", "kvbm"),
    ("/planner/", "planner"),
    ("planner_core.py", "planner"),
    ("/planner.py", "planner"),
    ("/kv_router", "router"),
    ("dynamo/router/", "router"),
    ("llm/src/http/", "frontend"),
    ("llm/src/grpc/", "frontend"),
    ("dynamo/frontend/", "frontend"),
    ("/operator/internal/", "operator"),
    ("/operator/cmd/", "operator"),
    ("dynamo/mocker/", "mocker"),
    ("/vllm/", "vllm"),
    ("vllm_worker", "vllm"),
    ("/vllm_", "vllm"),
    ("/lmcache/", "lmcache"),
    ("/mooncake/", "mooncake"),
    ("/sglang/", "sglang"),
    ("/sgl_kernel/", "sglang"),
    ("/tensorrt_llm/", "trtllm"),
    ("/trtllm/", "trtllm"),
    ("/kserve/", "kserve"),
    ("/kfserving/", "kserve"),
    ("/sklearnserver/", "kserve"),
    ("/aiperf/", "client"),
    ("/genai_perf/", "client"),
    ("/openai/", "client"),
];

/// Prefixes of logging modules and the component that owns them.
const MODULES: [(&str, &str); 27] = [
    ("dynamo_llm::block_manager", "kvbm"),
    ("dynamo_kvbm", "kvbm"),
    ("kvbm", "kvbm"),
    ("dynamo_llm::http", "frontend"),
    ("dynamo_llm::grpc", "frontend"),
    ("dynamo_llm::discovery", "frontend"),
    ("dynamo_runtime::discovery", "runtime"),
    ("dynamo_llm::kv_router", "router"),
    ("dynamo_kv_router", "router"),
    ("kv_router", "router"),
    ("dynamo.planner", "planner"),
    ("planner", "planner"),
    ("load_planner", "planner"),
    ("profile_sla", "planner"),
    ("thorough.", "planner"),
    ("sla_planner", "planner"),
    ("prometheus_planner", "planner"),
    ("prometheus.", "planner"),
    ("dynamo.nixl_connect", "nixl"),
    ("nixl", "nixl"),
    ("dynamo.vllm", "vllm"),
    ("dynamo.sglang", "sglang"),
    ("dynamo.trtllm", "trtllm"),
    ("dynamo.frontend", "frontend"),
    ("ray.", "ray"),
    ("raylet", "ray"),
    ("mooncake", "mooncake"),
];

/// Parts of error messages that only one library produces, and that library.
const WORDS: [(&str, &str); 10] = [
    ("nixl_err_", "nixl"),
    ("nixlbackenderror", "nixl"),
    ("nixlremotedisconnect", "nixl"),
    ("nixl_agent", "nixl"),
    ("kvbm", "kvbm"),
    ("kvtransfererror", "sglang"),
    ("bootstrap_room", "sglang"),
    ("prefill bootstrap", "sglang"),
    ("[tensorrt-llm]", "trtllm"),
    ("tensorrt_llm::", "trtllm"),
];

/// Names in the files of shared libraries and the component that owns the code there.
const LIBRARIES: [(&str, &str); 5] = [
    ("libnccl", "nccl"),
    ("libnixl", "nixl"),
    ("libtensorrt_llm", "trtllm"),
    ("libnvinfer_plugin_tensorrt_llm", "trtllm"),
    ("mooncake", "mooncake"),
];

/// Returns the component that owns the code in a stack: the owner of the innermost frame with one,
/// in the first block of the chain. Without such a frame, returns the Dynamo component that runs
/// the code, or Ray, which runs that of others.
///
/// Of a Go stack, returns the program that runs it; of a native one, the owner of a library.
pub fn of_stack(text: &str) -> Option<&str> {
    if !text.contains("File \"") {
        return of_go_stack(text).or_else(|| of_native_stack(text));
    }
    let first = stack::first_of_chain(text);
    let calls_in = !first.contains("most recent call first");
    let mut frames = first
        .lines()
        .filter_map(|line| line.split_once("File \""))
        .map(|(_, rest)| rest.split('"').next().unwrap_or(rest));
    let found = if calls_in {
        frames.by_ref().filter_map(of_path).last()
    } else {
        frames.by_ref().find_map(of_path)
    };
    found
        .or_else(|| {
            let (_, below) = first
                .rsplit_once("/site-packages/dynamo/")
                .or_else(|| first.rsplit_once("/dist-packages/dynamo/"))?;
            below.split(['/', '.', '"']).next().filter(|name| !name.is_empty())
        })
        .or_else(|| first.contains("-packages/ray/").then_some("ray"))
}

/// Returns the program that runs the first goroutine of a stack: the owner of the outermost frame
/// outside of Go's own packages. Inner frames may be in libraries, which any program may use.
fn of_go_stack(text: &str) -> Option<&'static str> {
    if !text.contains(".go:") {
        return None;
    }
    let mut goroutines = text.match_indices("\ngoroutine ").map(|(at, _)| at);
    let end = goroutines.by_ref().nth(1).unwrap_or(text.len());
    let calls = text.get(..end)?.lines().rev().filter(|line| !line.starts_with([' ', '\t']));
    let mut packages = calls
        .map(|call| call.strip_prefix("created by ").unwrap_or(call))
        .filter(|call| call.contains('/') && call.contains('.') && !call.contains(": "))
        .filter(|call| {
            !["net/", "runtime/", "golang.org/"].iter().any(|own| call.starts_with(own))
        });
    let outermost = packages.next()?;
    GO_PROGRAMS
        .iter()
        .find(|(path, _)| outermost.starts_with(path))
        .map(|(_, component)| *component)
}

/// Import paths of programs in Go.
const GO_PROGRAMS: [(&str, &str); 7] = [
    ("go.etcd.io/bbolt", "etcd"),
    ("go.etcd.io/etcd/server", "etcd"),
    ("github.com/coreos/etcd/etcdserver", "etcd"),
    ("github.com/nats-io/nats-server", "nats"),
    ("github.com/ai-dynamo/dynamo", "operator"),
    ("github.com/ray-project/kuberay", "kuberay"),
    ("github.com/kserve/kserve", "kserve"),
];

/// Returns the owner of the innermost library in a native stack that has one.
fn of_native_stack(text: &str) -> Option<&'static str> {
    text.lines().skip(1).find_map(|line| {
        let at = line.find("lib")?;
        let file = line.get(at..)?;
        file.contains(".so").then_some(())?;
        LIBRARIES.iter().find(|(name, _)| file.contains(name)).map(|(_, component)| *component)
    })
}

/// Returns the component that owns the code at a path.
pub fn of_path(path: &str) -> Option<&'static str> {
    let package = ["/site-packages", "/dist-packages"]
        .iter()
        .filter_map(|packages| path.rfind(packages).map(|at| at + packages.len()))
        .max();
    let path = path.get(package.unwrap_or(0)..).unwrap_or(path);
    let found = PATHS.iter().filter_map(|(part, component)| {
        Some((path.find(part)?, std::cmp::Reverse(part.len()), *component))
    });
    found.min().map(|(_, _, component)| component)
}

/// Returns the component that owns a frame as `rich` draws it: `/app/planner.py:353 in run`.
pub fn of_drawn_frame(line: &str) -> Option<&'static str> {
    let (place, function) = line.trim().split_once(" in ")?;
    let (path, number) = place.rsplit_once(':')?;
    let is_frame = path.ends_with(".py")
        && !path.contains(' ')
        && !function.contains(' ')
        && number.bytes().all(|b| b.is_ascii_digit());
    is_frame.then(|| of_path(path))?
}

/// Returns the component that owns a logging module.
pub fn of_module(target: &str) -> Option<&'static str> {
    MODULES.iter().find(|(module, _)| target.starts_with(module)).map(|(_, component)| *component)
}

/// Returns the library that an error message names.
pub fn of_message(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| words.contains(word)).map(|(_, component)| *component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_owner_decides() {
        let frame = |path: &str| format!("  File \"{path}\", line 1, in f\n    x\n");
        let chain = |first: &str, second: &str| {
            format!(
                "Traceback (most recent call last):\n{}ValueError: a\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n{}KeyError",
                frame(first),
                frame(second)
            )
        };
        for (text, component) in [
            (
                frame("/x/site-packages/vllm/engine.py") + &frame("/x/site-packages/torch/nn.py"),
                Some("vllm"),
            ),
            (
                frame("/x/site-packages/vllm/engine.py") + &frame("/x/site-packages/nixl/_api.py"),
                Some("nixl"),
            ),
            (
                frame("/x/site-packages/dynamo/planner/planner_core.py")
                    + &frame("/x/kubernetes/client.py"),
                Some("planner"),
            ),
            (
                chain("/x/sglang/srt/scheduler.py", "/x/site-packages/dynamo/frontend/main.py"),
                Some("sglang"),
            ),
            (frame("/x/site-packages/dynamo/nothing_known/main.py"), Some("nothing_known")),
            (frame("/x/uvloop/loop.pyx"), None),
            (frame("/x/site-packages/ray/_private/worker.py"), Some("ray")),
            (
                frame("/x/site-packages/vllm/engine.py")
                    + &frame("/x/site-packages/ray/_private/worker.py"),
                Some("vllm"),
            ),
            ("no stack in /vllm/ at all".to_owned(), None),
            (
                "panic: freelist\n\ngoroutine 7 [running]:\ngo.etcd.io/bbolt.(*freelist).read(0xc0)\n\t/go/pkg/mod/bbolt/freelist.go:7 +0x1\ncreated by go.etcd.io/bbolt.(*DB).loadFreelist"
                    .to_owned(),
                Some("etcd"),
            ),
            (
                "panic: boom\n\ngoroutine 1 [running]:\ngithub.com/redis/go-redis.f(0xc0)\n\t/go/a.go:7 +0x1\nmain.main()"
                    .to_owned(),
                None,
            ),
            (
                "panic: boom\n\ngoroutine 1 [running]:\ngo.etcd.io/etcd/client/v3.f(0xc0)\n\t/go/a.go:7 +0x1\ngithub.com/acme/app.g(0xc0)\n\t/go/b.go:7 +0x1\nmain.main()"
                    .to_owned(),
                None,
            ),
            (
                "Caught signal 11\n 0 /lib/libucs.so.0(ucs_handle_error+0x1)\n 1 /x/libnccl.so.2(ncclInit+0x2)"
                    .to_owned(),
                Some("nccl"),
            ),
        ] {
            assert_eq!(of_stack(&text), component, "{text}");
        }
        let fatal = "Current thread 0x1 (most recent call first):\n  File \"/x/vllm/a.py\", line 1 in f\n  File \"/x/dynamo/frontend/main.py\", line 2 in g";
        assert_eq!(of_stack(fatal), Some("vllm"));
    }

    #[test]
    fn modules_paths_and_words() {
        assert_eq!(of_module("dynamo_llm::block_manager::distributed::zmq"), Some("kvbm"));
        assert_eq!(of_module("dynamo_runtime::pipeline"), None);
        assert_eq!(
            of_path("/workspace/lib/llm/src/http/service/service_v2.rs:69:33:"),
            Some("frontend")
        );
        assert_eq!(of_path("/workspace/lib/runtime/src/worker.rs"), None);
        assert_eq!(of_path("/x/vllm/env/site-packages/nixl/_api.py"), Some("nixl"));
        assert_eq!(of_path("/x/sglang/srt/disaggregation/nixl/conn.py"), Some("sglang"));
        assert_eq!(of_drawn_frame("/workspace/components/planner.py:353 in run"), Some("planner"));
        assert_eq!(of_drawn_frame("served /a/planner.py:3 in 5 ms"), None);
        assert_eq!(of_message("nixlBackendError('NIXL_ERR_BACKEND')"), Some("nixl"));
        assert_eq!(of_message("CUDA error"), None);
    }
}
