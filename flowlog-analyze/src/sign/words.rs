//! What words tell that no rule knows.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::matcher::HEAD;

/// Whether a line that no format takes says of itself that it is an error, as tools and shells print them.
pub(super) fn begins_with_error(words: &str) -> bool {
    const WORDS: [&str; 6] =
        ["error response ", "error: ", "error[", "fatal: ", "fatal error: ", "panic: "];
    WORDS
        .iter()
        .any(|word| words.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// Whether an event that is only loud tells of a failure: some programs print all that they say as errors.
pub(super) fn tells_failure(words: &str, error: &str) -> bool {
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
            finder.is_match(words.get(..words.floor_char_boundary(HEAD)).unwrap_or(words))
        })
}

/// The words before those of somebody else that they quote.
pub(super) fn unquoted(words: &str) -> &str {
    const QUOTES: [&str; 3] = ["prompt: '", "prompt='", "prompt_token_ids"];
    if memchr::memmem::find(words.as_bytes(), b"prompt").is_none() {
        return words;
    }
    let end = QUOTES.iter().filter_map(|quote| words.find(quote)).min();
    end.and_then(|end| words.get(..end)).unwrap_or(words)
}
