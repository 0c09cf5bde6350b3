//! One component's share of a flow: starts it, emits its records, and ends it.

use std::borrow::Cow;
use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flowlog_schema::json::CodeLocation;
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{Clock, ErrorInfo, EventKind, FlowId, Level, Scalar, SpanId};

use crate::carrier::{Extract, Inject};
use crate::context::Context;
use crate::emitter::Emitter;
use crate::env;
use crate::failure::{Failure, describe};
use crate::fork;
use crate::platform::now;
use crate::record_args::RecordArgs;
use crate::span::Span;

/// One component's share of a flow.
///
/// The owner ends it with [`Flow::end`], [`Flow::fail`] or [`Flow::cancel`]. A flow that is dropped
/// without being ended reports this itself: as failed with error type `panic` if the thread is
/// panicking, otherwise as cancelled with error type `abandoned`, which is the outcome for a future
/// that is dropped before it completes. Other code that emits records for the flow holds a
/// [`FlowHandle`].
#[derive(Debug)]
#[must_use = "a flow that is dropped immediately is recorded as abandoned"]
pub struct Flow {
    handle: FlowHandle,
    is_ended: bool,
}

/// A log line from another logger.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Severity of the line.
    pub level: Level,
    /// Name of the logger.
    pub target: &'a str,
    /// Source file that wrote the line.
    pub file: Option<&'a str>,
    /// Line number in `file`.
    pub line: Option<u32>,
    /// Text of the line.
    pub message: &'a str,
    /// Error that was logged with the line.
    pub failure: Option<&'a Failure>,
    /// Additional fields.
    pub fields: &'a [(&'a str, Scalar<'a>)],
}

/// A cloneable reference to a flow, which can emit records for the flow but not end it.
#[derive(Debug, Clone, Default)]
pub struct FlowHandle {
    /// `None` if no emitter is installed.
    span: Option<Arc<Span>>,
}

impl Emitter {
    /// Prepares a flow of this emitter.
    pub fn flow(&self, kind: impl Into<Cow<'static, str>>) -> FlowBuilder<'_> {
        FlowBuilder { emitter: Some(self), kind: kind.into(), fields: &[] }
    }

    /// Reads a flow context from a caller's headers: see [`Context::extract`].
    ///
    /// Malformed headers are counted in [`Health`](crate::Health).
    pub fn extract<C: Extract + ?Sized>(&self, carrier: &C) -> Context {
        let (context, malformed) = Context::extract(carrier);
        self.0.counters.malformed_headers.fetch_add(malformed, Ordering::Relaxed);
        context
    }
}

/// Settings of a flow that is about to begin in this process. Made by [`Flow::builder`] or
/// [`Emitter::flow`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until the flow is started, joined, accepted or inherited"]
pub struct FlowBuilder<'a> {
    /// `None` where no emitter is installed: the flow then does nothing.
    emitter: Option<&'a Emitter>,
    kind: Cow<'static, str>,
    fields: &'a [(&'a str, Scalar<'a>)],
}

impl<'a> FlowBuilder<'a> {
    /// Adds fields to the `start` record.
    pub fn fields(self, fields: &'a [(&'a str, Scalar<'a>)]) -> Self {
        Self { fields, ..self }
    }

    /// Starts a new flow.
    #[inline]
    pub fn start(self) -> Flow {
        self.begin(|_| FlowId::new().into())
    }

    /// Joins a flow that another process started.
    #[inline]
    pub fn join(self, context: Context) -> Flow {
        self.begin(|_| context)
    }

    /// Joins the flow that a caller's headers name, or starts a new one: see [`Emitter::extract`].
    #[inline]
    pub fn accept<C: Extract + ?Sized>(self, carrier: &C) -> Flow {
        self.begin(|emitter| emitter.extract(carrier))
    }

    /// Joins the flow of the parent process (`TRACEPARENT`, `TRACESTATE`), or starts a new one.
    #[inline]
    pub fn inherit(self) -> Flow {
        self.begin(|emitter| emitter.extract(&env::carrier()))
    }

    /// Starts a child span of `parent`, with the parent's emitter.
    #[inline]
    pub fn child_of(self, parent: &FlowHandle) -> Flow {
        parent.begin_child(self.kind, self.fields)
    }

    #[inline]
    fn begin(self, context: impl FnOnce(&Emitter) -> Context) -> Flow {
        let Some(emitter) = self.emitter else { return Flow::noop() };
        Flow::of(Span::begin(&emitter.0, self.kind, context(emitter), None, self.fields))
    }
}

