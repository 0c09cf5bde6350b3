//! Identity of a producer whose lines do not name their process: by its envelopes and its file.

use compact_str::CompactString;

use crate::component_names::{self, FileName};
use crate::envelope::Producer;
use crate::flow::ProducerActivity;

/// Component and instance of a producer.
pub(super) struct Identity {
    pub component: CompactString,
    pub instance: CompactString,
    /// Whether an envelope names its pod.
    pub pod: bool,
    /// Whether the component is only the name of the file, which may be any.
    pub is_named_by_file: bool,
}

impl Identity {
    /// Returns the identity of a producer in a file.
    pub(super) fn of(activity: &ProducerActivity, file: &FileName) -> Self {
        let producer = activity.name.as_ref();
        let pod = producer.map(|producer| producer.pod.as_str()).filter(|pod| !pod.is_empty());
        let process = producer
            .map(|producer| producer.process.as_str())
            .filter(|process| !process.is_empty());
        // A file named after a machine holds the journal of many processes; any other file
        // belongs to one process.
        let of_file = Some(file.instance.as_str()).filter(|name| {
            !name.is_empty() && producer.is_none_or(|producer| producer.host.is_empty())
        });
        let instance = CompactString::from(pod.or(of_file).or(process).unwrap_or_default());
        let by_producer_name = producer.and_then(Producer::component);
        // Of programs that nobody taught, the workload is the component: `order-worker` is not a
        // worker of Dynamo's.
        let container = producer.map_or("", |producer| producer.container.as_str());
        let workload = Some(component_names::workload_of(pod.or(of_file).unwrap_or_default()))
            .filter(|name| {
                *name != instance || pod.is_some() || component_names::is_pod_like(&instance)
            })
            .filter(|_| !activity.has_known_format && activity.components.is_empty())
            .map(|name| if name.is_empty() { container } else { name })
            .filter(|name| !name.is_empty());
        // A file's name with a role in it, such as `export-worker`, is that of another program.
        let named_by_role = (workload.is_none()
            && file.component.is_some_and(|role| !component_names::is_of_inference(role))
            && by_producer_name.is_none()
            && activity.has_any_logger
            && !activity.has_known_format
            && activity.components.is_empty()
            && activity.libraries.is_empty())
        .then(|| component_of_stem(&instance))
        .filter(|name| name.contains(['-', '_']));
        let is_named_by_file = pod.is_none()
            && (of_file.is_some() || process.is_none())
            && activity.components.is_empty()
            && !component_names::is_pod_like(&instance)
            && by_producer_name.is_none()
            && activity.libraries.is_empty();
        let component = if let Some(workload) = workload {
            CompactString::from(workload).to_lowercase()
        } else if let Some(name) = named_by_role {
            name
        } else if activity.components.contains("frontend") {
            CompactString::from("frontend")
        } else if let Some(component) = activity.components.first() {
            component.clone()
        } else if let Some(component) = by_producer_name.or(file.component) {
            CompactString::from(component)
        } else if let Some(library) =
            ENGINES.iter().find(|engine| activity.libraries.contains(**engine))
        {
            CompactString::from(*library)
        } else if let Some(library) = activity.libraries.first() {
            library.clone()
        } else {
            component_of_stem(&instance)
        };
        Self { component, instance, pod: pod.is_some(), is_named_by_file }
    }
}

/// Libraries that are the engine of a worker, and therefore identify it better than any other.
const ENGINES: [&str; 3] = ["vllm", "sglang", "trtllm"];

/// Derives the component from the name of a file or instance: `agent-0` is an `agent`. Names that
/// fit any log give `unknown`.
fn component_of_stem(stem: &str) -> CompactString {
    // A bare process ID names nobody.
    if stem.starts_with("pid ") {
        return CompactString::const_new("unknown");
    }
    let stem = component_names::workload_of(stem);
    let name = stem.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if name.is_empty() || component_names::is_generic(name) {
        CompactString::const_new("unknown")
    } else {
        CompactString::from(name).to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_derived_from_file_stems() {
        for (stem, component) in [
            ("worker-0", "worker"),
            ("Frontend", "frontend"),
            ("kvbm", "kvbm"),
            ("0", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(component_of_stem(stem), component, "{stem}");
        }
    }
}
