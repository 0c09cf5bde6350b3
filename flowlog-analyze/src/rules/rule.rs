//! Rules: the phrases they match, the class they indicate, and the attribution of the line.

/// Class of a line: what it shows about the run, independent of any flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleClass {
    /// A thread panicked, or the interpreter died.
    Panic,
    /// An error that ends its process.
    Fatal,
    /// A report that a process was killed or died from a signal.
    Killed,
    /// A process could not start.
    StartFailure,
    /// A shared dependency cannot be reached.
    Unreachable,
    /// An exception with its stack.
    Traceback,
    /// A failure of the environment, which no component owns.
    Infrastructure,
    /// A report that something failed.
    Error,
    /// A report that relays a failure elsewhere.
    Relay,
    /// Waiting or retrying. A single report means nothing; a steady repetition without progress is
    /// a stall.
    Waiting,
    /// A stream was lost and recreated elsewhere.
    Recovered,
    /// The caller is at fault.
    Client,
    /// The caller disconnected, or the run was cancelled.
    CallerGone,
    /// Handled where it was detected: retried, continued without, or only a warning.
    Handled,
    /// Shutdown noise.
    Teardown,
    /// The run or a process was requested to stop.
    StopRequested,
    /// A component stops.
    Stop,
    /// Work is in flight.
    WorkInFlight,
    /// The process is ready to serve.
    Ready,
    /// Work succeeds, or something that was lost is available again.
    Healthy,
}

impl RuleClass {
    /// Every class, in order of precedence for a line that matches several.
    pub(super) const ALL: [Self; 20] = [
        Self::Panic,
        Self::Recovered,
        Self::Handled,
        Self::CallerGone,
        Self::Client,
        Self::Teardown,
        Self::Infrastructure,
        Self::Unreachable,
        Self::Killed,
        Self::Fatal,
        Self::Relay,
        Self::StartFailure,
        Self::StopRequested,
        Self::WorkInFlight,
        Self::Stop,
        Self::Ready,
        Self::Healthy,
        Self::Waiting,
        Self::Error,
        Self::Traceback,
    ];

    /// Returns whether the class applies only to lines that are not errors themselves.
    pub(super) fn excludes_errors(self) -> bool {
        matches!(
            self,
            Self::Stop | Self::WorkInFlight | Self::Ready | Self::Healthy | Self::Waiting
        )
    }

    /// Returns whether matches of the class are recorded. The other classes exist only so that
    /// their lines do not count as failures.
    pub(super) fn is_kept(self) -> bool {
        !matches!(self, Self::Handled | Self::Teardown)
    }
}

/// Attribution of a rule's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribution {
    /// The component that owns the code shown by the line, or else the producer.
    Producer,
    /// The component that owns the code shown by the line, or else this one.
    CodeOr(&'static str),
    /// This component or CI area.
    Named(&'static str),
}

/// A rule: the phrases to match, and the class and attribution of a line that matches.
pub(super) struct Rule {
    /// Name in the report and in `docs/rules.md`.
    pub name: &'static str,
    pub class: RuleClass,
    pub attribution: Attribution,
    /// Phrases of which at least one must occur in the target, the message or the error, ignoring
    /// ASCII case.
    pub any_of: &'static [&'static str],
    /// Phrases of which at least one must occur too, unless there are none.
    pub and_any_of: &'static [&'static str],
    /// Phrases of which none may occur.
    pub none_of: &'static [&'static str],
    /// A line that the rule matches.
    #[cfg_attr(not(test), expect(dead_code, reason = "used by tests, and as documentation"))]
    pub example: &'static str,
    /// A similar line that the rule must not match.
    #[cfg_attr(not(test), expect(dead_code, reason = "used by tests, and as documentation"))]
    pub near_miss: &'static str,
}

impl Rule {
    pub(super) const fn new(
        name: &'static str,
        class: RuleClass,
        attribution: Attribution,
        any_of: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            class,
            attribution,
            any_of,
            and_any_of: &[],
            none_of: &[],
            example: "",
            near_miss: "",
        }
    }

    /// Returns whether the rule's line shows that a dependency works, which clients log in detail.
    pub(super) fn is_of_dependency(&self) -> bool {
        self.class == RuleClass::Healthy && matches!(self.attribution, Attribution::Named(_))
    }

    pub(super) const fn and_any_of(self, and_any_of: &'static [&'static str]) -> Self {
        Self { and_any_of, ..self }
    }

    pub(super) const fn none_of(self, none_of: &'static [&'static str]) -> Self {
        Self { none_of, ..self }
    }

    pub(super) const fn example(self, example: &'static str, near_miss: &'static str) -> Self {
        Self { example, near_miss, ..self }
    }
}
