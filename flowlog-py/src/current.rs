//! The flow that Python code works on: one context variable, which asyncio's tasks inherit.

use dynamo_flowlog::FlowHandle;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::flow::Flow;
use crate::headers;

/// What the context variable does. It is made when the module is loaded: what is made later, another thread may be making when the process is
/// forked, and the child would wait for it for ever.
struct Variable {
    get: Py<PyAny>,
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

static VARIABLE: PyOnceLock<Variable> = PyOnceLock::new();

/// Makes the variable.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("default", py.None())?;
    let variable = py.import("contextvars")?.getattr("ContextVar")?.call(("flowlog",), Some(&options))?;
    let does = |name: &str| variable.getattr(name).map(Bound::unbind);
    let _ = VARIABLE.set(py, Variable { get: does("get")?, set: does("set")?, reset: does("reset")? });
    Ok(())
}

fn variable(py: Python<'_>) -> PyResult<&'static Variable> {
    VARIABLE.get(py).ok_or_else(|| PyRuntimeError::new_err("the module is not loaded"))
}

/// Puts a flow in place; what puts back what was there.
pub(crate) fn set(flow: &Bound<'_, Flow>) -> PyResult<Py<PyAny>> {
    variable(flow.py())?.set.call1(flow.py(), (flow,))
}

/// Puts back what was there; whether it was put in place in this context.
pub(crate) fn reset(py: Python<'_>, token: &Py<PyAny>) -> bool {
    variable(py).and_then(|variable| variable.reset.call1(py, (token,))).is_ok()
}

/// The flow that is worked on, or None.
///
/// Where Python code has none, it is the one of the Rust code that called it.
#[pyfunction(name = "current")]
pub(crate) fn current_flow(py: Python<'_>) -> PyResult<Option<Bound<'_, Flow>>> {
    let found = variable(py)?.get.bind(py).call0()?;
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
