//! Processes that a flow called by name and that logged nothing of it.

use compact_str::CompactString;

use super::names::is_distinctive;
use super::topology::RunModel;
use crate::flow::{Flow, LogPosition};
use crate::format::is_lost;

/// Adds every process that a span calls by name or whose loss it reports, and that has no line in
/// the flow, as a span without an ID, with the caller's line: a process that was dead or frozen logs
/// nothing of the call.
pub(super) fn add_silent(flow: &mut Flow, model: &RunModel) {
    let mut silent: Vec<(LogPosition, CompactString, CompactString, u64)> = Vec::new();
    for span in flow.spans.values() {
        let caller = model.process(model.of_span(span));
        let called =
            span.callees.iter().map(|(position, callee)| (*position, callee.as_str(), false));
        let errors = span.failed.iter().chain(&span.last_error);
        let errors = errors
            .filter(|error| is_lost(&error.kind, &error.message, error.status))
            .chain(&span.first_loss);
        let lost = errors
            .flat_map(|error| names_in(&error.message).map(|name| (error.position, name, true)));
        for (position, callee, is_reported) in called.chain(lost) {
            let Some((index, process)) = model.of_instance_name(callee) else { continue };
            // By the callee's clock, as the lines of its spans are.
            let shift = process.skew.saturating_sub(caller.skew);
            let time = position.time().map_or(position.time, |time| time.saturating_add(shift));
            // A process that is reported as lost may respond to a later call.
            let common = time.saturating_sub(process.skew);
            let began = model.time(span.first, model.of_span(span)).unwrap_or(common);
            let is_down = process.downtime_within(began, common).is_some();
            let is_known = flow.spans.values().any(|other| {
                model.of_span(other) == Some(index)
                    && (!is_reported || !is_down || other.first.time <= time)
            });
            if !is_known {
                silent.push((
                    LogPosition { time, clock: 0, ..position },
                    process.component.clone(),
                    process.instance.clone(),
                    span.key,
                ));
            }
        }
    }
    silent.sort_unstable();
    for (position, component, instance, caller) in silent {
        flow.add_callee(component, instance, caller, position);
    }
}

/// Iterates over the words of a message that may name an instance.
fn names_in(message: &str) -> impl Iterator<Item = &str> {
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    message
        .split(move |c: char| !is_inside(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_distinctive(word))
}
