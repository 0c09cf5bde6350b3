//! State of one component's share of a flow, and how its records are emitted.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use flowlog_schema::json::RecordData;
use flowlog_schema::{EventKind, HybridClock, Scalar, SpanId, Time};

use crate::context::Context;
use crate::emitter::Inner;
use crate::flight::{FlowEntry, FlowSlot};
use crate::fork;
use crate::otlp::FinishedSpan;
use crate::platform::now;
use crate::record_args::{RecordArgs, SpanHeader, SpanKind};
use crate::sink::{DISK_WAIT_TIMEOUT, WRITE_TIMEOUT, lock_timeout};

/// State of one component's share of a flow.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) emitter: Arc<Inner>,
    pub(crate) header: SpanHeader,
    caller: Option<Arc<Span>>,
    /// `tracestate` members of other vendors.
    pub(crate) tracestate: Arc<str>,
    slot: Option<FlowSlot>,
    /// [`fork::generation`] in which the span started. A forked process inherits flows that it does
    /// not own.
    pub(crate) generation: u32,
    pub(crate) clock: HybridClock,
    started_at: Time,
    /// Whether the context was propagated to another process.
    was_propagated: AtomicBool,
    /// Which end of a call the span is, if that is certain.
    pub(crate) span_kind: OnceLock<SpanKind>,
    state: Mutex<SpanState>,
}

/// Progress of a span.
#[derive(Debug, Default)]
struct SpanState {
    name: String,
    ended: bool,
    /// Fields deferred to the next record.
    deferred: Fields,
    /// Fields of the start record, and deferred fields, for a span that is exported.
    exported_fields: Fields,
}

/// Initial capacity for a state in bytes, so that the hot path rarely allocates.
const STATE_CAPACITY_BYTES: usize = 32;

/// Owned fields.
type Fields = Vec<(Cow<'static, str>, Scalar<'static>)>;

/// Stores a field. A later value replaces an earlier one.
fn put(fields: &mut Fields, name: Cow<'static, str>, value: Scalar<'static>) {
    match fields.iter_mut().find(|(other, _)| *other == name) {
        Some((_, kept)) => *kept = value,
        None => fields.push((name, value)),
    }
}

impl Span {
    /// Starts a span and emits its start record.
    pub(crate) fn begin(
        emitter: &Arc<Inner>,
        kind: Cow<'static, str>,
        context: Context,
        caller: Option<Arc<Self>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Arc<Self> {
        emitter.ensure_after_fork();
        let now = now();
        // The lower eight bytes of a random UUID, which are unique for practical purposes.
        let random = uuid::Uuid::new_v4().as_u64_pair().1;
        let span_id = SpanId::from_u64(random).ok();
        let own = HybridClock::new();
        for received in context.clock.into_iter().chain([emitter.tick(now)]) {
            own.receive(received, now.unix_ms());
        }
        emitter.counters.refused_clocks.fetch_add(own.refused(), Ordering::Relaxed);
        let entry = FlowEntry {
            flow_id: context.flow_id.as_u128(),
            span_id: random,
            parent_id: context.span_id.map_or(0, SpanId::as_u64),
            kind: &kind,
        };
        let flight = emitter.flight();
        let slot = flight
            .as_ref()
            .and_then(|flight| flight.as_deref())
            .map(|flight| flight.insert(&entry, own.last(), now));
        if slot == Some(None) {
            emitter.counters.untracked_flows.fetch_add(1, Ordering::Relaxed);
        }
        emitter.open_flows.fetch_add(1, Ordering::Relaxed);
        let flags = context.flags.unwrap_or_else(|| emitter.sampling.decide(context.flow_id));
        let header = SpanHeader::new(
            &emitter.resource,
            kind,
            Some(context.flow_id),
            span_id,
            context.span_id,
            flags,
        );
        let span = Self {
            emitter: Arc::clone(emitter),
            header,
            tracestate: caller.as_ref().map_or_else(
                || context.tracestate.as_str().into(),
                |caller| Arc::clone(&caller.tracestate),
            ),
            caller,
            slot: slot.flatten(),
            generation: fork::generation(),
            clock: own,
            started_at: now,
            was_propagated: AtomicBool::new(false),
            span_kind: OnceLock::new(),
            state: Mutex::new(SpanState {
                name: String::with_capacity(STATE_CAPACITY_BYTES),
                ..SpanState::default()
            }),
        };
        if let Some(request_id) = context.request_id {
            span.defer_field("request_id".into(), request_id.into());
        }
        span.emit(RecordArgs { fields, ..RecordArgs::of(EventKind::Start) });
        Arc::new(span)
    }

    /// Locks the span's progress.
    ///
    /// The timeout includes the time that another record may wait for its sink while it holds the
    /// lock.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, SpanState>> {
        lock_timeout(&self.state, DISK_WAIT_TIMEOUT + 5 * WRITE_TIMEOUT).ok()
    }

