//! Conversion of Python exceptions to the failures that records hold.

use dynamo_flowlog::Failure;
use pyo3::exceptions::{
    PyBaseException, PyException, PyGeneratorExit, PyKeyboardInterrupt, PySystemExit,
};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::fields::{class_name, cut, to_str_lossy};

/// Maximum causes of a chain, and exceptions of a group, that are followed; a record keeps fewer.
const MAX_GROUP_LEN: usize = 16;

/// Effect on a flow of an exception that leaves it.
pub(crate) enum ExitReason {
    /// The flow failed.
    Failed(Failure),
    /// The caller no longer waits; holds the reason.
    Cancelled(String),
    /// The flow ended successfully: an orderly exit.
    Ended,
}

/// Classifies an exception that leaves a flow.
///
/// A cancelled task, a closed generator and Ctrl-C mean that the caller is gone. `SystemExit` fails
/// the flow if its code indicates a failure.
pub(crate) fn exit_reason(error: &Bound<'_, PyAny>) -> ExitReason {
    if error.is_instance_of::<PySystemExit>() {
        let code = error.getattr("code").ok().filter(|code| code.is_truthy().unwrap_or(true));
        return code.map_or(ExitReason::Ended, |_| ExitReason::Failed(failure(error)));
    }
    let leaves = leaves(error);
    if !leaves.is_empty() && leaves.iter().all(is_cancellation) {
        let words = to_str_lossy(error);
        return ExitReason::Cancelled(if words.is_empty() { name_of(error) } else { words });
    }
    ExitReason::Failed(failure(error))
}

/// Whether an exception means that the caller is gone. `CancelledError` is raised by asyncio and
/// others, `Cancelled` by trio; neither is an `Exception`.
fn is_cancellation(error: &Bound<'_, PyAny>) -> bool {
    let is_cancelled = || {
        let of = error.get_type().mro();
        of.iter().any(|class| {
            class.getattr("__name__").is_ok_and(|name| {
                name.eq("CancelledError").unwrap_or(false) || name.eq("Cancelled").unwrap_or(false)
            })
        })
    };
    error.is_instance_of::<PyGeneratorExit>()
        || error.is_instance_of::<PyKeyboardInterrupt>()
        || (!error.is_instance_of::<PyException>() && is_cancelled())
}

/// Returns the leaf exceptions of a group at any depth; any other exception is its own leaf.
fn leaves<'py>(error: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    let mut found = Vec::new();
    let mut open = vec![error.clone()];
    while let Some(next) = open.pop().filter(|_| found.len() < MAX_GROUP_LEN) {
        match next
            .getattr("exceptions")
            .ok()
            .and_then(|parts| parts.cast_into::<PyTuple>().ok())
            .filter(|parts| !parts.is_empty())
        {
            Some(parts) if next.is_instance_of::<PyBaseException>() => {
                open.extend(parts.iter().rev());
            }
            _ => found.push(next),
        }
    }
    found
}

/// Converts an exception (type, message and causes), a class (its name) or a string (the message).
///
/// A group of one exception is treated as that exception, since `TaskGroup` wraps everything in
/// groups. The causes of a larger group are its members.
pub(crate) fn failure(error: &Bound<'_, PyAny>) -> Failure {
    if error.is_instance_of::<PyBaseException>() {
        return match leaves(error).as_slice() {
            [one] => Failure::new(
                &name_of(one),
                &to_str_lossy(one),
                causes(one).into_iter().chain((!one.is(error)).then(|| line(error))),
            ),
            several => {
                Failure::new(&name_of(error), &to_str_lossy(error), several.iter().map(line))
            }
        };
    }
    if let Ok(class) = error.cast::<PyType>() {
        return Failure::new(&class_name(class), "", []);
    }
    Failure::new("Unknown", &to_str_lossy(error), [])
}

fn name_of(error: &Bound<'_, PyAny>) -> String {
    class_name(&error.get_type())
}

/// Maximum bytes of a cause.
const MAX_CAUSE_BYTES: usize = 1024;

/// Formats an exception like the last line of its traceback.
fn line(error: &Bound<'_, PyAny>) -> String {
    let (name, words) = (name_of(error), to_str_lossy(error));
    if words.is_empty() { name } else { cut(format!("{name}: {words}"), MAX_CAUSE_BYTES) }
}

/// Returns the causes of an exception, nearest first: the exception that it was raised from,
/// otherwise the one that was being handled when it was raised.
fn causes(error: &Bound<'_, PyAny>) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = cause_of(error);
    while let Some(cause) = next.filter(|_| causes.len() < MAX_GROUP_LEN) {
        causes.push(line(&cause));
        next = cause_of(&cause);
    }
    causes
}

fn cause_of<'py>(error: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let of = |name: &str| error.getattr(name).ok().filter(|cause| !cause.is_none());
    let is_suppressed = || {
        error.getattr("__suppress_context__").and_then(|hidden| hidden.is_truthy()).unwrap_or(false)
    };
    of("__cause__").or_else(|| of("__context__").filter(|_| !is_suppressed()))
}
