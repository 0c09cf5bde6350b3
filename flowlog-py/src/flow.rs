//! The Python class `Flow`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dynamo_flowlog::{Context, FlowHandle, Level, LogRecord, Scalar};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use crate::context_var;
use crate::exceptions::{ExitReason, exit_reason, failure};
use crate::fields::{Kwargs, as_borrowed, str_lossy, to_str_lossy};
use crate::flow_source::{EmitterRef, FlowSource};
use crate::headers;
use crate::opentelemetry;
use crate::ready::Ready;

/// One component's part of a flow.
///
/// It starts when its `with` block is entered, when `start` is called, or on first use. An
/// exception that leaves the `with` block fails or cancels it, except for an orderly `SystemExit`;
/// otherwise the end of the block ends it successfully. After `end`, `fail` or `cancel`, leaving
/// the block has no further effect. As a decorator, it makes each call a flow.
#[pyclass(module = "flowlog", frozen, weakref)]
pub struct Flow {
    kind: String,
    fields: Vec<(String, Scalar<'static>)>,
    source: FlowSource,
    emitter_ref: EmitterRef,
    /// Whether a thread has begun to start the flow.
    is_beginning: AtomicBool,
    handle: OnceLock<FlowHandle>,
    own: Mutex<Option<dynamo_flowlog::Flow>>,
    /// One entry for each time the flow was entered, to restore the state from before.
    entered: Mutex<Vec<Entered>>,
}

struct Entered {
    token: Py<PyAny>,
    /// OpenTelemetry's token, if a span was attached.
    attached: Option<Py<PyAny>>,
}

/// Whether the flow that the process was started in has been joined; only the first flow joins it.
static IS_INHERITED: AtomicBool = AtomicBool::new(false);

/// How long a thread waits for another thread that is starting the same flow. In a forked process,
/// the other thread may no longer exist.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(1);

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flow {
    pub(crate) fn new(
        source: FlowSource,
        kind: &Bound<'_, PyString>,
        fields: Option<&Bound<'_, PyDict>>,
        emitter_ref: EmitterRef,
    ) -> Self {
        Self::of(source, str_lossy(kind).into_owned(), Kwargs::of(fields).owned(), emitter_ref)
    }

    fn of(
        source: FlowSource,
        kind: String,
        fields: Vec<(String, Scalar<'static>)>,
        emitter_ref: EmitterRef,
    ) -> Self {
        Self {
            kind,
            fields,
            source,
            emitter_ref,
            is_beginning: AtomicBool::new(false),
            handle: OnceLock::new(),
            own: Mutex::new(None),
            entered: Mutex::new(Vec::new()),
        }
    }

    /// Returns the current flow of Python code.
    pub(crate) fn current(py: Python<'_>) -> Option<Bound<'_, Self>> {
        context_var::get(py).ok()?.cast_into().ok()
    }

    /// Returns the context of OpenTelemetry's current span, unless that span represents the current
    /// flow.
    fn around(py: Python<'_>) -> Option<Context> {
        let context = opentelemetry::context(py)?;
        let ours = Self::current(py).and_then(|flow| flow.get().begin(py).span_id());
        (ours.is_none() || context.span_id != ours).then_some(context)
    }

    /// Wraps a flow of Rust code.
    pub(crate) fn held(handle: FlowHandle) -> Self {
        Self::of(FlowSource::Handle(handle), String::new(), Vec::new(), EmitterRef::Own)
    }

    /// Starts the flow unless it has started already, and returns its handle.
    pub(crate) fn begin(&self, py: Python<'_>) -> &FlowHandle {
        if let Some(handle) = self.handle.get() {
            return handle;
        }
        if self.is_beginning.swap(true, Ordering::Acquire) {
            return self.wait_for_begin(py);
        }
        let fields = as_borrowed(&self.fields);
        let flow = match &self.source {
            FlowSource::Handle(handle) => return self.handle.get_or_init(|| handle.clone()),
            FlowSource::Child(caller) => Some(detach_if_blocking(py, caller.may_block(), || {
                dynamo_flowlog::Flow::builder(self.kind.clone()).fields(&fields).child_of(caller)
            })),
            FlowSource::New => self.emitter_ref.emitter().map(|emitter| {
                let context = Self::around(py);
                let is_first = || {
                    matches!(self.emitter_ref, EmitterRef::Own)
                        && !IS_INHERITED.swap(true, Ordering::Relaxed)
                };
                detach_if_blocking(py, emitter.may_block(), || match context {
                    Some(context) => emitter.flow(self.kind.clone()).fields(&fields).join(context),
                    None if is_first() => emitter.flow(self.kind.clone()).fields(&fields).inherit(),
                    None => emitter.flow(self.kind.clone()).fields(&fields).start(),
                })
            }),
            FlowSource::Headers(pairs) => self.emitter_ref.emitter().map(|emitter| {
                let sent = emitter.extract(pairs);
                let around = Self::around(py).filter(|around| around.flow_id == sent.flow_id);
                // An instrumented server has a span between the caller's and this one.
                let context = Context {
                    span_id: around.and_then(|around| around.span_id).or(sent.span_id),
                    ..sent
                };
                detach_if_blocking(py, emitter.may_block(), || {
                    emitter.flow(self.kind.clone()).fields(&fields).join(context)
                })
            }),
        };
        let handle = flow.as_ref().map(dynamo_flowlog::Flow::handle).unwrap_or_default();
        *locked(&self.own) = flow;
        self.handle.get_or_init(|| handle)
    }

    #[cold]
    fn wait_for_begin(&self, py: Python<'_>) -> &FlowHandle {
        let began = Instant::now();
        py.detach(|| {
            while self.handle.get().is_none() && began.elapsed() < BEGIN_TIMEOUT {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        self.handle.get_or_init(FlowHandle::default)
    }

    /// Ends the flow with `how`, unless it belongs to Rust code or has ended.
    fn finish(&self, py: Python<'_>, how: impl FnOnce(dynamo_flowlog::Flow) + Send) {
        self.begin(py);
        // Release the lock before writing: a fork meanwhile would leave it locked in the child.
        let own = locked(&self.own).take();
        if let Some(flow) = own {
            detach_if_blocking(py, flow.may_block(), || how(flow));
        }
    }

    fn fail_with(
        &self,
        py: Python<'_>,
        failure: &dynamo_flowlog::Failure,
        fields: Option<&Bound<'_, PyDict>>,
    ) {
        self.record(py, fields);
        self.finish(py, |flow| flow.fail_from(failure));
    }

    fn leave_with(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        if error.is_none() {
            return self.finish(py, dynamo_flowlog::Flow::end);
        }
        match exit_reason(error) {
            ExitReason::Failed(failure) => self.finish(py, |flow| flow.fail_from(&failure)),
            ExitReason::Cancelled(why) => self.finish(py, |flow| flow.cancel(&why)),
            ExitReason::Ended => self.finish(py, dynamo_flowlog::Flow::end),
        }
    }

    fn enter(flow: &Bound<'_, Self>) -> PyResult<()> {
        let own = flow.get();
        let handle = own.begin(flow.py());
        let attached = opentelemetry::attach(flow.py(), handle);
        // Do not hold the lock while calling Python, which may collect garbage or switch threads.
        let token = context_var::set(flow.as_any())?;
        locked(&own.entered).push(Entered { token, attached });
        Ok(())
    }

    /// Restores the state from before the flow was last entered in this context. In another
    /// context, such as that of the code that closes a generator, there is nothing to restore.
    fn exit(&self, py: Python<'_>) {
        let mut of_others: Vec<Entered> = Vec::new();
        loop {
            let Some(entered) = locked(&self.entered).pop() else {
                // None belongs to this context: discard the latest, which is the one being left.
                of_others.drain(..1.min(of_others.len()));
                break;
            };
            if context_var::reset(py, &entered.token) {
                if let Some(attached) = &entered.attached {
                    opentelemetry::detach(py, attached);
                }
                break;
            }
            of_others.push(entered);
        }
        locked(&self.entered).extend(of_others.into_iter().rev());
    }
}

#[pymethods]
impl Flow {
    /// Starts the flow without a `with` block; `end`, `fail` or `cancel` ends it. Returns the flow.
    fn start<'py>(slf: Bound<'py, Self>) -> Bound<'py, Self> {
        slf.get().begin(slf.py());
        slf
    }

    /// Records that the flow reached a new state.
    #[pyo3(signature = (state, /, **fields))]
    fn state(&self, state: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) {
        let handle = self.begin(state.py());
        if !handle.is_enabled() {
            return;
        }
        let held = Kwargs::of(fields);
        let (name, fields) = (str_lossy(state), held.fields());
        detach_if_blocking(state.py(), handle.may_block(), || handle.state_with(&name, &fields));
    }

    /// Adds fields that become known after the start, to be written with the next record.
    #[pyo3(signature = (**fields))]
    fn record(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) {
        let handle = self.begin(py);
        for (name, value) in Kwargs::of(fields).owned() {
            handle.record(name, value);
        }
    }

    /// Ends the flow successfully.
    #[pyo3(signature = (**fields))]
    fn end(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) {
        let held = Kwargs::of(fields);
        let fields = held.fields();
        self.finish(py, |flow| flow.end_with(&fields));
    }

    /// Fails the flow with an exception, including its causes, or with a message.
    #[pyo3(signature = (error, /, **fields))]
    fn fail(&self, error: &Bound<'_, PyAny>, fields: Option<&Bound<'_, PyDict>>) {
        self.fail_with(error.py(), &failure(error), fields);
    }

    /// Cancels the flow: its caller is gone.
    #[pyo3(signature = (why=None))]
    fn cancel(&self, py: Python<'_>, why: Option<&Bound<'_, PyAny>>) {
        let why = why.map(to_str_lossy).unwrap_or_default();
        self.finish(py, |flow| flow.cancel(&why));
    }

    /// Creates a child for a call that this flow makes: a separate span in the same flow.
    #[pyo3(signature = (kind, /, **fields))]
    fn child(&self, kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(
            FlowSource::Child(self.begin(kind.py()).clone()),
            kind,
            fields,
            self.emitter_ref.clone(),
        )
    }

    /// Returns a context manager in which this flow is `current()`. Leaving it does not end the
    /// flow.
    fn scope(slf: Bound<'_, Self>) -> Scope {
        Scope(slf.unbind())
    }

    /// Writes the flow into the headers of an outgoing call and returns them.
    pub(crate) fn inject<'py>(&self, headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.begin(headers.py()).inject(&mut pairs);
        headers::write(&headers, pairs)?;
        Ok(headers)
    }

    /// Writes the flow's clock into the headers of a response and returns them.
    ///
    /// The caller's later records are ordered after everything recorded before this call.
    fn inject_response<'py>(&self, headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.begin(headers.py()).inject_response(&mut pairs);
        headers::write(&headers, pairs)?;
        Ok(headers)
    }

    /// Merges the clock from the headers of a response.
    fn merge_clock(&self, headers: &Bound<'_, PyAny>) {
        let handle = self.begin(headers.py());
        if let Some(clock) = Context::clock_of(&headers::read(headers)) {
            handle.merge_clock(clock);
        }
    }

    /// The kind of the flow.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// The flow ID, a UUID; None before the flow starts, and if nothing is emitted.
    #[getter]
    fn flow_id(&self) -> Option<String> {
        Some(self.handle.get()?.flow_id()?.to_string())
    }

    /// The flow ID as a trace ID: 32 hex digits.
    #[getter]
    fn trace_id(&self) -> Option<String> {
        Some(self.handle.get()?.flow_id()?.trace_id().to_string())
    }

    /// The ID of this component's part of the flow: 16 hex digits.
    #[getter]
    fn span_id(&self) -> Option<String> {
        Some(self.handle.get()?.span_id()?.to_string())
    }

    /// Whether the flow has started and not ended.
    #[getter]
    fn is_open(&self) -> bool {
        locked(&self.own).is_some()
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        Self::enter(&slf)?;
        Ok(slf)
    }

    #[pyo3(signature = (kind, error, traceback, /))]
    fn __exit__(
        &self,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> bool {
        let _ = (kind, traceback);
        self.exit(error.py());
        self.leave_with(error.py(), error);
        false
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Ready> {
        Self::enter(&slf)?;
        Ok(Ready(slf.into_any().unbind()))
    }

    #[pyo3(signature = (kind, error, traceback, /))]
    fn __aexit__(
        &self,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> Ready {
        let is_handled = self.__exit__(kind, error, traceback);
        Ready(PyBool::new(error.py(), is_handled).to_owned().into_any().unbind())
    }

    #[pyo3(signature = (function, /))]
    fn __call__<'py>(
        slf: Bound<'py, Self>,
        function: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("flowlog._decorator")?.getattr("decorate")?.call1((slf, function))
    }

    /// Returns a copy of the flow that has not started.
    fn _again(&self) -> Self {
        Self::of(
            self.source.clone(),
            self.kind.clone(),
            self.fields.clone(),
            self.emitter_ref.clone(),
        )
    }

    /// Ends the flow according to the exception that leaves it; successfully if there is none.
    fn _leave(&self, error: &Bound<'_, PyAny>) {
        self.leave_with(error.py(), error);
    }

    /// Adds a log record to the flow. `place` is the logger's name, the file, and the line number.
    #[pyo3(signature = (level, location, message, error, fields))]
    fn _log(
        &self,
        level: u32,
        location: (String, String, u32),
        message: &Bound<'_, PyString>,
        error: &Bound<'_, PyAny>,
        fields: Option<&Bound<'_, PyDict>>,
    ) {
        let (target, file, line) = location;
        let handle = self.begin(message.py());
        let level = level_of(level);
        if !handle.enabled(level) {
            return;
        }
        let held = Kwargs::of(fields);
        let (fields, words) = (held.fields(), str_lossy(message));
        let failure = (!error.is_none()).then(|| failure(error));
        let record = LogRecord {
            level,
            target: &target,
            file: Some(&file),
            line: Some(line),
            message: &words,
            failure: failure.as_ref(),
            fields: &fields,
        };
        detach_if_blocking(message.py(), handle.may_block(), || handle.log(&record));
    }

    fn __repr__(&self) -> String {
        let id = self.flow_id().unwrap_or_else(|| "not started".to_owned());
        format!("<flowlog.Flow {} {id}>", self.kind)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(entered) = self.entered.try_lock() {
            for Entered { token, attached } in entered.iter() {
                visit.call(token)?;
                visit.call(attached)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // Drop the entries outside the lock: dropping them may end flows.
        let entered = self.entered.try_lock().map(|mut entered| std::mem::take(&mut *entered));
        drop(entered);
    }
}

/// Runs `work`, detached from the interpreter if it may block on a reader or a disk.
fn detach_if_blocking<T: Send>(
    py: Python<'_>,
    may_block: bool,
    work: impl FnOnce() -> T + Send,
) -> T {
    if may_block { py.detach(work) } else { work() }
}

/// Converts a level number of Python's `logging`.
fn level_of(number: u32) -> Level {
    match number {
        0..10 => Level::Trace,
        10..20 => Level::Debug,
        20..30 => Level::Info,
        30..40 => Level::Warn,
        _ => Level::Error,
    }
}

/// A context manager in which a flow is current.
#[pyclass(module = "flowlog", frozen)]
pub struct Scope(Py<Flow>);

#[pymethods]
impl Scope {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Flow>> {
        let flow = self.0.bind(py);
        Flow::enter(flow)?;
        Ok(flow.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> bool {
        self.0.get().exit(py);
        false
    }
}
