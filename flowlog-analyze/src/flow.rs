//! The table of flows: what was seen, joined so that neither the order nor the cut of the input matters.
//!
//! Every field of every part is a least or greatest element, a set or a sum. So `insert` commutes, and `merge` is
//! associative and commutative: threads fold chunks with it, time windows follow one another with it, and machines
//! could fold shards with it.

mod activity;
mod entry;
mod ledger;
mod mark;
mod notes;
mod process;
mod roster;
mod row;
mod settled;
mod shard;
mod span;
mod spilled;
mod stats;
mod table;

pub use activity::Activity;
pub use entry::Flow;
pub use ledger::{Broken, Entry, Ledger};
pub use mark::{Mark, Place, Voice};
pub use notes::Notes;
pub use process::{ProcessFacts, Sign, VoiceFacts};
pub use settled::{Party, PeerStats, Settled, SkewBounds, party};
pub use span::{Failure, Fate, Held, Span};
pub use table::{Group, Table};
