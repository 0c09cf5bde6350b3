//! Every rule's words at once.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::RULES;
use super::rule::{Class, Rule};

/// Longest beginning of a text that is searched, in bytes, and longest end: what a stack comes down to stands there.
pub const HEAD: usize = 6 * 1024;
/// See [`HEAD`].
pub const TAIL: usize = 2 * 1024;

/// Patterns of all rules, and which of them each rule asks for.
struct Matcher {
    automaton: AhoCorasick,
    /// By class, then by place in the table: the rule, and its patterns.
    asks: Vec<(&'static Rule, [Vec<u16>; 3])>,
}

static MATCHER: LazyLock<Option<Matcher>> = LazyLock::new(|| {
    let mut patterns: Vec<&'static str> = Vec::new();
    let mut number = |word: &'static str| {
        let at = patterns.iter().position(|known| *known == word).unwrap_or_else(|| {
            patterns.push(word);
            patterns.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    };
    let mut asks: Vec<_> = RULES
        .iter()
        .flat_map(|rules| rules.iter())
        .map(|rule| {
            (
                rule,
                [rule.any, rule.with, rule.without]
                    .map(|words| words.iter().map(|word| number(word)).collect()),
            )
        })
        .collect();
    asks.sort_by_key(|(rule, _)| Class::ALL.iter().position(|class| *class == rule.class));
    // Fails for too many patterns only; a test builds it.
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(&patterns).ok()?;
    Some(Matcher { automaton, asks })
});

/// The rule that fits, of those whose class may.
pub(super) fn matching(texts: [&str; 3], may: impl Fn(Class) -> bool) -> Option<&'static Rule> {
    let matcher = MATCHER.as_ref()?;
    let mut found: Vec<u16> = Vec::new();
    let mut search = |text: &[u8]| {
        for hit in matcher.automaton.find_overlapping_iter(text) {
            found.push(u16::try_from(hit.pattern().as_usize()).unwrap_or(u16::MAX));
        }
    };
    for text in texts.map(str::as_bytes) {
        if text.len() <= HEAD + TAIL {
            search(text);
        } else {
            search(text.get(..HEAD).unwrap_or_default());
            search(text.get(text.len() - TAIL..).unwrap_or_default());
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_unstable();
    let has = |words: &[u16]| words.iter().any(|word| found.binary_search(word).is_ok());
    let fits = |asks: &[Vec<u16>; 3]| {
        has(&asks[0]) && (asks[1].is_empty() || has(&asks[1])) && !has(&asks[2])
    };
    matcher.asks.iter().find(|(rule, asks)| may(rule.class) && fits(asks)).map(|(rule, _)| *rule)
}
