//! Rules for log lines that concern the run rather than one flow: a single table, in which each
//! rule has an example that it matches and a near miss that it does not.
//!
//! Message text proves little: most errors in a log are echoes, and the most conspicuous ones come
//! from ordinary shutdowns. A rule therefore only classifies a line and attributes it to a
//! component; `diagnose` weighs what was logged, when, by which producer, how often, and what
//! followed.

mod rule;
mod stack_layer;
mod matcher;
mod heuristics;
mod attribution;
mod dependencies;
mod startup;
mod engines;
mod transfers;
mod infrastructure;
mod handled;
mod clients;
mod shutdown;

use compact_str::CompactString;
use flowlog_schema::Level;

use crate::component_names;
use crate::event::ParsedEvent;
use crate::format::{self, ownership, stack};
use attribution::{attribution, component_from_code};
use matcher::first_match;

use heuristics::{begins_with_error, describes_failure, unquoted};
pub use matcher::{HEAD_BYTES, TAIL_BYTES};
use rule::Rule;
pub use rule::RuleClass;
pub use stack_layer::StackLayer;

/// All rules. If several match a line, the first one in the order of `RuleClass::ALL` wins; within
/// a class, the first one in the table.
const RULES: [&[Rule]; 8] = [
    &dependencies::RULES,
    &startup::RULES,
    &engines::RULES,
    &transfers::RULES,
    &infrastructure::RULES,
    &handled::RULES,
    &clients::RULES,
    &shutdown::RULES,
];

/// Finding about the run from a single line: by the rule that matched it, or by a heuristic if none
/// did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMatch {
    /// Name of the rule, or of the heuristic.
    pub rule: &'static str,
    /// Class of the line.
    pub class: RuleClass,
    /// Component, dependency or CI area that the line concerns; empty for the producer itself.
    pub component: CompactString,
    /// Layer of the process stack that the line comes from.
    pub layer: StackLayer,
}

/// Name of the heuristic that an exception with its stack failed something.
pub const STACK_RULE: &str = "exception_with_stack";

/// Name of the heuristic that a message at error level, or one that begins with an error, failed
/// something.
pub const ERROR_RULE: &str = "error_message";

