//! One component's share of one flow: taken up, said, ended.

use std::borrow::Cow;
use std::error::Error;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use flowlog_schema::json::{Line, Place};
use flowlog_schema::{Clock, ErrorInfo, Event, FlowId, HybridClock, Level, Scalar, SpanId, Time};

use crate::carrier::{Extract, Inject};
use crate::context::Context;
use crate::emitter::{Emitter, Inner};
use crate::environment;
use crate::failure::describe;
use crate::flight::{Passenger, Seat};
use crate::forks;
use crate::otlp::Ended;
use crate::shared::Shared;
use crate::sink::{PATIENCE, PATIENCE_WITH_DISKS, held};
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

/// A flow that somebody else ends.
#[derive(Debug, Clone, Default)]
pub struct FlowHandle {
    /// None where no emitter is installed.
    span: Option<Arc<Span>>,
}

/// What is known of it.
#[derive(Debug)]
struct Span {
    emitter: Arc<Inner>,
    shared: Shared,
    caller: Option<Arc<Span>>,
    /// Others' members of `tracestate`.
    others: Arc<str>,
    seat: Option<Seat>,
    /// [`forks::generation`] in which it began: a forked process inherits flows that are not its own.
    generation: u32,
    clock: HybridClock,
    began: Time,
    /// Whether another process was told of it.
    is_sent: AtomicBool,
    work: Mutex<Work>,
}

/// How far it is.
#[derive(Debug, Default)]
struct Work {
    state: String,
    ended: bool,
    /// What is to be told with the next record.
    late: Vec<(Cow<'static, str>, Scalar<'static>)>,
    /// What the start said, and what was told late: for a span that is sent to a collector.
    told: Vec<(String, Scalar<'static>)>,
}

/// Room for a state, so that the hot path finds it there.
const STATE: usize = 32;

impl Emitter {
    /// Takes up a new flow.
    pub fn start(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.start_with(kind, &[])
    }

