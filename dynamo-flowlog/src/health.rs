//! What went wrong while records were written: nothing of it stops the process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sink::{PATIENCE, held};

/// What went wrong so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Records that the sink did not take.
    pub lost: u64,
    /// Why the last of them was not taken; empty where none was.
    pub reason: String,
    /// Flows that found no room in the flight file's table: if the process dies, nobody closes them.
    pub untracked_flows: u64,
    /// Records that came after their flow had ended.
    pub after_end: u64,
    /// Headers of callers that were malformed: they were left out, and the request went on.
    pub malformed_headers: u64,
    /// Clocks of others that were more than a day ahead: they were not taken over.
    pub refused_clocks: u64,
    /// Spans and records that the collector took.
    pub exported: u64,
    /// Spans and records that the collector did not get.
    pub not_exported: u64,
}

/// Counts it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lost: AtomicU64,
    /// Lost records that no `lost` record has said yet.
    pub(crate) unsaid: AtomicU64,
    pub(crate) untracked_flows: AtomicU64,
    pub(crate) after_end: AtomicU64,
    pub(crate) malformed_headers: AtomicU64,
    pub(crate) refused_clocks: AtomicU64,
    reason: Mutex<String>,
}

impl Counters {
    /// Counts a record that was not taken.
    pub(crate) fn lose(&self, error: &std::io::Error) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        // Whoever reads the reason at this moment does not make a record wait.
        if let Ok(mut reason) = self.reason.try_lock() {
            *reason = error.to_string();
        }
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            lost: self.lost.load(Ordering::Relaxed),
            reason: held(&self.reason, PATIENCE).map(|reason| reason.clone()).unwrap_or_default(),
            untracked_flows: self.untracked_flows.load(Ordering::Relaxed),
            after_end: self.after_end.load(Ordering::Relaxed),
            malformed_headers: self.malformed_headers.load(Ordering::Relaxed),
            refused_clocks: self.refused_clocks.load(Ordering::Relaxed),
            exported: 0,
            not_exported: 0,
        }
    }
}
