//! OpenTelemetry's current span, honoured both ways: a flow that begins inside one is part of its trace, and spans that begin inside a
//! flow are part of the flow. Only where the program has imported it.

use dynamo_flowlog::{Context, FlowHandle, FlowId, SpanId, TraceFlags};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// Which modules are loaded, and the name of the one that is asked for; made when ours is loaded, as the context variable is.
static MODULES: PyOnceLock<(Py<PyDict>, Py<PyString>)> = PyOnceLock::new();

/// Finds out where to look for the other half of the bridge.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind();
    let _ = MODULES.set(py, (modules, PyString::new(py, "opentelemetry.trace").unbind()));
    Ok(())
}

/// Our half of the bridge, where there is another.
fn bridge(py: Python<'_>) -> Option<Bound<'_, PyModule>> {
    let (modules, name) = MODULES.get(py)?;
    let is_imported = modules.bind(py).contains(name).unwrap_or(false);
    is_imported.then(|| py.import("flowlog._opentelemetry").ok()).flatten()
}

/// What OpenTelemetry's current span is part of.
pub(crate) fn context(py: Python<'_>) -> Option<Context> {
    let (trace_id, span_id, flags) =
        bridge(py)?.call_method0("current").ok()?.extract::<Option<(u128, u64, u8)>>().ok()??;
    let span_id = SpanId::from_u64(span_id).ok();
    let flow_id = FlowId::from_u128(trace_id).ok()?;
    Some(Context { span_id, flags: Some(TraceFlags::of_byte(flags)), ..flow_id.into() })
}

/// Puts a span in place that stands for a flow; what takes it away.
pub(crate) fn attach(py: Python<'_>, flow: &FlowHandle) -> Option<Py<PyAny>> {
    let bridge = bridge(py)?;
    let ids = (flow.flow_id()?.as_u128(), flow.span_id()?.as_u64(), flow.flags().byte());
    Some(bridge.call_method1("attach", ids).ok()?.unbind())
}

/// Takes it away.
pub(crate) fn detach(py: Python<'_>, attached: &Py<PyAny>) {
    if let Some(bridge) = bridge(py) {
        let _ = bridge.call_method1("detach", (attached,));
    }
}
