//! Component names in the names of pods, containers, services, processes and files.

/// Name fragments and the components they stand for.
///
/// The first match wins. The role of a process comes before its engine: `vllm-prefill-worker` is a
/// prefill worker.
const PARTS: [(&str, &str); 20] = [
    ("frontend", "frontend"),
    ("planner", "planner"),
    ("prefill", "prefill"),
    ("decode", "backend"),
    ("router", "router"),
    ("backend", "backend"),
    ("kvbm", "kvbm"),
    ("nixl", "nixl"),
    ("controller-manager", "operator"),
    ("operator", "operator"),
    ("etcd", "etcd"),
    ("nats", "nats"),
    ("sglang", "sglang"),
    ("trtllm", "trtllm"),
    ("tensorrt", "trtllm"),
    ("vllm", "vllm"),
    ("enginecore", "vllm"),
    ("apiserver", "vllm"),
    ("processor", "processor"),
    ("worker", "worker"),
];

/// Returns the component of the first known fragment in a name, ignoring case.
pub fn component_in(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    PARTS.iter().find(|(part, _)| name.contains(part)).map(|(_, component)| *component)
}

/// Returns whether a component is a program of an inference system, or what such a system runs on.
/// Names that any system may have, such as `frontend` and `worker`, are not.
pub fn is_of_inference(component: &str) -> bool {
    const OTHERS: [&str; 14] = [
        "planner", "prefill", "kvbm", "nixl", "etcd", "nats", "sglang", "trtllm", "vllm", "dynamo",
        "runtime", "ray", "mooncake", "lmcache",
    ];
    OTHERS.contains(&component)
}

/// Returns whether a name ends in a number, as the names of replicas do: `worker-0`, `web_1`,
/// `web.1`.
pub fn is_numbered(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.len() < name.len() && stem.len() > 1 && stem.ends_with(['-', '_', '.'])
}

/// Returns whether a name ends like a pod of a Deployment or a clique.
///
/// Kubernetes draws their last five characters from an alphabet without vowels.
pub fn is_pod(name: &str) -> bool {
    let Some((stem, end)) = name.rsplit_once('-') else { return false };
    end.len() == 5
        && end.bytes().all(|b| POD_ALPHABET.contains(&b))
        && stem.contains('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// Alphabet of the suffixes that Kubernetes draws (`k8s.io/apimachinery/pkg/util/rand`).
pub const POD_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Returns the workload of a pod: its name without the suffixes that a Deployment's ReplicaSet, a
/// StatefulSet, a DaemonSet or a Job adds. A name that has none is returned unchanged.
///
/// Names written by hand have suffixes of any letters, so that a hash of digits and letters before
/// the last part is enough.
pub fn workload_of(pod: &str) -> &str {
    let is_hash = |text: &str| {
        (6..=10).contains(&text.len()) && text.bytes().all(|b| POD_ALPHABET.contains(&b))
    };
    let is_lower = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_mixed = |text: &str| {
        text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_lowercase())
    };
    if let Some((stem, end)) = pod.rsplit_once('-') {
        if end.len() == 5 && is_lower(end) {
            if let Some((name, hash)) = stem.rsplit_once('-')
                && (6..=10).contains(&hash.len())
                && is_lower(hash)
                && (is_mixed(hash)
                    || hash.bytes().all(|b| b.is_ascii_digit())
                    || is_hash(hash) && is_pod(pod))
                && !name.is_empty()
            {
                return name;
            }
            if is_pod(pod) || is_mixed(end) && !stem.is_empty() {
                return stem;
            }
        }
        // A replica's number.
        if (1..=3).contains(&end.len()) && end.bytes().all(|b| b.is_ascii_digit()) && stem.len() > 1
        {
            return stem;
        }
    }
    pod
}

/// Derives a component from the name of a logger, module, program or source file; `None` if it
/// could be that of any program.
///
/// Of a path of names, the first part that is neither a domain, an abbreviation nor the class
/// itself: `org.apache.kafka.clients.Fetcher` is `kafka`.
pub fn of_logger(target: &str) -> Option<String> {
    const COMMON: [&str; 26] = [
        "com", "org", "io", "net", "dev", "github", "apache", "app", "src", "lib", "main", "root",
        "http", "server", "logger", "default", "log", "python", "api", "internal", "pkg", "cmd",
        "core", "common", "uvicorn", "gunicorn",
    ];
    let target = target.trim_matches(['[', ']', '(', ')', ':']);
    // A line number, or the line of a class.
    let target = target.split(['@', '#']).next().unwrap_or(target);
    let target = target.strip_suffix(|c: char| c == ':').unwrap_or(target);
    let target = match target.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|b| b.is_ascii_digit()) => file,
        _ => target,
    };
    if target.is_empty() || target.contains(' ') || target.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let parts: Vec<&str> = target
        .split(['.', ':', '/', '$'])
        .filter(|part| part.len() > 2)
        .filter(|part| !COMMON.contains(&part.to_ascii_lowercase().as_str()))
        .filter(|part| !matches!(*part, "java" | "cpp"))
        .collect();
    let name = parts.first()?;
    // The type of an exception is not a program: `ValueError`.
    let is_exception = name.starts_with(|c: char| c.is_ascii_uppercase())
        && ["Error", "Exception", "Warning"].iter().any(|end| name.ends_with(end));
    if is_exception {
        return None;
    }
    name.bytes().any(|b| b.is_ascii_alphabetic()).then(|| name.to_ascii_lowercase())
}

