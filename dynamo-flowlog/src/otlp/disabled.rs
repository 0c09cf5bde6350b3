//! Without the feature `otlp` nothing is sent.

use std::time::Duration;

use flowlog_schema::json::Line;

use super::{Ended, Otlp};
use crate::emitter::Inner;
use crate::shared::Shared;

/// Sends nothing, and is never made.
#[derive(Debug)]
pub(crate) enum Exporter {}

impl Exporter {
    pub(crate) fn begin(_otlp: &Otlp, _emitter: &Inner) -> Result<Self, String> {
        Err("built without the feature `otlp`".to_owned())
    }

    pub(crate) fn is_built_in() -> bool {
        false
    }

    pub(crate) fn record(&self, _shared: &Shared, _line: &Line<'_>) {
        match *self {}
    }

    pub(crate) fn span(&self, _ended: &Ended<'_>) {
        match *self {}
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        match *self {}
    }

    pub(crate) fn take_unsaid(&self, _now_ms: u64) -> Option<(u64, String)> {
        match *self {}
    }

    pub(crate) fn put_back(&self, _unsaid: u64) {
        match *self {}
    }

    pub(crate) fn close(&self, _patience: Duration) {
        match *self {}
    }
}
