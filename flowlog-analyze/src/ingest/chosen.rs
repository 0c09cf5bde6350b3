//! Sources that need not be read: those of components that nobody asked for.

use crate::events::{Event, NeedsPast, read_events};
use crate::format;
use crate::lines::read_chunk;
use crate::names::{self, Components};
use crate::source::Source;

/// Bytes at a source's beginning that tell who writes in it.
const SAMPLE: u64 = 64 * 1024;

/// Whether a source is of other components than those: its name says so, and so do its first lines, all that name one.
pub(super) fn is_of_others(source: &Source, components: &Components) -> bool {
    let of_file = names::of_file(&source.name).component;
    if components.is_all() || of_file.is_none_or(|component| components.holds(component)) {
        return false;
    }
    let Ok(chunk) = read_chunk(source, 0..SAMPLE, true, Vec::new()) else { return false };
    let (mut named, mut chosen) = (0u64, false);
    let read: Result<u64, NeedsPast> =
        read_events(&chunk, &mut |_| Ok(None), &mut |event: &Event<'_>| {
            let text = String::from_utf8_lossy(&event.text);
            let observation = format::read(&text).1.filter(|observation| !observation.embedded);
            if let Some(component) =
                observation.as_ref().and_then(|observation| observation.component.as_deref())
            {
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
    fn name_and_lines_have_to_agree() {
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
            ("frontend-0.log", "no line names anybody\n", false),
        ] {
            let sources = Sources::of_texts([(name, text.as_bytes())]).unwrap();
            assert_eq!(
                is_of_others(&sources.read[0], &Components::of(["router"])),
                is,
                "{name}: {text}"
            );
            assert!(!is_of_others(&sources.read[0], &Components::default()));
        }
    }
}
