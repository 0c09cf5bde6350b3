//! Layouts of the sources, each learned from its first lines.

use crate::envelope::Layout;
use crate::format::understanding;
use crate::source::Sources;

/// Bytes of a source from which its layout is learned.
const SAMPLE_BYTES: usize = 64 * 1024;

/// Layouts by the index of the source.
#[derive(Debug, Default)]
pub(super) struct Layouts(Vec<Option<Layout>>);

impl Layouts {
    /// Learns the layouts of the sources that are read for the first time.
    pub(super) fn learn(&mut self, sources: &Sources, wanted: impl Iterator<Item = usize>) {
        for index in wanted {
            if self.0.len() <= index {
                self.0.resize(index + 1, None);
            }
            let known = self.0.get_mut(index);
            let (Some(known), Some(source)) = (known, sources.read.get(index)) else { continue };
            if known.is_none() {
                let mut sample = vec![0; SAMPLE_BYTES];
                // A source that cannot be read is reported when its lines are.
                let filled = source.read_at(0, &mut sample).unwrap_or(0);
                sample.truncate(filled);
                *known = Some(Layout::of(&sample, understanding));
            }
        }
    }

    /// Returns the layout of a source.
    pub(super) fn of(&self, index: usize) -> &Layout {
        self.0.get(index).and_then(Option::as_ref).unwrap_or(&Layout::Plain)
    }
}