impl Flow {
    /// Prepares a flow of the process's emitter.
    #[inline]
    pub fn builder(kind: impl Into<Cow<'static, str>>) -> FlowBuilder<'static> {
        FlowBuilder { emitter: Emitter::global(), kind: kind.into(), fields: &[] }
    }

    /// Starts a new flow with the process's emitter.
    #[inline]
    pub fn start(kind: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(kind).start()
    }

    /// Joins a flow that another process started: see [`FlowBuilder::join`].
    #[inline]
    pub fn join(context: Context, kind: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(kind).join(context)
    }

    /// Joins the flow that a caller's headers name, or starts a new one: see
    /// [`FlowBuilder::accept`].
    #[inline]
    pub fn accept<C: Extract + ?Sized>(carrier: &C, kind: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(kind).accept(carrier)
    }

    /// Joins the flow of the parent process, or starts a new one: see [`FlowBuilder::inherit`].
    #[inline]
    pub fn inherit(kind: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(kind).inherit()
    }

    fn of(span: Arc<Span>) -> Self {
        Self { handle: FlowHandle { span: Some(span) }, is_ended: false }
    }

    pub(crate) fn noop() -> Self {
        Self { handle: FlowHandle::default(), is_ended: false }
    }

    /// Ends the flow successfully.
    pub fn end(self) {
        self.end_with(&[]);
    }

    /// Ends the flow successfully, with final fields.
    pub fn end_with(self, fields: &[(&str, Scalar<'_>)]) {
        self.finish(RecordArgs { fields, ..RecordArgs::of(EventKind::End) });
    }

    /// Ends the flow as failed with `error`, including its causes.
    ///
    /// The error type is the Dynamo error type that the message of the error or of one of its
    /// causes begins with, if there is one.
    pub fn fail<E: Error + ?Sized>(self, error: &E) {
        if self.span.is_some() {
            self.finish(RecordArgs {
                error: Some(&describe(error)),
                ..RecordArgs::of(EventKind::Fail)
            });
        }
    }

    /// Ends the flow as failed with an error that does not implement [`Error`], given as its type
    /// (such as `Unavailable`) and its message.
    pub fn fail_with(self, kind: &str, message: &str) {
        self.finish(RecordArgs {
            error: Some(&plain(kind, message)),
            ..RecordArgs::of(EventKind::Fail)
        });
    }

    /// Ends the flow as failed with a [`Failure`] that was captured earlier.
    pub fn fail_from(self, failure: &Failure) {
        self.finish(RecordArgs { error: Some(&failure.0), ..RecordArgs::of(EventKind::Fail) });
    }

    /// Sets which end of a call this flow is.
    #[cfg(feature = "tower")]
    pub(crate) fn set_kind(&self, span_kind: crate::record_args::SpanKind) {
        if let Some(span) = &self.span {
            let _ = span.span_kind.set(span_kind);
        }
    }

    /// Ends the flow as cancelled, because its caller went away; `why` becomes the error message.
    pub fn cancel(self, why: &str) {
        self.finish(RecordArgs {
            error: Some(&plain("Cancelled", why)),
            ..RecordArgs::of(EventKind::Cancel)
        });
    }

    fn finish(mut self, args: RecordArgs<'_>) {
        if let Some(span) = &self.span {
            span.emit(args);
        }
        // The flow was ended even if its record was lost, so it must not be reported as
        // abandoned when it is dropped.
        self.is_ended = true;
    }

    /// Returns a handle with which other code can emit records for this flow.
    pub fn handle(&self) -> FlowHandle {
        self.handle.clone()
    }
}

impl Deref for Flow {
    type Target = FlowHandle;

    #[inline]
    fn deref(&self) -> &FlowHandle {
        &self.handle
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let Some(span) = &self.handle.span else { return };
        if self.is_ended || span.generation != fork::generation() {
            return;
        }
        let (event, error) = if std::thread::panicking() {
            (EventKind::Fail, plain("panic", "the thread panicked while this was open"))
        } else {
            (EventKind::Cancel, plain("abandoned", "dropped without an end"))
        };
        span.emit(RecordArgs { error: Some(&error), ..RecordArgs::of(event) });
    }
}

/// Returns an error without causes.
fn plain<'a>(kind: &'a str, message: &'a str) -> ErrorInfo<'a> {
    ErrorInfo { kind: kind.into(), message: message.into(), causes: Vec::new() }
}

impl FlowHandle {
    /// Emits a log line that was written while the flow was being worked on.
    ///
    /// The line's level does not affect the outcome of the flow: an `Error` line does not fail it.
    pub fn log(&self, record: &LogRecord<'_>) {
        let location = CodeLocation { target: record.target, file: record.file, line: record.line };
        let error = record.failure.map(|failure| &failure.0);
        let LogRecord { level, message, fields, .. } = *record;
        self.emit(RecordArgs {
            level,
            location: Some(location),
            message,
            fields,
            error,
            ..RecordArgs::of(EventKind::State)
        });
    }

    /// Emits a record for the flow.
    #[inline]
    pub(crate) fn emit(&self, args: RecordArgs<'_>) {
        if let Some(span) = &self.span {
            span.emit(args);
        }
    }

    /// Returns whether records of `level` are written for this flow.
    #[inline]
    pub fn enabled(&self, level: Level) -> bool {
        self.span.as_ref().is_some_and(|span| span.emitter.enabled(level))
    }

    /// A handle without a flow.
    pub(crate) const NONE: Self = Self { span: None };

    /// Records that the flow reached another state of its work.
    #[inline]
    pub fn state(&self, state: &str) {
        self.state_with(state, &[]);
    }

    /// Records that the flow reached another state of its work, with fields.
    #[inline]
    pub fn state_with(&self, state: &str, fields: &[(&str, Scalar<'_>)]) {
        if let Some(span) = &self.span {
            span.emit(RecordArgs { state, fields, ..RecordArgs::of(EventKind::State) });
        }
    }

    /// Adds a field to the next record, for a value that becomes known only now.
    pub fn record(&self, name: impl Into<Cow<'static, str>>, value: impl Into<Scalar<'static>>) {
        if let Some(span) = &self.span {
            span.defer_field(name.into(), value.into());
        }
    }

    /// Starts a child span in this flow: a call that this component makes.
    pub fn child(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.begin_child(kind.into(), &[])
    }

    fn begin_child(&self, kind: Cow<'static, str>, fields: &[(&str, Scalar<'_>)]) -> Flow {
        let Some(span) = &self.span else { return Flow::noop() };
        let Some(flow_id) = span.header.flow_id else { return Flow::noop() };
        let context = Context {
            span_id: span.header.span_id,
            clock: Some(span.clock.last()),
            flags: Some(span.header.flags),
            ..flow_id.into()
        };
        Flow::of(Span::begin(&span.emitter, kind, context, Some(Arc::clone(span)), fields))
    }

    /// Holds the span's lock while `work` runs, as a record does while it waits for its sink.
    #[cfg(test)]
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        if let Some(span) = &self.span {
            span.hold(work);
        }
    }

    /// Returns the context that another process needs to join the flow; `None` if no emitter is
    /// installed.
    pub fn context(&self) -> Option<Context> {
        let span = self.span.as_ref()?;
        span.mark_propagated();
        Some(Context {
            span_id: span.header.span_id,
            clock: Some(span.clock.last()),
            flags: Some(span.header.flags),
            tracestate: span.tracestate.as_ref().to_owned(),
            ..span.header.flow_id?.into()
        })
    }

    /// Writes the flow's context into the headers of a call or the environment of a child process.
    ///
    /// Does nothing if no emitter is installed.
    pub fn inject<C: Inject + ?Sized>(&self, carrier: &mut C) {
        if let Some(context) = self.context() {
            context.inject(carrier);
        }
    }

    /// Writes the flow's clock into the headers of a response.
    ///
    /// Does nothing if no emitter is installed. Records that must precede the caller's next records
    /// have to be emitted first: if the flow ends with the response, end it before this call.
    pub fn inject_response<C: Inject + ?Sized>(&self, carrier: &mut C) {
        if let Some(context) = self.context() {
            context.inject_response(carrier);
        }
    }

    /// Merges the clock that a callee's response returned ([`Context::clock_of`]).
    pub fn merge_clock(&self, clock: Clock) {
        if let Some(span) = &self.span {
            let refused = span.clock.refused();
            span.clock.receive(clock, now().unix_ms());
            span.emitter
                .counters
                .refused_clocks
                .fetch_add(span.clock.refused().saturating_sub(refused), Ordering::Relaxed);
        }
    }

    /// Returns the flow's ID; `None` if no emitter is installed.
    pub fn flow_id(&self) -> Option<FlowId> {
        self.span.as_ref()?.header.flow_id
    }

    /// Returns the span ID of this share of the flow; `None` if no emitter is installed.
    pub fn span_id(&self) -> Option<SpanId> {
        self.span.as_ref()?.header.span_id
    }

    /// Returns the trace flags that callees receive: whether the flow is sampled, and whether its
    /// ID is random.
    pub fn flags(&self) -> TraceFlags {
        self.span.as_ref().map(|span| span.header.flags).unwrap_or_default()
    }

    /// See [`Emitter::may_block`].
    pub fn may_block(&self) -> bool {
        self.span.as_ref().is_some_and(|span| span.emitter.may_block())
    }

    /// Returns whether records of this flow are written.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.span.is_some()
    }
}