    /// Takes up a new flow, and something is to be told of it.
    pub fn start_with(&self, kind: impl Into<Cow<'static, str>>, fields: &[(&str, Scalar<'_>)]) -> Flow {
        Flow::begin(&self.0, kind.into(), FlowId::new().into(), None, fields)
    }

    /// Takes up a flow that another process started.
    pub fn join(&self, context: Context, kind: impl Into<Cow<'static, str>>) -> Flow {
        Flow::begin(&self.0, kind.into(), context, None, &[])
    }

    /// Takes up the flow that a caller's headers name, or a new one: see [`Context::extract`]. What is malformed among them is counted.
    pub fn accept<C: Extract + ?Sized>(&self, carrier: &C, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.accept_with(carrier, kind, &[])
    }

    /// Takes up the flow that a caller's headers name, or a new one, and something is to be told of it.
    pub fn accept_with<C: Extract + ?Sized>(&self, carrier: &C, kind: impl Into<Cow<'static, str>>, fields: &[(&str, Scalar<'_>)]) -> Flow {
        let (context, malformed) = Context::extract(carrier);
        self.0.counters.malformed_headers.fetch_add(malformed, Ordering::Relaxed);
        Flow::begin(&self.0, kind.into(), context, None, fields)
    }

    /// Takes up the flow that the parent process worked on when it started this one (`TRACEPARENT`, `TRACESTATE`), or a new one.
    pub fn inherit(&self, kind: impl Into<Cow<'static, str>>) -> Flow {
        self.accept(&environment::carrier(), kind)
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
    pub fn accept_with<C: Extract + ?Sized>(carrier: &C, kind: impl Into<Cow<'static, str>>, fields: &[(&str, Scalar<'_>)]) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.accept_with(carrier, kind, fields))
    }

    /// Takes up the flow that the parent process worked on, with the process's emitter: see [`Emitter::inherit`].
    #[inline]
    pub fn inherit(kind: impl Into<Cow<'static, str>>) -> Self {
        Emitter::installed().map_or_else(Self::nothing, |emitter| emitter.inherit(kind))
    }

    pub(crate) fn nothing() -> Self {
        Self { handle: FlowHandle::default(), is_ended: false }
    }

    fn begin(
        emitter: &Arc<Inner>,
        kind: Cow<'static, str>,
        context: Context,
        caller: Option<Arc<Span>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Self {
        emitter.settle();
        let now = now();
        // Eight random bytes of an id that nobody else has.
        let random = uuid::Uuid::new_v4().as_u64_pair().1;
        let span_id = SpanId::from_u64(random).ok();
        let own = HybridClock::new();
        for received in context.clock.into_iter().chain([emitter.tick(now)]) {
            own.receive(received, now.unix_ms());
        }
        emitter.counters.refused_clocks.fetch_add(own.refused(), Ordering::Relaxed);
        let passenger = Passenger {
            flow_id: context.flow_id.as_u128(),
            span_id: random,
            parent_id: context.span_id.map_or(0, SpanId::as_u64),
            kind: &kind,
        };
        let seat = emitter.flight().as_ref().map(|flight| flight.board(&passenger, own.last(), now));
        if seat == Some(None) {
            emitter.counters.untracked_flows.fetch_add(1, Ordering::Relaxed);
        }
        emitter.open_flows.0.fetch_add(1, Ordering::Relaxed);
        let flags = context.flags.unwrap_or_else(|| emitter.sampling.decide(context.flow_id));
        let shared = Shared::new(emitter, kind, Some(context.flow_id), span_id, context.span_id, flags);
        let span = Span {
            emitter: Arc::clone(emitter),
            shared,
            others: caller.as_ref().map_or_else(|| context.others.as_str().into(), |caller| Arc::clone(&caller.others)),
            caller,
            seat: seat.flatten(),
            generation: forks::generation(),
            clock: own,
            began: now,
            is_sent: AtomicBool::new(false),
            work: Mutex::new(Work { state: String::with_capacity(STATE), ..Work::default() }),
        };
        if let Some(request_id) = context.request_id {
            span.keep_for_later("request_id".into(), request_id.into());
        }
        span.say(Said { fields, ..Said::of(Event::Start) });
        Self { handle: FlowHandle { span: Some(Arc::new(span)) }, is_ended: false }
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
    #[cfg(any(feature = "tower", feature = "tracing"))]
    pub(crate) fn fail_of(self, error: &ErrorInfo<'_>) {
        self.finish(Said { error: Some(error), ..Said::of(Event::Fail) });
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
    /// Something is said of it.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn say(&self, said: Said<'_>) {
        if let Some(span) = &self.span {
            span.say(said);
        }
    }

    /// Whether records of that level are written of it.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(crate) fn writes(&self, level: Level) -> bool {
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
    pub fn call_with(&self, kind: impl Into<Cow<'static, str>>, fields: &[(&str, Scalar<'_>)]) -> Flow {
        let Some(span) = &self.span else { return Flow::nothing() };
        let Some(flow_id) = span.shared.flow_id else { return Flow::nothing() };
        let context = Context {
            span_id: span.shared.span_id,
            clock: Some(span.clock.last()),
            flags: Some(span.shared.flags),
            ..flow_id.into()
        };
        Flow::begin(&span.emitter, kind.into(), context, Some(Arc::clone(span)), fields)
    }

    /// Holds it while something is done, as a record does that waits for its sink.
    #[cfg(test)]
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        let _held = self.span.as_ref().and_then(|span| span.lock());
        work();
    }

    /// What another process needs to join it; `None` where no emitter is installed.
    pub fn context(&self) -> Option<Context> {
        let span = self.span.as_ref()?;
        span.is_sent.store(true, Ordering::Relaxed);
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
            span.emitter.counters.refused_clocks.fetch_add(span.clock.refused().saturating_sub(refused), Ordering::Relaxed);
        }
    }

    /// The flow's id; `None` where no emitter is installed.
    pub fn flow_id(&self) -> Option<FlowId> {
        self.span.as_ref()?.shared.flow_id
    }

    /// Whether records of it are written.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.span.is_some()
    }
}

