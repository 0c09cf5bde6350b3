//! What one record of a span says.

use flowlog_schema::json::Place;
use flowlog_schema::{ErrorInfo, Event, Level, Scalar};

/// What a record says.
pub(crate) struct Said<'a> {
    pub(crate) event: Event,
    pub(crate) level: Level,
    pub(crate) place: Option<Place<'a>>,
    pub(crate) message: &'a str,
    /// Empty: the one that it is in.
    pub(crate) state: &'a str,
    pub(crate) error: Option<&'a ErrorInfo<'a>>,
    pub(crate) fields: &'a [(&'a str, Scalar<'a>)],
}

impl Said<'_> {
    pub(crate) fn of(event: Event) -> Self {
        let level = match event {
            Event::Fail => Level::Error,
            Event::Cancel => Level::Warn,
            _ => Level::Info,
        };
        Self { event, level, place: None, message: "", state: "", error: None, fields: &[] }
    }
}
