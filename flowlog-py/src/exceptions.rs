//! Exceptions to what a record tells of them.

use dynamo_flowlog::Failure;
use pyo3::exceptions::{
    PyBaseException, PyException, PyGeneratorExit, PyKeyboardInterrupt, PySystemExit,
};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::fields::{class_name, cut, told};

/// Most links of a chain, and parts of a group, that are followed; a record keeps fewer.
const LONGEST: usize = 16;

/// What an exception that leaves a flow means for it.
pub(crate) enum Leaving {
    /// It failed.
    Failed(Failure),
    /// Nobody waits for it any more, and why.
    Cancelled(String),
    /// It ended well: an orderly exit.
    Ended,
}

/// What an exception means that leaves a flow.
///
/// A task that is cancelled, a generator that is closed and Ctrl-C are callers that went away. `SystemExit` fails it where its code does.
pub(crate) fn leaving(error: &Bound<'_, PyAny>) -> Leaving {
    if error.is_instance_of::<PySystemExit>() {
        let code = error.getattr("code").ok().filter(|code| code.is_truthy().unwrap_or(true));
        return code.map_or(Leaving::Ended, |_| Leaving::Failed(failure(error)));
    }
    let leaves = leaves(error);
    if !leaves.is_empty() && leaves.iter().all(is_left) {
        let words = told(error);
        return Leaving::Cancelled(if words.is_empty() { name_of(error) } else { words });
    }
    Leaving::Failed(failure(error))
}

/// Whether an exception says that a caller went away. `CancelledError` is asyncio's and others', `Cancelled` trio's; both are no `Exception`.
fn is_left(error: &Bound<'_, PyAny>) -> bool {
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

/// The exceptions that a group is made of, however deep; any other is its own.
fn leaves<'py>(error: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    let mut found = Vec::new();
    let mut open = vec![error.clone()];
    while let Some(next) = open.pop().filter(|_| found.len() < LONGEST) {
        match next
            .getattr("exceptions")
            .ok()
            .and_then(|parts| parts.cast_into::<PyTuple>().ok())
            .filter(|parts| !parts.is_empty())
        {
            Some(parts) if next.is_instance_of::<PyBaseException>() => {
                open.extend(parts.iter().rev())
            }
            _ => found.push(next),
        }
    }
    found
}

/// Type, words and causes of an exception; of a string its words, of a class its name. A group of one is that one, since `TaskGroup`s put
/// everything into groups; the causes of another are its parts.
pub(crate) fn failure(error: &Bound<'_, PyAny>) -> Failure {
    if error.is_instance_of::<PyBaseException>() {
        return match leaves(error).as_slice() {
            [one] => Failure::new(
                &name_of(one),
                &told(one),
                causes(one).into_iter().chain((!one.is(error)).then(|| line(error))),
            ),
            several => Failure::new(&name_of(error), &told(error), several.iter().map(line)),
        };
    }
    if let Ok(class) = error.cast::<PyType>() {
        return Failure::new(&class_name(class), "", []);
    }
    Failure::new("Unknown", &told(error), [])
}

fn name_of(error: &Bound<'_, PyAny>) -> String {
    class_name(&error.get_type())
}

/// Most bytes of a cause.
const CAUSE: usize = 1024;

/// An exception as the last line of its traceback has it.
fn line(error: &Bound<'_, PyAny>) -> String {
    let (name, words) = (name_of(error), told(error));
    if words.is_empty() { name } else { cut(format!("{name}: {words}"), CAUSE) }
}

/// What it was raised from, else what was being handled when it was raised; nearest first.
fn causes(error: &Bound<'_, PyAny>) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = cause_of(error);
    while let Some(cause) = next.filter(|_| causes.len() < LONGEST) {
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