/// Returns what an event shows about the run, if anything. `format` is empty if no format accepted
/// the event; `process` is the process name of its producer.
pub fn of(format: &str, event: &ParsedEvent<'_>, process: &str) -> Option<RuleMatch> {
    // A message in a span belongs to the span's flow.
    if event.span.is_some() {
        return None;
    }
    // The state of objects is examined as a whole.
    if format == "kubectl" && !event.message.starts_with("Error from server") {
        return None;
    }
    let words = unquoted(&event.message);
    let error = event.error.as_deref().unwrap_or_default();
    let stacked = stack::of(words).is_some() || stack::of(error).is_some();
    let detail = event.level.is_some_and(|level| level <= Level::Debug) && !stacked;
    let rule_match = |rule, class, component: CompactString| {
        let layer = match class {
            // A shared dependency, and what a component runs on, are below every component.
            RuleClass::Unreachable | RuleClass::Infrastructure => StackLayer::Library,
            // A stack outside every format, such as one drawn by `rich`, is the program's own.
            RuleClass::Traceback if format.is_empty() => StackLayer::Handler,
            _ => stack_layer::of(format, event, process),
        };
        RuleMatch { rule, class, component, layer }
    };
    let loud = stacked
        || event.level == Some(Level::Error)
        || format.is_empty() && begins_with_error(words);
    // A controller only sends requests, so it reports no client faults.
    let rules = event.component.as_deref() == Some("operator");
    let accepts = |class: RuleClass| {
        !(loud && class.excludes_errors() || rules && class == RuleClass::Client)
    };
    if let Some(rule) = first_match([&event.target, words, error], accepts)
        && (!detail
            || matches!(
                rule.class,
                RuleClass::Ready
                    | RuleClass::StopRequested
                    | RuleClass::Panic
                    | RuleClass::Killed
                    | RuleClass::Waiting
            )
            || rule.is_of_dependency())
    {
        return rule.class.is_kept().then(|| {
            rule_match(rule.name, rule.class, attribution(rule, event, words, error, process))
        });
    }
    // A panic of Go that no handler stopped ends the process. Its text may be any.
    if format == "go_panic" && words.starts_with("panic: ") {
        let owner = component_from_code(event, words, error).unwrap_or_default();
        return Some(rule_match("panicked", RuleClass::Panic, CompactString::from(owner)));
    }
    if detail {
        return None;
    }
    let is_error = |words| match format {
        "" => begins_with_error(words),
        // Some Python programs print everything at error level, and shells report every exit. The
        // levels of other loggers can be trusted.
        "python_logging" | "native_abort" => {
            event.level == Some(Level::Error) && describes_failure(words, error)
        }
        _ => event.level == Some(Level::Error),
    };
    let class = if stacked || (format.is_empty() && ownership::of_drawn_frame(words).is_some()) {
        RuleClass::Traceback
    } else if is_error(words) {
        RuleClass::Error
    } else {
        return None;
    };
    let owner = component_from_code(event, words, error);
    // The levels and stacks of programs that nobody taught prove nothing: good runs have them, too.
    // They make suspects.
    if matches!(format, "generic" | "json") && !owner.is_some_and(component_names::is_of_inference)
    {
        return None;
    }
    let layer = stack_layer::of(format, event, process);
    // Without a better attribution, a line of a test or CI job is attributed to the tests.
    let step = (layer == StackLayer::Step && !format.is_empty()).then_some("test_fail");
    let name = if class == RuleClass::Traceback { STACK_RULE } else { ERROR_RULE };
    Some(rule_match(
        name,
        class,
        owner.or(step).map_or_else(CompactString::default, CompactString::from),
    ))
}

/// How serious an event is, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Severity {
    /// Whether the event reports a failure: by its level, a stack, or the type of an error.
    pub is_error: bool,
    /// Whether it has the stack of an exception.
    pub has_stack: bool,
}

/// Returns how serious an event is, by itself. `format` is empty if no format accepted it.
pub fn severity_of(format: &str, event: &ParsedEvent<'_>) -> Severity {
    let error = event.error.as_deref().unwrap_or_default();
    let has_stack = stack::has_frames(&event.message) || stack::has_frames(error);
    let is_error = match event.level {
        Some(level) => level == Level::Error || level == Level::Warn && has_stack,
        None if matches!(format, "" | "generic" | "json") => {
            has_stack
                || begins_with_error(&event.message)
                || !format::line_error(event.message.lines().next().unwrap_or_default())
                    .0
                    .is_empty()
        }
        None => has_stack,
    };
    let error_words = unquoted(&event.message);
    let is_handled = || {
        first_match([&event.target, error_words, error], |_| true).is_some_and(|rule| {
            matches!(rule.class, RuleClass::Handled | RuleClass::Teardown | RuleClass::Recovered)
        })
    };
    Severity { is_error: is_error && !is_handled(), has_stack }
}

/// Returns the phrases with digits of the rules that may match a line, in which numbers are
/// significant. `has_phrase` is whether the line has a phrase, with any digits.
pub fn phrases_with_digits(has_phrase: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let has_digits = |phrase: &&&str| phrase.bytes().any(|byte| byte.is_ascii_digit());
    let mut found = Vec::new();
    for rule in RULES.iter().flat_map(|rules| rules.iter()) {
        let mut phrases = [rule.any_of, rule.and_any_of, rule.none_of].into_iter().flatten();
        if phrases.clone().any(|phrase| has_digits(&phrase))
            && rule.any_of.iter().any(|phrase| has_phrase(phrase))
        {
            found.extend(phrases.by_ref().filter(has_digits));
        }
    }
    found
}

