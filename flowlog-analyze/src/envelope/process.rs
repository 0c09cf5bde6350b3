//! What launchers and frameworks put before the lines of their processes: names, pids, ranks.

use super::{Envelope, Example, Inside, Stream, name};
use crate::names;
use crate::stamp;

/// vLLM's and Ray's `(NAME pid=7) `, with a rank or an address.
pub(super) const PARENTHESES: Envelope = Envelope {
    name: "process",
    peel: |line, facts| {
        let inner = line.strip_prefix(b"(")?;
        let end = memchr::memchr(b')', inner.get(..inner.len().min(MAX_NAME))?)?;
        let words = std::str::from_utf8(inner.get(..end)?).ok()?;
        // Ray's own services have no pid.
        let (who, rest) = match words.split_once("pid=") {
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
        let who = who.trim();
        // `(see pid=5)` is prose.
        let named = who.is_empty()
            || who.contains(|c: char| c.is_ascii_uppercase() || matches!(c, '_' | '.'))
            || ends.contains("ip=")
            || rest == "0";
        if digits == 0
            || !named
            || !(ends.is_empty() || ends.starts_with(", ip=") || ends.starts_with(' '))
        {
            return None;
        }
        // Names repeat from node to node; a bare pid is all there is of others.
        let process = match (who, ends.split_once("ip=")) {
            ("", _) => format!("pid {}", rest.get(..digits)?),
            (who, Some((_, address))) => format!("{who} {}", address.trim()),
            (who, None) => who.to_owned(),
        };
        facts.speaker.process = name(process.as_bytes());
        Some(Inside::after(1 + end + 1 + usize::from(inner.get(end + 1) == Some(&b' ')), line))
    },
    examples: &[
        Example {
            line: "(EngineCore_DP0 pid=309)   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "process=EngineCore_DP0",
        },
        Example {
            line: "(VllmWorker rank=1 pid=8441) INFO x",
            content: "INFO x",
            tells: "process=VllmWorker rank=1",
        },
        Example {
            line: "(RayWorkerEnvelope pid=263, ip=10.0.16.95) up",
            content: "up",
            tells: "process=RayWorkerEnvelope 10.0.16.95",
        },
        Example { line: "(pid=776) up", content: "up", tells: "process=pid 776" },
        Example {
            line: "(raylet) A worker died",
            content: "A worker died",
            tells: "process=raylet",
        },
    ],
};

const MAX_NAME: usize = 160;

/// Ranks: torch's `[rank0]: `, torchrun's `[default0]:`, mpirun's `[1,0]<stderr>:`, pytest-xdist's `[gw0] `.
pub(super) const RANK: Envelope = Envelope {
    name: "rank",
    peel: |line, facts| {
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
            facts.stream = stream;
            facts.speaker.process = name(format!("rank {rank}").as_bytes());
            let blank = usize::from(rest.get(close + 2) == Some(&b' '));
            return Some(Inside::after(1 + end + 1 + close + 2 + blank, line));
        }
        let stem = label.trim_end_matches(|c: char| c.is_ascii_digit());
        let known = matches!(stem, "rank" | "default") && rest.first() == Some(&b':');
        if stem.len() == label.len() || !known {
            return None;
        }
        facts.speaker.process = name(format!("rank {}", label.get(stem.len()..)?).as_bytes());
        // torch writes a blank behind the colon, and keeps the indentation of what follows.
        Some(Inside::after(1 + end + 2 + usize::from(rest.get(1) == Some(&b' ')), line))
    },
    examples: &[
        Example {
            line: "[rank0]:   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "process=rank 0",
        },
        Example {
            line: "[rank3]:[E1122 08:27:15.1 x.cpp:1] boom",
            content: "[E1122 08:27:15.1 x.cpp:1] boom",
            tells: "process=rank 3",
        },
        Example { line: "[default1]:up", content: "up", tells: "process=rank 1" },
        Example { line: "[1,3]<stderr>:up", content: "up", tells: "process=rank 3 err" },
    ],
};

/// `[NAME] ` as scripts write it that start several processes, and srun's `0: `.
pub(super) const NAME: Envelope = Envelope {
    name: "name",
    peel: |line, facts| {
        let (who, at) = bracketed(line).or_else(|| label(line))?;
        let content = line.get(at..)?;
        let numbered = who.bytes().all(|b| b.is_ascii_digit());
        let said = stamp::leads(content)
            || content.starts_with(b"Traceback (most recent")
            || content.starts_with(b"(EngineCore");
        // A name that no prose has in brackets: all capitals, or numbered.
        let telling = !numbered
            && names::component_in(who).is_some()
            && (names::is_numbered(who) || !who.contains(|c: char| c.is_ascii_lowercase()));
        if !(said || telling) {
            return None;
        }
        facts.speaker.pod =
            if numbered { format!("task {who}").into() } else { name(who.as_bytes()) };
        Some(Inside::after(at, line))
    },
    examples: &[
        Example {
            line: "[FRONTEND] 2025-11-22T08:27:15.705274Z  INFO x: up",
            content: "2025-11-22T08:27:15.705274Z  INFO x: up",
            tells: "pod=FRONTEND",
        },
        Example {
            line: "[decode-worker-1]   File \"a.py\"",
            content: "  File \"a.py\"",
            tells: "pod=decode-worker-1",
        },
        Example {
            line: "03: INFO 11-22 08:27:15 [core.py:1] up",
            content: "INFO 11-22 08:27:15 [core.py:1] up",
            tells: "pod=task 03",
        },
    ],
};

fn bracketed(line: &[u8]) -> Option<(&str, usize)> {
    let inner = line.strip_prefix(b"[")?;
    let end = memchr::memchr(b']', inner.get(..inner.len().min(64))?)?;
    let who = std::str::from_utf8(inner.get(..end)?).ok()?;
    let is_name = who.starts_with(|c: char| c.is_ascii_alphabetic())
        && who.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        && !NO_NAMES.contains(&who.to_ascii_uppercase().as_str());
    // `[TensorRT-LLM][ERROR]` and `[x]: y` are formats of their own.
    (is_name && inner.get(end + 1) == Some(&b' ')).then_some((who, end + 3))
}

/// What else programs put in brackets.
const NO_NAMES: [&str; 12] = [
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

/// `srun --label`: the task's number, padded, and a colon.
pub(super) fn label(line: &[u8]) -> Option<(&str, usize)> {
    let blanks = line.iter().take(6).take_while(|b| **b == b' ').count();
    let digits = line.get(blanks..)?.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
    let who = std::str::from_utf8(line.get(blanks..blanks + digits)?)
        .ok()
        .filter(|who| !who.is_empty())?;
    match line.get(blanks + digits..)? {
        b":" => Some((who, line.len())),
        rest => rest.starts_with(b": ").then_some((who, blanks + digits + 2)),
    }
}
