//! Log positions: when and where a line was logged.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Reference to a line in a source. Evidence is stored as line references, and the text is read
/// again when it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineRef {
    /// Index of the source.
    pub source: u32,
    /// Byte offset of the event's first line.
    pub offset: u64,
    /// Key of the producer that logged the line, from its envelopes
    /// ([`Producer::key`](crate::envelope::Producer::key)).
    pub producer: u32,
}

/// A producer in one source. It stands for a process until a line names that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId {
    /// Index of the source.
    pub source: u32,
    /// Key of the producer; zero if no envelope identifies it.
    pub producer: u32,
}

/// Process as a flow names it: component, and instance or, if none is named, the producer.
pub type ServiceInstance = (CompactString, CompactString, ProducerId);

impl ProducerId {
    /// No producer.
    pub const NONE: Self = Self { source: u32::MAX, producer: 0 };
}

impl LineRef {
    /// Returns the producer that logged the line.
    pub fn producer_id(self) -> ProducerId {
        ProducerId { source: self.source, producer: self.producer }
    }
}

/// Time and place of a log line.
///
/// The order is that of the process that logged it: by its clock, then by time, then by place in
/// its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Hybrid logical clock; zero if the line has none.
    pub clock: u64,
    /// Nanoseconds since the epoch; [`LogPosition::NO_TIME`] if the line has no time.
    pub time: i64,
    /// The line.
    pub line: LineRef,
    /// Resolution of the time, in nanoseconds: timestamps have a limited number of digits, so the
    /// true time is within `time..time + resolution_ns`.
    pub resolution_ns: u32,
}

impl LogPosition {
    /// Time of a line that has none.
    pub const NO_TIME: i64 = i64::MIN;

    /// Returns the time, if there is one.
    pub fn time(self) -> Option<i64> {
        (self.time != Self::NO_TIME).then_some(self.time)
    }
}

/// Keeps the smaller of the value in `slot` and `value`; `None` never replaces a value.
pub(super) fn keep_min<T: Ord>(slot: &mut Option<T>, value: Option<T>) {
    if let Some(value) = value
        && slot.as_ref().is_none_or(|kept| value < *kept)
    {
        *slot = Some(value);
    }
}

/// Keeps the greater of the value in `slot` and `value`; `None` never replaces a value.
pub(super) fn keep_max<T: Ord>(slot: &mut Option<T>, value: Option<T>) {
    if let Some(value) = value
        && slot.as_ref().is_none_or(|kept| value > *kept)
    {
        *slot = Some(value);
    }
}
