//! When and where something was said.

use serde::{Deserialize, Serialize};

/// Where a line lies: evidence is a place, read again when it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Index of the source.
    pub source: u32,
    /// Byte offset of the event's first line.
    pub offset: u64,
    /// Who speaks there, as the line's envelopes tell ([`Speaker::key`](crate::envelope::Speaker::key)).
    pub speaker: u32,
}

/// A speaker in a source: what stands for a process until its lines name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voice {
    /// Index of the source.
    pub source: u32,
    /// The speaker's key; zero where no envelope tells.
    pub speaker: u32,
}

impl Voice {
    /// Nobody's.
    pub const NONE: Self = Self { source: u32::MAX, speaker: 0 };
}

impl Place {
    /// Who speaks there.
    pub fn voice(self) -> Voice {
        Voice { source: self.source, speaker: self.speaker }
    }
}

/// When and where something was said. The order is that of the process that said it: its clock, then its time,
/// then the place in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The hybrid logical clock; zero where there is none.
    pub clock: u64,
    /// Nanoseconds since the epoch; [`Mark::NO_TIME`] where there is none.
    pub time: i64,
    /// Where.
    pub place: Place,
    /// The moment lies in `time..time + blur`, in nanoseconds: stamps have but so many digits.
    pub blur: u32,
}

impl Mark {
    /// The time of a line without one.
    pub const NO_TIME: i64 = i64::MIN;

    /// The time, where there is one.
    pub fn time(self) -> Option<i64> {
        (self.time != Self::NO_TIME).then_some(self.time)
    }
}

/// Keeps the earlier of two.
pub(super) fn keep_min<T: Ord>(slot: &mut Option<T>, value: Option<T>) {
    if let Some(value) = value
        && slot.as_ref().is_none_or(|kept| value < *kept)
    {
        *slot = Some(value);
    }
}

/// Keeps the later of two.
pub(super) fn keep_max<T: Ord>(slot: &mut Option<T>, value: Option<T>) {
    if let Some(value) = value
        && slot.as_ref().is_none_or(|kept| value > *kept)
    {
        *slot = Some(value);
    }
}