    #[cold]
    fn export(&self, args: &RecordArgs<'_>, state: &SpanState, ended: Time) {
        let is_joined = self.caller.is_none() && self.header.parent_id.is_some();
        let was_propagated = self.caller.is_some() && self.was_propagated.load(Ordering::Relaxed);
        let by_structure = match (is_joined, was_propagated) {
            (true, _) => SpanKind::Server,
            (false, true) => SpanKind::Client,
            (false, false) => SpanKind::Internal,
        };
        self.emitter.export(&FinishedSpan {
            header: &self.header,
            tracestate: &self.tracestate,
            is_joined,
            span_kind: self.span_kind.get().copied().unwrap_or(by_structure),
            began: self.started_at,
            ended,
            state: &state.name,
            exported_fields: &state.exported_fields,
            args,
        });
    }

    /// Holds the lock while `work` runs, as a record does while it waits for its sink.
    #[cfg(test)]
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        let _held = self.lock();
        work();
    }

    /// Notes that the context was propagated to another process.
    pub(crate) fn mark_propagated(&self) {
        self.was_propagated.store(true, Ordering::Relaxed);
    }

    pub(crate) fn defer_field(&self, name: Cow<'static, str>, value: Scalar<'static>) {
        let Some(mut state) = self.lock() else { return };
        if state.ended {
            return;
        }
        put(&mut state.deferred, name, value);
    }

    pub(crate) fn emit(&self, args: RecordArgs<'_>) {
        let is_last = matches!(args.event, EventKind::End | EventKind::Fail | EventKind::Cancel);
        // A forked process may emit records for an inherited flow, but only the parent ends it.
        if is_last && self.generation != fork::generation() {
            return;
        }
        let Some(mut state) = self.lock() else {
            return self.emitter.count_lost(&std::io::ErrorKind::TimedOut.into());
        };
        if state.ended {
            self.emitter.counters.after_end.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let time = now();
        let clock = self.clock.tick(time.unix_ms());
        if !args.state.is_empty() && args.state != state.name {
            state.name.clear();
            state.name.push_str(args.state);
        }
        // Deferred fields wait for a record that is written.
        let deferred = if self.emitter.enabled(args.level) {
            std::mem::take(&mut state.deferred)
        } else {
            Vec::new()
        };
        let mut joined: Vec<(&str, Scalar<'_>)> = Vec::new();
        let fields = if deferred.is_empty() {
            args.fields
        } else {
            joined.extend(args.fields.iter().cloned());
            joined.extend(deferred.iter().map(|(name, value)| (name.as_ref(), value.clone())));
            &joined
        };
        let line = RecordData {
            time,
            level: args.level,
            location: args.location,
            message: args.message,
            event: args.event,
            state: if args.event == EventKind::End { "" } else { &state.name },
            names_versions: matches!(args.event, EventKind::Start | EventKind::Fail),
            clock,
            error: args.error,
            fields,
            number: 0,
        };
        let flight = self.emitter.flight();
        let flight = flight.as_ref().and_then(|flight| flight.as_deref());
        let slot = self.slot.filter(|_| self.generation == fork::generation()).zip(flight);
        if let Some((slot, flight)) = slot.filter(|_| !is_last) {
            flight.update(slot, &state.name, clock, time);
        }
        self.emitter.emit(&self.header, &line);
        if self.emitter.has_exporter() && self.header.flags.is_sampled() {
            // Includes the fields that the log omits because of the record's level.
            let unreported_lost =
                if is_last { std::mem::take(&mut state.deferred) } else { Vec::new() };
            let of_start = if args.event == EventKind::Start { args.fields } else { &[] };
            for (name, value) in of_start {
                put(
                    &mut state.exported_fields,
                    Cow::Owned((*name).to_owned()),
                    value.clone().into_owned(),
                );
            }
            for (name, value) in deferred.iter().chain(&unreported_lost) {
                put(&mut state.exported_fields, name.clone(), value.clone());
            }
            if is_last {
                self.export(&args, &state, time);
            }
        }
        // The slot is freed only after the record is in the ring. A closed emitter writes no final
        // record, so the slot stays for the reader of the flight file, which closes the flow.
        if let Some((slot, flight)) =
            slot.filter(|_| is_last && !self.emitter.closed.load(Ordering::Relaxed))
        {
            flight.remove(slot);
        }
        if is_last {
            state.ended = true;
            drop(state);
            self.emitter.open_flows.fetch_sub(1, Ordering::Relaxed);
            // The caller's later records are ordered after this one.
            if let Some(caller) = &self.caller {
                caller.clock.receive(clock, time.unix_ms());
            }
        }
    }
}
