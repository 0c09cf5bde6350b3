//! The table of flows: what was seen, joined so that neither the order nor the cut of the input matters.
//!
//! Every field of every part is a least or greatest element, a set or a sum. So `insert` commutes, and `merge` is
//! associative and commutative: threads fold chunks with it, time windows follow one another with it, and machines
//! could fold shards with it.

mod activity;
mod mark;
mod process;
mod settled;
mod span;
mod table;

pub use activity::Activity;
pub use mark::{Mark, Place, Voice};
pub use process::{ProcessFacts, Sign, VoiceFacts};
pub use settled::{Party, PeerStats, Settled, SkewBounds};
pub use span::{Failure, Fate, Span};
pub use table::{Flow, Group, Table, party};