/// Returns whether a name is the other with more words: `billing-gateway` refines `billing`.
pub fn refines(name: &str, other: &str) -> bool {
    let mut words = name.split(['-', '_', '.']);
    let mut others = other.split(['-', '_', '.']);
    words.next().zip(others.next()).is_some_and(|(own, other)| own == other)
        && name.len() >= other.len()
}

/// Returns the package of the innermost frame of a Python traceback that is neither the
/// interpreter's nor a general framework's.
pub fn of_frames(text: &str) -> Option<String> {
    const LIBRARIES: [&str; 16] = [
        "asyncio",
        "concurrent",
        "multiprocessing",
        "threading",
        "runpy",
        "torch",
        "starlette",
        "fastapi",
        "uvicorn",
        "pydantic",
        "click",
        "importlib",
        "tornado",
        "urllib3",
        "requests",
        "site-packages",
    ];
    let package = |path: &str| {
        let inside = ["site-packages/", "dist-packages/"]
            .iter()
            .find_map(|folder| path.rsplit_once(folder).map(|(_, inside)| inside));
        if inside.is_none() && (path.contains("/lib/python") || path.starts_with('<')) {
            return None;
        }
        let inside = inside.unwrap_or(path).trim_start_matches(['/', '.']);
        let parts: Vec<&str> = inside.split('/').collect();
        let name = parts
            .iter()
            .find(|part| {
                let is_folder = part.contains("workspace") || part.contains("requirements");
                !is_folder
                    && !matches!(
                        **part,
                        "app"
                            | "workspace"
                            | "home"
                            | "root"
                            | "opt"
                            | "usr"
                            | "src"
                            | "local"
                            | "work"
                            | "tmp"
                    )
            })?
            .trim_end_matches(".py");
        (!LIBRARIES.contains(&name) && name.len() > 2).then(|| name.to_ascii_lowercase())
    };
    text.lines()
        .rev()
        .filter_map(|line| line.trim_start().strip_prefix("File \"")?.split('"').next())
        .find_map(package)
}

/// Producer of a log file, as its path names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileName {
    /// Component, if a part of the path names one.
    pub component: Option<&'static str>,
    /// Name that identifies the instance; empty if the file name could be that of any log.
    pub instance: String,
}