/// What a record says.
pub(crate) struct Said<'a> {
    pub(crate) event: Event,
    pub(crate) level: Level,
    pub(crate) place: Option<Place<'a>>,
    pub(crate) message: &'a str,
    /// Empty: the one that it is in.
    pub(crate) state: &'a str,
    pub(crate) error: Option<&'a ErrorInfo<'a>>,
    pub(crate) fields: &'a [(&'a str, Scalar<'a>)],
}

impl Said<'_> {
    pub(crate) fn of(event: Event) -> Self {
        let level = match event {
            Event::Fail => Level::Error,
            Event::Cancel => Level::Warn,
            _ => Level::Info,
        };
        Self { event, level, place: None, message: "", state: "", error: None, fields: &[] }
    }
}

impl Span {
    /// The work, waited for no longer than anybody has patience, a record's own wait for its sink included.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Work>> {
        held(&self.work, PATIENCE_WITH_DISKS + 5 * PATIENCE).ok()
    }

    #[cold]
    fn export(&self, said: &Said<'_>, work: &Work, ended: Time) {
        let is_sent = self.caller.is_some() && self.is_sent.load(Ordering::Relaxed);
        let is_joined = self.caller.is_none() && self.shared.parent_id.is_some();
        self.emitter.export(&Ended {
            shared: &self.shared,
            others: &self.others,
            is_joined,
            is_sent,
            began: self.began,
            ended,
            state: &work.state,
            told: &work.told,
            said,
        });
    }

    fn keep_for_later(&self, name: Cow<'static, str>, value: Scalar<'static>) {
        if let Some(mut work) = self.lock() {
            work.late.push((name, value));
        }
    }

    fn say(&self, said: Said<'_>) {
        let is_last = matches!(said.event, Event::End | Event::Fail | Event::Cancel);
        // A forked process may say something of what it inherited; to end it is its parent's.
        if is_last && self.generation != forks::generation() {
            return;
        }
        let Some(mut work) = self.lock() else { return self.emitter.lose(&std::io::ErrorKind::TimedOut.into()) };
        if work.ended {
            self.emitter.counters.after_end.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let time = now();
        let clock = self.clock.tick(time.unix_ms());
        if !said.state.is_empty() && said.state != work.state {
            work.state.clear();
            work.state.push_str(said.state);
        }
        // What is told with the next record waits for one that is written.
        let late = if self.emitter.writes(said.level) { std::mem::take(&mut work.late) } else { Vec::new() };
        let mut joined: Vec<(&str, Scalar<'_>)> = Vec::new();
        let fields = if late.is_empty() {
            said.fields
        } else {
            joined.extend(said.fields.iter().cloned());
            joined.extend(late.iter().map(|(name, value)| (name.as_ref(), value.clone())));
            &joined
        };
        let line = Line {
            time,
            level: said.level,
            place: said.place,
            message: said.message,
            event: said.event,
            state: if said.event == Event::End { "" } else { &work.state },
            names_versions: matches!(said.event, Event::Start | Event::Fail),
            clock,
            error: said.error,
            fields,
            number: 0,
        };
        let flight = self.emitter.flight();
        let seat = self.seat.filter(|_| self.generation == forks::generation()).zip(flight.as_deref());
        if let Some((seat, flight)) = seat.filter(|_| !is_last) {
            flight.progress(seat, &work.state, clock, time);
        }
        self.emitter.emit(&self.shared, &line);
        if self.emitter.exports() {
            if said.event == Event::Start {
                work.told.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned())));
            } else {
                work.told.extend(late.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())));
            }
            if is_last {
                self.export(&said, &work, time);
            }
        }
        // The place is given back when the record stands in the ring; what a closed emitter does not say, whoever reads the flight
        // file does.
        if let Some((seat, flight)) = seat.filter(|_| is_last && !self.emitter.closed.load(Ordering::Relaxed)) {
            flight.leave(seat);
        }
        if is_last {
            work.ended = true;
            drop(work);
            self.emitter.open_flows.0.fetch_sub(1, Ordering::Relaxed);
            // What the caller says from here on comes after it.
            if let Some(caller) = &self.caller {
                caller.clock.receive(clock, time.unix_ms());
            }
        }
    }
}
