//! What a rule is: words, what they tell, and of whom.

/// What a line tells of the run, beside or without any flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A thread panicked, or the interpreter died.
    Panic,
    /// Something broke that ends its process.
    Fatal,
    /// Somebody tells that a process was killed, or died of a signal.
    Killed,
    /// A process could not start.
    StartFailure,
    /// A shared dependency cannot be reached.
    Unreachable,
    /// An exception with its stack.
    Traceback,
    /// The environment failed: what no component owns.
    Infrastructure,
    /// It said that something failed.
    Error,
    /// It passes on that something failed elsewhere.
    Relay,
    /// Somebody waits or tries again: alone it is nothing, a steady beat without progress is a stall.
    Waiting,
    /// A stream was lost and made anew elsewhere.
    Recovered,
    /// The caller is to blame.
    Client,
    /// The caller left, or the run was called off.
    Left,
    /// Dealt with where it was noticed: tried again, done without, only a warning.
    Handled,
    /// Noise of going down.
    Teardown,
    /// The run or a process was told to stop.
    Signal,
    /// A component stops.
    Stop,
    /// Work is in flight.
    InFlight,
    /// The process serves.
    Ready,
    /// Work gets done, or what was lost is there again.
    Works,
}

impl Class {
    /// Every class, in the order in which a line that fits several is read.
    pub(super) const ALL: [Self; 20] = [
        Self::Panic,
        Self::Recovered,
        Self::Handled,
        Self::Left,
        Self::Client,
        Self::Teardown,
        Self::Infrastructure,
        Self::Unreachable,
        Self::Killed,
        Self::Fatal,
        Self::Relay,
        Self::StartFailure,
        Self::Signal,
        Self::InFlight,
        Self::Stop,
        Self::Ready,
        Self::Works,
        Self::Waiting,
        Self::Error,
        Self::Traceback,
    ];

    /// Whether only a line that is no error itself can be one.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Self::Stop | Self::InFlight | Self::Ready | Self::Works | Self::Waiting)
    }

    /// Whether the line is kept: the others are known only so that they accuse nobody.
    pub(super) fn is_kept(self) -> bool {
        !matches!(self, Self::Handled | Self::Teardown)
    }
}

/// Who a rule's line tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whose code the line shows, else who speaks.
    Speaker,
    /// Whose code the line shows, else this one.
    CodeOr(&'static str),
    /// This component, or this CI area.
    Named(&'static str),
}

/// A rule.
pub(super) struct Rule {
    /// Its name, for the reader and the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    pub name: &'static str,
    pub class: Class,
    pub whose: Whose,
    /// One of these must be there, in any case of letters, in the module, the words or the error beside them.
    pub any: &'static [&'static str],
    /// And one of these, where there are any.
    pub with: &'static [&'static str],
    /// And none of these.
    pub without: &'static [&'static str],
    /// A line that it explains.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    pub example: &'static str,
    /// A line that looks like one and is none of its business.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests and the reader use it"))]
    pub near_miss: &'static str,
}

impl Rule {
    pub(super) const fn new(
        name: &'static str,
        class: Class,
        whose: Whose,
        any: &'static [&'static str],
    ) -> Self {
        Self { name, class, whose, any, with: &[], without: &[], example: "", near_miss: "" }
    }

    pub(super) const fn with(self, with: &'static [&'static str]) -> Self {
        Self { with, ..self }
    }

    pub(super) const fn without(self, without: &'static [&'static str]) -> Self {
        Self { without, ..self }
    }

    pub(super) const fn example(self, example: &'static str, near_miss: &'static str) -> Self {
        Self { example, near_miss, ..self }
    }
}
