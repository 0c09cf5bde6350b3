//! The extension module `flowlog._flowlog`, the native part of the Python package in
//! `python/flowlog`.
//!
//! One context variable holds the current flow of Python code ([`current()`]); asyncio tasks
//! inherit it. Rust code in the same module shares it: [`run`] makes it
//! [`dynamo_flowlog::current`], and [`call`] calls Python with a Rust flow as its current flow.
//! Writing a record does not use the interpreter. If a sink may block on a reader or a disk, the
//! thread detaches from the interpreter first.

mod context_var;
mod fields;
mod exceptions;
mod headers;
mod opentelemetry;
mod sink;
mod flow_source;
mod ready;
mod flow;
mod current;
mod emitter;
mod arrow;
mod analysis;

use pyo3::prelude::*;

pub use current::{call, current, run};

/// The extension module. A program that embeds Python registers it with `pyo3::append_to_inittab!`.
#[pymodule]
pub mod _flowlog {
    #[pymodule_export]
    use crate::analysis::{Analysis, Events, analyze, events};
    #[pymodule_export]
    use crate::arrow::Table;
    #[pymodule_export]
    use crate::current::{current_flow, inject};
    #[pymodule_export]
    use crate::emitter::{Emitter, close, flow, gauge, health, join};
    #[pymodule_export]
    use crate::flow::{Flow, Scope};
    #[pymodule_export]
    use crate::sink::Sink;

    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn prepare(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::context_var::prepare(module.py())?;
        crate::opentelemetry::prepare(module.py())?;
        crate::ready::prepare(module.py());
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
