//! One component's share of one flow: taken up, said, ended.

use std::borrow::Cow;
use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flowlog_schema::json::Place;
use flowlog_schema::propagation::TraceFlags;
use flowlog_schema::{Clock, ErrorInfo, Event, FlowId, Level, Scalar, SpanId};

use crate::carrier::{Extract, Inject};
use crate::context::Context;
use crate::emitter::Emitter;
use crate::environment;
use crate::failure::{Failure, describe};
use crate::forks;
use crate::said::Said;
use crate::span::Span;
use crate::system::now;

/// One component's share of one flow, to be ended by whoever holds it: with [`Flow::end`], [`Flow::fail`] or [`Flow::cancel`].
///
/// Dropped without, it says so: it failed with `panic` where the thread panics, else it was cancelled with `abandoned`, which is what
/// becomes of a future that nobody waits for any more. Whoever else has something to say of it holds a [`FlowHandle`].
#[derive(Debug)]
#[must_use = "a flow that is dropped at once is abandoned"]
pub struct Flow {
    handle: FlowHandle,
    is_ended: bool,
}

/// A line of a log, as somebody else's logger has it.
#[derive(Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// How loud.
    pub level: Level,
    /// The logger's name.
    pub target: &'a str,
    /// Where in the source it was written.
    pub file: Option<&'a str>,
    /// Its line there.
    pub line: Option<u32>,
    /// What it says.
    pub message: &'a str,
    /// The error that goes with it.
    pub failure: Option<&'a Failure>,
    /// What else it says.
    pub fields: &'a [(&'a str, Scalar<'a>)],
}

/// A flow that somebody else ends.
#[derive(Debug, Clone, Default)]
pub struct FlowHandle {
    /// None where no emitter is installed.
    span: Option<Arc<Span>>,
}

impl Emitter {
    /// Takes up a new flow.
    pub fn start(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.start_with(kind, &[])
    }

    /// Takes up a new flow, and something is to be told of it.
    pub fn start_with(
        &self,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Flow {
        Flow::of(Span::begin(&self.0, kind.into(), FlowId::new().into(), None, fields))
    }

    /// Takes up a flow that another process started.
    pub fn join(&self, context: Context, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.join_with(context, kind, &[])
    }

    /// Takes up a flow that another process started, and something is to be told of it.
    pub fn join_with(
        &self,
        context: Context,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Flow {
        Flow::of(Span::begin(&self.0, kind.into(), context, None, fields))
    }

    /// Reads what a caller's headers say of a flow: see [`Context::extract`]. What is malformed among them is counted.
    pub fn extract<C: Extract + ?Sized>(&self, carrier: &C) -> Context {
        let (context, malformed) = Context::extract(carrier);
        self.0.counters.malformed_headers.fetch_add(malformed, Ordering::Relaxed);
        context
    }

    /// Takes up the flow that a caller's headers name, or a new one: see [`Context::extract`]. What is malformed among them is counted.
    pub fn accept<C: Extract + ?Sized>(
        &self,
        carrier: &C,
        kind: impl Into<Cow<'static, str>>,
    ) -> Flow {
        self.accept_with(carrier, kind, &[])
    }

    /// Takes up the flow that a caller's headers name, or a new one, and something is to be told of it.
    pub fn accept_with<C: Extract + ?Sized>(
        &self,
        carrier: &C,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Flow {
        self.join_with(self.extract(carrier), kind, fields)
    }

    /// Takes up the flow that the parent process worked on when it started this one (`TRACEPARENT`, `TRACESTATE`), or a new one.
    pub fn inherit(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.inherit_with(kind, &[])
    }

    /// Takes up the flow that the parent process worked on, or a new one, and something is to be told of it.
    pub fn inherit_with(
        &self,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Flow {
        self.accept_with(&environment::carrier(), kind, fields)
    }
}

impl Flow {
    /// Takes up a new flow with the process's emitter.
    #[inline]
    pub fn start(kind: impl Into<Cow<'static, str>>) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.start(kind))
    }

    /// Takes up a new flow with the process's emitter, and something is to be told of it.
    #[inline]
    pub fn start_with(kind: impl Into<Cow<'static, str>>, fields: &[(&str, Scalar<'_>)]) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.start_with(kind, fields))
    }

