//! A flow, as Python holds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dynamo_flowlog::{Context, Emitter, FlowHandle, Level, LogRecord, Scalar};
use pyo3::exceptions::PyStopIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use crate::exceptions::{Leaving, failure, leaving};
use crate::fields::{Held, lent, told, words_of};
use crate::headers::{self, Pairs};
use crate::opentelemetry;
use crate::variable;

/// Who emits.
#[derive(Debug, Clone)]
pub(crate) enum Speaker {
    /// The process's own emitter, as soon as there is one: a decorator stands in a module that is loaded before. The flow that the process was
    /// started in is taken up with its first.
    Own,
    /// One beside it.
    Other(Emitter),
}

impl Speaker {
    fn emitter(&self) -> Option<Emitter> {
        match self {
            Self::Own => Emitter::installed().cloned(),
            Self::Other(emitter) => Some(emitter.clone()),
        }
    }
}

/// Where a flow comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// It is a new one, but for what the process was started in and for OpenTelemetry's current span.
    New,
    /// What a caller sent.
    Headers(Pairs),
    /// A call that a flow makes.
    Call(FlowHandle),
    /// Somebody else's, in Rust: to end it is theirs.
    Held(FlowHandle),
}

/// One component's share of one flow.
///
/// It begins when it is entered (`with`), when `start` says so, or when something is said of it first. What leaves the `with` block fails it,
/// else it ends well; after `end`, `fail` or `cancel` it has ended and the block's end says nothing more. As a decorator it makes each call a flow.
#[pyclass(module = "flowlog", frozen, weakref)]
pub struct Flow {
    kind: String,
    fields: Vec<(String, Scalar<'static>)>,
    origin: Origin,
    speaker: Speaker,
    /// Somebody begins it.
    is_begun: AtomicBool,
    handle: OnceLock<FlowHandle>,
    own: Mutex<Option<dynamo_flowlog::Flow>>,
    /// What puts back what was there before each time that it was entered.
    entered: Mutex<Vec<Entered>>,
}

struct Entered {
    token: Py<PyAny>,
    /// OpenTelemetry's.
    attached: Option<Py<PyAny>>,
}

/// The flow that the process was started in is taken up once.
static IS_INHERITED: AtomicBool = AtomicBool::new(false);

/// How long a thread waits for another that begins the same flow: in a process that was forked that one may be no more.
const PATIENCE: Duration = Duration::from_secs(1);

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flow {
    pub(crate) fn new(
        origin: Origin,
        kind: &Bound<'_, PyString>,
        fields: Option<&Bound<'_, PyDict>>,
        speaker: Speaker,
    ) -> Self {
        Self::of(origin, words_of(kind).into_owned(), Held::of(fields).owned(), speaker)
    }

    fn of(
        origin: Origin,
        kind: String,
        fields: Vec<(String, Scalar<'static>)>,
        speaker: Speaker,
    ) -> Self {
        Self {
            kind,
            fields,
            origin,
            speaker,
            is_begun: AtomicBool::new(false),
            handle: OnceLock::new(),
            own: Mutex::new(None),
            entered: Mutex::new(Vec::new()),
        }
    }

    /// The one that Python code works on.
    pub(crate) fn current(py: Python<'_>) -> Option<Bound<'_, Self>> {
        variable::get(py).ok()?.cast_into().ok()
    }

    /// What OpenTelemetry's current span is part of. The span that stands for a flow of ours is no such span.
    fn around(py: Python<'_>) -> Option<Context> {
        let context = opentelemetry::context(py)?;
        let ours = Self::current(py).and_then(|flow| flow.get().begin(py).span_id());
        (ours.is_none() || context.span_id != ours).then_some(context)
    }

    /// One of Rust's.
    pub(crate) fn held(handle: FlowHandle) -> Self {
        Self::of(Origin::Held(handle), String::new(), Vec::new(), Speaker::Own)
    }

    /// Begins it, if nobody has yet.
    pub(crate) fn begin(&self, py: Python<'_>) -> &FlowHandle {
        if let Some(handle) = self.handle.get() {
            return handle;
        }
        if self.is_begun.swap(true, Ordering::Acquire) {
            return self.begun_elsewhere(py);
        }
        let fields = lent(&self.fields);
        let flow = match &self.origin {
            Origin::Held(handle) => return self.handle.get_or_init(|| handle.clone()),
            Origin::Call(caller) => {
                Some(aside(py, caller.may_wait(), || caller.call_with(self.kind.clone(), &fields)))
            }
            Origin::New => self.speaker.emitter().map(|emitter| {
                let context = Self::around(py);
                let is_first = || {
                    matches!(self.speaker, Speaker::Own)
                        && !IS_INHERITED.swap(true, Ordering::Relaxed)
                };
                aside(py, emitter.may_wait(), || match context {
                    Some(context) => emitter.join_with(context, self.kind.clone(), &fields),
                    None if is_first() => emitter.inherit_with(self.kind.clone(), &fields),
                    None => emitter.start_with(self.kind.clone(), &fields),
                })
            }),
            Origin::Headers(pairs) => self.speaker.emitter().map(|emitter| {
                let sent = emitter.extract(pairs);
                let around = Self::around(py).filter(|around| around.flow_id == sent.flow_id);
                // Who instrumented the server stands between the caller and this.
                let context = Context {
                    span_id: around.and_then(|around| around.span_id).or(sent.span_id),
                    ..sent
                };
                aside(py, emitter.may_wait(), || {
                    emitter.join_with(context, self.kind.clone(), &fields)
                })
            }),
        };
        let handle = flow.as_ref().map(dynamo_flowlog::Flow::handle).unwrap_or_default();
        *locked(&self.own) = flow;
        self.handle.get_or_init(|| handle)
    }

    #[cold]
    fn begun_elsewhere(&self, py: Python<'_>) -> &FlowHandle {
        let began = Instant::now();
        py.detach(|| {
            while self.handle.get().is_none() && began.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        self.handle.get_or_init(FlowHandle::default)
    }

    /// Ends it, if it is ours to end and nobody has.
    fn finish(&self, py: Python<'_>, how: impl FnOnce(dynamo_flowlog::Flow) + Send) {
        self.begin(py);
        // Nobody holds the lock while something is written: in a process that was forked they would hold it for ever.
        let own = locked(&self.own).take();
        if let Some(flow) = own {
            aside(py, flow.may_wait(), || how(flow));
        }
    }

    fn fail_with(
        &self,
        py: Python<'_>,
        failure: &dynamo_flowlog::Failure,
        fields: Option<&Bound<'_, PyDict>>,
    ) {
        self.late(py, fields);
        self.finish(py, |flow| flow.fail_of(failure));
    }

    fn leave_with(&self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        if error.is_none() {
            return self.finish(py, dynamo_flowlog::Flow::end);
        }
        match leaving(error) {
            Leaving::Failed(failure) => self.finish(py, |flow| flow.fail_of(&failure)),
            Leaving::Cancelled(why) => self.finish(py, |flow| flow.cancel(&why)),
            Leaving::Ended => self.finish(py, dynamo_flowlog::Flow::end),
        }
    }

    fn put_in_place(flow: &Bound<'_, Self>) -> PyResult<()> {
        let own = flow.get();
        let handle = own.begin(flow.py());
        let attached = opentelemetry::attach(flow.py(), handle);
        // Nobody may hold the lock while Python is called: it may collect garbage, and let another thread go on.
        let token = variable::set(flow.as_any())?;
        locked(&own.entered).push(Entered { token, attached });
        Ok(())
    }

    /// Puts back what was there before it was entered last in this context. In a context of somebody else's - that of who closes a
    /// generator - there is nothing to put back.
    fn take_away(&self, py: Python<'_>) {
        let mut of_others: Vec<Entered> = Vec::new();
        loop {
            let Some(entered) = locked(&self.entered).pop() else {
                // The latest is the one that is left.
                of_others.drain(..1.min(of_others.len()));
                break;
            };
            if variable::reset(py, &entered.token) {
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
    /// Begins it, for code that ends it with `end`, `fail` or `cancel` and not with a block.
    fn start<'py>(slf: Bound<'py, Self>) -> Bound<'py, Self> {
        slf.get().begin(slf.py());
        slf
    }

    /// It came to another state of its work.
    #[pyo3(signature = (state, /, **fields))]
    fn state(&self, state: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) {
        let handle = self.begin(state.py());
        if !handle.is_enabled() {
            return;
        }
        let held = Held::of(fields);
        let (name, fields) = (words_of(state), held.fields());
        aside(state.py(), handle.may_wait(), || handle.state_with(&name, &fields));
    }

    /// Keeps what is known only now for the next record.
    #[pyo3(signature = (**fields))]
    fn late(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) {
        let handle = self.begin(py);
        for (name, value) in Held::of(fields).owned() {
            handle.late(name, value);
        }
    }

    /// It ended well.
    #[pyo3(signature = (**fields))]
    fn end(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) {
        let held = Held::of(fields);
        let fields = held.fields();
        self.finish(py, |flow| flow.end_with(&fields));
    }

    /// It failed: with an exception, whose causes are kept, or with words.
    #[pyo3(signature = (error, /, **fields))]
    fn fail(&self, error: &Bound<'_, PyAny>, fields: Option<&Bound<'_, PyDict>>) {
        self.fail_with(error.py(), &failure(error), fields);
    }

    /// Its caller went away.
    #[pyo3(signature = (why=None))]
    fn cancel(&self, py: Python<'_>, why: Option<&Bound<'_, PyAny>>) {
        let why = why.map(told).unwrap_or_default();
        self.finish(py, |flow| flow.cancel(&why));
    }

    /// A call that it makes: a span of its own in the same flow.
    #[pyo3(signature = (kind, /, **fields))]
    fn child(&self, kind: &Bound<'_, PyString>, fields: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(Origin::Call(self.begin(kind.py()).clone()), kind, fields, self.speaker.clone())
    }

    /// A block in which it is `current()`, and at whose end it goes on.
    fn scope(slf: Bound<'_, Self>) -> Scope {
        Scope(slf.unbind())
    }

    /// Writes it into the headers of a call; returns them.
    pub(crate) fn inject<'py>(&self, headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.begin(headers.py()).inject(&mut pairs);
        headers::write(&headers, pairs)?;
        Ok(headers)
    }

    /// Writes its clock into the headers of an answer; returns them. Say first what the caller is to come after.
    fn answer<'py>(&self, headers: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        self.begin(headers.py()).answer(&mut pairs);
        headers::write(&headers, pairs)?;
        Ok(headers)
    }

    /// Takes over the clock that an answer's headers bring.
    fn receive(&self, headers: &Bound<'_, PyAny>) {
        let handle = self.begin(headers.py());
        if let Some(clock) = Context::clock_of(&headers::read(headers)) {
            handle.receive(clock);
        }
    }

    /// What kind of flow it is.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// The flow's id, a UUID; None before it begins, and where nothing is emitted.
    #[getter]
    fn flow_id(&self) -> Option<String> {
        Some(self.handle.get()?.flow_id()?.to_string())
    }

    /// The same as the trace id that it is: 32 hex digits.
    #[getter]
    fn trace_id(&self) -> Option<String> {
        Some(self.handle.get()?.flow_id()?.trace_id().to_string())
    }

    /// The id of this share of it: 16 hex digits.
    #[getter]
    fn span_id(&self) -> Option<String> {
        Some(self.handle.get()?.span_id()?.to_string())
    }

    /// Whether it has begun and nobody has ended it.
    #[getter]
    fn is_open(&self) -> bool {
        locked(&self.own).is_some()
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        Self::put_in_place(&slf)?;
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
        self.take_away(error.py());
        self.leave_with(error.py(), error);
        false
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Ready> {
        Self::put_in_place(&slf)?;
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

    /// Another like it, that has not begun.
    fn _again(&self) -> Self {
        Self::of(self.origin.clone(), self.kind.clone(), self.fields.clone(), self.speaker.clone())
    }

    /// Ends it as the exception says that leaves it; well where there is none.
    fn _leave(&self, error: &Bound<'_, PyAny>) {
        self.leave_with(error.py(), error);
    }

    /// Puts a line of a log into it: `place` is the logger's name, the file and the line there.
    #[pyo3(signature = (level, place, message, error, fields))]
    fn _log(
        &self,
        level: u32,
        place: (String, String, u32),
        message: &Bound<'_, PyString>,
        error: &Bound<'_, PyAny>,
        fields: Option<&Bound<'_, PyDict>>,
    ) {
        let (target, file, line) = place;
        let handle = self.begin(message.py());
        let level = level_of(level);
        if !handle.writes(level) {
            return;
        }
        let held = Held::of(fields);
        let (fields, words) = (held.fields(), words_of(message));
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
        aside(message.py(), handle.may_wait(), || handle.log(&record));
    }

    fn __repr__(&self) -> String {
        let id = self.flow_id().unwrap_or_else(|| "not begun".to_owned());
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
        // What is let go of may end flows.
        let entered = self.entered.try_lock().map(|mut entered| std::mem::take(&mut *entered));
        drop(entered);
    }
}

/// Does what may have to wait for a reader or a disk, and lets the interpreter go on meanwhile.
fn aside<T: Send>(py: Python<'_>, may_wait: bool, work: impl FnOnce() -> T + Send) -> T {
    if may_wait { py.detach(work) } else { work() }
}

/// The levels of `logging`.
fn level_of(number: u32) -> Level {
    match number {
        0..10 => Level::Trace,
        10..20 => Level::Debug,
        20..30 => Level::Info,
        30..40 => Level::Warn,
        _ => Level::Error,
    }
}

/// A block in which a flow is current.
#[pyclass(module = "flowlog", frozen)]
pub struct Scope(Py<Flow>);

#[pymethods]
impl Scope {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Flow>> {
        let flow = self.0.bind(py);
        Flow::put_in_place(flow)?;
        Ok(flow.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> bool {
        self.0.get().take_away(py);
        false
    }
}

/// Makes the classes that the module does not name, for the reason that the context variable is made early.
pub(crate) fn prepare(py: Python<'_>) {
    py.get_type::<Ready>();
}

/// What is awaited and there at once.
#[pyclass(module = "flowlog", frozen)]
struct Ready(Py<PyAny>);

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
