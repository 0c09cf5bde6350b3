//! Bridge to OpenTelemetry's current span, in both directions: a flow that starts inside a span
//! joins its trace, and spans that start inside a flow are part of the flow. Active only if the
//! program has imported OpenTelemetry.

use dynamo_flowlog::{Context, FlowHandle, FlowId, SpanId, TraceFlags};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

/// `sys.modules`, and the name of the module to look up there. Created when this module is loaded,
/// for the same reason as the context variable.
static MODULES: PyOnceLock<(Py<PyDict>, Py<PyString>)> = PyOnceLock::new();

/// Initializes the lookup of the Python half of the bridge.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind();
    let _ = MODULES.set(py, (modules, PyString::new(py, "opentelemetry.trace").unbind()));
    Ok(())
}

/// Returns the Python half of the bridge if OpenTelemetry has been imported.
fn bridge(py: Python<'_>) -> Option<Bound<'_, PyModule>> {
    let (modules, name) = MODULES.get(py)?;
    let is_imported = modules.bind(py).contains(name).unwrap_or(false);
    is_imported.then(|| py.import("flowlog._opentelemetry").ok()).flatten()
}

/// Returns the context of OpenTelemetry's current span, if there is one.
pub(crate) fn context(py: Python<'_>) -> Option<Context> {
    let (trace_id, span_id, flags) =
        bridge(py)?.call_method0("current").ok()?.extract::<Option<(u128, u64, u8)>>().ok()??;
    let span_id = SpanId::from_u64(span_id).ok();
    let flow_id = FlowId::from_u128(trace_id).ok()?;
    Some(Context { span_id, flags: Some(TraceFlags::from_byte(flags)), ..flow_id.into() })
}

/// Makes a span current that represents a flow. Returns the token for [`detach`].
pub(crate) fn attach(py: Python<'_>, flow: &FlowHandle) -> Option<Py<PyAny>> {
    let bridge = bridge(py)?;
    let ids = (flow.flow_id()?.as_u128(), flow.span_id()?.as_u64(), flow.flags().byte());
    Some(bridge.call_method1("attach", ids).ok()?.unbind())
}

/// Restores the OpenTelemetry context from before [`attach`].
pub(crate) fn detach(py: Python<'_>, attached: &Py<PyAny>) {
    if let Some(bridge) = bridge(py) {
        let _ = bridge.call_method1("detach", (attached,));
    }
}
