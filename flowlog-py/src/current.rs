//! The flow that Python code works on: one context variable, which asyncio's tasks inherit.

use dynamo_flowlog::FlowHandle;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::flow::Flow;
use crate::headers;

static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The context variable.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    let make = || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let options = pyo3::types::PyDict::new(py);
        options.set_item("default", py.None())?;
        Ok::<_, PyErr>(class.call(("flowlog",), Some(&options))?.unbind())
    };
    Ok(CURRENT.get_or_try_init(py, make)?.bind(py))
}

/// Puts a flow in place; what puts back what was there.
pub(crate) fn set(flow: &Bound<'_, Flow>) -> PyResult<Py<PyAny>> {
    Ok(variable(flow.py())?.call_method1(intern!(flow.py(), "set"), (flow,))?.unbind())
}

/// Puts back what was there. A generator that is closed by somebody else, in a context of theirs, has nothing to put back there.
pub(crate) fn reset(py: Python<'_>, token: &Py<PyAny>) {
    let _ = variable(py).and_then(|variable| variable.call_method1(intern!(py, "reset"), (token,)));
}

/// The flow that is worked on, or None.
///
/// Where Python code has none, it is the one of the Rust code that called it.
#[pyfunction(name = "current")]
pub(crate) fn current_flow(py: Python<'_>) -> PyResult<Option<Bound<'_, Flow>>> {
    let found = variable(py)?.call_method0(intern!(py, "get"))?;
    if let Ok(flow) = found.cast_into::<Flow>() {
        return Ok(Some(flow));
    }
    dynamo_flowlog::current().map(|handle| Bound::new(py, Flow::held(handle))).transpose()
}

/// Writes the flow that is worked on into the headers of a call; returns them. Outside flows it writes nothing.
#[pyfunction]
pub(crate) fn inject<'py>(headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(handle) = current(headers.py()) {
        let mut pairs: Vec<(String, String)> = Vec::new();
        handle.inject(&mut pairs);
        headers::write(&headers, pairs)?;
    }
    Ok(headers)
}

/// The flow that the calling Python code works on.
pub fn current(py: Python<'_>) -> Option<FlowHandle> {
    Some(current_flow(py).ok()??.get().begin(py).clone())
}

/// Does work in Rust on the flow that the calling Python code works on.
pub fn run<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    match current(py) {
        Some(flow) => flow.run(work),
        None => work(),
    }
}

/// Calls Python back with a flow of Rust's in place, also for the tasks that it starts.
///
/// # Errors
/// What the callable raises.
pub fn call<'py>(flow: &FlowHandle, callable: &Bound<'py, PyAny>, arguments: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let token = set(&Bound::new(py, Flow::held(flow.clone()))?)?;
    let result = callable.call1(arguments);
    reset(py, &token);
    result
}
