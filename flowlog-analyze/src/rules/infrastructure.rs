//! Rules for failures that no component owns, by the CI areas of the owners' table.

use super::rule::RuleClass::{Error, Fatal, Infrastructure, Killed, Relay};
use super::rule::{Attribution::Named, Attribution::Producer, Rule};

pub(super) const RULES: [Rule; 23] = [
    Rule::new(
        "image_pull",
        Infrastructure,
        Named("k8s"),
        &[
            "imagepullbackoff",
            "errimagepull",
            "failed to pull image",
            "pull access denied",
            "manifest unknown",
            "invalidimagename",
            "failed to resolve reference",
        ],
    )
    .none_of(&["failed to solve", "load metadata for"])
    .example("worker-0   0/1   ImagePullBackOff   0   20m", "worker-0   1/1   Running   0   20m   10.0.0.1   gpu-1"),
    Rule::new(
        "docker_build",
        Infrastructure,
        Named("docker_build"),
        &[
            "failed to solve",
            "=> error [",
            "executor failed running",
            "did not complete successfully: exit code",
            "returned a non-zero code",
            "dockerfile parse error",
            "failed to build image",
            "buildx failed",
        ],
    )
    .example("ERROR: failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2", "#12 DONE 3.2s"),
    Rule::new(
        "disk_full",
        Infrastructure,
        Named("infra_fail"),
        &["no space left on device", "disk quota exceeded", "errno 28", "enospc", "ephemeral-storage"],
    )
    .none_of(&["etcdserver"])
    .example("OSError: [Errno 28] No space left on device: '/tmp/x'", "2025-11-22T08:27:15.705Z  INFO worker.main: 20 GB left on device"),
    Rule::new(
        "runner_lost",
        Infrastructure,
        Named("infra_fail"),
        &[
            "lost communication with the server",
            "the runner has received a shutdown signal",
            "runner lost",
            "runner system failure",
            "no runner matching",
            "exceeded the maximum execution time",
            "job failed (system failure)",
            "the hosted runner encountered an error",
            "node_fail",
            "due to node failure",
        ],
    )
    .example(
        "##[error]The self-hosted runner: gpu-7 lost communication with the server. Verify the machine is running.",
        "##[group]Runner Image",
    ),
    Rule::new(
        "rate_limit",
        Infrastructure,
        Named("infra_fail"),
        &[
            "toomanyrequests",
            "rate limit exceeded",
            "exceeded a rate limit",
            "api rate limit",
            "429 client error",
            "http 429",
            "status 429",
            "rate limited",
            "reached your pull rate limit",
            "client error (429",
            "429 too many requests",
        ],
    )
    .none_of(&["http/1.1\"", "http/1.0\"", "http/2.0\""])
    .example(
        "##[error]toomanyrequests: You have reached your pull rate limit.",
        "INFO:     10.0.0.1:5 - \"POST /v1/chat/completions HTTP/1.1\" 429 Too Many Requests",
    ),
    Rule::new(
        "name_resolution",
        Infrastructure,
        Named("infra_fail"),
        &[
            "temporary failure in name resolution",
            "could not resolve host",
            "no such host",
            "name or service not known",
            "nameresolutionerror",
            "nodename nor servname",
            "server misbehaving",
            "failed to lookup address information",
        ],
    )
    .none_of(&["etcd", "nats", "cluster.local"])
    .example("curl: (6) Could not resolve host: pypi.org", "2025-11-22T08:27:15.705Z  INFO worker.main: resolved host pypi.org"),
    Rule::new(
        "no_connection",
        Infrastructure,
        Named("infra_fail"),
        &[
            "connect etimedout",
            "connect enetunreach",
            "connect ehostunreach",
            "network is unreachable",
            "tls handshake timeout",
            "i/o timeout",
            "connection timed out",
            "connect timeout",
            "failed to connect to github.com",
            "ssl_error_syscall",
            "gnutls_handshake() failed",
            "the requested url returned error: 50",
        ],
    )
    .and_any_of(&[":443", "https://", "port 443"])
    .none_of(&[".svc", "cluster.local", "dial tcp 10.", "dial tcp 172.", "dial tcp 192.168.", "localhost", "127.0.0.1"])
    .example(
        "##[error]connect ETIMEDOUT 203.0.113.7:443",
        "Error: connect ETIMEDOUT 10.0.0.7:6379",
    ),
    Rule::new(
        "certificate",
        Infrastructure,
        Named("infra_fail"),
        &[
            "certificate verify failed",
            "certificate_verify_failed",
            "x509: certificate",
            "certificate has expired",
            "unable to get local issuer certificate",
            "tls: failed to verify certificate",
            "invalid peer certificate",
        ],
    )
    .example(
        "Error: Get \"https://registry.example.com/v2/\": x509: certificate signed by unknown authority",
        "2025-11-22T08:27:15.705Z  INFO worker.main: certificate renewed",
    ),
    Rule::new(
        "unschedulable",
        Infrastructure,
        Named("k8s"),
        &[
            "failedscheduling",
            "schedulinggated",
            "nodes are available: ",
            "insufficient nvidia.com/gpu",
            "createcontainerconfigerror",
            "createcontainererror",
            "runcontainererror",
            "failedmount",
            "failedattachvolume",
            "failedcreatepodsandbox",
            "unbound immediate persistentvolumeclaims",
        ],
    )
    .example(
        "  Warning  FailedScheduling  2m38s  default-scheduler  0/8 nodes are available: 8 Insufficient nvidia.com/gpu.",
        "  Normal  Scheduled  2m38s  default-scheduler  Successfully assigned a/worker-0 to gpu-1",
    ),
    Rule::new(
        "admission",
        Infrastructure,
        Named("k8s"),
        &[
            "failed calling webhook",
            "failed to call webhook",
            "denied the request: ",
            "error: installation failed",
            "error: upgrade failed",
            "no matches for kind",
            "forbidden: exceeded quota",
        ],
    )
    .example(
        "Error: Internal error occurred: failed calling webhook \"mutate.example.com\": no endpoints available",
        "webhook mutate.example.com is ready",
    ),
    Rule::new(
        "pod_evicted",
        Infrastructure,
        Named("k8s"),
        &["evicted", "preempting pod", "the node was low on resource", "nodenotready", "node is not ready"],
    )
    .and_any_of(&["pod", "node", "kubelet"])
    .example(
        "5m3s        Warning   Evicted            pod/worker-0     The node was low on resource: memory",
        "2025-11-22T08:27:15.705Z  INFO dynamo_llm::block_manager: evicted 12 blocks",
    ),
    Rule::new(
        "container_restarts",
        Relay,
        Named("k8s"),
        &[
            "crashloopbackoff",
            "back-off restarting failed container",
            "liveness probe failed",
            "startup probe failed",
            "readiness probe failed",
        ],
    )
    .example(
        "worker-0   0/1   CrashLoopBackOff   7 (2m ago)   20m",
        "5m3s        Normal    Started            pod/worker-0     Started container main",
    ),
    Rule::new(
        "oom_killed",
        Killed,
        Producer,
        &["oomkilled", "out of memory: killed process", "oom-kill:", "invoked oom-killer", "memory cgroup out of memory"],
    )
    .example(
        "Memory cgroup out of memory: Killed process 4711 (python3) total-vm:1kB",
        "2025-11-22T08:27:15.705Z  INFO worker.main: memory in use 3 GB",
    ),
    Rule::new(
        "gpu_fault",
        Fatal,
        Named("infra_fail"),
        &["nvrm: xid", "fallen off the bus", "gpu is lost", "soft lockup", "nvml: driver/library version mismatch"],
    )
    .example(
        "[ 1234.567890] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        "[ 1234.567890] NVRM: loading NVIDIA UNIX x86_64 Kernel Module",
    ),
    Rule::new(
        "package_install",
        Infrastructure,
        Named("docker_build"),
        &[
            "subprocess-exited-with-error",
            "metadata-generation-failed",
            "failed building wheel for",
            "failed to build installable wheels",
            "could not build wheels for",
            "no matching distribution found for",
            "resolutionimpossible",
            "externally-managed-environment",
            "checksum mismatch",
            "missing go.sum entry",
            "go: cannot find module",
            "go.mod requires go >=",
            "npm err! code",
            "npm error code",
            "err_pnpm_",
            "e: unable to locate package",
            "e: failed to fetch",
            "e: some index files failed to download",
            "e: unable to correct problems",
            "has no installation candidate",
            "unable to find a match:",
            "error: failed to download metadata",
            "error: could not compile",
            "error: failed to select a version for",
            "error: failed to get `",
            "error: failed to run custom build command for",
            "urlopen error retrieval incomplete",
        ],
    )
    .example(
        "error: subprocess-exited-with-error",
        "Successfully built wheel for flowlog",
    ),
    Rule::new(
        "test_setup",
        Error,
        Named("test_fail"),
        &[
            "error at setup of",
            "error at teardown of",
            "error collecting",
            "internalerror>",
            "error during collection",
            "errors during collection",
            "keyboardinterrupt !!!",
        ],
    )
    .example("____ ERROR at setup of test_disagg ____", "collected 12 items"),
    Rule::new(
        "cloud",
        Infrastructure,
        Named("cloud"),
        &[
            "insufficientinstancecapacity",
            "quotaexceeded",
            "quota exceeded",
            "error acquiring the state lock",
            "expiredtoken",
            "unable to assume role",
            "could not assume role",
            "spot instance interruption",
            "stockout",
            "unable to locate credentials",
        ],
    )
    .none_of(&["disk quota exceeded"])
    .example(
        "Error: creating EC2 instance: InsufficientInstanceCapacity: no p5.48xlarge in this zone",
        "2025-11-22T08:27:15.705Z  INFO planner.scale: quota is 8 GPUs",
    ),
    Rule::new("vulnerability", Infrastructure, Named("security"), &["cve-20"])
        .and_any_of(&["high", "critical"])
        .example("│ setuptools (METADATA) │ CVE-2022-40897 │ HIGH │ fixed │ 59.6.0 │", "this release fixes CVE-2022-40897"),
    Rule::new(
        "security",
        Infrastructure,
        Named("security"),
        &["vulnerabilities found", "secret detected", "leaks found", "license check failed", "osrb", "disallowed license"],
    )
    .none_of(&["no vulnerabilities found", "0 vulnerabilities found", "no leaks found"])
    .example("##[error]license check failed: GPL-3.0 in crate x", "audited 90 packages: 0 vulnerabilities found"),
    Rule::new(
        "reporting",
        Infrastructure,
        Named("reporting"),
        &[
            "failed to createartifact",
            "failed to upload artifact",
            "artifact upload failed",
            "failed to properly upload",
            "error running the uploader",
            "error uploading to",
            "no test report files were found",
            "unable to upload the report",
            "failed to publish test results",
        ],
    )
    .example(
        "##[error]Failed to CreateArtifact: Artifact storage quota has been hit.",
        "Artifact test-results has been successfully uploaded!",
    ),
    Rule::new(
        "job_failed",
        Relay,
        Named("test_fail"),
        &[
            "process completed with exit code",
            "job failed: exit code",
            "job failed (system failure)",
            "marked build as failure",
            "finished: failure",
            "error: the command exited with status",
            "exited with code exit status",
        ],
    )
    .none_of(&["exit code 0.", "exit status 0"])
    .example("##[error]Process completed with exit code 1.", "Process completed with exit code 0."),
    Rule::new(
        "step_failed",
        Relay,
        Named("test_fail"),
        &[
            "returned non-zero exit status",
            "exited with code",
            "exited with exit code",
            "terminated with exit code",
            "make: ***",
            "has timed out after",
        ],
    )
    .none_of(&["exited with code 0", "exit code 0", "exit code: 0"])
    .example("The process '/usr/bin/git' exited with code 128", "frontend-1 exited with code 0"),
    Rule::new(
        "test_failed",
        Relay,
        Named("test_fail"),
        &["failed tests/", "error tests/", "assertionerror: ", "failures ====", " failed in ", " failed, "],
    )
    .and_any_of(&["failed tests/", "error tests/", "e       ", "failures ====", " in "])
    .none_of(&["traceback (most recent", "file \""])
    .example("FAILED tests/test_a.py::TestC::test_slow - Failed: Timeout (>1.0s)", "3 passed in 75.30s (0:01:15)"),
];
