//! The course of a request: its calls, its fault, and the log output of all processes involved.

use flowlog_schema::FlowId;

use crate::process::pick;
use crate::script::{Entry, Span, Step, What};
use crate::state::State;
use crate::{LogFormat, Outcome, Truth};

/// Fault that is injected into a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    Error { at: &'static str },
    HandledThenError,
    HangWithTimeout,
    HangOpen,
    RetryAfterError,
    ClientLeaves,
    BadRequest,
    RouterFirst,
}

/// Result of a call.
enum Back {
    /// The call succeeded; `carried` is set if a retry made up for the failure of this origin.
    Ok { carried: Option<(String, String)> },
    /// The call failed because of this origin.
    Failed { origin: (String, String) },
    /// The callee's process died.
    Lost { origin: (String, String) },
    /// The call never returned.
    Silent { origin: (String, String) },
}

struct Reply {
    at: i64,
    back: Back,
    /// Last step whose message the caller can have received.
    received_clock: Option<usize>,
}

pub(crate) struct Request<'s, 'o> {
    state: &'s mut State<'o>,
    flow: FlowId,
    number: u64,
    fault: Fault,
}

/// Time that a router waits for a worker, in microseconds.
const CALL_TIMEOUT: i64 = 4_000_000;

impl Request<'_, '_> {
    /// Plays a request without an injected fault; it can still meet a dead worker.
    pub(crate) fn play_well(state: &mut State<'_>, at: i64) -> Truth {
        Self::play_with(state, at, Fault::None)
    }

    /// Plays one request, and appends its steps to the state.
    pub(crate) fn play(state: &mut State<'_>, at: i64) -> Truth {
        let random = &mut state.random;
        let fault = if random.u64(0..100) >= state.options.fault_percent {
            Fault::None
        } else {
            match random.u8(0..14) {
                0 => Fault::Error { at: "frontend" },
                1 => Fault::Error { at: "router" },
                2 | 3 => Fault::Error { at: "prefill" },
                4 | 5 => Fault::Error { at: "backend" },
                6 => Fault::HandledThenError,
                7 => Fault::HangWithTimeout,
                8 => Fault::HangOpen,
                9 | 10 => Fault::RetryAfterError,
                11 => Fault::ClientLeaves,
                12 => Fault::BadRequest,
                // Only a clock shows which of the two failed first.
                _ if state.options.format == LogFormat::Dynamo
                    || state.options.omit_response_clocks =>
                {
                    Fault::None
                }
                _ => Fault::RouterFirst,
            }
        };
        Self::play_with(state, at, fault)
    }

    fn play_with(state: &mut State<'_>, at: i64, fault: Fault) -> Truth {
        let random = &mut state.random;
        let flow =
            FlowId::from_u128((u128::from(random.u64(..)) << 64) | u128::from(random.u64(1..)))
                .unwrap_or_default();
        let number = random.u64(..);
        let mut request = Request { state, flow, number, fault };
        let (outcome, origin) = request.frontend(at);
        let story = match fault {
            Fault::None => "none",
            Fault::Error { .. } => "error",
            Fault::HandledThenError => "handled error, then error",
            Fault::HangWithTimeout => "hang, caller times out",
            Fault::HangOpen => "hang, callers wait",
            Fault::RetryAfterError => "error, then retry",
            Fault::ClientLeaves => "client disconnects",
            Fault::BadRequest => "bad request",
            Fault::RouterFirst => "router fails first",
        };
        Truth { id: flow, outcome, origin, story, is_shown: true }
    }

    fn span(&mut self, parent: Option<u64>, callee: Option<String>, attempt: u32) -> Span {
        self.state.next_span += 1;
        let id = self.state.next_span.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Span { flow: self.flow, id, parent, request: self.number, callee, attempt }
    }

    /// Appends a step and returns its index, so that other steps can receive its message.
    fn record(
        &mut self,
        process: usize,
        at: i64,
        receives: Option<usize>,
        span: &Span,
        what: What,
    ) -> usize {
        self.state.steps.push(Step {
            process,
            at,
            receives,
            entries: Entry::Span { span: span.clone(), what },
        });
        self.state.steps.len() - 1
    }

    fn fail(
        &mut self,
        process: usize,
        at: i64,
        receives: Option<usize>,
        span: &Span,
        kind: &'static str,
        message: &str,
    ) -> usize {
        self.record(
            process,
            at,
            receives,
            span,
            What::Fail { kind, message: message.to_owned(), status: None },
        )
    }

