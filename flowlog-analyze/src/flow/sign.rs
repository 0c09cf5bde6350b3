//! Lines outside every flow that tell of the run: a table of rules, each with its example.

use super::process::SignKind;
use crate::observation::Observation;

/// A rule: what it tells, words of which one must be there (in lower case), and a line that it is for.
pub(crate) struct Rule {
    /// What it tells.
    pub kind: SignKind,
    /// One of these must be in the message or the error beside it.
    pub words: &'static [&'static str],
    /// What the sign is about must be named: a dependency.
    pub about: &'static [&'static str],
    /// A line that it explains.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test and the reader use it"))]
    pub example: &'static str,
}

/// Every rule; the first that matches counts.
pub(crate) const RULES: [Rule; 5] = [
    Rule {
        kind: SignKind::Panic,
        words: &["panicked at ", "fatal python error"],
        about: &[],
        example: "thread 'tokio-runtime-worker' (8229) panicked at src/lib.rs:1:138:",
    },
    Rule {
        kind: SignKind::Unreachable,
        words: &[
            "not reachable",
            "could not connect",
            "failed to connect",
            "unable to maintain lease",
            "keep-alive stream error",
            "failed to establish keep-alive",
            "connection refused",
            "connect error",
            "disconnected from",
        ],
        about: &["etcd", "nats"],
        example: "Unable to maintain lease. Check etcd server status",
    },
    Rule {
        kind: SignKind::StartFailure,
        words: &[
            "failed to bind",
            "could not bind",
            "address already in use",
            "application shutdown with error",
            "failed to start",
            "failed to pre-fetch model",
        ],
        about: &[],
        example: "Failed to bind server to address",
    },
    Rule {
        kind: SignKind::Traceback,
        words: &["traceback (most recent call last):"],
        about: &[],
        example: "Traceback (most recent call last):",
    },
    Rule { kind: SignKind::Ready, words: &["chat endpoints enabled", "worker ready"], about: &[], example: "chat endpoints enabled" },
];

/// What a line outside every flow tells of the run, and what about.
pub fn of(observation: &Observation<'_>) -> Option<(SignKind, &'static str)> {
    if !observation.flows.is_empty() {
        return None;
    }
    let words = match &observation.error {
        Some(error) => format!("{} {error}", observation.message),
        None => observation.message.to_string(),
    }
    .to_ascii_lowercase();
    let target = observation.target.to_ascii_lowercase();
    RULES.iter().find_map(|rule| {
        // What is tried again has not failed yet.
        if rule.kind == SignKind::StartFailure && words.contains("will retry") {
            return None;
        }
        if !rule.words.iter().any(|word| words.contains(word)) {
            return None;
        }
        if rule.about.is_empty() {
            return Some((rule.kind, ""));
        }
        let about = rule.about.iter().find(|name| words.contains(**name) || target.contains(**name))?;
        Some((rule.kind, *about))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(message: &str) -> Option<(SignKind, &'static str)> {
        of(&Observation { message: message.into(), ..Observation::default() })
    }

    #[test]
    fn every_rule_explains_its_example() {
        for rule in &RULES {
            assert_eq!(kind(rule.example).map(|(kind, _)| kind), Some(rule.kind), "{}", rule.example);
        }
    }

    #[test]
    fn near_misses() {
        for message in [
            "Failed to send file watch event",
            "connection refused by upstream",
            "etcd connected",
            "shutting down",
            "chat endpoints disabled",
            "Failed to start instance removal watcher (will retry)",
        ] {
            assert_eq!(kind(message), None, "{message}");
        }
        assert_eq!(kind("etcd not reachable yet; retrying startup connection"), Some((SignKind::Unreachable, "etcd")));
    }
}
