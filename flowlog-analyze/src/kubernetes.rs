//! State of Kubernetes objects, as `kubectl describe` and `kubectl get` print it, and which object
//! failed first.
//!
//! `describe`, `table` and `manifest` read the three forms into objects with facts; `trouble`
//! says what is wrong with each; `judge` decides which of several unhappy objects is the first, by
//! kind, dependency and time.

mod describe;
mod judge;
mod line;
mod manifest;
mod object;
mod reader;
mod table;
mod trouble;

use std::collections::BTreeMap;

use crate::diagnose::Unusual;
use crate::profile::RunPatterns;
use crate::source::Sources;
use crate::suspects::Finding;

use object::Cluster;

/// Ranges of bytes, by source, that may hold the state of objects.
pub type Ranges = BTreeMap<u32, (u64, u64)>;

/// What the state of objects shows.
#[derive(Debug, Default)]
pub struct ClusterFindings {
    /// The failure that it proves, if it does.
    pub failure: Option<Unusual>,
    /// Objects that are not well, as suspects.
    pub findings: Vec<Finding>,
    /// Whether there are objects, and all of them are well.
    pub is_well: bool,
}

/// Reads the state of objects and decides which failed first. The messages of the run tell which
/// object depends on which.
pub fn examine(sources: &Sources, ranges: &Ranges, patterns: &RunPatterns<'_>) -> ClusterFindings {
    let mut cluster = Cluster::default();
    for (source, range) in ranges {
        reader::read(sources, *source, *range, &mut cluster);
    }
    if cluster.objects.is_empty() {
        return ClusterFindings::default();
    }
    judge::judge(&cluster, patterns)
}
