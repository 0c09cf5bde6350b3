//! Prefilter: skips sources of components that were not requested.

use crate::component_filter::ComponentFilter;
use crate::component_names;
use crate::format;
use crate::lines::read_chunk;
use crate::multiline::{NeedsLookbehind, RawEvent, read_events};
use crate::source::Source;

/// Bytes sampled at the beginning of a source to find its components.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// Returns whether a source belongs to other components only. Both its name and its first lines
/// must show this: at least one of those lines names a component, and none names a requested one.
pub(super) fn is_of_others(source: &Source, components: &ComponentFilter) -> bool {
    let of_file = component_names::of_file(&source.name).component;
    if components.is_all() || of_file.is_none_or(|component| components.holds(component)) {
        return false;
    }
    let Ok(chunk) = read_chunk(source, 0..SAMPLE_BYTES, true, Vec::new()) else { return false };
    let (mut named, mut chosen) = (0u64, false);
    let read: Result<u64, NeedsLookbehind> =
        read_events(&chunk, &mut |_| Ok(None), &mut |event: &RawEvent<'_>| {
            let text = String::from_utf8_lossy(&event.text);
            let event = format::read(&text).1.filter(|event| !event.is_library);
            if let Some(component) = event.as_ref().and_then(|event| event.component.as_deref()) {
                named += 1;
                chosen |= components.holds(component);
            }
            Ok(())
        });
    read.is_ok() && named > 0 && !chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    #[test]
    fn name_and_lines_must_agree() {
        let line = |component: &str| {
            format!(
                "2025-11-22T08:27:15.705274Z INFO {component}/0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start x {{v@1}} begins\n"
            )
        };
        let (frontend, router) = (line("frontend"), line("router"));
        let both = format!("{frontend}{router}");
        for (name, text, is) in [
            ("frontend-0.log", frontend.as_str(), true),
            ("frontend-0.log", &both, false),
            ("router-0.log", &frontend, false),
            ("run.log", &frontend, false),
            ("frontend-0.log", "no line names a component\n", false),
        ] {
            let sources = Sources::from_texts([(name, text.as_bytes())]).unwrap();
            assert_eq!(
                is_of_others(&sources.read[0], &ComponentFilter::of(["router"])),
                is,
                "{name}: {text}"
            );
            assert!(!is_of_others(&sources.read[0], &ComponentFilter::default()));
        }
    }
}
