//! Attribution of a line to a component.

use compact_str::CompactString;

use super::rule::{Attribution, Rule, RuleClass};
use crate::component_names;
use crate::event::ParsedEvent;
use crate::format::{error_of, ownership};

/// Returns the component that a rule's line is attributed to; empty for the producer itself.
pub(super) fn attribution(
    rule: &Rule,
    event: &ParsedEvent<'_>,
    words: &str,
    error: &str,
    process: &str,
) -> CompactString {
    // If etcd or NATS runs out of a resource, the line is attributed to that server, whatever area
    // the resource belongs to.
    let server = event
        .component
        .as_deref()
        .filter(|component| matches!(*component, "etcd" | "nats") && !event.is_library);
    if let Some(server) = server.filter(|_| rule.class == RuleClass::Infrastructure) {
        return CompactString::from(server);
    }
    match rule.attribution {
        Attribution::Named(name) => CompactString::const_new(name),
        // The component that stops is named by the event, the message or the process:
        // `[VllmWorker:1]`, `dynamo_Planner stopped`.
        Attribution::Producer if rule.class == RuleClass::Stop => {
            let named =
                event.component.as_deref().filter(|_| !event.is_library).map(CompactString::from);
            named
                .or_else(|| {
                    component_names::component_in(words)
                        .or_else(|| component_names::component_in(process))
                        .map(CompactString::from)
                })
                .unwrap_or_default()
        }
        Attribution::Producer => {
            component_from_code(event, words, error).map(CompactString::from).unwrap_or_default()
        }
        Attribution::CodeOr(name) => {
            CompactString::from(component_from_code(event, words, error).unwrap_or(name))
        }
    }
}

/// Returns the component that owns the code shown by a line, the innermost first: a library that
/// the error names, the stack, a source file, the logging module, the format.
pub(super) fn component_from_code<'o>(
    event: &'o ParsedEvent<'_>,
    words: &'o str,
    error: &'o str,
) -> Option<&'o str> {
    let first = words.lines().next().unwrap_or_default();
    let summary = error_of(words);
    let library = ownership::of_message(summary.kind)
        .or_else(|| ownership::of_message(&summary.message))
        .or_else(|| ownership::of_message(error));
    let stack = || ownership::of_stack(words).or_else(|| ownership::of_stack(error));
    let panic =
        || first.split_once(" panicked at ").and_then(|(_, place)| ownership::of_path(place));
    let module = || ownership::of_module(&event.target);
    // UCX carries NIXL's transfers; PyTorch is used by every engine.
    let own = || match event.component.as_deref()? {
        "ucx" => Some("nixl"),
        "torch" => None,
        component => Some(component),
    };
    let drawn = || ownership::of_drawn_frame(first);
    let kind = || ownership::of_module(summary.kind);
    library.or_else(stack).or_else(panic).or_else(drawn).or_else(module).or_else(own).or_else(kind)
}
