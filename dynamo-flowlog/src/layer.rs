//! A layer for `tracing`: code that knows nothing of flows says what it says, and it stands in the flow that is worked on.
//!
//! ```
//! use dynamo_flowlog::FlowLayer;
//! use tracing_subscriber::layer::SubscriberExt;
//!
//! let subscriber = tracing_subscriber::registry().with(FlowLayer::new());
//! # tracing::subscriber::with_default(subscriber, || ());
//!
//! #[tracing::instrument(err, fields(flow = "kv_transfer"))]
//! fn transfer(blocks: u32) -> Result<(), std::io::Error> {
//!     tracing::info!("posted");
//!     Ok(())
//! }
//! ```
//!
//! - **Events** inside a flow are `state` records of it, in the state that it is in: with their level, message, target, place and fields, and the
//!   fields of the spans around them, the inner ones first. An event at `ERROR` fails no flow. Events outside flows are not this layer's.
//! - **Spans** are flow spans where they ask for it: with a field `flow`, which names the kind, or by name ([`FlowLayer::spans`]). Within another flow such a
//!   span is a call of it, else it begins a flow. It is [`current`](crate::current) while the span is entered, and ends when the span is closed: it
//!   fails with what `#[instrument(err)]` says, or with a panic, else it ends well. That its future was dropped, `tracing` does not tell.
//!
//! A subscriber has one such layer. An event that [`Builder::level`](crate::Builder::level) leaves out costs a comparison.

mod heard;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flowlog_schema::Level;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::current::{CURRENT, current};
use crate::emitter::Emitter;
use crate::failure::Failure;
use crate::flow::{Flow, FlowHandle, LogRecord};
use heard::{Heard, with_heard};

/// The field by which a span asks to be a flow span, and names its kind.
const FLOW: &str = "flow";

/// Puts what `tracing` is told into flows. See [the module](self).
#[derive(Debug, Clone, Default)]
pub struct FlowLayer {
    /// `None`: the process's own.
    emitter: Option<Emitter>,
    spans: Arc<[Cow<'static, str>]>,
    /// Spans that are flow spans and not closed.
    open: Arc<AtomicUsize>,
}

/// A span that is a flow span.
struct FlowSpan {
    flow: Flow,
    failed: Option<Failure>,
}

thread_local! {
    /// Spans that this thread has entered and that are flow spans, and what was current before each.
    static ENTERED: RefCell<Vec<(Id, FlowHandle)>> = const { RefCell::new(Vec::new()) };
}

impl FlowLayer {
    /// With the process's emitter, as soon as one is installed.
    pub fn new() -> Self {
        Self::default()
    }

    /// With that emitter rather than the process's.
    #[must_use]
    pub fn emitter(self, emitter: &Emitter) -> Self {
        Self { emitter: Some(emitter.clone()), ..self }
    }

    /// Makes spans of these names flow spans, of the kind that their name says: for code that cannot be changed.
    #[must_use]
    pub fn spans<N: Into<Cow<'static, str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { spans: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Whether a span asks to be a flow span.
    fn is_asked_for(&self, metadata: &Metadata<'_>) -> bool {
        metadata.fields().field(FLOW).is_some()
            || self.spans.iter().any(|name| name == metadata.name())
    }

    fn begin(&self, around: &FlowHandle, metadata: &Metadata<'_>, heard: &Heard) -> Flow {
        let fields = heard.fields();
        let kind = fields
            .iter()
            .find(|(name, _)| *name == FLOW)
            .map(|(_, kind)| kind.to_text().into_owned());
        let kind =
            kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| metadata.name().to_owned());
        let fields: heard::Fields<'_> =
            fields.into_iter().filter(|(name, _)| *name != FLOW).collect();
        if around.is_enabled() {
            return around.call_with(kind, &fields);
        }
        let emitter = self.emitter.as_ref().or(Emitter::installed());
        emitter.map_or_else(Flow::nothing, |emitter| emitter.start_with(kind, &fields))
    }
}

/// The flow of the innermost span from there on that is a flow span.
fn flow_of<'a, S: LookupSpan<'a>>(span: SpanRef<'a, S>) -> Option<FlowHandle> {
    span.scope().find_map(|span| span.extensions().get::<FlowSpan>().map(|own| own.flow.handle()))
}

