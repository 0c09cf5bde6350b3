//! The current flow, for Python and for Rust.

use dynamo_flowlog::FlowHandle;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::context_var;
use crate::flow::Flow;

/// Returns the current flow, or None.
///
/// If Python code has not set one, this is the current flow of the Rust code that called it.
#[pyfunction(name = "current")]
pub(crate) fn current_flow(py: Python<'_>) -> PyResult<Option<Bound<'_, Flow>>> {
    if let Some(flow) = Flow::current(py) {
        return Ok(Some(flow));
    }
    dynamo_flowlog::current().map(|handle| Bound::new(py, Flow::held(handle))).transpose()
}

/// Writes the current flow into the headers of an outgoing call and returns them.
///
/// Outside a flow, nothing is written.
#[pyfunction]
pub(crate) fn inject<'py>(headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match current_flow(headers.py())? {
        Some(flow) => flow.get().inject(headers),
        None => Ok(headers),
    }
}

/// Returns the current flow of the calling Python code.
pub fn current(py: Python<'_>) -> Option<FlowHandle> {
    Some(current_flow(py).ok()??.get().begin(py).clone())
}

/// Runs `work` in the current flow of the calling Python code, or as is if there is none.
pub fn run<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    match current(py) {
        Some(flow) => flow.run(work),
        None => work(),
    }
}

/// Calls a Python callable with a Rust flow as its current flow; tasks that it starts inherit the
/// flow.
///
/// # Errors
/// Returns the exception that the callable raises.
pub fn call<'py>(
    flow: &FlowHandle,
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let token = context_var::set(Bound::new(py, Flow::held(flow.clone()))?.as_any())?;
    let result = callable.call1(arguments);
    context_var::reset(py, &token);
    result
}
