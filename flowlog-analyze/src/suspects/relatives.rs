//! Messages that differ from a baseline's only in values: names and phrases of the data are not
//! masked, so that `no such station: New York` is another pattern than `no such station: Bern`.

use std::collections::{BTreeMap, BTreeSet};

use crate::patterns::masked;
use crate::profile::{Profile, RunPatterns};

/// Minimum share of words that two messages have in common.
const MIN_SHARE: f64 = 0.7;

/// Minimum number of words that two messages have in common.
const MIN_WORDS: usize = 3;

/// Words of a message that are compared.
const MAX_WORDS: usize = 32;

/// Patterns with the same first word that are compared with each message, so that the cost is
/// bounded.
const MAX_PATTERNS: usize = 128;

/// A pattern of a baseline, as its hash and its words.
type Known<'b> = (u64, Vec<&'b str>);

/// The patterns of all baselines, to find those that differ from a message only in values.
pub(super) struct Relatives<'b> {
    /// By component, first word, and whether they are errors.
    known: BTreeMap<(&'b str, &'b str, bool), Vec<Known<'b>>>,
    /// Names of the run's components: a message that names another one says something else.
    components: BTreeSet<&'b str>,
}

impl<'b> Relatives<'b> {
    pub(super) fn of(baselines: &'b [Profile], patterns: &'b RunPatterns<'_>) -> Self {
        // The same ones in any order of the baselines.
        let mut by_hash: BTreeMap<(&str, u64), (&str, bool)> = BTreeMap::new();
        for (component, usual) in baselines.iter().flat_map(|profile| &profile.components) {
            for (hash, pattern) in &usual.patterns {
                let known = by_hash.entry((component, *hash)).or_insert((&pattern.text, false));
                known.1 |= pattern.is_error;
            }
        }
        let mut known: BTreeMap<(&str, &str, bool), Vec<Known<'b>>> = BTreeMap::new();
        for ((component, hash), (text, is_error)) in by_hash {
            let words = words_of(text);
            let Some(first) = words.first().copied() else { continue };
            let same = known.entry((component, first, is_error)).or_default();
            if same.len() < MAX_PATTERNS {
                same.push((hash, words));
            }
        }
        let components = patterns.iter().map(|pattern| pattern.component.as_str()).collect();
        Self { known, components }
    }

    /// Returns the hashes of the baseline's patterns that differ from one of a component only in
    /// values.
    pub(super) fn find(&self, component: &str, message: &str, is_error: bool) -> Vec<u64> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let text = masked(message);
        let words = words_of(&text);
        let Some(first) = words.first() else { return Vec::new() };
        let Some(known) = self.known.get(&(component, *first, is_error)) else {
            return Vec::new();
        };
        let is_alike = |(hash, other): &Known<'_>| self.is_alike(&words, other).then_some(*hash);
        known.iter().filter_map(is_alike).collect()
    }

    fn is_alike(&self, words: &[&str], other: &[&str]) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a ratio tolerates rounding")]
        let share = |shared: usize| 2.0 * shared as f64 / (words.len() + other.len()).max(1) as f64;
        if share(words.len().min(other.len())) < MIN_SHARE {
            return false;
        }
        let common = in_common(words, other);
        let shared = common.iter().filter(|shared| **shared).count();
        share(shared) >= MIN_SHARE
            && shared >= MIN_WORDS
            && words.iter().zip(&common).all(|(word, shared)| *shared || self.is_value(word))
    }

    /// Returns whether a word may be a value: it is neither an error's type nor a component.
    fn is_value(&self, word: &str) -> bool {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_type = bare.ends_with("Exception") || bare.ends_with("Error");
        let names_component = || {
            let lower = bare.to_ascii_lowercase();
            self.components.iter().any(|name| name.len() > 2 && lower.contains(name))
        };
        !is_type && !names_component()
    }
}

/// Returns the words of a message that say something: not its variable parts, nor their labels.
fn words_of(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_whitespace().take(MAX_WORDS) {
        if word.bytes().any(|byte| byte.is_ascii_alphabetic()) && !word.contains("=*") {
            words.push(word);
        } else if word == "*" {
            words.pop_if(|label| label.ends_with([':', '=']));
        }
    }
    words
}

/// Returns which words of the first list belong to its longest common subsequence with the other.
fn in_common(words: &[&str], other: &[&str]) -> Vec<bool> {
    // Length of the longest common subsequence of what follows, by position.
    let mut lengths = [0_u8; (MAX_WORDS + 1) * (MAX_WORDS + 1)];
    let at = |i: usize, j: usize| i * (MAX_WORDS + 1) + j;
    let get = |lengths: &[u8], i, j| lengths.get(at(i, j)).copied().unwrap_or(0);
    for (i, word) in words.iter().enumerate().rev() {
        for (j, theirs) in other.iter().enumerate().rev() {
            let length = if word == theirs {
                get(&lengths, i + 1, j + 1) + 1
            } else {
                get(&lengths, i + 1, j).max(get(&lengths, i, j + 1))
            };
            if let Some(slot) = lengths.get_mut(at(i, j)) {
                *slot = length;
            }
        }
    }
    let mut common = Vec::with_capacity(words.len());
    let mut j = 0;
    for (i, word) in words.iter().enumerate() {
        while j < other.len()
            && other.get(j) != Some(word)
            && get(&lengths, i, j + 1) == get(&lengths, i, j)
            && get(&lengths, i + 1, j) < get(&lengths, i, j)
        {
            j += 1;
        }
        let is_shared =
            other.get(j) == Some(word) && get(&lengths, i, j) == get(&lengths, i + 1, j + 1) + 1;
        j += usize::from(is_shared);
        common.push(is_shared);
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_not_news() {
        let relatives = Relatives {
            known: BTreeMap::new(),
            components: ["orders-db", "payments-db"].into_iter().collect(),
        };
        for (message, known, expected) in [
            ("no such station name: New York", "no such station name: Bern", true),
            ("reserve failed trace: * span: *", "reserve item=* trace: * span: *", false),
            ("wrong password of user jordan", "wrong password of user kim", true),
            ("order from Tai Yuan to Wu Xi at *", "order from Bern to Rome at *", false),
            ("order of ten items from Wu Xi at *", "order of ten items from Rome at *", true),
            ("cannot connect to orders-db now", "cannot connect to payments-db now", false),
            ("the call failed with TimeoutException", "the call failed with IOException", false),
            ("boom", "boom", false),
        ] {
            let (words, other) = (words_of(message), words_of(known));
            assert_eq!(relatives.is_alike(&words, &other), expected, "{message}");
        }
    }

    proptest! {
        #[test]
        fn common_words_are_a_longest_common_subsequence(
            a in prop::collection::vec("[abc]", 0..8), b in prop::collection::vec("[abc]", 0..8),
        ) {
            fn longest(a: &[&str], b: &[&str]) -> usize {
                match (a, b) {
                    ([x, rest_a @ ..], [y, rest_b @ ..]) if x == y => 1 + longest(rest_a, rest_b),
                    ([_, rest_a @ ..], [_, rest_b @ ..]) => longest(rest_a, b).max(longest(a, rest_b)),
                    _ => 0,
                }
            }
            let (a, b): (Vec<&str>, Vec<&str>) =
                (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
            let common = in_common(&a, &b);
            prop_assert_eq!(common.iter().filter(|shared| **shared).count(), longest(&a, &b));
            // What is shared is a subsequence of the other.
            let mut rest = b.iter();
            for (word, shared) in a.iter().zip(common) {
                prop_assert!(!shared || rest.any(|other| other == word));
            }
        }
    }
}
