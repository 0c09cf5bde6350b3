//! What lines tell of the run without any flow: one table of rules, each with a line that it explains and one that it
//! leaves alone.
//!
//! Words alone prove little: most errors in a log are echoes, and the loudest are those of an ordinary shutdown. So a
//! rule only says what kind of thing a line is and of whom it tells; `diagnose` weighs what was said when, by
//! whom, how often, and what came of it.

mod rule;
mod layer;
mod matcher;
mod words;
mod blame;
mod dependencies;
mod starts;
mod engines;
mod transfers;
mod infrastructure;
mod handled;
mod clients;
mod endings;

use compact_str::CompactString;
use flowlog_schema::Level;

use crate::format::{code, stack};
use crate::observation::Observation;
use blame::{shown, whose};
use matcher::matching;

pub use layer::Layer;
pub use matcher::{HEAD, TAIL};
pub use rule::Class;
use rule::Rule;
use words::{begins_with_error, tells_failure, unquoted};

/// Every rule. Of several that fit a line the one whose class comes first counts, of one class the first.
const RULES: [&[Rule]; 8] = [
    &dependencies::RULES,
    &starts::RULES,
    &engines::RULES,
    &transfers::RULES,
    &infrastructure::RULES,
    &handled::RULES,
    &clients::RULES,
    &endings::RULES,
];

/// What a line tells of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clue {
    /// What kind of thing it is.
    pub class: Class,
    /// The component, dependency or area that it tells of; empty where that is whoever speaks.
    pub about: CompactString,
    /// How deep it was said.
    pub layer: Layer,
}

/// What an event tells of the run, in a format (empty where none takes it), by a process of its speaker's.
pub fn of(format: &str, observation: &Observation<'_>, process: &str) -> Option<Clue> {
    // A span's words are its flow's.
    if observation.span.is_some() {
        return None;
    }
    let words = unquoted(&observation.message);
    let error = observation.error.as_deref().unwrap_or_default();
    let stacked = stack::of(words).is_some() || stack::of(error).is_some();
    let detail = observation.level.is_some_and(|level| level <= Level::Debug) && !stacked;
    let clue = |class, about: CompactString| {
        let layer = match class {
            // What is shared lies below everybody.
            Class::Unreachable => Layer::Library,
            // A stack that is drawn is a program's own.
            Class::Traceback if format.is_empty() => Layer::Handler,
            _ => layer::of(format, observation, process),
        };
        Clue { class, about, layer }
    };
    let loud = stacked
        || observation.level == Some(Level::Error)
        || format.is_empty() && begins_with_error(words);
    // A controller asks others; nobody asks it.
    let asks = observation.component.as_deref() == Some("operator");
    let may = |class: Class| !(loud && class.is_quiet() || asks && class == Class::Client);
    if let Some(rule) = matching([&observation.target, words, error], may)
        && (!detail
            || matches!(
                rule.class,
                Class::Ready | Class::Signal | Class::Panic | Class::Killed | Class::Waiting
            ))
    {
        return rule
            .class
            .is_kept()
            .then(|| clue(rule.class, whose(rule, observation, words, error, process)));
    }
    if detail {
        return None;
    }
    let is_error = |words| match format {
        "" => begins_with_error(words),
        // Python programs may print all that they say as errors, and a shell tells of every end; other loggers mean what they
        // say.
        "python_logging" | "native_abort" => {
            observation.level == Some(Level::Error) && tells_failure(words, error)
        }
        _ => observation.level == Some(Level::Error),
    };
    let class = if stacked || (format.is_empty() && code::of_drawn_frame(words).is_some()) {
        Class::Traceback
    } else if is_error(words) {
        Class::Error
    } else {
        return None;
    };
    let layer = layer::of(format, observation, process);
    // What a test or a job says is the tests' where no line says better.
    let step = (layer == Layer::Step && !format.is_empty()).then_some("test_fail");
    Some(clue(
        class,
        shown(observation, words, error)
            .or(step)
            .map_or_else(CompactString::default, CompactString::from),
    ))
}

/// Words of rules in which digits matter.
pub fn words_with_digits() -> impl Iterator<Item = &'static str> {
    let words = RULES
        .iter()
        .flat_map(|rules| rules.iter())
        .flat_map(|rule| [rule.any, rule.with, rule.without])
        .flatten()
        .copied();
    words.filter(|word| word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// Whether words only relay that something failed elsewhere; they are never the origin where there is another.
pub fn is_relay(words: &str) -> bool {
    matching(["", unquoted(words), ""], |_| true).is_some_and(|rule| rule.class == Class::Relay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;

    /// The rule that takes a line as it stands in a log.
    fn rule_of(line: &str) -> Option<&'static Rule> {
        let (_, observation) = format::read(line);
        match &observation {
            Some(seen) => matching(
                [&seen.target, unquoted(&seen.message), seen.error.as_deref().unwrap_or_default()],
                |_| true,
            ),
            None => matching(["", line, ""], |_| true),
        }
    }

    #[test]
    fn every_rule_explains_its_example_and_leaves_its_near_miss() {
        let mut wrong = Vec::new();
        for rule in RULES.iter().flat_map(|rules| rules.iter()) {
            if rule_of(rule.example).map(|found| found.name) != Some(rule.name) {
                wrong.push(format!(
                    "{} explains not: {} ({:?})",
                    rule.name,
                    rule.example,
                    rule_of(rule.example).map(|rule| rule.name)
                ));
            }
            if rule.near_miss.is_empty()
                || rule_of(rule.near_miss).map(|found| found.name) == Some(rule.name)
            {
                wrong.push(format!("{} takes: {}", rule.name, rule.near_miss));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn names_are_told_apart_and_words_are_in_lower_case() {
        let rules: Vec<&Rule> = RULES.iter().flat_map(|rules| rules.iter()).collect();
        let names: std::collections::BTreeSet<&str> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len());
        for rule in rules {
            for word in [rule.any, rule.with, rule.without].into_iter().flatten() {
                assert_eq!(*word, word.to_ascii_lowercase(), "{}", rule.name);
            }
        }
        let classes: std::collections::BTreeSet<Class> = Class::ALL.into_iter().collect();
        assert_eq!(classes.len(), Class::ALL.len());
    }

    #[test]
    fn of_whom_a_line_tells() {
        for (line, expected) in [
            (
                "ERROR 11-22 08:27:15 [core.py:1] x\nTraceback (most recent call last):\n  File \"/a/vllm/b.py\", line 1, in f\nKeyError",
                "Traceback vllm EngineCore",
            ),
            (
                "2025-11-22T08:27:15.705Z ERROR dynamo_llm::block_manager::offload: failed to copy",
                "Error kvbm Handler",
            ),
            (
                "2025-11-22T08:27:15.705Z ERROR engine.start: nixlBackendError('NIXL_ERR_BACKEND')",
                "Error nixl Handler",
            ),
            (
                "[1763800035.705274] [n:1:0] ib_device.c:1 UCX  ERROR   create_ah failed",
                "Error nixl Library",
            ),
            ("2025-11-22T08:27:15.705Z  WARN x.y: something odd", "-"),
            ("2025-11-22T08:27:15.705Z DEBUG x.y: CUDA out of memory", "-"),
        ] {
            let (format, observation) = format::read(line);
            let clue = of(format.name(), &observation.unwrap(), "");
            let told = clue.map_or_else(
                || "-".to_owned(),
                |clue| format!("{:?} {} {:?}", clue.class, clue.about, clue.layer),
            );
            assert_eq!(told, expected, "{line}");
        }
    }
}
