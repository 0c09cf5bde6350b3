//! A Rust component in a Python process, like Dynamo's own extension module. It includes flowlog's
//! module, so that both languages share one flow.
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

/// Uses the current flow of Python in Rust. Returns the flow's ID, if there is one.
#[pyfunction]
fn route(py: Python<'_>) -> Option<String> {
    flowlog_py::run(py, || {
        let flow = current()?;
        state!(flow, "select_worker", candidates = 4);
        let call = flow.child("kv_transfer");
        call.end();
        Some(flow.flow_id()?.to_string())
    })
}

/// Calls Python from a new Rust thread, with a flow created in Rust.
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

/// Calls Python inside a Rust flow, which the callable sees as its current flow.
#[pyfunction]
fn call_back_inside(callable: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let flow = Flow::start("inside");
    let result = flow.run(|| callable.call0().map(Bound::unbind));
    flow.end();
    result
}

/// Writes records on another thread while this one stays attached to the interpreter: writing a
/// record never needs it.
#[pyfunction]
fn write(count: u32) -> bool {
    let work = move || {
        let flow = Flow::start("beside");
        (0..count).for_each(|number| state!(flow, "step", number = number));
        flow.end();
    };
    thread::spawn(work).join().is_ok()
}