/// Derives the component and the instance from a log file's path.
///
/// Known forms are `<service>/<pod>.log`, `<pod>.previous.log`, `<command>.log.txt`, the kubelet's
/// `<namespace>_<pod>_<uid>/<container>/<n>.log` and `<pod>_<namespace>_<container>-<id>.log`, and
/// the members of a GitHub log archive.
pub fn of_file(path: &str) -> FileName {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let (folder, above) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let stem = stem_of(name);
    if let Some((_, rest)) = above.split_once('_')
        && let Some((pod, uid)) = rest.rsplit_once('_')
        && uid.len() >= 32
    {
        return FileName {
            component: component_in(folder).or_else(|| component_in(pod)),
            instance: pod.to_owned(),
        };
    }
    if let Some((rest, id)) = stem.rsplit_once('-')
        && id.len() == 64
        && let [pod, other, container] = rest.split('_').collect::<Vec<_>>()[..]
    {
        // Some collectors put the namespace first.
        let pod = if is_pod_like(other) && !is_pod_like(pod) { other } else { pod };
        return FileName {
            component: component_in(container).or_else(|| component_in(pod)),
            instance: pod.to_owned(),
        };
    }
    // `<namespace>_<pod>_<container>` and its variants.
    let parts: Vec<&str> = stem.split('_').collect();
    if parts.len() >= 2
        && let Some(pod) =
            parts.iter().copied().find(|part| workload_of(part) != *part && is_pod_like(part))
    {
        let component = parts.iter().find_map(|part| component_in(part));
        return FileName { component, instance: pod.to_owned() };
    }
    // GitHub numbers its log files: `0_build.txt`, `3_Run tests.txt`.
    let plain = stem
        .split_once('_')
        .filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit()))
        .map_or(stem, |(_, rest)| rest);
    if plain == "-"
        || plain.is_empty()
        || is_generic(plain)
        || plain.bytes().all(|b| b.is_ascii_digit())
    {
        return FileName::default();
    }
    FileName {
        component: component_in(plain).or_else(|| component_in(folder)),
        instance: plain.to_owned(),
    }
}

/// Strips the suffixes that mark a file as a log, number it, or name its compression.
fn stem_of(name: &str) -> &str {
    const ENDS: [&str; 23] = [
        ".log",
        ".txt",
        ".out",
        ".err",
        ".json",
        ".jsonl",
        ".gz",
        ".zst",
        ".zstd",
        ".xz",
        ".bz2",
        ".lz4",
        ".zip",
        ".tar",
        ".tgz",
        ".previous",
        ".current",
        ".stdout",
        ".stderr",
        "-previous",
        "_previous",
        ".csv",
        ".tsv",
    ];
    let mut stem = name;
    loop {
        let numbered = stem.rsplit_once('.').filter(|(rest, number)| {
            !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit() || b == b'-')
                && ENDS.iter().any(|end| rest.ends_with(end))
        });
        let shorter = numbered
            .map(|(rest, _)| rest)
            .or_else(|| ENDS.iter().find_map(|end| stem.strip_suffix(end)));
        match shorter.filter(|shorter| !shorter.is_empty()) {
            Some(shorter) => stem = shorter,
            None => return stem,
        }
    }
}

/// Returns whether a name has the hash of a ReplicaSet and of a pod.
pub fn is_pod_like(name: &str) -> bool {
    let workload = workload_of(name);
    name.len() >= workload.len() + 11 || is_pod(name)
}

