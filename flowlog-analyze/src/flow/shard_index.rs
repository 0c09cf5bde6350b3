//! The shard of a flow, by the hash of its ID.

use std::hash::BuildHasher;

use flowlog_schema::FlowId;
use foldhash::fast::FixedState;

use crate::event::FlowKey;

/// Number of shards.
pub(super) const SHARDS: usize = 64;

/// Returns the hash of an ID. It is the same in every run, so that reports are, too.
pub(super) fn hash(key: &FlowKey) -> u64 {
    FixedState::default().hash_one(key)
}

pub(super) fn shard_of(key: &FlowKey) -> usize {
    // The hash map inside a shard uses the lowest and the highest bits.
    usize::try_from(hash(key) >> 40).unwrap_or(0) % SHARDS
}

pub(super) fn shard_of_id(id: FlowId) -> usize {
    shard_of(&FlowKey::Id(id))
}