    fn who(&self, process: usize) -> (String, String) {
        let process = &self.state.processes[process];
        (process.component.to_owned(), process.instance.clone())
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        self.state.random.i64(least..=most)
    }

    fn frontend(&mut self, at: i64) -> (Outcome, Option<(String, String)>) {
        let process = pick(&mut self.state.random, &self.state.processes, |process| {
            process.component == "frontend"
        });
        let span = self.span(None, None, 0);
        let start = self.record(process, at, None, &span, What::Start);
        let at = at + self.between(200, 2_000);
        if self.fault == Fault::BadRequest {
            self.record(
                process,
                at,
                None,
                &span,
                What::Fail {
                    kind: "InvalidArgument",
                    message: "unknown model `huge`".into(),
                    status: Some(404),
                },
            );
            return (Outcome::Rejected, None);
        }
        self.record(process, at, None, &span, What::State("tokenize"));
        if self.fault == (Fault::Error { at: "frontend" }) {
            let at = at + self.between(100, 2_000);
            self.fail(process, at, None, &span, "Internal", "tokenizer failed");
            return (Outcome::Failed, Some(self.who(process)));
        }
        let at = at + self.between(100, 2_000);
        let sent = self.record(process, at, Some(start), &span, What::State("route"));
        let reply = self.router(at + 300, sent, &span, process);
        let mut at = reply.at + self.between(100, 1_000);
        match reply.back {
            Back::Ok { .. }
                if self.fault == Fault::ClientLeaves && reply.received_clock.is_none() =>
            {
                (Outcome::Cancelled, None)
            }
            Back::Ok { carried } => {
                self.record(process, at, reply.received_clock, &span, What::End);
                (if carried.is_some() { Outcome::Recovered } else { Outcome::Ok }, carried)
            }
            Back::Failed { origin } => {
                self.fail(
                    process,
                    at,
                    reply.received_clock,
                    &span,
                    "Unavailable",
                    "the request failed downstream",
                );
                (Outcome::Failed, Some(origin))
            }
            Back::Lost { origin } => {
                at += 500;
                self.fail(
                    process,
                    at,
                    reply.received_clock,
                    &span,
                    "Disconnected",
                    "stream ended before generation completed",
                );
                (Outcome::Failed, Some(origin))
            }
            Back::Silent { origin } => (Outcome::Failed, Some(origin)),
        }
    }

    /// Plays the router: prefill, then decode. A failed first attempt at decoding is retried if the
    /// fault says so, a lost one also for a third of the flows.
    fn router(&mut self, at: i64, received_clock: usize, caller: &Span, frontend: usize) -> Reply {
        // Dynamo's router runs in the frontend.
        let process = if self.state.options.format == LogFormat::Dynamo {
            let log = self.state.processes[frontend].log.replace("frontend", "router");
            self.state.processes.iter().position(|process| process.log == log).unwrap_or(frontend)
        } else {
            pick(&mut self.state.random, &self.state.processes, |process| {
                process.component == "router"
            })
        };
        let own = if self.state.options.format == LogFormat::Dynamo { frontend } else { process };
        let router =
            |this: &Self| ("router".to_owned(), this.state.processes[own].instance.clone());
        if self.state.random.u8(0..10) < 5 || self.fault == (Fault::Error { at: "prefill" }) {
            let reply =
                self.attempt(process, at, received_clock, caller, "prefill", 0, router(self));
            if !matches!(reply.back, Back::Ok { .. }) {
                return reply;
            }
            return self.decode(
                process,
                reply.at + 200,
                reply.received_clock.unwrap_or(received_clock),
                caller,
                frontend,
                router(self),
            );
        }
        self.decode(process, at, received_clock, caller, frontend, router(self))
    }

    fn decode(
        &mut self,
        process: usize,
        at: i64,
        received_clock: usize,
        caller: &Span,
        frontend: usize,
        router: (String, String),
    ) -> Reply {
        if self.fault == Fault::ClientLeaves {
            return self.left(process, at, received_clock, caller, frontend);
        }
        let first = self.attempt(process, at, received_clock, caller, "backend", 0, router.clone());
        let retries = self.fault == Fault::RetryAfterError || self.flow.as_u128().is_multiple_of(3);
        match first.back {
            Back::Lost { ref origin } if retries => {
                self.again(process, first.at, first.received_clock, caller, origin.clone(), router)
            }
            Back::Failed { ref origin } if self.fault == Fault::RetryAfterError => {
                self.again(process, first.at, first.received_clock, caller, origin.clone(), router)
            }
            _ => first,
        }
    }

