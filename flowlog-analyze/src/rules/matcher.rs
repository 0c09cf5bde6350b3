//! Matching of the phrases of all rules in one pass.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::RULES;
use super::rule::{Rule, RuleClass};

/// Bytes searched at the beginning of a longer text. The last [`TAIL_BYTES`] bytes are searched
/// too, because a stack ends in its exception.
pub const HEAD_BYTES: usize = 6 * 1024;
/// Bytes searched at the end of a longer text; see [`HEAD_BYTES`].
pub const TAIL_BYTES: usize = 2 * 1024;

/// Phrases of all rules, and the ones that each rule requires.
struct Matcher {
    automaton: AhoCorasick,
    /// Rules with the indexes of their phrases, by class, then by position in the table.
    rules: Vec<(&'static Rule, [Vec<u16>; 3])>,
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
    let mut rules: Vec<_> = RULES
        .iter()
        .flat_map(|rules| rules.iter())
        .map(|rule| {
            (
                rule,
                [rule.any_of, rule.and_any_of, rule.none_of]
                    .map(|words| words.iter().map(|word| number(word)).collect()),
            )
        })
        .collect();
    rules.sort_by_key(|(rule, _)| RuleClass::ALL.iter().position(|class| *class == rule.class));
    // Building fails only if there are too many patterns; a test builds it.
    let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(&patterns).ok()?;
    Some(Matcher { automaton, rules })
});

/// Returns the first rule that matches, among the classes that `accepts` returns true for.
pub(super) fn first_match(
    texts: [&str; 3],
    accepts: impl Fn(RuleClass) -> bool,
) -> Option<&'static Rule> {
    let matcher = MATCHER.as_ref()?;
    let mut found: Vec<u16> = Vec::new();
    let mut search = |text: &[u8]| {
        for hit in matcher.automaton.find_overlapping_iter(text) {
            found.push(u16::try_from(hit.pattern().as_usize()).unwrap_or(u16::MAX));
        }
    };
    for text in texts.map(str::as_bytes) {
        if text.len() <= HEAD_BYTES + TAIL_BYTES {
            search(text);
        } else {
            search(text.get(..HEAD_BYTES).unwrap_or_default());
            search(text.get(text.len() - TAIL_BYTES..).unwrap_or_default());
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_unstable();
    let has = |words: &[u16]| words.iter().any(|word| found.binary_search(word).is_ok());
    let fits = |phrases: &[Vec<u16>; 3]| {
        has(&phrases[0]) && (phrases[1].is_empty() || has(&phrases[1])) && !has(&phrases[2])
    };
    matcher
        .rules
        .iter()
        .find(|(rule, phrases)| accepts(rule.class) && fits(phrases))
        .map(|(rule, _)| *rule)
}
