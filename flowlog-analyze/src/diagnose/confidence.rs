//! How sure an answer is.
//!
//! A confidence is an estimate of the probability that component and instance are the right ones. Each [`Basis`] has
//! the share of right answers that simulated clusters gave it, rounded down (the calibration test in
//! `tests/cluster.rs` holds the mean confidence below the measured accuracy); what was said beside flows has what excerpts gave
//! that no rule was written for: two thirds to five sixths right. A failure's confidence is the mean over its flows. The
//! verdict's is that of its cause, times the share that the cause has of all failed flows where another cause follows
//! closely: the two may be one.

/// How a failure is known, from the strongest to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// A kill of the process is on record, or its restart.
    Recorded,
    /// It said so, and the flow's clocks order it.
    SaidInOrder,
    /// It said so; the order is that of parents and children.
    Said,
    /// It fell silent, and its callers lost it or timed out.
    LostByCaller,
    /// It was silent longer than any of its peers took.
    OutlastedPeers,
    /// Its process fell silent while others spoke.
    ProcessSilent,
    /// It failed while something that it depends on was dead, hung or unreachable.
    Joined,
    /// A line outside every flow says so, in words that say nothing else.
    Sign,
    /// A line outside every flow tells an error, and no flow tells what came of it.
    Word,
    /// Nothing said so: waiting without progress, a stop without an order.
    Pattern,
    /// Somebody passes on that it failed, and nothing else tells of it.
    Relay,
}

impl Basis {
    /// The probability that it stands for.
    pub fn confidence(self) -> f64 {
        match self {
            Self::Recorded => 0.99,
            Self::SaidInOrder => 0.98,
            Self::Said => 0.96,
            Self::LostByCaller => 0.96,
            Self::OutlastedPeers => 0.93,
            Self::ProcessSilent => 0.88,
            Self::Joined => 0.85,
            Self::Sign => 0.75,
            Self::Word => 0.65,
            Self::Pattern => 0.6,
            Self::Relay => 0.55,
        }
    }
}
