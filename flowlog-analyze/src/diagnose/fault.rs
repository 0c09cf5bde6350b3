//! A failure in one span, as the span reports it or as its silence shows it.

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::confidence::Basis;
use super::silence::Silence;
use crate::flow::{self, LogPosition, Span};

/// A failure in one span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault<'a> {
    /// Index of the span in its tree.
    pub at: usize,
    pub position: LogPosition,
    pub kind: FaultKind<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum FaultKind<'a> {
    Reported(&'a flow::Failure),
    Silent(Silence),
}

impl<'a> Fault<'a> {
    pub(super) fn reported_at(at: usize, failure: &'a flow::Failure) -> Self {
        Self { at, position: failure.position, kind: FaultKind::Reported(failure) }
    }

    pub(super) fn silent_at(at: usize, position: LogPosition, silence: Silence) -> Self {
        Self { at, position, kind: FaultKind::Silent(silence) }
    }

    /// Returns how a span failed before its stream was restarted: by the error that it reported, or
    /// silently.
    pub(super) fn restarted(at: usize, position: LogPosition, span: &'a Span) -> Self {
        let silence = Silence {
            kind: FailureKind::Error,
            basis: Basis::LostByCaller,
            whole_process: false,
            since: span.last.time,
        };
        let error = span.last_error.as_deref().or(span.failed.as_deref());
        Self { at, position, kind: error.map_or(FaultKind::Silent(silence), FaultKind::Reported) }
    }

    /// Returns the failure that the span reported, if it did.
    pub(super) fn reported(&self) -> Option<&'a flow::Failure> {
        match self.kind {
            FaultKind::Reported(failure) => Some(failure),
            FaultKind::Silent(_) => None,
        }
    }

    /// Returns the silence of the span, if it reported nothing.
    pub(super) fn silence(&self) -> Option<Silence> {
        match self.kind {
            FaultKind::Reported(_) => None,
            FaultKind::Silent(silence) => Some(silence),
        }
    }

    /// Returns whether the span reports that its process was killed.
    fn is_kill_report(&self) -> bool {
        self.reported().is_some_and(|failure| {
            matches!(failure.kind.as_str(), "process_killed" | "ProcessKilled" | "Killed")
        })
    }

    pub(super) fn failure_kind(&self) -> FailureKind {
        match self.silence() {
            Some(silence) => silence.kind,
            None if self.is_kill_report() => FailureKind::Crash,
            None => FailureKind::Error,
        }
    }

    pub(super) fn basis(&self) -> Basis {
        match self.silence() {
            Some(silence) => silence.basis,
            None if self.is_kill_report() => Basis::Recorded,
            None if self.position.clock > 0 => Basis::ReportedInOrder,
            None => Basis::Reported,
        }
    }

    /// Returns whether the whole process is dead or silent, rather than only this span.
    pub(super) fn is_whole_process(&self) -> bool {
        self.silence().map_or_else(|| self.is_kill_report(), |silence| silence.whole_process)
    }

    pub(super) fn error_type(&self) -> CompactString {
        self.reported().map(|failure| failure.kind.clone()).unwrap_or_default()
    }

    pub(super) fn message(&self) -> Box<str> {
        let silence = match self.kind {
            FaultKind::Reported(failure) => return failure.message.clone(),
            FaultKind::Silent(silence) => silence,
        };
        let message = match silence.kind {
            FailureKind::Hang if silence.whole_process => {
                "process stopped logging while others continued"
            }
            FailureKind::Hang => "no activity for longer than any complete span of this kind took",
            FailureKind::Crash => {
                "process exited without a shutdown while this request was in flight"
            }
            FailureKind::Error | FailureKind::Run | FailureKind::Slow => {
                "stream broke and was restarted"
            }
        };
        message.into()
    }

    /// Returns the state in which a span failed: its last one, or, if it fell silent, the one that
    /// it had at that time.
    pub(super) fn state<'s>(&self, span: &'s Span) -> &'s str {
        match self.kind {
            FaultKind::Reported(_) => span.state(),
            FaultKind::Silent(_) => span.state_since(self.position),
        }
    }

    /// Returns the message of an error that a span logged before the failure it reported.
    pub(super) fn preceding_error(&self, span: &Span) -> Box<str> {
        let (Some(failure), Some(error)) = (self.reported(), &span.last_error) else {
            return Box::default();
        };
        if error.position < failure.position { error.message.clone() } else { Box::default() }
    }
}
