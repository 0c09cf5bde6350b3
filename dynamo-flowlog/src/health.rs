//! Counters of problems while writing records. None of these problems stops the process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sink::{WRITE_TIMEOUT, lock_timeout};

/// Counters of lost records and other problems.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Records that were lost, usually because the sink did not accept them.
    pub lost: u64,
    /// Reason for the last lost record; empty if none was lost.
    pub reason: String,
    /// Flows that did not fit into the flight file's table. They are not closed if the process
    /// dies.
    pub untracked_flows: u64,
    /// Records emitted after their flow had ended.
    pub after_end: u64,
    /// Malformed headers from callers. They were ignored, and the request continued.
    pub malformed_headers: u64,
    /// Received clocks that were more than a day ahead. They were not adopted.
    pub refused_clocks: u64,
    /// Spans and records that the collector accepted.
    pub exported: u64,
    /// Spans and records that the collector did not receive.
    pub not_exported: u64,
}

/// Atomic counters behind [`Health`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) lost: AtomicU64,
    /// Lost records that no `lost` record has reported yet.
    pub(crate) unreported_lost: AtomicU64,
    pub(crate) untracked_flows: AtomicU64,
    pub(crate) after_end: AtomicU64,
    pub(crate) malformed_headers: AtomicU64,
    pub(crate) refused_clocks: AtomicU64,
    reason: Mutex<String>,
}

impl Counters {
    /// Counts a lost record and keeps its reason.
    pub(crate) fn count_lost(&self, error: &std::io::Error) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.unreported_lost.fetch_add(1, Ordering::Relaxed);
        // A record does not wait for a thread that is reading the reason.
        if let Ok(mut reason) = self.reason.try_lock() {
            *reason = error.to_string();
        }
    }

    pub(crate) fn health(&self) -> Health {
        Health {
            lost: self.lost.load(Ordering::Relaxed),
            reason: lock_timeout(&self.reason, WRITE_TIMEOUT)
                .map(|reason| reason.clone())
                .unwrap_or_default(),
            untracked_flows: self.untracked_flows.load(Ordering::Relaxed),
            after_end: self.after_end.load(Ordering::Relaxed),
            malformed_headers: self.malformed_headers.load(Ordering::Relaxed),
            refused_clocks: self.refused_clocks.load(Ordering::Relaxed),
            exported: 0,
            not_exported: 0,
        }
    }
}
