//! GitHub's CODEOWNERS: a pattern and its owners on each line; the last matching pattern wins.

use super::{Owners, PathRule, Tier};

pub(super) fn read(text: &str) -> Owners {
    let paths = text.lines().filter_map(|line| {
        let mut words = words(line).into_iter();
        let pattern = words.next()?;
        Some(PathRule { pattern, owners: words.collect(), rule: Tier::Codeowners })
    });
    Owners { paths: paths.collect(), ..Owners::default() }
}

/// Splits a line into words, up to a comment. A backslash keeps a following space or `#` in the
/// word.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let begins = words.last().is_some_and(String::is_empty);
        match c {
            '#' if begins => break,
            '\\' if chars.peek().is_some_and(|next| next.is_whitespace() || *next == '#') => {
                if let (Some(word), Some(next)) = (words.last_mut(), chars.next()) {
                    word.push('\\');
                    word.push(next);
                }
            }
            c if c.is_whitespace() && begins => {}
            c if c.is_whitespace() => words.push(String::new()),
            c => words.iter_mut().next_back().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
