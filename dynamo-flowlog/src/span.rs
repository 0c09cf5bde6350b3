//! What is known of one component's share of one flow, and what becomes of what is said of it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use flowlog_schema::json::Line;
use flowlog_schema::{Event, HybridClock, Scalar, SpanId, Time};

use crate::context::Context;
use crate::emitter::Inner;
use crate::flight::{Passenger, Seat};
use crate::forks;
use crate::otlp::{Ended, Role};
use crate::said::Said;
use crate::shared::Shared;
use crate::sink::{PATIENCE, PATIENCE_WITH_DISKS, held};
use crate::system::now;

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) emitter: Arc<Inner>,
    pub(crate) shared: Shared,
    caller: Option<Arc<Span>>,
    /// Others' members of `tracestate`.
    pub(crate) others: Arc<str>,
    seat: Option<Seat>,
    /// [`forks::generation`] in which it began: a forked process inherits flows that are not its own.
    pub(crate) generation: u32,
    pub(crate) clock: HybridClock,
    began: Time,
    /// Whether another process was told of it.
    is_sent: AtomicBool,
    /// Which end of a call it is, where that is known for sure.
    pub(crate) role: OnceLock<Role>,
    work: Mutex<Work>,
}

/// How far it is.
#[derive(Debug, Default)]
struct Work {
    state: String,
    ended: bool,
    /// What is to be told with the next record.
    late: Fields,
    /// What the start said, and what was told late: for a span that is sent to a collector.
    told: Fields,
}

/// Room for a state, so that the hot path finds it there.
const STATE: usize = 32;

/// Fields that are kept.
type Fields = Vec<(Cow<'static, str>, Scalar<'static>)>;

/// Keeps a field. What is known later is what counts.
fn put(fields: &mut Fields, name: Cow<'static, str>, value: Scalar<'static>) {
    match fields.iter_mut().find(|(other, _)| *other == name) {
        Some((_, kept)) => *kept = value,
        None => fields.push((name, value)),
    }
}

impl Span {
    /// Begins one, and says so.
    pub(crate) fn begin(
        emitter: &Arc<Inner>,
        kind: Cow<'static, str>,
        context: Context,
        caller: Option<Arc<Self>>,
        fields: &[(&str, Scalar<'_>)],
    ) -> Arc<Self> {
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
        let flight = emitter.flight();
        let seat = flight
            .as_ref()
            .and_then(|flight| flight.as_deref())
            .map(|flight| flight.board(&passenger, own.last(), now));
        if seat == Some(None) {
            emitter.counters.untracked_flows.fetch_add(1, Ordering::Relaxed);
        }
        emitter.open_flows.0.fetch_add(1, Ordering::Relaxed);
        let flags = context.flags.unwrap_or_else(|| emitter.sampling.decide(context.flow_id));
        let shared =
            Shared::new(emitter, kind, Some(context.flow_id), span_id, context.span_id, flags);
        let span = Self {
            emitter: Arc::clone(emitter),
            shared,
            others: caller.as_ref().map_or_else(
                || context.others.as_str().into(),
                |caller| Arc::clone(&caller.others),
            ),
            caller,
            seat: seat.flatten(),
            generation: forks::generation(),
            clock: own,
            began: now,
            is_sent: AtomicBool::new(false),
            role: OnceLock::new(),
            work: Mutex::new(Work { state: String::with_capacity(STATE), ..Work::default() }),
        };
        if let Some(request_id) = context.request_id {
            span.keep_for_later("request_id".into(), request_id.into());
        }
        span.say(Said { fields, ..Said::of(Event::Start) });
        Arc::new(span)
    }

    /// The work, waited for no longer than anybody has patience, a record's own wait for its sink included.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Work>> {
        held(&self.work, PATIENCE_WITH_DISKS + 5 * PATIENCE).ok()
    }

    #[cold]
    fn export(&self, said: &Said<'_>, work: &Work, ended: Time) {
        let is_joined = self.caller.is_none() && self.shared.parent_id.is_some();
        let is_sent = self.caller.is_some() && self.is_sent.load(Ordering::Relaxed);
        let by_structure = match (is_joined, is_sent) {
            (true, _) => Role::Server,
            (false, true) => Role::Client,
            (false, false) => Role::Internal,
        };
        self.emitter.export(&Ended {
            shared: &self.shared,
            others: &self.others,
            is_joined,
            role: self.role.get().copied().unwrap_or(by_structure),
            began: self.began,
            ended,
            state: &work.state,
            told: &work.told,
            said,
        });
    }

    /// Holds it while something is done, as a record does that waits for its sink.
    #[cfg(test)]
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        let _held = self.lock();
        work();
    }

    /// Another process is told of it.
    pub(crate) fn is_told(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keep_for_later(&self, name: Cow<'static, str>, value: Scalar<'static>) {
        let Some(mut work) = self.lock() else { return };
        if work.ended {
            return;
        }
        put(&mut work.late, name, value);
    }

    pub(crate) fn say(&self, said: Said<'_>) {
        let is_last = matches!(said.event, Event::End | Event::Fail | Event::Cancel);
        // A forked process may say something of what it inherited; to end it is its parent's.
        if is_last && self.generation != forks::generation() {
            return;
        }
        let Some(mut work) = self.lock() else {
            return self.emitter.lose(&std::io::ErrorKind::TimedOut.into());
        };
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
        let late = if self.emitter.writes(said.level) {
            std::mem::take(&mut work.late)
        } else {
            Vec::new()
        };
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
        let flight = flight.as_ref().and_then(|flight| flight.as_deref());
        let seat = self.seat.filter(|_| self.generation == forks::generation()).zip(flight);
        if let Some((seat, flight)) = seat.filter(|_| !is_last) {
            flight.progress(seat, &work.state, clock, time);
        }
        self.emitter.emit(&self.shared, &line);
        if self.emitter.exports() && self.shared.flags.is_sampled() {
            // What a log leaves out for its level, too.
            let unsaid = if is_last { std::mem::take(&mut work.late) } else { Vec::new() };
            let of_start = if said.event == Event::Start { said.fields } else { &[] };
            for (name, value) in of_start {
                put(&mut work.told, Cow::Owned((*name).to_owned()), value.clone().into_owned());
            }
            for (name, value) in late.iter().chain(&unsaid) {
                put(&mut work.told, name.clone(), value.clone());
            }
            if is_last {
                self.export(&said, &work, time);
            }
        }
        // The place is given back when the record stands in the ring; what a closed emitter does not say, whoever reads the flight
        // file does.
        if let Some((seat, flight)) =
            seat.filter(|_| is_last && !self.emitter.closed.load(Ordering::Relaxed))
        {
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
