//! Confidence of an attribution.
//!
//! A confidence is an estimate of the probability that component and instance are the right ones.
//! Each [`Basis`] has the share of right answers on simulated clusters, rounded down (the
//! calibration test in `tests/cluster.rs` checks that the mean confidence does not exceed the
//! measured accuracy). Rule matches outside flows have the share of right answers on excerpts for
//! which no rule was written: two thirds to five sixths. The confidence of a failure is the mean
//! over its flows. The confidence of the verdict is that of its cause, reduced by up to half if the
//! second cause comes close in number of flows: the two may be one.

/// Basis of an attribution, from the strongest to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// A kill of the process is on record, or its restart.
    Recorded,
    /// The failure was reported, and the flow's clocks order it.
    ReportedInOrder,
    /// The failure was reported; parents and children give the order.
    Reported,
    /// The span fell silent, and its callers lost it or timed out.
    LostByCaller,
    /// The span was silent for longer than any of its peers took.
    OutlastedPeers,
    /// The process fell silent while others were active.
    ProcessSilent,
    /// The failed span called or named an instance that was dead, hung or unreachable.
    NamedOutage,
    /// No instance of a component that the failed one depends on was available.
    NoneLeft,
    /// The failed component waited for one that was silent for as long.
    SilentCallee,
    /// A shared dependency was unreachable, and no flow succeeded meanwhile.
    SharedDependency,
    /// A line outside all flows reports the failure in unambiguous words.
    RuleMatch,
    /// A line outside all flows reports an error, and no flow shows its effect.
    ErrorText,
    /// No line reports the failure: waiting without progress, or a stop without a signal.
    Pattern,
    /// The only evidence is a line that relays the failure.
    Relay,
}

impl Basis {
    /// Returns whether the failure was attributed to the outage of another component.
    pub fn is_joined(self) -> bool {
        matches!(
            self,
            Self::NamedOutage | Self::NoneLeft | Self::SilentCallee | Self::SharedDependency
        )
    }

    /// Returns the probability that the basis stands for.
    pub fn confidence(self) -> f64 {
        match self {
            Self::Recorded => 0.99,
            Self::ReportedInOrder => 0.98,
            Self::Reported => 0.96,
            Self::LostByCaller => 0.96,
            Self::OutlastedPeers => 0.93,
            Self::ProcessSilent => 0.88,
            Self::NamedOutage => 0.95,
            Self::NoneLeft => 0.85,
            Self::SilentCallee => 0.85,
            Self::SharedDependency => 0.85,
            Self::RuleMatch => 0.75,
            Self::ErrorText => 0.65,
            Self::Pattern => 0.6,
            Self::Relay => 0.55,
        }
    }
}
