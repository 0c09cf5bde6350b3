//! Names of instances, components and shared dependencies in the messages of failures.

use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use super::topology::RunModel;

/// Returns whether an error names a shared dependency.
pub(super) fn names_dependency(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    DEPENDENCIES.iter().any(|name| mentions(&message, name))
}

/// Shared dependencies that every component may use.
pub(super) const DEPENDENCIES: [&str; 2] = ["etcd", "nats"];

/// The message, in lower case, in which a failure may name the process that it lost. An error
/// reported before the failure is nearer to its cause: if that names any component of the run, the
/// failure's own message is ignored.
pub(super) struct FailureText(String);

impl FailureText {
    pub(super) fn of(failure: &FirstFailure, model: &RunModel) -> Self {
        if failure.kind != FailureKind::Error {
            return Self(String::new());
        }
        let preceding_error = Self(failure.preceding_error.to_ascii_lowercase());
        let names_a_process = !preceding_error.0.is_empty()
            && (DEPENDENCIES.iter().any(|name| preceding_error.names_component(name))
                || model.processes.iter().any(|process| {
                    preceding_error.names_instance(&process.instance)
                        || preceding_error.names_component(&process.component)
                }));
        if names_a_process { preceding_error } else { Self(failure.message.to_ascii_lowercase()) }
    }

    /// Returns whether the message names an instance.
    pub(super) fn names_instance(&self, instance: &str) -> bool {
        is_distinctive(instance) && mentions(&self.0, instance)
    }

    /// Returns whether the message names a component.
    pub(super) fn names_component(&self, component: &str) -> bool {
        mentions(&self.0, component)
    }
}

/// Returns whether a message names an instance.
pub(super) fn names_instance(message: &str, instance: &str) -> bool {
    FailureText(message.to_ascii_lowercase()).names_instance(instance)
}

/// Returns whether an instance name is distinctive: a rank or a short number may stand for
/// anything.
pub(super) fn is_distinctive(instance: &str) -> bool {
    instance.len() >= 3 && (instance.len() >= 6 || instance.bytes().any(|b| !b.is_ascii_digit()))
}

/// Returns whether a message in lower case contains a name as a separate word.
fn mentions(message: &str, name: &str) -> bool {
    if matches!(name, "" | "unknown") || message.len() < name.len() {
        return false;
    }
    let name = name.to_ascii_lowercase();
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    message.match_indices(&name).any(|(at, _)| {
        let before = message.get(..at).and_then(|text| text.chars().next_back());
        let after = message.get(at + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(inside) && !after.is_some_and(inside)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_words() {
        for (message, name, named) in [
            ("no workers for endpoint dynamo/prefill/generate", "prefill", true),
            ("connection to vllm-0 refused", "vllm-0", true),
            ("connection to vllm-0 refused", "vllm", false),
            ("connection to 10.0.0.7:80 refused", "10.0.0.7:80", true),
            ("Prefill worker gone", "prefill", true),
            ("the backends", "backend", false),
            ("anything", "", false),
        ] {
            assert_eq!(mentions(&message.to_ascii_lowercase(), name), named, "{message} {name}");
        }
        assert!(
            is_distinctive("worker-0")
                && is_distinctive("12808651013936080788")
                && is_distinctive("pod")
        );
        assert!(!is_distinctive("6") && !is_distinctive("f") && !is_distinctive("4096"));
    }
}
