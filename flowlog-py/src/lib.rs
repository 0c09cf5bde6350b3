//! flowlog for Python: the extension module `flowlog._flowlog`, under the package in `python/flowlog`.
//!
//! One context variable holds the flow that Python code works on ([`current()`]); asyncio's tasks inherit it. Rust that lives in the same
//! module sees it: [`run`] works on it with [`dynamo_flowlog::current`], and [`call`] calls Python back with a flow of Rust's in it. A record is written
//! without a word to the interpreter; where a sink may have to wait for a reader or a disk, the interpreter does not wait with it.

mod variable;
mod fields;
mod exceptions;
mod headers;
mod opentelemetry;
mod sink;
mod flow;
mod current;
mod emitter;
mod tables;
mod analysis;

use pyo3::prelude::*;

pub use current::{call, current, run};

/// The extension module. A program that embeds Python adds it to its own (`pyo3::append_to_inittab!`).
#[pymodule]
pub mod _flowlog {
    #[pymodule_export]
    use crate::analysis::{Analysis, Events, analyze, events};
    #[pymodule_export]
    use crate::current::{current_flow, inject};
    #[pymodule_export]
    use crate::emitter::{Emitter, close, flow, gauge, health, join};
    #[pymodule_export]
    use crate::flow::{Flow, Scope};
    #[pymodule_export]
    use crate::sink::Sink;
    #[pymodule_export]
    use crate::tables::Table;

    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_init]
    fn prepare(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::variable::prepare(module.py())?;
        crate::opentelemetry::prepare(module.py())?;
        crate::flow::prepare(module.py());
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
