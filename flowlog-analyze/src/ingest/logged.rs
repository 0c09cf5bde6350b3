//! An event as a row of a table, for other programs to look at.

use compact_str::{CompactString, ToCompactString};
use flowlog_schema::Level;

use super::alert::name_of;
use crate::envelope::Speaker;
use crate::flow::{Mark, Place};
use crate::observation::{Observation, Said};

/// One event of a log. What is not known is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Where it begins.
    pub place: Place,
    /// When, in nanoseconds since the epoch.
    pub time: Option<i64>,
    /// How loud.
    pub level: Option<Level>,
    /// The format that took it; empty where none did.
    pub format: &'static str,
    /// Who speaks, as the line, its envelope or its file's name tells.
    pub component: CompactString,
    /// Which one, as the line or its envelope tells.
    pub instance: CompactString,
    /// The flow, by the id to show.
    pub flow: CompactString,
    /// What happened to its span: `start`, `state`, `end`, `fail`, `cancel`; empty where nothing is said of one.
    pub event: &'static str,
    /// Where in its work the component is.
    pub state: CompactString,
    /// The error's type.
    pub error_type: CompactString,
    /// What it says, with its error.
    pub message: Box<str>,
}

/// Bytes of a message that are kept.
const MAX_MESSAGE: usize = 16 * 1024;

impl LoggedEvent {
    pub(super) fn of(
        format: &'static str,
        observation: &Observation<'_>,
        of_file: Option<&str>,
        speaker: &Speaker,
        mark: Mark,
    ) -> Self {
        let span = observation.span.as_ref();
        let component =
            span.and_then(|span| span.component.as_deref()).or(observation.component.as_deref());
        let component =
            component.filter(|name| !name.is_empty()).or_else(|| speaker.component()).or(of_file);
        let instance =
            span.and_then(|span| span.instance.as_deref()).or(observation.instance.as_deref());
        let (event, fault) = match &observation.said {
            Said::Open => ("start", None),
            Said::Closed | Said::End => ("end", None),
            Said::Fail(fault) => ("fail", Some(fault)),
            Said::Distress { fault, .. } => ("state", Some(fault)),
            Said::Cancel => ("cancel", None),
            Said::Word | Said::Streaming | Said::Answered | Said::Recreated if span.is_some() => {
                ("state", None)
            }
            Said::Word | Said::Streaming | Said::Answered | Said::Recreated => ("", None),
        };
        let words = observation.words();
        let words = fault
            .map(|fault| fault.message.as_ref())
            .filter(|_| words.is_empty())
            .unwrap_or(&words);
        Self {
            place: mark.place,
            time: mark.time(),
            level: observation.level,
            format,
            component: component.unwrap_or_default().into(),
            instance: instance.unwrap_or_else(|| name_of(speaker)).into(),
            flow: observation
                .flows
                .first()
                .map(|flow| flow.to_compact_string())
                .unwrap_or_default(),
            event,
            state: observation.state.as_deref().unwrap_or_default().into(),
            error_type: fault.map(|fault| fault.kind.as_ref().into()).unwrap_or_default(),
            message: words.get(..words.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default().into(),
        }
    }
}
