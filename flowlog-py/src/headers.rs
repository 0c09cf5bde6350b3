//! Request headers as Python code holds them: a mapping or a list of pairs, of strings or bytes.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};

/// Header names and values.
pub(crate) type Pairs = Vec<(String, Vec<u8>)>;

/// Reads headers from an object with `items` (names mapped to values, or to lists of values), or
/// from pairs as in ASGI. Skips anything that is not a header, so that no request fails because of
/// it.
pub(crate) fn read(headers: &Bound<'_, PyAny>) -> Pairs {
    // Multi-value header maps return all values of a name from `multi_items`.
    let items = headers
        .call_method0("multi_items")
        .or_else(|_| headers.call_method0("items"))
        .unwrap_or_else(|_| headers.clone());
    let mut pairs = Pairs::new();
    for item in items.try_iter().into_iter().flatten().flatten() {
        let (Ok(name), Ok(value)) = (item.get_item(0), item.get_item(1)) else { continue };
        let Some(name) = bytes_of(&name).and_then(|name| String::from_utf8(name).ok()) else {
            continue;
        };
        match bytes_of(&value) {
            Some(value) => pairs.push((name, value)),
            None => {
                for value in value.try_iter().into_iter().flatten().flatten() {
                    pairs.extend(bytes_of(&value).map(|value| (name.clone(), value)));
                }
            }
        }
    }
    pairs
}

fn bytes_of(value: &Bound<'_, PyAny>) -> Option<Vec<u8>> {
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_str().ok().map(|text| text.as_bytes().to_vec());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Some(bytes.to_vec());
    }
    value.cast::<PyBytes>().ok().map(|bytes| bytes.as_bytes().to_vec())
}

/// Writes headers into an object with `keys` and item assignment, or appends them to a list of
/// pairs. Replaces existing headers of the same name.
pub(crate) fn write(headers: &Bound<'_, PyAny>, pairs: Vec<(String, String)>) -> PyResult<()> {
    if headers.hasattr("keys")? {
        for (name, value) in pairs {
            let others = headers.call_method0("keys")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            // Multi-value maps would add a value instead of replacing it.
            for other in others.into_iter().filter(|other| is_named(other, &name)) {
                let _ = headers.del_item(other);
            }
            headers.set_item(name, value)?;
        }
        return Ok(());
    }
    let is_bytes = headers
        .get_item(0)
        .and_then(|pair| pair.get_item(0))
        .is_ok_and(|name| name.is_instance_of::<PyBytes>());
    for (name, value) in pairs {
        let length = headers.len()?;
        for at in (0..length).rev() {
            if headers.get_item(at)?.get_item(0).is_ok_and(|other| is_named(&other, &name)) {
                headers.del_item(at)?;
            }
        }
        let py = headers.py();
        if is_bytes {
            headers.call_method1(
                "append",
                ((PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value.as_bytes())),),
            )?;
        } else {
            headers.call_method1("append", ((name, value),))?;
        }
    }
    Ok(())
}

fn is_named(other: &Bound<'_, PyAny>, name: &str) -> bool {
    bytes_of(other).is_some_and(|other| other.eq_ignore_ascii_case(name.as_bytes()))
}
