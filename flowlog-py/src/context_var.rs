//! The context variable that holds the current flow: asyncio tasks inherit it, and each context has
//! its own value.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// Bound methods of the context variable.
///
/// Created when the module is loaded: with lazy initialization, another thread could be
/// initializing it when the process forks, and the child would wait for it forever.
struct Variable {
    get: Py<PyAny>,
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

static VARIABLE: PyOnceLock<Variable> = PyOnceLock::new();

/// Creates the variable.
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

/// Returns the current value: a flow, or None.
pub(crate) fn get(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    variable(py)?.get.bind(py).call0()
}

/// Sets the current flow. Returns the token that restores the previous value.
pub(crate) fn set(flow: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    variable(flow.py())?.set.call1(flow.py(), (flow,))
}

/// Restores the previous value. Returns whether the token belongs to the current context.
pub(crate) fn reset(py: Python<'_>, token: &Py<PyAny>) -> bool {
    variable(py).and_then(|variable| variable.reset.call1(py, (token,))).is_ok()
}
