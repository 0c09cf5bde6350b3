//! A component in Rust that lives in a Python process, as Dynamo's own extension module does: it brings flowlog's module with it, and so both
//! languages share one flow.
//!
//! ```python
//! import component, sys
//! sys.modules["flowlog._flowlog"] = component._flowlog    # before the first `import flowlog`
//! ```

use std::thread;

use dynamo_flowlog::{Flow, current, state};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[pymodule]
mod component {
    #[pymodule_export]
    use super::{call_back, call_back_inside, route, write};
    #[pymodule_export]
    use flowlog_py::_flowlog;
}

/// Rust works on the flow that Python works on; its id, where there is one.
#[pyfunction]
fn route(py: Python<'_>) -> Option<String> {
    flowlog_py::run(py, || {
        let flow = current()?;
        state!(flow, "select_worker", candidates = 4);
        let call = flow.call("kv_transfer");
        call.end();
        Some(flow.flow_id()?.to_string())
    })
}

/// Rust calls Python back, from a thread of its own and with a flow of its own.
#[pyfunction]
fn call_back(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let work = move || {
        let flow = Flow::start("callback");
        let result = Python::attach(|py| {
            flowlog_py::call(&flow, callable.bind(py), &PyTuple::empty(py)).map(Bound::unbind)
        });
        flow.end();
        result
    };
    py.detach(|| thread::spawn(work).join()).unwrap_or_else(|_| Ok(py.None()))
}

/// Python that Rust calls sees the flow that Rust works on.
#[pyfunction]
fn call_back_inside(callable: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let flow = Flow::start("inside");
    let result = flow.run(|| callable.call0().map(Bound::unbind));
    flow.end();
    result
}

/// Writes records on a thread while this one keeps the interpreter to itself: a record never asks for it.
#[pyfunction]
fn write(count: u32) -> bool {
    let work = move || {
        let flow = Flow::start("beside");
        (0..count).for_each(|number| state!(flow, "step", number = number));
        flow.end();
    };
    thread::spawn(work).join().is_ok()
}
