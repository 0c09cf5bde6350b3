//! Headers of requests, as Python has them: a mapping, or pairs; strings or bytes.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PyString};

/// Names and values.
pub(crate) type Pairs = Vec<(String, Vec<u8>)>;

/// Reads a mapping of names to values (or to lists of them), or pairs as ASGI has them. What is no header is left out.
pub(crate) fn read(headers: &Bound<'_, PyAny>) -> PyResult<Pairs> {
    let items = match headers.cast::<PyMapping>() {
        // Header maps that hold several values of a name tell all of them there.
        Ok(_) => match headers.call_method0("multi_items") {
            Ok(items) => items,
            Err(_) => headers.call_method0("items")?,
        },
        Err(_) => headers.clone(),
    };
    let mut pairs = Pairs::new();
    for item in items.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            item?.extract().map_err(|_| PyTypeError::new_err("headers are a mapping, or pairs of a name and a value"))?;
        let Some(name) = bytes_of(&name).and_then(|name| String::from_utf8(name).ok()) else { continue };
        match bytes_of(&value) {
            Some(value) => pairs.push((name, value)),
            None => {
                for value in value.try_iter().into_iter().flatten().flatten() {
                    pairs.extend(bytes_of(&value).map(|value| (name.clone(), value)));
                }
            }
        }
    }
    Ok(pairs)
}

fn bytes_of(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_str().ok().map(|text| text.as_bytes().to_vec());
    }
    value.cast::<PyBytes>().ok().map(|bytes| bytes.as_bytes().to_vec())
}

/// Writes headers into a mutable mapping, or puts them behind a list of pairs, in place of what was there.
pub(crate) fn write(headers: &Bound<'_, PyAny>, pairs: Vec<(String, String)>) -> PyResult<()> {
    if headers.cast::<PyMapping>().is_ok() {
        for (name, value) in pairs {
            let others = headers.call_method0("keys")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            for other in others.into_iter().filter(|other| is_named(other, &name) && !other.eq(name.as_str()).unwrap_or(false)) {
                headers.del_item(other)?;
            }
            headers.set_item(name, value)?;
        }
        return Ok(());
    }
    let is_bytes = headers.get_item(0).and_then(|pair| pair.get_item(0)).is_ok_and(|name| name.is_instance_of::<PyBytes>());
    for (name, value) in pairs {
        let length = headers.len()?;
        for at in (0..length).rev() {
            if headers.get_item(at)?.get_item(0).is_ok_and(|other| is_named(&other, &name)) {
                headers.del_item(at)?;
            }
        }
        let py = headers.py();
        if is_bytes {
            headers.call_method1("append", ((PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value.as_bytes())),))?;
        } else {
            headers.call_method1("append", ((name, value),))?;
        }
    }
    Ok(())
}

fn is_named(other: &Bound<'_, PyAny>, name: &str) -> bool {
    bytes_of(other).is_some_and(|other| other.eq_ignore_ascii_case(name.as_bytes()))
}
