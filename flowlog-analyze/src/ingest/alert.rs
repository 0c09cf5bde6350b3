//! Alerts: failures as their lines report them, shown while reading continues and causes are not
//! known yet.

use compact_str::CompactString;

use crate::envelope::Producer;
use crate::event::{FlowKey, ParsedEvent, SpanUpdate, truncate};
use crate::flow::{LineRef, LogPosition};
use crate::format::client_fault;
use crate::rules::{RuleClass, RuleMatch};

/// A failure as its line reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Location of the line.
    pub line: LineRef,
    /// Time of the line, in nanoseconds since the epoch.
    pub time: Option<i64>,
    /// Flow that failed; `None` if the line concerns a process or the run.
    pub flow: Option<FlowKey>,
    /// Component that the line names or is attributed to.
    pub component: CompactString,
    /// Instance that the line names, or else the pod, container, process or host that produced it.
    pub instance: CompactString,
    /// State that the component was in.
    pub state: CompactString,
    /// Error type.
    pub kind: CompactString,
    /// Message as it appears in the log.
    pub message: Box<str>,
}

/// Maximum length of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_000;

impl Alert {
    /// Returns the alert for a span's line, if it reports a failure that is not the caller's fault.
    pub(super) fn of_span(
        event: &ParsedEvent<'_>,
        producer: &Producer,
        position: LogPosition,
    ) -> Option<Self> {
        let (SpanUpdate::Fail(error_detail) | SpanUpdate::ErrorLogged { error_detail, .. }) =
            &event.update
        else {
            return None;
        };
        if client_fault(&error_detail.kind, error_detail.status).is_some() {
            return None;
        }
        let of_span = event.span.as_ref();
        let component =
            of_span.and_then(|span| span.component.as_deref()).or(event.component.as_deref());
        let instance =
            of_span.and_then(|span| span.instance.as_deref()).or(event.instance.as_deref());
        let message: &str =
            if error_detail.message.is_empty() { &event.message } else { &error_detail.message };
        Some(Self {
            line: position.line,
            time: position.time(),
            flow: event.flows.first().cloned(),
            component: component.unwrap_or_default().into(),
            instance: instance.unwrap_or_else(|| name_of(producer)).into(),
            state: event.state.as_deref().unwrap_or_default().into(),
            kind: error_detail.kind.as_ref().into(),
            message: truncate(message, MAX_MESSAGE_BYTES).into(),
        })
    }

    /// Returns the alert for a line that concerns a process or the run, if its class is a failure.
    pub(super) fn of_rule_match(
        rule_match: &RuleMatch,
        event: &ParsedEvent<'_>,
        producer: &Producer,
        position: LogPosition,
    ) -> Option<Self> {
        if !matches!(
            rule_match.class,
            RuleClass::Panic
                | RuleClass::Fatal
                | RuleClass::Killed
                | RuleClass::StartFailure
                | RuleClass::Unreachable
                | RuleClass::Traceback
                | RuleClass::Infrastructure
                | RuleClass::Error
        ) {
            return None;
        }
        let named = event.component.as_deref().unwrap_or_default();
        let component =
            if rule_match.component.is_empty() { named } else { rule_match.component.as_str() };
        Some(Self {
            line: position.line,
            time: position.time(),
            flow: None,
            component: component.into(),
            instance: event.instance.as_deref().unwrap_or_else(|| name_of(producer)).into(),
            state: CompactString::default(),
            kind: CompactString::default(),
            message: truncate(&event.full_message(), MAX_MESSAGE_BYTES).into(),
        })
    }
}

/// Returns the producer's name from its envelopes: pod, container, process or host, whichever is
/// known first; empty if none is.
pub(super) fn name_of(producer: &Producer) -> &str {
    [&producer.pod, &producer.container, &producer.process, &producer.host]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("", |name| name)
}
