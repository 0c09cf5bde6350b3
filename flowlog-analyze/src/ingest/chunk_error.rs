//! Reason why reading a chunk ended early.

use std::io;

use crate::multiline::NeedsLookbehind;

/// Reason why reading a chunk ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChunkError {
    #[error("the preceding lines are required")]
    NeedsLookbehind,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<NeedsLookbehind> for ChunkError {
    fn from(_: NeedsLookbehind) -> Self {
        Self::NeedsLookbehind
    }
}
