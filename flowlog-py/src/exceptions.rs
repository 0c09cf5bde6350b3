//! Exceptions to what a record tells of them.

use dynamo_flowlog::Failure;
use pyo3::exceptions::{PyBaseException, PyException, PyGeneratorExit, PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;

use crate::fields::told;

/// Most links of a chain that are followed; a record keeps fewer.
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
    // The base of `Exception`s is for what is no error: `asyncio.CancelledError` is one of those, wherever it is from.
    let is_cancelled = !error.is_instance_of::<PyException>() && name_of(error) == "CancelledError";
    if is_cancelled || error.is_instance_of::<PyGeneratorExit>() || error.is_instance_of::<PyKeyboardInterrupt>() {
        let words = told(error);
        return Leaving::Cancelled(if words.is_empty() { name_of(error) } else { words });
    }
    Leaving::Failed(failure(error))
}

/// Type, words and causes of an exception; of a string its words, of a class its name.
pub(crate) fn failure(error: &Bound<'_, PyAny>) -> Failure {
    if error.is_instance_of::<PyBaseException>() {
        return Failure::new(&name_of(error), &told(error), causes(error));
    }
    if let Ok(class) = error.cast::<pyo3::types::PyType>() {
        return Failure::new(&class.name().map_or_else(|_| "Unknown".to_owned(), |name| name.to_string()), "", []);
    }
    Failure::new("Unknown", &told(error), [])
}

fn name_of(error: &Bound<'_, PyAny>) -> String {
    error.get_type().name().map_or_else(|_| "Unknown".to_owned(), |name| name.to_string())
}

/// What it was raised from, else what was being handled when it was raised; as a traceback shows it.
fn causes(error: &Bound<'_, PyAny>) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = cause_of(error);
    while let Some(cause) = next.filter(|_| causes.len() < LONGEST) {
        let (name, words) = (name_of(&cause), told(&cause));
        causes.push(if words.is_empty() { name } else { format!("{name}: {words}") });
        next = cause_of(&cause);
    }
    causes
}

fn cause_of<'py>(error: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let of = |name: &str| error.getattr(name).ok().filter(|cause| !cause.is_none());
    let is_suppressed = || error.getattr("__suppress_context__").and_then(|hidden| hidden.is_truthy()).unwrap_or(false);
    of("__cause__").or_else(|| of("__context__").filter(|_| !is_suppressed()))
}
