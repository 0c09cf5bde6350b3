//! A line of a chunk, and what its envelope cut of it.

use std::borrow::Cow;

use crate::envelope::Facts;

/// Where a line lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Before the chunk.
    Past,
    /// In the chunk.
    Own,
    /// Behind the chunk: what begins there is not the chunk's.
    Ahead,
}

/// A line whose envelope may cut it, as far as it has come.
pub(super) struct Piece<'c> {
    pub(super) line: Line<'c>,
    /// It is not complete.
    pub(super) partial: bool,
    /// When its last piece was read.
    pub(super) last: Option<i64>,
}

/// A whole line, out of the envelope that may have cut it.
pub(super) struct Line<'c> {
    pub(super) at: u64,
    pub(super) end: u64,
    pub(super) lines: u64,
    pub(super) text: Cow<'c, [u8]>,
    pub(super) facts: Facts,
    pub(super) role: Role,
}
