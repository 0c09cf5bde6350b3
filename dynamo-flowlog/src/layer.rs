//! A `tracing` layer that records events and spans as part of the current flow.
//!
//! Code that is unaware of flows needs no change.
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
//! - **Events** inside a flow become `state` records of it, in its current state. They carry the
//!   level, message, target, source location and fields of the event, followed by the fields of the
//!   enclosing spans, innermost first. An event at `ERROR` does not fail the flow. Events outside
//!   of flows are ignored.
//! - **Spans** are flow spans if they have a field `flow`, which names the kind of flow, or if
//!   their name is listed in [`FlowLayer::spans`]. Inside another flow, such a span is a child of
//!   it; otherwise it starts a flow. The flow is [`current`](crate::current) while the span is
//!   entered, and it ends when the span is closed: it fails with the error that
//!   `#[instrument(err)]` reports, or with a panic, and succeeds otherwise. A dropped future is not
//!   detected, because `tracing` does not report it.
//!
//! A subscriber has at most one such layer. An event that [`Builder::level`](crate::Builder::level)
//! filters out costs one comparison.

mod field_visitor;

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
use field_visitor::{FieldVisitor, with_visitor};

/// Span field that makes a span a flow span and names the kind of flow.
const FLOW: &str = "flow";

/// Layer that records `tracing` events and spans in flows. See [the module](self).
#[derive(Debug, Clone, Default)]
pub struct FlowLayer {
    /// Emitter to use; `None` for the process's own.
    emitter: Option<Emitter>,
    spans: Arc<[Cow<'static, str>]>,
    /// Number of flow spans that are not closed yet.
    open: Arc<AtomicUsize>,
}

/// Flow of a flow span, stored in the span's extensions.
struct FlowSpan {
    flow: Flow,
    failed: Option<Failure>,
}

thread_local! {
    /// Flow spans that this thread has entered, each with the flow that was current before it.
    static ENTERED: RefCell<Vec<(Id, FlowHandle)>> = const { RefCell::new(Vec::new()) };
}

impl FlowLayer {
    /// Creates a layer that uses the process's emitter once one is installed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `emitter` instead of the process's own.
    #[must_use]
    pub fn emitter(self, emitter: &Emitter) -> Self {
        Self { emitter: Some(emitter.clone()), ..self }
    }

    /// Makes spans with these names flow spans, with the span's name as the kind of flow.
    ///
    /// Use it for code that cannot be changed.
    #[must_use]
    pub fn spans<N: Into<Cow<'static, str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { spans: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Returns whether a span is to be a flow span.
    fn is_flow_span(&self, metadata: &Metadata<'_>) -> bool {
        metadata.fields().field(FLOW).is_some()
            || self.spans.iter().any(|name| name == metadata.name())
    }

    fn begin(&self, around: &FlowHandle, metadata: &Metadata<'_>, visitor: &FieldVisitor) -> Flow {
        let fields = visitor.fields();
        let kind = fields
            .iter()
            .find(|(name, _)| *name == FLOW)
            .map(|(_, kind)| kind.to_text().into_owned());
        let kind =
            kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| metadata.name().to_owned());
        let fields: field_visitor::Fields<'_> =
            fields.into_iter().filter(|(name, _)| *name != FLOW).collect();
        if around.is_enabled() {
            return Flow::builder(kind).fields(&fields).child_of(around);
        }
        let emitter = self.emitter.as_ref().or(Emitter::global());
        emitter.map_or_else(Flow::noop, |emitter| emitter.flow(kind).fields(&fields).start())
    }
}

/// Returns the flow of the innermost flow span among `span` and its ancestors.
fn flow_of<'a, S: LookupSpan<'a>>(span: SpanRef<'a, S>) -> Option<FlowHandle> {
    span.scope().find_map(|span| span.extensions().get::<FlowSpan>().map(|own| own.flow.handle()))
}

