//! An ordinary record with its names.

use flowlog_schema::EventKind;
use serde::{Deserialize, Serialize};

use super::position::LogPosition;

/// An ordinary record of a span, with the IDs of its row resolved to names.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResolvedRow<'a> {
    pub(super) span: u64,
    /// Span ID of the parent; zero if there is none.
    pub(super) parent: u64,
    pub(super) position: LogPosition,
    pub(super) component: &'a str,
    pub(super) instance: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    pub(super) callee: Option<&'a str>,
    pub(super) kind: Kind,
    pub(super) has_versions: bool,
}

/// The event of an ordinary record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Start,
    State,
    End,
}

impl Kind {
    pub(super) fn of(event: EventKind) -> Option<Self> {
        match event {
            EventKind::Start => Some(Self::Start),
            EventKind::State => Some(Self::State),
            EventKind::End => Some(Self::End),
            _ => None,
        }
    }
}