    fn again(
        &mut self,
        process: usize,
        at: i64,
        received_clock: Option<usize>,
        caller: &Span,
        origin: (String, String),
        router: (String, String),
    ) -> Reply {
        let reply = self.attempt(
            process,
            at + 500,
            received_clock.unwrap_or(0),
            caller,
            "backend",
            1,
            router,
        );
        match reply.back {
            Back::Ok { .. } => Reply { back: Back::Ok { carried: Some(origin) }, ..reply },
            // The origin is the first attempt, which failed before the retry.
            Back::Failed { .. } => Reply { back: Back::Failed { origin }, ..reply },
            Back::Lost { .. } => Reply { back: Back::Lost { origin }, ..reply },
            Back::Silent { .. } => Reply { back: Back::Silent { origin }, ..reply },
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a call depends on all of these")]
    fn attempt(
        &mut self,
        process: usize,
        at: i64,
        received_clock: usize,
        caller: &Span,
        component: &'static str,
        attempt: u32,
        router: (String, String),
    ) -> Reply {
        let killed_at = |this: &Self, worker: usize| this.state.processes[worker].killed;
        // Discovery keeps a dead worker for a moment.
        let alive: Vec<usize> = (0..self.state.processes.len())
            .filter(|worker| {
                self.state.processes[*worker].component == component
                    && killed_at(self, *worker).is_none_or(|killed| at < killed + 20_000)
            })
            .collect();
        let worker = alive.get(self.state.random.usize(0..alive.len().max(1))).copied();
        let callee = worker.map(|worker| self.state.processes[worker].instance.clone());
        let span = self.span(Some(caller.id), callee, attempt);
        let start = self.record(process, at, Some(received_clock), &span, What::Start);
        let at = at + self.between(100, 1_000);
        if self.fault == (Fault::Error { at: "router" }) && component == "backend" {
            let step =
                self.fail(process, at, Some(start), &span, "ResourceExhausted", "queue full");
            return Reply { at, back: Back::Failed { origin: router }, received_clock: Some(step) };
        }
        let Some(worker) = worker else {
            let step = self.fail(
                process,
                at,
                Some(start),
                &span,
                "Unavailable",
                &format!("no {component} worker available"),
            );
            let dead = (0..self.state.processes.len())
                .find(|at| self.state.processes[*at].component == component)
                .unwrap_or(0);
            return Reply {
                at,
                back: Back::Failed { origin: self.who(dead) },
                received_clock: Some(step),
            };
        };
        let sent = self.record(process, at, Some(start), &span, What::State("dispatch"));
        if killed_at(self, worker).is_some_and(|killed| at + 200 >= killed) {
            let at = at + self.between(500, 2_000);
            let step =
                self.fail(process, at, Some(sent), &span, "CannotConnect", "connection refused");
            return Reply {
                at,
                back: Back::Lost { origin: self.who(worker) },
                received_clock: Some(step),
            };
        }
        let reply = self.worker(worker, at + 200, sent, &span, component, attempt);
        let at = reply.at + self.between(100, 1_000);
        match reply.back {
            Back::Ok { .. } if self.fault == Fault::RouterFirst && component == "backend" => {
                Reply {
                    at,
                    back: Back::Failed { origin: router },
                    received_clock: reply.received_clock,
                }
            }
            Back::Ok { carried } => {
                let step = self.record(process, at, reply.received_clock, &span, What::End);
                Reply { at, back: Back::Ok { carried }, received_clock: Some(step) }
            }
            Back::Failed { origin } => {
                let step = self.fail(
                    process,
                    at,
                    reply.received_clock,
                    &span,
                    "Unavailable",
                    "worker failed",
                );
                Reply { at, back: Back::Failed { origin }, received_clock: Some(step) }
            }
            Back::Lost { origin } => {
                let step = self.fail(
                    process,
                    at,
                    reply.received_clock.or(Some(sent)),
                    &span,
                    "Disconnected",
                    "worker disconnected",
                );
                Reply { at, back: Back::Lost { origin }, received_clock: Some(step) }
            }
            Back::Silent { origin } if self.fault == Fault::HangWithTimeout => {
                let at = at + CALL_TIMEOUT;
                let step = self.fail(
                    process,
                    at,
                    Some(sent),
                    &span,
                    "ResponseTimeout",
                    "no response within the deadline",
                );
                Reply { at, back: Back::Failed { origin }, received_clock: Some(step) }
            }
            Back::Silent { origin } => {
                Reply { at, back: Back::Silent { origin }, received_clock: None }
            }
        }
    }

    fn worker(
        &mut self,
        worker: usize,
        at: i64,
        received_clock: usize,
        caller: &Span,
        component: &'static str,
        attempt: u32,
    ) -> Reply {
        let killed = self.state.processes[worker].killed;
        let origin = self.who(worker);
        let span = self.span(Some(caller.id), None, 0);
        let mut now = at;
        let mut last = self.record(worker, now, Some(received_clock), &span, What::Start);
        let lost = |at: i64| killed.is_some_and(|killed| at >= killed);
        let states: &[&'static str] = if component == "prefill" {
            &["queued", "prefill"]
        } else {
            &["queued", "transfer", "decode"]
        };
        for state in states {
            now += self.between(2_000, 60_000);
            if lost(now) {
                return Reply {
                    at: killed.unwrap_or(now) + 1_000,
                    back: Back::Lost { origin },
                    received_clock: None,
                };
            }
            last = self.record(worker, now, None, &span, What::State(state));
            let hangs = matches!(self.fault, Fault::HangWithTimeout | Fault::HangOpen)
                && component == "backend"
                && *state == "transfer";
            if hangs {
                return Reply { at: now, back: Back::Silent { origin }, received_clock: None };
            }
        }
        let fails = match self.fault {
            Fault::Error { at } => at == component,
            Fault::HandledThenError => component == "backend",
            Fault::RetryAfterError => component == "backend" && attempt == 0,
            _ => false,
        };
        if self.fault == Fault::HandledThenError || self.state.random.u8(0..20) == 0 {
            now += self.between(100, 5_000);
            if lost(now) {
                return Reply {
                    at: killed.unwrap_or(now) + 1_000,
                    back: Back::Lost { origin },
                    received_clock: None,
                };
            }
            last = self.record(worker, now, None, &span, What::Handled);
        }
        now += self.between(10_000, 200_000);
        if lost(now) {
            return Reply {
                at: killed.unwrap_or(now) + 1_000,
                back: Back::Lost { origin },
                received_clock: None,
            };
        }
        if self.fault == Fault::RouterFirst && component == "backend" {
            // The router fails by itself and logs it; the worker learns of it and logs a failure,
            // too.
            let router = self.state.steps[received_clock].process;
            let step = self.fail(
                router,
                now,
                Some(received_clock),
                caller,
                "Internal",
                "index out of bounds",
            );
            let remaining = now + self.between(300, 3_000);
            if !lost(remaining) {
                self.fail(
                    worker,
                    remaining,
                    Some(step),
                    &span,
                    "Disconnected",
                    "response stream closed",
                );
            }
            return Reply { at: now, back: Back::Ok { carried: None }, received_clock: Some(step) };
        }
        if fails {
            let step = self.fail(worker, now, Some(last), &span, "Internal", "CUDA out of memory");
            return Reply { at: now, back: Back::Failed { origin }, received_clock: Some(step) };
        }
        let step = self.record(worker, now, Some(last), &span, What::End);
        Reply { at: now, back: Back::Ok { carried: None }, received_clock: Some(step) }
    }

    /// Plays a client that disconnects while a worker decodes. All callees are notified, and some
    /// of them log an error.
    fn left(
        &mut self,
        process: usize,
        at: i64,
        received_clock: usize,
        caller: &Span,
        frontend: usize,
    ) -> Reply {
        let worker = pick(&mut self.state.random, &self.state.processes, |process| {
            process.component == "backend" && process.killed.is_none()
        });
        let span =
            self.span(Some(caller.id), Some(self.state.processes[worker].instance.clone()), 0);
        let start = self.record(process, at, Some(received_clock), &span, What::Start);
        let below = self.span(Some(span.id), None, 0);
        let opened = self.record(worker, at + 500, Some(start), &below, What::Start);
        self.record(worker, at + 1_000, Some(opened), &below, What::State("decode"));
        let leaves = at + self.between(20_000, 100_000);
        let left = self.record(frontend, leaves, Some(received_clock), caller, What::Cancel);
        let remaining = leaves + self.between(300, 2_000);
        let step = self.record(process, remaining, Some(left), &span, What::Cancel);
        let remaining = remaining + self.between(300, 2_000);
        if self.state.random.bool() {
            self.record(worker, remaining, Some(step), &below, What::Cancel);
        } else {
            self.fail(worker, remaining, Some(step), &below, "Disconnected", "client disconnected");
        }
        Reply { at: remaining, back: Back::Ok { carried: None }, received_clock: None }
    }
}
