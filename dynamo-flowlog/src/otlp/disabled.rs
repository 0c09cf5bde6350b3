//! Stand-in for the exporter in builds without the feature `otlp`.

use std::time::Duration;

use flowlog_schema::json::RecordData;

use super::{FinishedSpan, Otlp};
use crate::record_args::SpanHeader;
use crate::resource::Resource;

/// Exporter that cannot be created.
#[derive(Debug)]
pub(crate) enum Exporter {}

impl Exporter {
    pub(crate) fn begin(_otlp: &Otlp, _resource: &Resource) -> Result<Self, String> {
        Err("built without the feature `otlp`".to_owned())
    }

    pub(crate) fn is_built_in() -> bool {
        false
    }

    pub(crate) fn record(&self, _shared: &SpanHeader, _line: &RecordData<'_>) {
        match *self {}
    }

    pub(crate) fn span(&self, _ended: &FinishedSpan<'_>) {
        match *self {}
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        match *self {}
    }

    pub(crate) fn take_unreported(&self, _now_ms: u64) -> Option<(u64, String)> {
        match *self {}
    }

    pub(crate) fn restore_unreported(&self, _unsaid: u64) {
        match *self {}
    }

    pub(crate) fn close(&self, _timeout: Duration) {
        match *self {}
    }
}
