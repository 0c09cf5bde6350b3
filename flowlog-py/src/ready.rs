//! The awaitable that the asynchronous methods of a flow return.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;

/// Creates the classes that the module does not export, early for the same reason as the context
/// variable.
pub(crate) fn prepare(py: Python<'_>) {
    py.get_type::<Ready>();
}

/// An awaitable that is ready at once, with a value.
#[pyclass(module = "flowlog", frozen)]
pub(crate) struct Ready(pub(crate) Py<PyAny>);

#[pymethods]
impl Ready {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err((self.0.clone_ref(py),)))
    }
}
