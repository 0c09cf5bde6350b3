//! The flow that is worked on, for Python and for Rust.

use dynamo_flowlog::FlowHandle;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::flow::Flow;
use crate::variable;

/// The flow that is worked on, or None.
///
/// Where Python code has none, it is the one of the Rust code that called it.
#[pyfunction(name = "current")]
pub(crate) fn current_flow(py: Python<'_>) -> PyResult<Option<Bound<'_, Flow>>> {
    if let Some(flow) = Flow::current(py) {
        return Ok(Some(flow));
    }
    dynamo_flowlog::current().map(|handle| Bound::new(py, Flow::held(handle))).transpose()
}

/// Writes the flow that is worked on into the headers of a call; returns them. Outside flows it writes nothing.
#[pyfunction]
pub(crate) fn inject<'py>(headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match current_flow(headers.py())? {
        Some(flow) => flow.get().inject(headers),
        None => Ok(headers),
    }
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
pub fn call<'py>(
    flow: &FlowHandle,
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let token = variable::set(Bound::new(py, Flow::held(flow.clone()))?.as_any())?;
    let result = callable.call1(arguments);
    variable::reset(py, &token);
    result
}
