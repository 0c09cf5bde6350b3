//! `kubectl logs` and stern.

use serde::Deserialize;
use serde_json::Value;

use super::{Envelope, Example, Inner, name};
use crate::component_names;
use crate::timestamp;

/// Timestamps of `kubectl logs --timestamps` and `docker logs -t`: RFC 3339 with nine digits
/// (`RFC3339NanoFixed`).
pub(super) const TIMESTAMPS: Envelope = Envelope {
    name: "kubectl_timestamps",
    peel: |line, meta| {
        // 2025-11-22T08:27:15.123456789Z: nine digits are more than any wrapped program writes.
        if line.get(19) != Some(&b'.') || !line.get(20..29)?.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (time, end) =
            timestamp::iso(line).filter(|(stamp, end)| stamp.is_complete() && *end >= 30)?;
        let rest = line.get(end..)?;
        if rest.starts_with(b" stdout ")
            || rest.starts_with(b" stderr ")
            || rest.starts_with(b" {") && rest.contains(&b'=')
        {
            return None;
        }
        let blank = usize::from(rest.starts_with(b" "));
        if blank == 0 && !rest.is_empty() {
            return None;
        }
        meta.time = Some(time);
        Some(Inner::after(end + blank, line))
    },
    examples: &[
        Example {
            line: "2025-11-22T08:27:15.123456789Z   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "2025-11-22T08:27:15.123456Z",
        },
        Example {
            line: "2025-11-22T08:27:15.000000000Z {\"a\":1}",
            content: "{\"a\":1}",
            expected: "2025-11-22T08:27:15.000000Z",
        },
        Example {
            line: "2025-11-22T10:27:15.123456789+02:00 x",
            content: "x",
            expected: "2025-11-22T08:27:15.123456Z",
        },
        Example {
            line: "2025-11-22T08:27:15.123456789Z",
            content: "",
            expected: "2025-11-22T08:27:15.123456Z",
        },
    ],
};

/// Prefix of `kubectl logs --prefix`: `[pod/NAME/CONTAINER] `.
pub(super) const PREFIX: Envelope = Envelope {
    name: "kubectl_prefix",
    peel: |line, meta| {
        let inner = line.strip_prefix(b"[pod/")?;
        let end = memchr::memchr(b']', inner.get(..MAX_PREFIX_BYTES.min(inner.len()))?)?;
        let (pod, container) = std::str::from_utf8(inner.get(..end)?).ok()?.split_once('/')?;
        if [pod, container].iter().any(|name| name.contains([' ', '/'])) {
            return None;
        }
        meta.producer.pod = pod.into();
        meta.producer.container = container.into();
        let after = "[pod/]".len() + end;
        Some(Inner::after(after + usize::from(line.get(after) == Some(&b' ')), line))
    },
    examples: &[
        Example {
            line: "[pod/worker-0/main] up",
            content: "up",
            expected: "pod=worker-0 container=main",
        },
        Example {
            line: "[pod/frontend-7d9c6b7b5-x2x4z/main] 2025-11-22T08:27:15.123456789Z up",
            content: "2025-11-22T08:27:15.123456789Z up",
            expected: "pod=frontend-7d9c6b7b5-x2x4z container=main",
        },
    ],
};

/// Maximum length of a prefix in bytes: two names of at most 253 characters.
const MAX_PREFIX_BYTES: usize = 520;

