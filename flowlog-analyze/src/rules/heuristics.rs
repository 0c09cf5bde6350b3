//! Heuristics for text that no rule matches.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::matcher::HEAD_BYTES;

/// Returns whether text that no format accepts starts with a prefix that tools and shells put
/// before errors.
pub(super) fn begins_with_error(words: &str) -> bool {
    const WORDS: [&str; 6] =
        ["error response ", "error: ", "error[", "fatal: ", "fatal error: ", "panic: "];
    WORDS
        .iter()
        .any(|word| words.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// Returns whether an event at error level reports a failure: some programs print everything at
/// error level.
pub(super) fn describes_failure(words: &str, error: &str) -> bool {
    const WORDS: [&str; 30] = [
        "error",
        "fail",
        "exception",
        "timeout",
        "timed out",
        "unable",
        "cannot",
        "can't",
        "could not",
        "abort",
        "lost",
        "refused",
        "invalid",
        "denied",
        "not found",
        "no such",
        "unexpected",
        "crash",
        "dead",
        "died",
        "killed",
        "panic",
        "fatal",
        "broken",
        "missing",
        "exceed",
        "closed",
        "unavailable",
        "not ready",
        "unhealthy",
    ];
    static FINDER: LazyLock<Option<AhoCorasick>> =
        LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(WORDS).ok());
    !error.is_empty()
        || FINDER.as_ref().is_some_and(|finder| {
            finder.is_match(words.get(..words.floor_char_boundary(HEAD_BYTES)).unwrap_or(words))
        })
}

/// Returns the part of a message before the user's prompt that it quotes.
pub(super) fn unquoted(words: &str) -> &str {
    const QUOTES: [&str; 3] = ["prompt: '", "prompt='", "prompt_token_ids"];
    if memchr::memmem::find(words.as_bytes(), b"prompt").is_none() {
        return words;
    }
    let end = QUOTES.iter().filter_map(|quote| words.find(quote)).min();
    end.and_then(|end| words.get(..end)).unwrap_or(words)
}
