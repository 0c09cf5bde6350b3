//! Lifecycle of processes, from lines outside any flow: started, requested to stop, killed.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::event::ProcessEvent;

/// A phrase and the process event that it indicates.
type Phrase = (&'static str, ProcessEvent);

/// Phrases that are logged only on an orderly or requested shutdown, or when a process was killed.
const PHRASES: [Phrase; 13] = [
    ("Received shutdown signal", ProcessEvent::Shutdown),
    ("Runtime readiness withdrawn for shutdown", ProcessEvent::Shutdown),
    ("Runtime shutdown initiated", ProcessEvent::Shutdown),
    ("HTTP server shutdown requested", ProcessEvent::Shutdown),
    ("frontend service entering draining stage", ProcessEvent::Shutdown),
    ("received SIGTERM", ProcessEvent::Shutdown),
    ("received SIGHUP", ProcessEvent::Shutdown),
    ("SIGTERM received", ProcessEvent::Shutdown),
    ("Received SIGTERM", ProcessEvent::Shutdown),
    ("OOMKilled", ProcessEvent::Kill),
    ("SIGKILL", ProcessEvent::Kill),
    ("exit code 137", ProcessEvent::Kill),
    ("Killed process", ProcessEvent::Kill),
];

static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(PHRASES.iter().map(|(phrase, _)| phrase)).ok());

/// Iterates over the phrases that contain digits, in which numbers are significant.
pub fn phrases_with_digits() -> impl Iterator<Item = &'static str> {
    PHRASES
        .iter()
        .map(|(phrase, _)| *phrase)
        .filter(|phrase| phrase.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Returns the process event that a message indicates.
pub(super) fn of_message(message: &str) -> Option<ProcessEvent> {
    // The phrase that is first in the table counts, wherever it occurs in the message.
    let found = FINDER
        .as_ref()?
        .find_overlapping_iter(message)
        .map(|hit| hit.pattern().as_usize())
        .min()?;
    PHRASES.get(found).map(|(_, event)| *event)
}

/// Returns the process event that the state of a flowlog `process` record indicates, or else its
/// message.
pub(super) fn of_state(state: &str, message: &str) -> Option<ProcessEvent> {
    match state {
        "start" | "started" | "starting" | "up" | "init" => Some(ProcessEvent::Start),
        "stop" | "stopping" | "stopped" | "shutdown" | "exit" | "exited" | "draining" | "term"
        | "sigterm" | "sighup" | "signal" | "terminated" | "terminating" => {
            Some(ProcessEvent::Shutdown)
        }
        "kill" | "killed" | "sigkill" | "crash" | "crashed" | "oom" | "oom_killed" | "aborted"
        | "process_killed" => Some(ProcessEvent::Kill),
        _ => of_message(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_and_near_misses() {
        for (message, expected) in [
            ("Runtime shutdown initiated", Some(ProcessEvent::Shutdown)),
            ("main process (pid 7) exited: exit code 137", Some(ProcessEvent::Kill)),
            ("Phase 2: Waiting for graceful endpoints to complete", None),
            ("Unregister endpoint from graceful shutdown tracker", None),
            ("Failed shutdown delete of owned files", None),
            ("request completed", None),
        ] {
            assert_eq!(of_message(message), expected, "{message}");
        }
        assert_eq!(of_state("stop", ""), Some(ProcessEvent::Shutdown));
        assert_eq!(of_state("ready", "all good"), None);
        assert_eq!(of_state("-", "received SIGTERM"), Some(ProcessEvent::Shutdown));
    }
}
