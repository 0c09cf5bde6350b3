//! Vocabulary and wire format of flowlog records.
//!
//! A [`Record`] is one log line. It has two forms, JSON ([`json`]) and text ([`text`]). Each form
//! has one encoder, which appends to a buffer owned by the caller, and one decoder, which borrows
//! from the line. `decode(encode(r)) == r` holds for every record in normal form. The decoders
//! accept any byte string; their only error is that the line is not a record.
//!
//! The crate performs no I/O, reads no environment variables and does not depend on a logging
//! framework.

mod clock;
pub mod flight;
mod cursor;
mod hex;
mod fast_decode;
mod id;
pub mod json;
pub mod lint;
mod problems;
pub mod propagation;
mod record;
pub mod report;
mod scalar;
mod record_cache;
pub mod text;
mod time;

pub use clock::{Clock, HybridClock, MAX_CLOCK_LEAD_MS};
pub use fast_decode::FastRecord;
pub use id::{FlowId, IdError, SpanId};
pub use problems::Problems;
pub use record::{
    DYNAMO_ERROR_TYPES, ErrorInfo, EventKind, Level, Record, is_component, is_error_type,
};
pub use record_cache::{CachedRecord, Producer, RecordCache, Transition};
pub use scalar::Scalar;
pub use time::{SecondText, Time};
