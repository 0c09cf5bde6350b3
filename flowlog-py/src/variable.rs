//! The context variable that holds the flow: asyncio's tasks inherit it, each context has its own.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

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
    let variable =
        py.import("contextvars")?.getattr("ContextVar")?.call(("flowlog",), Some(&options))?;
    let does = |name: &str| variable.getattr(name).map(Bound::unbind);
    let _ =
        VARIABLE.set(py, Variable { get: does("get")?, set: does("set")?, reset: does("reset")? });
    Ok(())
}

fn variable(py: Python<'_>) -> PyResult<&'static Variable> {
    VARIABLE.get(py).ok_or_else(|| PyRuntimeError::new_err("the module is not loaded"))
}

/// What is there: a flow, or None.
pub(crate) fn get(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    variable(py)?.get.bind(py).call0()
}

/// Puts a flow in place; what puts back what was there.
pub(crate) fn set(flow: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    variable(flow.py())?.set.call1(flow.py(), (flow,))
}

/// Puts back what was there; whether it was put in place in this context.
pub(crate) fn reset(py: Python<'_>, token: &Py<PyAny>) -> bool {
    variable(py).and_then(|variable| variable.reset.call1(py, (token,))).is_ok()
}