/// Default output of stern: `POD CONTAINER MESSAGE`.
///
/// Nothing delimits the names, so the pod's must look like one.
pub(super) const STERN: Envelope = Envelope {
    name: "stern",
    peel: |line, meta| {
        if !line.first().is_some_and(u8::is_ascii_lowercase) {
            return None;
        }
        let head = line.get(..MAX_PREFIX_BYTES.min(line.len()))?;
        let mut pod_start = 0;
        let mut pod_end = memchr::memchr(b' ', head)?;
        // With `-A`, the namespace comes first.
        if let Some(second) =
            memchr::memchr(b' ', head.get(pod_end + 1..)?).map(|at| pod_end + 1 + at)
            && is_label(head.get(..pod_end)?)
            && std::str::from_utf8(head.get(pod_end + 1..second)?)
                .is_ok_and(component_names::is_pod)
        {
            (pod_start, pod_end) = (pod_end + 1, second);
        }
        let pod = std::str::from_utf8(line.get(pod_start..pod_end)?).ok()?;
        let rest = line.get(pod_end + 1..)?;
        // A template may omit the container. Then the text must begin like a logger's line.
        let blanks = rest.len() - rest.trim_ascii_start().len();
        let bare = rest.get(blanks..).unwrap_or_default();
        if component_names::is_pod(pod)
            && (timestamp::looks_like_start(bare)
                || bare.starts_with(b"(")
                || bare.starts_with(b"{\""))
        {
            meta.producer.pod = pod.into();
            return Some(Inner::after(pod_end + 1 + blanks, line));
        }
        let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let container = rest.get(..end).filter(|container| is_label(container))?;
        let content = rest.get(end + 1..).unwrap_or_default();
        let leads = timestamp::looks_like_start(content)
            || is_nats_start(content)
            || content.starts_with(b"Traceback (most recent");
        // The name of a StatefulSet's or DaemonSet's pod is too weak a match without a logger's
        // line.
        let short =
            component_names::is_numbered(pod) || component_names::is_pod(&format!("x-{pod}"));
        if !(component_names::is_pod(pod) || leads && short && !pod.contains('.')) {
            return None;
        }
        meta.producer.pod = pod.into();
        meta.producer.container = name(container);
        Some(Inner::after(pod_end + 1 + end + 1, line))
    },
    examples: &[
        Example {
            line: "frontend-7d9c6b7b5-x2x4z main Traceback (most recent call last):",
            content: "Traceback (most recent call last):",
            expected: "pod=frontend-7d9c6b7b5-x2x4z container=main",
        },
        Example {
            line: "frontend-7d9c6b7b5-x2x4z  2025-11-22T08:27:15.123Z  INFO a: up",
            content: "2025-11-22T08:27:15.123Z  INFO a: up",
            expected: "pod=frontend-7d9c6b7b5-x2x4z",
        },
        Example {
            line: "nats-0 nats [7] 2025/11/22 08:27:15.705274 [INF] up",
            content: "[7] 2025/11/22 08:27:15.705274 [INF] up",
            expected: "pod=nats-0 container=nats",
        },
        Example {
            line: "worker-0 engine {\"time\":1}",
            content: "{\"time\":1}",
            expected: "pod=worker-0 container=engine",
        },
        Example {
            line: "dynamo frontend-7d9c6b7b5-x2x4z main up",
            content: "up",
            expected: "pod=frontend-7d9c6b7b5-x2x4z container=main",
        },
    ],
};

/// Returns whether a line begins like one of NATS, which puts its PID before the time.
fn is_nats_start(text: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', text.get(..text.len().min(12)).unwrap_or_default()) else {
        return false;
    };
    text.first() == Some(&b'[')
        && text.get(end + 2..).is_some_and(|rest| timestamp::slashes(rest).is_some())
}

fn is_label(text: &[u8]) -> bool {
    text.len() <= 63
        && text.first().is_some_and(u8::is_ascii_lowercase)
        && text.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Output of stern with `--output json` or `extjson`.
pub(super) const STERN_JSON: Envelope = Envelope {
    name: "stern_json",
    peel: |line, meta| {
        if line.first() != Some(&b'{') || !is_stern(line) {
            return None;
        }
        #[derive(Deserialize)]
        struct Entry {
            message: Value,
            #[serde(rename = "podName", alias = "pod")]
            pod: String,
            #[serde(rename = "containerName", alias = "container")]
            container: String,
        }
        let entry: Entry = serde_json::from_slice(line).ok()?;
        meta.producer.pod = name(entry.pod.as_bytes());
        meta.producer.container = name(entry.container.as_bytes());
        // In `extjson`, a message that is an object stays one.
        let message = match entry.message {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(Inner::Decoded(message.trim_end_matches('\n').as_bytes().to_vec()))
    },
    examples: &[
        Example {
            line: r#"{"message":"  File \"a.py\"\n","nodeName":"n1","namespace":"dynamo","podName":"worker-0","containerName":"main"}"#,
            content: "  File \"a.py\"",
            expected: "pod=worker-0 container=main",
        },
        Example {
            line: r#"{"nodeName":"n1","namespace":"dynamo","podName":"worker-0","containerName":"main","message":{"level":"INFO"}}"#,
            content: r#"{"level":"INFO"}"#,
            expected: "pod=worker-0 container=main",
        },
        Example {
            line: r#"{"pod": "worker-0", "container": "main", "message": "up"}"#,
            content: "up",
            expected: "pod=worker-0 container=main",
        },
    ],
};

fn is_stern(line: &[u8]) -> bool {
    const FIRST: [&[u8]; 4] =
        [b"{\"message\":", b"{\"nodeName\":", b"{\"namespace\":", b"{\"pod\":"];
    FIRST.iter().any(|first| line.starts_with(first))
        && [&b"\"podName\":"[..], b"\"container\":"]
            .iter()
            .any(|key| memchr::memmem::find(line, key).is_some())
}
