//! What was odd about a line that was read all the same.

/// Counts of oddities in a decoded line. They never stop the reading; the reader adds them up and shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Problems {
    /// Keys that came twice; the first one won.
    pub duplicate_keys: u32,
    /// Values that did not fit their key (a clock that is no hex, a number for a component) and were left out.
    pub bad_values: u32,
}

impl Problems {
    /// Whether nothing was odd.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
