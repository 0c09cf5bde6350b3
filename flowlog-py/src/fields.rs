//! Conversion of keyword arguments to record fields.

use std::borrow::Cow;

use dynamo_flowlog::Scalar;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};
use smallvec::SmallVec;

/// Keyword arguments as Python objects.
pub(crate) struct Kwargs<'py>(SmallVec<[(Bound<'py, PyAny>, Bound<'py, PyAny>); 4]>);

/// Names and values in the form that a record takes; up to four are stored on the stack.
pub(crate) type Fields<'a> = SmallVec<[(&'a str, Scalar<'a>); 4]>;

impl<'py> Kwargs<'py> {
    /// Collects the keyword arguments, if there are any.
    pub(crate) fn of(arguments: Option<&Bound<'py, PyDict>>) -> Self {
        Self(arguments.map(|arguments| arguments.iter().collect()).unwrap_or_default())
    }

    /// Returns the fields for a record. Skips values of `None`.
    pub(crate) fn fields(&self) -> Fields<'_> {
        self.0
            .iter()
            .filter(|(_, value)| !value.is_none())
            .filter_map(|(name, value)| {
                Some((name.cast::<PyString>().ok()?.to_str().ok()?, scalar(value)))
            })
            .collect()
    }

    /// Returns the fields as owned values.
    pub(crate) fn owned(&self) -> Vec<(String, Scalar<'static>)> {
        self.fields()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect()
    }
}

/// Borrows owned fields in the form that a record takes.
pub(crate) fn as_borrowed<'a>(
    kept: &'a [(String, Scalar<'static>)],
) -> Vec<(&'a str, Scalar<'static>)> {
    kept.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

/// Converts a value. Anything but a number, bool or string is converted by `str`.
fn scalar<'a>(value: &'a Bound<'_, PyAny>) -> Scalar<'a> {
    if let Ok(text) = value.cast::<PyString>() {
        return Scalar::Text(str_lossy(text));
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return value.is_true().into();
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return value.value().into();
    }
    // This includes other integer types, such as `numpy.int64` and `IntEnum`.
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__").unwrap_or(false) {
        if let Ok(value) = value.extract::<i64>() {
            return value.into();
        }
        if let Ok(value) = value.extract::<u64>() {
            return value.into();
        }
    }
    Scalar::Text(Cow::Owned(to_str_lossy(value)))
}

/// Returns a string as UTF-8; lone surrogates are replaced.
pub(crate) fn str_lossy<'a>(text: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    text.to_str().map_or_else(|_| Cow::Owned(text.to_string_lossy().into_owned()), Cow::Borrowed)
}

/// Maximum bytes of a value converted by `str`: it may contain a whole document, and a record is
/// one line.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Returns `str(value)`, truncated; if `str` raises, a placeholder with the class name.
pub(crate) fn to_str_lossy(value: &Bound<'_, PyAny>) -> String {
    match value.str() {
        Ok(text) => cut(text.to_string_lossy().into_owned(), MAX_TEXT_BYTES),
        Err(error) => {
            let words = format!("<unprintable {} object>", class_name(&value.get_type()));
            // Ctrl-C is meant for the program: raise it again in the main thread.
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

/// Truncates a text to `longest` bytes at a character boundary, and appends `...`.
pub(crate) fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push_str("...");
    }
    text
}

/// Returns the name of a class, without its module.
pub(crate) fn class_name(class: &Bound<'_, PyType>) -> String {
    class.name().map_or_else(|_| "Unknown".to_owned(), |name| name.to_string())
}
