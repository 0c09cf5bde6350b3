//! Which flows ended well, so that only their statistics need to be kept.

use compact_str::CompactString;

use super::span::{Span, SpanStatus};
use super::spans::Flow;

/// Returns whether nothing can go wrong with a flow any more: it has a root, every span ended well
/// (but those that no line names, which may not show an end), and no attempt may have been retried without a line that reports its failure.
pub(super) fn is_closed(flow: &Flow) -> bool {
    let shows_end =
        |span: &Span| span.has_id && !(span.is_inferred && span.status() == SpanStatus::Open);
    !has_retry(flow)
        && ended_well(flow.spans.values().filter(|span| shows_end(span)).map(|span| {
            let ended = span.status() == SpanStatus::Ok && span.restarted_at.is_none();
            (ended, span.parent.is_none())
        }))
}

/// Does what `row::has_retry` does, for spans.
fn has_retry(flow: &Flow) -> bool {
    let responded =
        |callee: &CompactString| flow.spans.values().any(|span| span.instance == *callee);
    let called_in_vain = |span: &Span| {
        let answers = span.callees.iter().filter(|(_, callee)| responded(callee)).count();
        answers > 0 && answers < span.callees.len()
    };
    let outlived = |span: &Span| {
        let parent = span.parent.and_then(|parent| flow.spans.get(&parent));
        parent.is_some_and(|parent| span.duration() > parent.duration())
            && flow.spans.values().any(|other| {
                other.key != span.key
                    && other.parent == span.parent
                    && other.component == span.component
            })
    };
    flow.spans.values().any(|span| called_in_vain(span) || outlived(span))
}

/// Returns whether a flow ended well: it has a root, and every span ended without a failure.
///
/// Takes, for each span, whether it ended so and whether it is a root.
pub(super) fn ended_well(spans: impl Iterator<Item = (bool, bool)>) -> bool {
    let mut has_root = false;
    for (ended, is_root) in spans {
        if !ended {
            return false;
        }
        has_root |= is_root;
    }
    has_root
}
