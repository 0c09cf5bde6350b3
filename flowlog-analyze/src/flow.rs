//! The table of flows: what was seen, joined so that neither the order nor the cut of the input matters.
//!
//! Every field of every part is a least or greatest element, a set or a sum. So `insert` commutes, and `merge` is
//! associative and commutative: threads fold chunks with it, time windows follow one another with it, and machines
//! could fold shards with it.

mod activity;
mod ledger;
mod mark;
mod process;
mod settled;
mod span;
mod table;

pub use activity::Activity;
pub use ledger::{Broken, Entry, Ledger};
pub use mark::{Mark, Place, Voice};
pub use process::{ProcessFacts, Sign, VoiceFacts};
pub use settled::{Party, PeerStats, Settled, SkewBounds};
pub use span::{Failure, Fate, Held, Span};
pub use table::{Flow, Group, Table, party};
