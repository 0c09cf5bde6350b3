//! The flow table: parsed events, merged so that neither input order nor chunking affects the
//! result.
//!
//! Every field of every part is a minimum, a maximum, a set or a sum. Therefore threads read
//! chunks into a [`ChunkDelta`] each, and the table takes the deltas in any order.

mod activity;
mod state;
mod line_stats;
mod position;
mod chunk_delta;
mod activity_log;
mod interner;
mod row;
mod closing;
mod closed_stats;
mod shard;
mod resolved_row;
mod span;
mod participant;
mod spans;
mod shard_index;
mod spilled;
mod table;

pub use activity::Activity;
pub use activity_log::{MatchStats, ProcessActivity, ProducerActivity};
pub use chunk_delta::ChunkDelta;
pub use closed_stats::{
    CallCounts, ClosedStats, NamedStats, PeerStats, SkewBounds, service_instance,
};
pub use line_stats::{LineCounts, LineStats, Violations};
pub use position::{LineRef, LogPosition, ProducerId, ServiceInstance};
pub use shard::Evicted;
pub use span::{Failure, FieldCoverage, Span, SpanStatus};
pub use spans::Flow;
pub use table::{MergedFlow, Table};