/// Returns whether a name could be that of any log and so does not identify the producer.
pub fn is_generic(name: &str) -> bool {
    const GENERIC: [&str; 16] = [
        "input", "output", "log", "logs", "all", "job", "raw", "run", "stdout", "stderr",
        "console", "combined", "out", "err", "main", "test",
    ];
    GENERIC.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_components() {
        for (name, component) in [
            ("vllm-disagg-frontend-7d9c6b7b5-x2x4z", Some("frontend")),
            ("vllm-disagg-0-vllmprefillworker-bqv5f", Some("prefill")),
            ("VllmDecodeWorker", Some("backend")),
            ("dynamo-operator-controller-manager-0", Some("operator")),
            ("nats-server", Some("nats")),
            ("EngineCore_DP0", Some("vllm")),
            ("worker-0", Some("worker")),
            ("main", None),
        ] {
            assert_eq!(component_in(name), component, "{name}");
        }
    }

    #[test]
    fn file_paths_name_components_and_instances() {
        let uid = "9de2b6ee-7f8e-48dc-9bbd-19240bd5cc83";
        let id = "58f30423831cca8188828684644d2135ca2b6a36043dc4cd93ded28cc96bdeb1";
        for (path, component, instance) in [
            ("logs/worker-0.log", Some("worker"), "worker-0"),
            ("logs/worker-0.previous.log", Some("worker"), "worker-0"),
            ("logs/worker-0-previous.log", Some("worker"), "worker-0"),
            ("logs/worker-0.log.1", Some("worker"), "worker-0"),
            ("VllmPrefillWorker/pod-7.log", Some("prefill"), "pod-7"),
            ("tests/nats-server.log.txt", Some("nats"), "nats-server"),
            (
                &format!("/var/log/pods/dynamo_frontend-0_{uid}/main/3.log"),
                Some("frontend"),
                "frontend-0",
            ),
            (&format!("/var/log/containers/etcd-0_infra_main-{id}.log"), Some("etcd"), "etcd-0"),
            ("shop_cart-7d9f8b6c5d-x2x4z_cart.log", None, "cart-7d9f8b6c5d-x2x4z"),
            ("build/3_Run tests.txt", None, "Run tests"),
            ("0_build.txt", None, "build"),
            ("case/input.log", None, ""),
            ("-", None, ""),
            ("", None, ""),
        ] {
            assert_eq!(
                of_file(path),
                FileName { component, instance: instance.to_owned() },
                "{path}"
            );
        }
    }

    #[test]
    fn pods_name_workloads() {
        for (pod, workload) in [
            ("orders-7d9f8b6c5d-x2x4z", "orders"),
            ("rb-order-service-574f9cdc6-rf4ml", "rb-order-service"),
            ("orders-5f6d8c7b9-abcde", "orders"),
            ("postgres-0", "postgres"),
            ("tls-edge-jcgvxtxfd-b2w4x", "tls-edge"),
            ("fluentd-zx9k2", "fluentd"),
            ("backup-29384756-k2x9d", "backup"),
            ("run-the-tests", "run-the-tests"),
            ("web-admin-tools", "web-admin-tools"),
            ("orders", "orders"),
            ("h100", "h100"),
        ] {
            assert_eq!(workload_of(pod), workload, "{pod}");
        }
    }

    #[test]
    fn frames_name_packages() {
        let text = "Traceback (most recent call last):\n  File \"/usr/lib/python3.7/runpy.py\", line 1, in x\n  \
                    File \"/sklearnserver/sklearnserver/model.py\", line 36, in load\n  \
                    File \"/usr/lib/python3.7/asyncio/tasks.py\", line 1, in y\nStopIteration";
        assert_eq!(of_frames(text).as_deref(), Some("sklearnserver"));
        assert_eq!(of_frames("no frames"), None);
    }

    #[test]
    fn loggers_name_components() {
        for (target, component) in [
            ("org.apache.kafka.clients.Fetcher", Some("kafka")),
            ("c.s.orders.OrderService", Some("orders")),
            ("nova.osapi_compute.wsgi.server", Some("nova")),
            ("sshd", Some("sshd")),
            ("vllm", Some("vllm")),
            ("main.go:12", None),
            ("raylet.cc:361", Some("raylet")),
            ("QuorumCnxManager$Listener@493", Some("quorumcnxmanager")),
            ("7819", None),
            ("", None),
        ] {
            assert_eq!(of_logger(target).as_deref(), component, "{target}");
        }
    }

    #[test]
    fn replicas_and_pods() {
        for (name, numbered, pod) in [
            ("worker-0", true, false),
            ("web.1", true, false),
            ("h100", false, false),
            ("1", false, false),
            ("frontend-7d9c6b7b5-x2x4z", false, true),
            ("run-the-tests", false, false),
            ("x2x4z", false, false),
        ] {
            assert_eq!((is_numbered(name), is_pod(name)), (numbered, pod), "{name}");
        }
    }
}
