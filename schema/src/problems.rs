//! Irregularities in lines that were decoded nevertheless.

/// Counts of the irregularities in a decoded line. They never make decoding fail; readers add them
/// up and report them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Problems {
    /// Number of repeated keys. The first value wins.
    pub duplicate_keys: u32,
    /// Number of values that did not fit their key and were dropped, such as a clock that is not
    /// hexadecimal or an object in place of a string.
    pub bad_values: u32,
}

impl Problems {
    /// Returns whether there were no irregularities.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
