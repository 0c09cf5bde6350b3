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
    /// The connection was refused, and one process that the failed component calls was dead.
    ConnectionRefused,
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
    /// The state of a Kubernetes object shows the failure.
    ObjectState,
    /// The component's share of the time in flows grew, compared with the baseline.
    Slower,
    /// The run is known to have failed, and this component is the most suspicious.
    Suspect,
}

impl Basis {
    /// Every basis that decides without flows or rules.
    pub const OF_UNUSUAL: [Self; 3] = [Self::ObjectState, Self::Slower, Self::Suspect];

    /// Every basis that decides in flows; the others are those of rules for lines outside flows.
    pub const OF_FLOWS: [Self; 12] = [
        Self::Recorded,
        Self::ReportedInOrder,
        Self::Reported,
        Self::LostByCaller,
        Self::OutlastedPeers,
        Self::ProcessSilent,
        Self::NamedOutage,
        Self::NoneLeft,
        Self::ConnectionRefused,
        Self::SilentCallee,
        Self::SharedDependency,
        Self::Relay,
    ];

    /// Returns the name of the rule, under which `docs/rules.md` describes it.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Recorded => "recorded_kill",
            Self::ReportedInOrder | Self::Reported => "reported_failure",
            Self::LostByCaller => "lost_by_caller",
            Self::OutlastedPeers => "outlasted_peers",
            Self::ProcessSilent => "silent_process",
            Self::NamedOutage => "named_outage",
            Self::NoneLeft => "no_instance_left",
            Self::ConnectionRefused => "connection_refused",
            Self::SilentCallee => "silent_callee",
            Self::SharedDependency => "shared_dependency",
            Self::RuleMatch | Self::ErrorText => "error_message",
            Self::Pattern => "no_progress",
            Self::Relay => "relayed_error",
            Self::ObjectState => "kubernetes_state",
            Self::Slower => "slower_than_baseline",
            Self::Suspect => "best_suspect",
        }
    }

    /// Returns what would have contradicted the attribution.
    pub fn contradicted_by(self) -> &'static str {
        match self {
            Self::Recorded => "a line of the process after it was killed",
            Self::ReportedInOrder | Self::Reported => {
                "an earlier failure of a component that it called"
            }
            Self::LostByCaller => "a line about this call before its caller gave up",
            Self::OutlastedPeers => {
                "a complete span of this component and state that took as long, or a line about \
                 this call"
            }
            Self::ProcessSilent => "a line of the process in that time, or a shutdown before it",
            Self::NamedOutage => {
                "a response of the instance to this flow, or a line of it at the time of the failure"
            }
            Self::NoneLeft => "a line of another instance at the time of the failure",
            Self::ConnectionRefused => {
                "a line of the instance at that time, or another dead process that the component \
                 calls"
            }
            Self::SilentCallee => {
                "a line of the instance while it was waited for, or another instance that was \
                 silent, too"
            }
            Self::SharedDependency => "a flow that began at that time and ended well",
            Self::RuleMatch | Self::ErrorText => {
                "a later line that shows that the process recovered, or a request to stop before it"
            }
            Self::Pattern => "progress between the repeated lines, or a request to stop",
            Self::Relay => "the error that the line passes on",
            Self::ObjectState => "an object that it depends on and that failed before",
            Self::Slower => "a good run in which it takes as long",
            Self::Suspect => "the same lines in a good run: compare with `--baseline`",
        }
    }

    /// Returns whether the failure was attributed to the outage of another component.
    pub fn is_joined(self) -> bool {
        matches!(
            self,
            Self::NamedOutage
                | Self::NoneLeft
                | Self::ConnectionRefused
                | Self::SilentCallee
                | Self::SharedDependency
        )
    }

    /// Returns the probability that the basis stands for.
    pub fn confidence(self) -> f64 {
        match self {
            Self::Recorded => 0.99,
            Self::ReportedInOrder => 0.98,
            Self::Reported | Self::LostByCaller => 0.97,
            Self::OutlastedPeers => 0.93,
            Self::ProcessSilent | Self::NamedOutage => 0.95,
            Self::NoneLeft | Self::ConnectionRefused => 0.9,
            Self::SilentCallee | Self::SharedDependency => 0.85,
            Self::RuleMatch => 0.75,
            Self::ErrorText => 0.65,
            Self::Pattern => 0.6,
            Self::Relay => 0.55,
            Self::ObjectState => 0.8,
            Self::Slower => 0.6,
            Self::Suspect => 0.4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_describes_every_rule_for_flows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");
        let manual = std::fs::read_to_string(path).unwrap();
        let outcomes = ["flow_ok", "flow_cancelled", "flow_rejected", "flow_unfinished"];
        let bases = Basis::OF_FLOWS.into_iter().chain(Basis::OF_UNUSUAL);
        for rule in bases.map(Basis::rule).chain(outcomes) {
            assert!(manual.contains(&format!("\n### {rule}\n")), "{rule}");
        }
    }
}
