//! Prefixes that launchers and frameworks add to the lines of their processes: names, PIDs, ranks.

use compact_str::CompactString;

use super::{Envelope, Example, Inner, Stream, name};
use crate::component_names;
use crate::timestamp;

/// Prefix of vLLM and Ray: `(NAME pid=7) `, with a rank or an address.
pub(super) const PARENTHESES: Envelope = Envelope {
    name: "process",
    peel: |line, meta| {
        let inner = line.strip_prefix(b"(")?;
        let end = closing(inner)?;
        let words = std::str::from_utf8(inner.get(..end)?).ok()?;
        // Ray's own services have no PID.
        let (label_text, rest) = match words.split_once("pid=") {
            Some(found) => found,
            None if words == "raylet"
                || words.starts_with("raylet, ip=")
                || words.starts_with("autoscaler +") =>
            {
                (words.split([',', ' ']).next()?, "0")
            }
            None => return None,
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let ends = rest.get(digits..)?;
        let label_text = label_text.trim();
        // `(see pid=5)` is prose.
        let named = label_text.is_empty()
            || label_text.contains(|c: char| c.is_ascii_uppercase() || matches!(c, '_' | '.'))
            || ends.contains("ip=")
            || rest == "0";
        if digits == 0
            || !named
            || !(ends.is_empty() || ends.starts_with(", ip=") || ends.starts_with(' '))
        {
            return None;
        }
        // Some prefixes have only a PID.
        meta.producer.process = match label_of(words) {
            Some(process) => process,
            None if label_text.is_empty() => {
                name(format!("pid {}", rest.get(..digits)?).as_bytes())
            }
            None => name(label_text.as_bytes()),
        };
        Some(Inner::after(1 + end + 1 + usize::from(inner.get(end + 1) == Some(&b' ')), line))
    },
    examples: &[
        Example {
            line: "(EngineCore_DP0 pid=309)   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "process=EngineCore_DP0",
        },
        Example {
            line: "(VllmWorker rank=1 pid=8441) INFO x",
            content: "INFO x",
            expected: "process=VllmWorker rank=1",
        },
        Example {
            line: "(RayWorkerEnvelope pid=263, ip=10.0.16.95) up",
            content: "up",
            expected: "process=RayWorkerEnvelope 10.0.16.95",
        },
        Example {
            line: "(MapWorker(MapBatches(f)) pid=7, ip=10.0.16.95) up",
            content: "up",
            expected: "process=MapWorker(MapBatches(f)) 10.0.16.95",
        },
        Example { line: "(pid=776) up", content: "up", expected: "process=pid 776" },
        Example {
            line: "(raylet) A worker died",
            content: "A worker died",
            expected: "process=raylet",
        },
    ],
};

/// Returns the name of a process in a label such as `EngineCore pid=7`, `Worker pid=7, ip=10.0.0.1`;
/// `None` if it has no name. Names repeat across nodes, so an address is added.
pub(super) fn label_of(label: &str) -> Option<CompactString> {
    let (text, ends) = label.split_once("pid=")?;
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(match ends.split_once("ip=") {
        Some((_, address)) => name(format!("{text} {}", address.trim()).as_bytes()),
        None => name(text.as_bytes()),
    })
}

/// Returns the offset of the parenthesis that closes one that is open.
pub(super) fn closing(inner: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in inner.iter().enumerate().take(MAX_LABEL_BYTES) {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return Some(at),
            b')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Maximum length of a label in parentheses, in bytes.
const MAX_LABEL_BYTES: usize = 200;

/// Rank prefixes: torch's `[rank0]: `, torchrun's `[default0]:`, mpirun's `[1,0]<stderr>:`.
pub(super) const RANK: Envelope = Envelope {
    name: "rank",
    peel: |line, meta| {
        let inner = line.strip_prefix(b"[")?;
        let end = memchr::memchr(b']', inner.get(..inner.len().min(40))?)?;
        let label = std::str::from_utf8(inner.get(..end)?).ok()?;
        let rest = inner.get(end + 1..)?;
        if let Some((job, rank)) = label.split_once(',') {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let close = memchr::memchr(b'>', rest.get(..rest.len().min(12))?)?;
            let stream = Stream::parse(rest.strip_prefix(b"<")?.get(..close - 1)?)?;
            if !digits(job) || !digits(rank) || rest.get(close + 1) != Some(&b':') {
                return None;
            }
            meta.stream = stream;
            meta.producer.process = name(format!("rank {rank}").as_bytes());
            let blank = usize::from(rest.get(close + 2) == Some(&b' '));
            return Some(Inner::after(1 + end + 1 + close + 2 + blank, line));
        }
        let stem = label.trim_end_matches(|c: char| c.is_ascii_digit());
        let known = matches!(stem, "rank" | "default") && rest.first() == Some(&b':');
        if stem.len() == label.len() || !known {
            return None;
        }
        meta.producer.process = name(format!("rank {}", label.get(stem.len()..)?).as_bytes());
        // torch writes a space after the colon, and keeps the indentation of the text that follows.
        Some(Inner::after(1 + end + 2 + usize::from(rest.get(1) == Some(&b' ')), line))
    },
    examples: &[
        Example {
            line: "[rank0]:   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "process=rank 0",
        },
        Example {
            line: "[rank3]:[E1122 08:27:15.1 x.cpp:1] boom",
            content: "[E1122 08:27:15.1 x.cpp:1] boom",
            expected: "process=rank 3",
        },
        Example { line: "[default1]:up", content: "up", expected: "process=rank 1" },
        Example { line: "[1,3]<stderr>:up", content: "up", expected: "process=rank 3 err" },
    ],
};

/// Prefix `[NAME] ` of scripts that start several processes, and srun's `0: `.
pub(super) const NAME: Envelope = Envelope {
    name: "name",
    peel: |line, meta| {
        let (label_text, at) = bracketed(line).or_else(|| label(line))?;
        let content = line.get(at..)?;
        let numbered = label_text.bytes().all(|b| b.is_ascii_digit());
        let is_logged = timestamp::looks_like_start(content)
            || content.starts_with(b"Traceback (most recent")
            || content.starts_with(b"(EngineCore");
        // Prose does not have such a name in brackets: a component in capitals or with a number.
        let is_distinctive = !numbered
            && component_names::component_in(label_text).is_some()
            && (component_names::is_numbered(label_text)
                || !label_text.contains(|c: char| c.is_ascii_lowercase()));
        if !(is_logged || is_distinctive) {
            return None;
        }
        meta.producer.pod = if numbered {
            format!("task {label_text}").into()
        } else {
            name(label_text.as_bytes())
        };
        Some(Inner::after(at, line))
    },
    examples: &[
        Example {
            line: "[FRONTEND] 2025-11-22T08:27:15.705274Z  INFO x: up",
            content: "2025-11-22T08:27:15.705274Z  INFO x: up",
            expected: "pod=FRONTEND",
        },
        Example {
            line: "[decode-worker-1]   File \"a.py\"",
            content: "  File \"a.py\"",
            expected: "pod=decode-worker-1",
        },
        Example {
            line: "03: INFO 11-22 08:27:15 [core.py:1] up",
            content: "INFO 11-22 08:27:15 [core.py:1] up",
            expected: "pod=task 03",
        },
    ],
};

fn bracketed(line: &[u8]) -> Option<(&str, usize)> {
    let inner = line.strip_prefix(b"[")?;
    let end = memchr::memchr(b']', inner.get(..inner.len().min(64))?)?;
    let label_text = std::str::from_utf8(inner.get(..end)?).ok()?;
    let is_name = label_text.starts_with(|c: char| c.is_ascii_alphabetic())
        && label_text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        && !NOT_PROCESS_NAMES.contains(&label_text.to_ascii_uppercase().as_str());
    // `[TensorRT-LLM][ERROR]` and `[x]: y` are log formats of their own.
    (is_name && inner.get(end + 1) == Some(&b' ')).then_some((label_text, end + 3))
}

/// Bracketed words that are not process names.
const NOT_PROCESS_NAMES: [&str; 12] = [
    "TRACE",
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARN",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "FATAL",
    "TENSORRT-LLM",
    "TRT-LLM",
    "TENSORRT",
];

/// Parses the prefix of `srun --label`: the padded task number and a colon.
///
/// Returns the number and the offset of the line after it.
pub(super) fn label(line: &[u8]) -> Option<(&str, usize)> {
    let blanks = line.iter().take(6).take_while(|b| **b == b' ').count();
    let digits = line.get(blanks..)?.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
    let label_text = std::str::from_utf8(line.get(blanks..blanks + digits)?)
        .ok()
        .filter(|label_text| !label_text.is_empty())?;
    match line.get(blanks + digits..)? {
        b":" => Some((label_text, line.len())),
        rest => rest.starts_with(b": ").then_some((label_text, blanks + digits + 2)),
    }
}
