//! What is kept of settled flows of rows, by number.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::roster::Roster;
use super::settled::{PeerStats, Settled, SkewBounds};

/// [`Settled`] with numbers for names.
#[derive(Debug, Clone, Default)]
pub(super) struct Stats {
    /// How many flows ended well.
    pub(super) ok: u64,
    /// By component and state.
    pub(super) peers: HashMap<(u32, u32), PeerStats, FixedState>,
    /// By caller and callee.
    pub(super) calls: HashMap<(u32, u32), SkewBounds, FixedState>,
}

impl Stats {
    /// With their names.
    pub(super) fn named(self, roster: &Roster) -> Settled {
        let mut settled = Settled { ok: self.ok, ..Settled::default() };
        for ((component, state), stats) in self.peers {
            let names = (roster.names.text(component).clone(), roster.names.text(state).clone());
            settled.peers.entry(names).or_default().merge(stats);
        }
        for ((caller, callee), bounds) in self.calls {
            settled
                .calls
                .entry((roster.party(caller), roster.party(callee)))
                .or_default()
                .add(bounds.upper, bounds.lower);
        }
        settled
    }
}
