//! What a line outside every flow tells of its process: started, told to stop, killed.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::observation::ProcessEvent;

/// A phrase and what it means.
type Phrase = (&'static str, ProcessEvent);

/// Words that only a process that shuts down in order prints, or one that was told to.
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

/// Phrases in which digits matter.
pub fn words_with_digits() -> impl Iterator<Item = &'static str> {
    PHRASES
        .iter()
        .map(|(phrase, _)| *phrase)
        .filter(|phrase| phrase.bytes().any(|byte| byte.is_ascii_digit()))
}

/// What the words say of the process.
pub(super) fn of_message(message: &str) -> Option<ProcessEvent> {
    // The first phrase of the table counts, wherever it stands.
    let found = FINDER
        .as_ref()?
        .find_overlapping_iter(message)
        .map(|hit| hit.pattern().as_usize())
        .min()?;
    PHRASES.get(found).map(|(_, event)| *event)
}

/// What the state of a flowlog `process` record says.
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
