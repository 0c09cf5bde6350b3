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

/// Returns whether a name ends in a number, as the names of replicas do: `worker-0`, `web_1`,
/// `web.1`.
pub fn is_numbered(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.len() < name.len() && stem.len() > 1 && stem.ends_with(['-', '_', '.'])
}

/// Returns whether a name ends like a pod of a Deployment or a clique.
///
/// Kubernetes draws their last five characters from an alphabet without vowels
/// (`k8s.io/apimachinery/pkg/util/rand`).
pub fn is_pod(name: &str) -> bool {
    let Some((stem, end)) = name.rsplit_once('-') else { return false };
    end.len() == 5
        && end.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
        && stem.contains('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
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
        && let [pod, _, container] = rest.split('_').collect::<Vec<_>>()[..]
    {
        return FileName {
            component: component_in(container).or_else(|| component_in(pod)),
            instance: pod.to_owned(),
        };
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
    const ENDS: [&str; 19] = [
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
            ("logs/worker-0.log.1", Some("worker"), "worker-0"),
            ("VllmPrefillWorker/pod-7.log", Some("prefill"), "pod-7"),
            ("tests/nats-server.log.txt", Some("nats"), "nats-server"),
            (
                &format!("/var/log/pods/dynamo_frontend-0_{uid}/main/3.log"),
                Some("frontend"),
                "frontend-0",
            ),
            (&format!("/var/log/containers/etcd-0_infra_main-{id}.log"), Some("etcd"), "etcd-0"),
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
