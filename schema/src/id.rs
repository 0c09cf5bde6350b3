//! Flow and span IDs.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use crate::hex;

/// An invalid flow or span ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not 32 hex digits, hyphenated or not.
    #[error("invalid flow id: expected 32 hex digits, hyphenated or not")]
    NotAFlowId,
    /// The text is not 16 hex digits.
    #[error("invalid span id: expected 16 hex digits")]
    NotASpanId,
    /// All bytes are zero, which W3C Trace Context forbids.
    #[error("invalid id: all digits are zero")]
    Zero,
}

/// ID of a flow. Its 16 bytes are the W3C trace ID; its text is a hyphenated lower-case UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(NonZeroU128);

impl FlowId {
    /// Generates an id: a `UUIDv7` with 62 random low bits, as the W3C random flag requires.
    pub fn new() -> Self {
        let uuid = uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext));
        Self(NonZeroU128::new(uuid.as_u128()).unwrap_or(NonZeroU128::MIN))
    }

    /// Creates an ID from 16 bytes.
    ///
    /// # Errors
    /// [`IdError::Zero`] if all bytes are zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        Self::from_u128(u128::from_be_bytes(bytes))
    }

    /// Creates an ID from a number, which holds the bytes in big-endian order.
    ///
    /// # Errors
    /// [`IdError::Zero`] if the number is zero.
    pub fn from_u128(value: u128) -> Result<Self, IdError> {
        NonZeroU128::new(value).map(Self).ok_or(IdError::Zero)
    }

    /// Parses a hyphenated UUID or 32 hex digits, in either case.
    ///
    /// # Errors
    /// [`IdError::NotAFlowId`] if the text has another form, [`IdError::Zero`] if all digits are
    /// zero.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() != 36 && text.len() != 32 {
            return Err(IdError::NotAFlowId);
        }
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| IdError::NotAFlowId)?;
        Self::from_u128(uuid.as_u128())
    }

    /// Returns the ID as a number.
    pub fn as_u128(self) -> u128 {
        self.0.get()
    }

    /// Returns the 16 bytes, which are the W3C trace ID.
    pub fn to_bytes(self) -> [u8; 16] {
        self.as_u128().to_be_bytes()
    }

    /// Returns the W3C trace ID as 32 hex digits.
    pub fn trace_id(self) -> impl fmt::Display {
        uuid::Uuid::from_u128(self.as_u128()).simple()
    }
}

impl Default for FlowId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", uuid::Uuid::from_u128(self.as_u128()).hyphenated())
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Id of a span, which is one component's share of a flow: 8 bytes, written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// Creates an ID from a number.
    ///
    /// # Errors
    /// [`IdError::Zero`] if the number is zero.
    pub fn from_u64(value: u64) -> Result<Self, IdError> {
        NonZeroU64::new(value).map(Self).ok_or(IdError::Zero)
    }

    /// Parses 16 hex digits, in either case.
    ///
    /// # Errors
    /// [`IdError::NotASpanId`] if the text has another form, [`IdError::Zero`] if all digits are
    /// zero.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        Self::from_u64(parse_hex16(text).ok_or(IdError::NotASpanId)?)
    }

    /// Returns the ID as a number.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses exactly 16 hex digits.
pub(crate) fn parse_hex16(text: &str) -> Option<u64> {
    hex::hex16(text.as_bytes().try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_ids() {
        let id = FlowId::parse("019aaaac-a5da-7347-bb80-1089c1876100").unwrap();
        assert_eq!(FlowId::parse("019AAAACA5DA7347BB801089C1876100"), Ok(id));
        assert_eq!(id.to_string(), "019aaaac-a5da-7347-bb80-1089c1876100");
        assert_eq!(id.trace_id().to_string(), "019aaaaca5da7347bb801089c1876100");
        assert_eq!(FlowId::from_bytes(id.to_bytes()), Ok(id));
        for bad in [
            "",
            "019aaaac",
            "{19aaaac-a5da-7347-bb80-1089c1876100",
            "zz9aaaac-a5da-7347-bb80-1089c1876100",
        ] {
            assert_eq!(FlowId::parse(bad), Err(IdError::NotAFlowId), "{bad}");
        }
        assert_eq!(FlowId::parse("00000000000000000000000000000000"), Err(IdError::Zero));
    }

    #[test]
    fn new_flow_ids_are_version_7_with_random_low_bits() {
        let ids: Vec<u128> = (0..64).map(|_| FlowId::new().as_u128()).collect();
        for id in &ids {
            assert_eq!((id >> 76) & 0xf, 7);
            assert_eq!((id >> 62) & 0b11, 0b10);
        }
        // With a counter, the upper part of the low 62 bits would be the same in all IDs of a
        // millisecond.
        let upper: std::collections::HashSet<u128> =
            ids.iter().map(|id| (id >> 30) & 0xffff_ffff).collect();
        assert_eq!(upper.len(), ids.len());
    }

    #[test]
    fn span_ids() {
        let id = SpanId::parse("24B5dddcfdbbee4f").unwrap();
        assert_eq!(id.to_string(), "24b5dddcfdbbee4f");
        for bad in ["", "24b5", "+4b5dddcfdbbee4f", "24b5dddcfdbbee4g"] {
            assert_eq!(SpanId::parse(bad), Err(IdError::NotASpanId), "{bad}");
        }
        assert_eq!(SpanId::parse("0000000000000000"), Err(IdError::Zero));
    }
}