/// Returns whether a message only relays a failure elsewhere. Such a message is never the origin if
/// there is another candidate.
pub fn is_relay(words: &str) -> bool {
    first_match(["", unquoted(words), ""], |_| true)
        .is_some_and(|rule| rule.class == RuleClass::Relay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;

    /// Returns the rule that matches a line as it appears in a log.
    fn rule_of(line: &str) -> Option<&'static Rule> {
        let (_, event) = format::read(line);
        match &event {
            Some(seen) => first_match(
                [&seen.target, unquoted(&seen.message), seen.error.as_deref().unwrap_or_default()],
                |_| true,
            ),
            None => first_match(["", line, ""], |_| true),
        }
    }

    #[test]
    fn every_rule_matches_its_example_and_not_its_near_miss() {
        let mut wrong = Vec::new();
        for rule in RULES.iter().flat_map(|rules| rules.iter()) {
            if rule_of(rule.example).map(|found| found.name) != Some(rule.name) {
                wrong.push(format!(
                    "{} does not match its example: {} ({:?})",
                    rule.name,
                    rule.example,
                    rule_of(rule.example).map(|rule| rule.name)
                ));
            }
            if rule.near_miss.is_empty()
                || rule_of(rule.near_miss).map(|found| found.name) == Some(rule.name)
            {
                wrong.push(format!("{} matches its near miss: {}", rule.name, rule.near_miss));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rule_names_are_unique_and_phrases_are_lowercase() {
        let rules: Vec<&Rule> = RULES.iter().flat_map(|rules| rules.iter()).collect();
        let names: std::collections::BTreeSet<&str> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len());
        for rule in rules {
            for word in [rule.any_of, rule.and_any_of, rule.none_of].into_iter().flatten() {
                assert_eq!(*word, word.to_ascii_lowercase(), "{}", rule.name);
            }
        }
        let classes: std::collections::BTreeSet<RuleClass> = RuleClass::ALL.into_iter().collect();
        assert_eq!(classes.len(), RuleClass::ALL.len());
    }

    /// Begins the part of the manual that is made from the table.
    const MARK: &str =
        "<!-- Below: made from the table; FLOWLOG_BLESS=1 cargo test writes it. -->\n";

    #[test]
    fn the_manual_describes_every_rule() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");
        let manual = std::fs::read_to_string(path).unwrap();
        let (head, found) = manual.split_once(MARK).unwrap();
        let mut expected = String::new();
        let line = |text: &str| text.lines().next().unwrap_or_default().replace('`', "'");
        for rule in RULES.iter().flat_map(|rules| rules.iter()) {
            let component = match rule.attribution {
                rule::Attribution::Named(name) => format!(", attributed to {name}"),
                rule::Attribution::CodeOr(name) => {
                    format!(", attributed to the owner of the code, or else to {name}")
                }
                rule::Attribution::Producer => String::new(),
            };
            expected.push_str(&format!(
                "\n### {}\n\nClass {:?}{component}.\n\n- Matches `{}`\n- Not `{}`\n",
                rule.name,
                rule.class,
                line(rule.example),
                line(rule.near_miss)
            ));
        }
        if std::env::var_os("FLOWLOG_BLESS").is_some() {
            std::fs::write(path, format!("{head}{MARK}{expected}")).unwrap();
            return;
        }
        assert_eq!(found, expected, "run it with FLOWLOG_BLESS=1");
        let headings: Vec<&str> =
            manual.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let unique: std::collections::BTreeSet<&&str> = headings.iter().collect();
        assert_eq!(unique.len(), headings.len(), "a name has two entries");
        assert!(headings.contains(&STACK_RULE) && headings.contains(&ERROR_RULE));
    }

    #[test]
    fn lines_are_attributed_to_components() {
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
            let (format, event) = format::read(line);
            let rule_match = of(format.name(), &event.unwrap(), "");
            let found = rule_match.map_or_else(
                || "-".to_owned(),
                |rule_match| {
                    format!(
                        "{:?} {} {:?}",
                        rule_match.class, rule_match.component, rule_match.layer
                    )
                },
            );
            assert_eq!(found, expected, "{line}");
        }
    }
}
