//! Of whom a line tells.

use compact_str::CompactString;

use super::rule::{Class, Rule, Whose};
use crate::format::{code, error_of};
use crate::names;
use crate::observation::Observation;

/// Of whom a rule's line tells.
pub(super) fn whose(
    rule: &Rule,
    observation: &Observation<'_>,
    words: &str,
    error: &str,
    process: &str,
) -> CompactString {
    // A server that runs out of something is that server, whatever area the thing belongs to.
    let server = observation
        .component
        .as_deref()
        .filter(|component| matches!(*component, "etcd" | "nats") && !observation.embedded);
    if let Some(server) = server.filter(|_| rule.class == Class::Infrastructure) {
        return CompactString::from(server);
    }
    match rule.whose {
        Whose::Named(name) => CompactString::const_new(name),
        // What stops is named in the words, or by who speaks: `[VllmWorker:1]`, `dynamo_Planner stopped`.
        Whose::Speaker if rule.class == Class::Stop => {
            let named = observation
                .component
                .as_deref()
                .filter(|_| !observation.embedded)
                .map(CompactString::from);
            named
                .or_else(|| {
                    names::component_in(words)
                        .or_else(|| names::component_in(process))
                        .map(CompactString::from)
                })
                .unwrap_or_default()
        }
        Whose::Speaker => {
            shown(observation, words, error).map(CompactString::from).unwrap_or_default()
        }
        Whose::CodeOr(name) => {
            CompactString::from(shown(observation, words, error).unwrap_or(name))
        }
    }
}

/// The component whose code a line shows, the innermost first: a library that the error names, the stack, a source file,
/// the module that speaks, the format.
pub(super) fn shown<'o>(
    observation: &'o Observation<'_>,
    words: &'o str,
    error: &'o str,
) -> Option<&'o str> {
    let first = words.lines().next().unwrap_or_default();
    let sign = error_of(words);
    let library = code::of_words(sign.kind)
        .or_else(|| code::of_words(&sign.message))
        .or_else(|| code::of_words(error));
    let stack = || code::of_stack(words).or_else(|| code::of_stack(error));
    let panic = || first.split_once(" panicked at ").and_then(|(_, place)| code::of_path(place));
    let module = || code::of_module(&observation.target);
    // UCX carries NIXL's transfers; PyTorch is in everybody.
    let own = || match observation.component.as_deref()? {
        "ucx" => Some("nixl"),
        "torch" => None,
        component => Some(component),
    };
    let drawn = || code::of_drawn_frame(first);
    library.or_else(stack).or_else(panic).or_else(drawn).or_else(module).or_else(own)
}
