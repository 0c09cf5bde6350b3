//! Keyword arguments to the fields of a record.

use std::borrow::Cow;

use dynamo_flowlog::Scalar;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};
use smallvec::SmallVec;

/// Names and values that are Python's.
pub(crate) struct Held<'py>(SmallVec<[(Bound<'py, PyAny>, Bound<'py, PyAny>); 4]>);

/// The same as a record takes them, on the stack where they are few.
pub(crate) type Fields<'a> = SmallVec<[(&'a str, Scalar<'a>); 4]>;

impl<'py> Held<'py> {
    /// Of keyword arguments, if there are any.
    pub(crate) fn of(arguments: Option<&Bound<'py, PyDict>>) -> Self {
        Self(arguments.map(|arguments| arguments.iter().collect()).unwrap_or_default())
    }

    /// What a record takes of them. A value of `None` says nothing.
    pub(crate) fn fields(&self) -> Fields<'_> {
        self.0
            .iter()
            .filter(|(_, value)| !value.is_none())
            .filter_map(|(name, value)| {
                Some((name.cast::<PyString>().ok()?.to_str().ok()?, scalar(value)))
            })
            .collect()
    }

    /// The same, to be kept.
    pub(crate) fn owned(&self) -> Vec<(String, Scalar<'static>)> {
        self.fields()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect()
    }
}

/// What is kept, as a record takes it.
pub(crate) fn lent<'a>(kept: &'a [(String, Scalar<'static>)]) -> Vec<(&'a str, Scalar<'static>)> {
    kept.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

/// A value. What is no number, bool or string is told as `str` tells it.
fn scalar<'a>(value: &'a Bound<'_, PyAny>) -> Scalar<'a> {
    if let Ok(text) = value.cast::<PyString>() {
        return Scalar::Text(words_of(text));
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return value.is_true().into();
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return value.value().into();
    }
    // Also what stands for a whole number: a `numpy.int64`, an `IntEnum`.
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__").unwrap_or(false) {
        if let Ok(value) = value.extract::<i64>() {
            return value.into();
        }
        if let Ok(value) = value.extract::<u64>() {
            return value.into();
        }
    }
    Scalar::Text(Cow::Owned(told(value)))
}

/// A string, with what is no character in it replaced.
pub(crate) fn words_of<'a>(text: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    text.to_str().map_or_else(|_| Cow::Owned(text.to_string_lossy().into_owned()), Cow::Borrowed)
}

/// Most bytes of what a value says of itself: it may show a whole document, and a record is a line.
const LONGEST: usize = 8 * 1024;

/// What `str` says of a value, as far as it says anything.
pub(crate) fn told(value: &Bound<'_, PyAny>) -> String {
    match value.str() {
        Ok(text) => cut(text.to_string_lossy().into_owned(), LONGEST),
        Err(error) => {
            let words = format!("<{} without words>", class_name(&value.get_type()));
            // Ctrl-C is the program's, and comes again as soon as it goes on.
            if error.is_instance_of::<PyKeyboardInterrupt>(value.py()) {
                let _ = value
                    .py()
                    .import("_thread")
                    .and_then(|thread| thread.call_method0("interrupt_main"));
            }
            words
        }
    }
}

/// The beginning of a text that is too long.
pub(crate) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push_str("...");
    }
    text
}

/// The name of a class, without its module.
pub(crate) fn class_name(class: &Bound<'_, PyType>) -> String {
    class.name().map_or_else(|_| "Unknown".to_owned(), |name| name.to_string())
}