impl<S> Layer<S> for FlowLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut heard = Heard::default();
        attributes.values().record(&mut heard);
        if self.is_asked_for(attributes.metadata()) {
            let around = if attributes.is_contextual() { current() } else { None };
            let around = around.or_else(|| span.parent().and_then(flow_of)).unwrap_or_default();
            let flow = self.begin(&around, attributes.metadata(), &heard);
            if flow.is_enabled() {
                span.extensions_mut().replace(FlowSpan { flow, failed: None });
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            heard.forget(FLOW);
        }
        if !heard.is_empty() {
            span.extensions_mut().replace(heard);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // A value that is written may say something itself: nobody holds the span then.
        let mut heard = Heard::default();
        values.record(&mut heard);
        let flow = span.extensions().get::<FlowSpan>().map(|own| own.flow.handle());
        if let Some(flow) = flow {
            heard.forget(FLOW);
            heard
                .fields()
                .into_iter()
                .for_each(|(name, value)| flow.late(name, value.into_owned()));
        }
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Heard>() {
            Some(before) => before.replace(&heard),
            None => drop(extensions.replace(heard)),
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = level_of(*metadata.level());
        let is_open = || self.open.load(Ordering::Relaxed) > 0;
        let explicit = match event.parent() {
            Some(id) => context.span(id).and_then(flow_of),
            // Work that was handed to another task may have no more than a span of the flow around it.
            None if is_open() && current().is_none() => context.event_span(event).and_then(flow_of),
            None => None,
        };
        // Nobody may hold what is current while values are written: one may enter a span.
        let with_flow = |work: &mut dyn FnMut(&FlowHandle)| match &explicit {
            Some(flow) => work(flow),
            None => with_current(work),
        };
        let mut is_written = false;
        with_flow(&mut |flow| is_written = flow.writes(level));
        if is_written {
            with_heard(|heard| {
                event.record(heard);
                if let Some(scope) = context.event_scope(event) {
                    scope.for_each(|span| {
                        span.extensions()
                            .get::<Heard>()
                            .into_iter()
                            .for_each(|around| heard.append(around))
                    });
                }
                let target = heard.target().unwrap_or(metadata.target());
                let (file, line, message) = (metadata.file(), metadata.line(), heard.message());
                let fields = heard.fields();
                let record = LogRecord {
                    level,
                    target,
                    file,
                    line,
                    message,
                    failure: None,
                    fields: &fields,
                };
                with_flow(&mut |flow| flow.log(&record));
            });
        }
        if is_instruments_own(metadata) && is_open() {
            note_failure(event, &context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let flow = context
            .span(id)
            .and_then(|span| span.extensions().get::<FlowSpan>().map(|own| own.flow.handle()));
        if let Some(flow) = flow {
            let before = CURRENT.try_with(|current| current.replace(flow)).unwrap_or_default();
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().push((id.clone(), before)));
        }
    }

    fn on_exit(&self, id: &Id, _context: Context<'_, S>) {
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let Some(at) = entered.iter().rposition(|(other, _)| other == id) else { return };
            let (_, before) = entered.remove(at);
            // Spans may be left in another order than they were entered: what was entered since goes back to what was before this one.
            match entered.get_mut(at) {
                Some((_, above)) => *above = before,
                None => drop(CURRENT.try_with(|current| current.replace(before))),
            }
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let own = context.span(&id).and_then(|span| span.extensions_mut().remove::<FlowSpan>());
        let Some(FlowSpan { flow, failed }) = own else { return };
        self.open.fetch_sub(1, Ordering::Relaxed);
        match failed {
            Some(failure) => flow.fail_of(&failure),
            // Dropped, it says so itself.
            None if std::thread::panicking() => drop(flow),
            None => flow.end(),
        }
    }
}

/// Works with the flow that is current, without a count of its holders, which threads would share.
fn with_current(work: impl FnOnce(&FlowHandle)) {
    let _ = CURRENT.try_with(|current| current.try_borrow().map(|current| work(&current)));
}

/// Whether an event may be what `#[instrument(err)]` says: an error and nothing else.
fn is_instruments_own(metadata: &Metadata<'_>) -> bool {
    let mut fields = metadata.fields().iter();
    fields.next().is_some_and(|field| field.name() == "error") && fields.next().is_none()
}

/// Keeps what `#[instrument(err)]` says of a flow span until that is closed.
fn note_failure<S: Subscriber + for<'a> LookupSpan<'a>>(
    event: &tracing::Event<'_>,
    context: &Context<'_, S>,
) {
    let Some(span) = context.event_span(event) else { return };
    let (of_event, of_span) = (event.metadata(), span.metadata());
    // Both come of the attribute, and of its line; another that says an error fails nothing.
    if (of_event.target(), of_event.file(), of_event.line())
        != (of_span.target(), of_span.file(), of_span.line())
    {
        return;
    }
    let mut heard = Heard::default();
    event.record(&mut heard);
    if let Some(own) = span.extensions_mut().get_mut::<FlowSpan>() {
        own.failed = heard.failure();
    }
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}
