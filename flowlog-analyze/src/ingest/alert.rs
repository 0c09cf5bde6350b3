//! What went wrong, as its line tells it: shown while reading goes on, before anything is known of causes.

use compact_str::CompactString;

use crate::envelope::Speaker;
use crate::flow::{Mark, Place};
use crate::format::caller_of;
use crate::observation::{FlowKey, Observation, Said};
use crate::sign::{Class, Clue};

/// Something that went wrong, as its line tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Where.
    pub place: Place,
    /// When, in nanoseconds since the epoch.
    pub time: Option<i64>,
    /// The flow that failed; none where a process or the run is in trouble.
    pub flow: Option<FlowKey>,
    /// The component that the line names.
    pub component: CompactString,
    /// The instance that it names, else the pod, container or process that wrote it.
    pub instance: CompactString,
    /// Where in its work the component was.
    pub state: CompactString,
    /// Type of the error.
    pub kind: CompactString,
    /// Its words, as they stand in the log.
    pub message: Box<str>,
}

/// Bytes of a message that are kept.
const MAX_MESSAGE: usize = 1_000;

impl Alert {
    /// What a line of a span tells, if that failed and its caller is not to blame.
    pub(super) fn of_span(
        observation: &Observation<'_>,
        speaker: &Speaker,
        mark: Mark,
    ) -> Option<Self> {
        let (Said::Fail(fault) | Said::Distress { fault, .. }) = &observation.said else {
            return None;
        };
        if caller_of(&fault.kind, fault.status).is_some() {
            return None;
        }
        let of_span = observation.span.as_ref();
        let component =
            of_span.and_then(|span| span.component.as_deref()).or(observation.component.as_deref());
        let instance =
            of_span.and_then(|span| span.instance.as_deref()).or(observation.instance.as_deref());
        let message: &str =
            if fault.message.is_empty() { &observation.message } else { &fault.message };
        Some(Self {
            place: mark.place,
            time: mark.time(),
            flow: observation.flows.first().cloned(),
            component: component.unwrap_or_default().into(),
            instance: instance.unwrap_or_else(|| name_of(speaker)).into(),
            state: observation.state.as_deref().unwrap_or_default().into(),
            kind: fault.kind.as_ref().into(),
            message: cut(message).into(),
        })
    }

    /// What a line tells of a process or the run, if that is in trouble.
    pub(super) fn of_sign(
        clue: &Clue,
        observation: &Observation<'_>,
        speaker: &Speaker,
        mark: Mark,
    ) -> Option<Self> {
        if !matches!(
            clue.class,
            Class::Panic
                | Class::Fatal
                | Class::Killed
                | Class::StartFailure
                | Class::Unreachable
                | Class::Traceback
                | Class::Infrastructure
                | Class::Error
        ) {
            return None;
        }
        let named = observation.component.as_deref().unwrap_or_default();
        let component = if clue.about.is_empty() { named } else { clue.about.as_str() };
        Some(Self {
            place: mark.place,
            time: mark.time(),
            flow: None,
            component: component.into(),
            instance: observation.instance.as_deref().unwrap_or_else(|| name_of(speaker)).into(),
            state: CompactString::default(),
            kind: CompactString::default(),
            message: cut(&observation.words()).into(),
        })
    }
}

/// The narrowest name that the envelopes tell of who speaks.
pub(super) fn name_of(speaker: &Speaker) -> &str {
    [&speaker.pod, &speaker.container, &speaker.process, &speaker.host]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("", |name| name)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_MESSAGE)).unwrap_or_default()
}