impl<S> Layer<S> for FlowLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut visitor = FieldVisitor::default();
        attributes.values().record(&mut visitor);
        if self.is_flow_span(attributes.metadata()) {
            let around = if attributes.is_contextual() { current() } else { None };
            let around = around.or_else(|| span.parent().and_then(flow_of)).unwrap_or_default();
            let flow = self.begin(&around, attributes.metadata(), &visitor);
            if flow.is_enabled() {
                span.extensions_mut().replace(FlowSpan { flow, failed: None });
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            visitor.forget(FLOW);
        }
        if !visitor.is_empty() {
            span.extensions_mut().replace(visitor);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Formatting a value may emit events itself, so the span's extensions are not borrowed
        // here.
        let mut visitor = FieldVisitor::default();
        values.record(&mut visitor);
        let flow = span.extensions().get::<FlowSpan>().map(|own| own.flow.handle());
        if let Some(flow) = flow {
            visitor.forget(FLOW);
            visitor
                .fields()
                .into_iter()
                .for_each(|(name, value)| flow.record(name, value.into_owned()));
        }
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<FieldVisitor>() {
            Some(before) => before.replace(&visitor),
            None => drop(extensions.replace(visitor)),
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let level = level_of(*metadata.level());
        let is_open = || self.open.load(Ordering::Relaxed) > 0;
        let explicit = match event.parent() {
            Some(id) => context.span(id).and_then(flow_of),
            // Work that was handed to another task may have only a span of the flow around it.
            None if is_open() && current().is_none() => context.event_span(event).and_then(flow_of),
            None => None,
        };
        // The current flow must not stay borrowed while values are formatted: one may enter a span.
        let with_flow = |work: &mut dyn FnMut(&FlowHandle)| match &explicit {
            Some(flow) => work(flow),
            None => with_current(work),
        };
        let mut is_written = false;
        with_flow(&mut |flow| is_written = flow.enabled(level));
        if is_written {
            with_visitor(|visitor| {
                event.record(visitor);
                if let Some(scope) = context.event_scope(event) {
                    scope.for_each(|span| {
                        span.extensions()
                            .get::<FieldVisitor>()
                            .into_iter()
                            .for_each(|around| visitor.append(around));
                    });
                }
                let target = visitor.target().unwrap_or(metadata.target());
                let (file, line, message) = (metadata.file(), metadata.line(), visitor.message());
                let fields = visitor.fields();
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
            // Spans may be exited in another order than they were entered: the span entered after
            // this one then restores the flow that was current before this one.
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
            Some(failure) => flow.fail_from(&failure),
            // A flow that is dropped during a panic fails with `panic`.
            None if std::thread::panicking() => drop(flow),
            None => flow.end(),
        }
    }
}

/// Calls `work` with the current flow, without touching its reference count, which threads share.
fn with_current(work: impl FnOnce(&FlowHandle)) {
    let _ = CURRENT.try_with(|current| current.try_borrow().map(|current| work(&current)));
}

/// Returns whether an event may come from `#[instrument(err)]`: its only field is `error`.
fn is_instruments_own(metadata: &Metadata<'_>) -> bool {
    let mut fields = metadata.fields().iter();
    fields.next().is_some_and(|field| field.name() == "error") && fields.next().is_none()
}

/// Keeps the error that `#[instrument(err)]` reports until the flow span is closed.
fn note_failure<S: Subscriber + for<'a> LookupSpan<'a>>(
    event: &tracing::Event<'_>,
    context: &Context<'_, S>,
) {
    let Some(span) = context.event_span(event) else { return };
    let (of_event, of_span) = (event.metadata(), span.metadata());
    // The attribute emits both from the same source line; other error events do not fail the flow.
    if (of_event.target(), of_event.file(), of_event.line())
        != (of_span.target(), of_span.file(), of_span.line())
    {
        return;
    }
    let mut visitor = FieldVisitor::default();
    event.record(&mut visitor);
    if let Some(own) = span.extensions_mut().get_mut::<FlowSpan>() {
        own.failed = visitor.failure();
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