    /// Takes up a flow that another process started, with the process's emitter.
    #[inline]
    pub fn join(context: Context, kind: impl Into<Cow<'static, str>>) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.join(context, kind))
    }

    /// Takes up the flow that a caller's headers name, with the process's emitter: see [`Emitter::accept`].
    #[inline]
    pub fn accept<C: Extract + ?Sized>(carrier: &C, kind: impl Into<Cow<'static, str>>) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.accept(carrier, kind))
    }

    /// Takes up the flow that a caller's headers name, with the process's emitter, and something is to be told of it.
    #[inline]
    pub fn accept_with<C: Extract + ?Sized>(
        carrier: &C,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Self {
        Emitter::installed()
            .map_or_else(Self::nothing, |emitter| emitter.accept_with(carrier, kind, fields))
    }

    /// Takes up the flow that the parent process worked on, with the process's emitter: see [`Emitter::inherit`].
    #[inline]
    pub fn inherit(kind: impl Into<Cow<'static, str>>) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.inherit(kind))
    }

    fn of(span: Arc<Span>) -> Self {
        Self { handle: FlowHandle { span: Some(span) }, is_ended: false }
    }

    pub(crate) fn nothing() -> Self {
        Self { handle: FlowHandle::default(), is_ended: false }
    }

    /// It ended well.
    pub fn end(self) {
        self.end_with(&[]);
    }

    /// It ended well, and something is to be told of it.
    pub fn end_with(self, fields: &[(&str, Scalar<'_>)]) {
        self.finish(Said { fields, ..Said::of(Event::End) });
    }

    /// It failed. The error's causes are kept; its type is the one that Dynamo names, where it or a cause begins with one.
    pub fn fail<E: Error + ?Sized>(self, error: &E) {
        if self.span.is_some() {
            self.finish(Said { error: Some(&describe(error)), ..Said::of(Event::Fail) });
        }
    }

    /// It failed with an error that is no `Error`: its type (`Unavailable`) and what it says.
    pub fn fail_with(self, kind: &str, message: &str) {
        self.finish(Said { error: Some(&plain(kind, message)), ..Said::of(Event::Fail) });
    }

    /// It failed, as was told before.
    pub fn fail_of(self, failure: &Failure) {
        self.finish(Said { error: Some(&failure.0), ..Said::of(Event::Fail) });
    }

    /// It is one end of a call.
    #[cfg(feature = "tower")]
    pub(crate) fn is_a(&self, role: crate::otlp::Role) {
        if let Some(span) = &self.span {
            let _ = span.role.set(role);
        }
    }

    /// Its caller went away.
    pub fn cancel(self, why: &str) {
        self.finish(Said { error: Some(&plain("Cancelled", why)), ..Said::of(Event::Cancel) });
    }

    fn finish(mut self, said: Said<'_>) {
        if let Some(span) = &self.span {
            span.say(said);
        }
        // Whatever became of the record: this is no flow that nobody ended.
        self.is_ended = true;
    }

    /// For whoever has something to say of it.
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
        if self.is_ended || span.generation != forks::generation() {
            return;
        }
        let (event, error) = if std::thread::panicking() {
            (Event::Fail, plain("panic", "the thread panicked while this was open"))
        } else {
            (Event::Cancel, plain("abandoned", "dropped without an end"))
        };
        span.say(Said { error: Some(&error), ..Said::of(event) });
    }
}

/// An error without causes.
fn plain<'a>(kind: &'a str, message: &'a str) -> ErrorInfo<'a> {
    ErrorInfo { kind: kind.into(), message: message.into(), causes: Vec::new() }
}

impl FlowHandle {
    /// A line of a log that was written while it was worked on. Its level proves nothing: it fails nobody.
    pub fn log(&self, record: &LogRecord<'_>) {
        let place = Place { target: record.target, file: record.file, line: record.line };
        let error = record.failure.map(|failure| &failure.0);
        let LogRecord { level, message, fields, .. } = *record;
        self.say(Said {
            level,
            place: Some(place),
            message,
            fields,
            error,
            ..Said::of(Event::State)
        });
    }

    /// Something is said of it.
    #[inline]
    pub(crate) fn say(&self, said: Said<'_>) {
        if let Some(span) = &self.span {
            span.say(said);
        }
    }

    /// Whether records of that level are written of it.
    #[inline]
    pub fn writes(&self, level: Level) -> bool {
        self.span.as_ref().is_some_and(|span| span.emitter.writes(level))
    }

    /// No flow.
    pub(crate) const NONE: Self = Self { span: None };

    /// It came to another state of its work.
    #[inline]
    pub fn state(&self, state: &str) {
        self.state_with(state, &[]);
    }

    /// It came to another state, and something is to be told of it.
    #[inline]
    pub fn state_with(&self, state: &str, fields: &[(&str, Scalar<'_>)]) {
        if let Some(span) = &self.span {
            span.say(Said { state, fields, ..Said::of(Event::State) });
        }
    }

    /// Keeps what is known only now for the next record.
    pub fn late(&self, name: impl Into<Cow<'static, str>>, value: impl Into<Scalar<'static>>) {
        if let Some(span) = &self.span {
            span.keep_for_later(name.into(), value.into());
        }
    }

    /// Takes up a call that this flow makes: a span of its own, with this one as its caller.
    pub fn call(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.call_with(kind, &[])
    }

    /// Takes up a call that this flow makes, and something is to be told of it.
    pub fn call_with(
        &self,
        kind: impl Into<Cow<'static, str>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Flow {
        let Some(span) = &self.span else { return Flow::nothing() };
        let Some(flow_id) = span.shared.flow_id else { return Flow::nothing() };
        let context = Context {
            span_id: span.shared.span_id,
            clock: Some(span.clock.last()),
            flags: Some(span.shared.flags),
            ..flow_id.into()
        };
        Flow::of(Span::begin(&span.emitter, kind.into(), context, Some(Arc::clone(span)), fields))
    }

    /// Holds it while something is done, as a record does that waits for its sink.
    #[cfg(test)]
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        if let Some(span) = &self.span {
            span.hold(work);
        }
    }

    /// What another process needs to join it; `None` where no emitter is installed.
    pub fn context(&self) -> Option<Context> {
        let span = self.span.as_ref()?;
        span.is_told();
        Some(Context {
            span_id: span.shared.span_id,
            clock: Some(span.clock.last()),
            flags: Some(span.shared.flags),
            others: span.others.as_ref().to_owned(),
            ..span.shared.flow_id?.into()
        })
    }

    /// Writes the flow into the headers of a call, or the environment of a child process; nothing where no emitter is installed.
    pub fn inject<C: Inject + ?Sized>(&self, carrier: &mut C) {
        if let Some(context) = self.context() {
            context.inject(carrier);
        }
    }

    /// Writes the clock into the headers of an answer; nothing where no emitter is installed. What the caller is to come after is to be said
    /// before: end the flow first, where it ends with the answer.
    pub fn answer<C: Inject + ?Sized>(&self, carrier: &mut C) {
        if let Some(context) = self.context() {
            context.answer(carrier);
        }
    }

    /// Takes over the clock of whoever was called and answered ([`Context::clock_of`]).
    pub fn receive(&self, clock: Clock) {
        if let Some(span) = &self.span {
            let refused = span.clock.refused();
            span.clock.receive(clock, now().unix_ms());
            span.emitter
                .counters
                .refused_clocks
                .fetch_add(span.clock.refused().saturating_sub(refused), Ordering::Relaxed);
        }
    }

    /// The flow's id; `None` where no emitter is installed.
    pub fn flow_id(&self) -> Option<FlowId> {
        self.span.as_ref()?.shared.flow_id
    }

    /// The id of this share of the flow.
    pub fn span_id(&self) -> Option<SpanId> {
        self.span.as_ref()?.shared.span_id
    }

    /// What callees are told of sampling and of the id.
    pub fn flags(&self) -> TraceFlags {
        self.span.as_ref().map(|span| span.shared.flags).unwrap_or_default()
    }

    /// See [`Emitter::may_wait`].
    pub fn may_wait(&self) -> bool {
        self.span.as_ref().is_some_and(|span| span.emitter.may_wait())
    }

    /// Whether records of it are written.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.span.is_some()
    }
}
