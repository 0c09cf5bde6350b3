//! What no logger wrapped: panics and tracebacks on standard error.

use std::borrow::Cow;

use flowlog_schema::Level;

use crate::heads::is_raw_head;
use crate::observation::Observation;

/// Takes a raw panic, traceback or fatal error: an event without time and flow.
pub(super) fn read(text: &str) -> Option<Observation<'_>> {
    is_raw_head(text.as_bytes()).then(|| Observation { level: Some(Level::Error), message: Cow::Borrowed(text), ..Observation::default() })
}
