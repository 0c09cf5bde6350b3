//! The flowlog vocabulary and wire format.
//!
//! One [`Record`] is one line. It has two forms, JSON ([`json`]) and text ([`text`]), each with one encoder
//! that appends to a buffer the caller owns and one decoder that borrows from the line. `decode(encode(r)) == r`
//! holds for every record in normal form, and neither decoder fails on any byte string in any way but
//! by saying that the line is no record.
//!
//! The crate does no I/O, knows no logging framework and reads no environment.

mod clock;
pub mod flight;
mod glance;
mod id;
pub mod json;
pub mod lint;
mod problems;
pub mod propagation;
mod record;
pub mod report;
mod scalar;
mod skim;
pub mod text;
mod time;

pub use clock::{Clock, HybridClock, MAX_CLOCK_LEAD_MS};
pub use glance::Glance;
pub use id::{FlowId, IdError, SpanId};
pub use problems::Problems;
pub use record::{
    DYNAMO_ERROR_TYPES, ErrorInfo, Event, Level, Record, is_component, is_error_type,
};
pub use scalar::Scalar;
pub use skim::{Origin, Skim, Skimmer, Step};
pub use time::{SecondText, Time};
