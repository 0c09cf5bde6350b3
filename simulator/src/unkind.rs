//! Clusters as unkind as production: replicas that die and restart, freeze, or log no spans; calls
//! that time out and are retried; clients that leave; and errors that have nothing to do with any of
//! it, at the same time.
//!
//! A request is played from the top down. A caller knows when it will give up, and passes that on, so
//! that everything below it can be cancelled in time. Whatever happens to a process while it works on
//! a request (death, freeze) was decided before the first request.

use flowlog_schema::FlowId;

use crate::process::Process;
use crate::script::{Entry, Span, Step, What};
use crate::state::State;
use crate::{Cluster, LogFormat, Options, Outcome, Truth};

/// What makes a cluster unkind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Five of fifteen processes die during the run, some of them return, and others fail by
    /// themselves.
    Replicas,
    /// Processes are silent for 8 to 20 seconds.
    Frozen,
    /// Two components log text without spans.
    Partial,
    /// Long streams, of which clients leave many.
    Streams,
    /// Calls to three replicas at the same time.
    FanOut,
    /// Processes that die and return within two seconds, and callers that try again.
    Healed,
    /// One component fails by itself while a process of another is dead.
    TwoFaults,
    /// Load that changes: bursts and idle times.
    Load,
    /// Failed attempts that are retried, some in vain.
    Retries,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Replicas,
        Self::Frozen,
        Self::Partial,
        Self::Streams,
        Self::FanOut,
        Self::Healed,
        Self::TwoFaults,
        Self::Load,
        Self::Retries,
    ];

    /// Returns the percentage of spans that fail by themselves.
    fn error_percent(self) -> u64 {
        match self {
            Self::Replicas | Self::Partial | Self::FanOut => 1,
            Self::Retries => 4,
            Self::TwoFaults => 3,
            Self::Frozen | Self::Streams | Self::Healed | Self::Load => 0,
        }
    }

    /// Returns whether callers try another replica.
    fn retries(self) -> bool {
        matches!(self, Self::Replicas | Self::Healed | Self::Retries | Self::Frozen)
    }
}

/// Time in which a process does not work, in microseconds from the start of the run.
#[derive(Debug, Clone, Copy)]
struct Down {
    from: i64,
    until: i64,
    is_frozen: bool,
}

/// Components from the frontend down; each calls the next one.
const CHAIN: [&str; 5] = ["frontend", "router", "vllm", "kvbm", "nixl"];

const REPLICAS: usize = 3;

/// Components of [`Kind::Partial`] that log text without spans.
const TEXT_ONLY: [usize; 2] = [2, 4];

/// Time after which a caller gives up, by depth of the callee, in microseconds: a callee gives up
/// before its caller does.
const TIMEOUTS: [i64; 5] = [i64::MAX / 4, 7_000_000, 6_000_000, 4_500_000, 3_000_000];

/// Returns the time after which a caller of a span at this depth gives up, in microseconds.
fn timeout(kind: Kind, depth: usize) -> i64 {
    match (kind, depth) {
        (Kind::Streams, 1) => 30_000_000,
        (Kind::Streams, 2) => 28_000_000,
        _ => TIMEOUTS[depth],
    }
}

/// Errors of a component's own, some of which sound as if another one were lost.
const ERRORS: [(&str, &str); 6] = [
    ("Internal", "radix tree index corrupt"),
    ("Unavailable", "no ready worker for model \"tiny\""),
    ("ResourceExhausted", "connection pool exhausted"),
    ("Internal", "token_to_kv_pool leak detected"),
    ("BackendProtocol", "registration cache entry missing"),
    ("Unavailable", "admission queue closed"),
];

type Origin = (String, String);

/// Result of a span for its caller.
struct Reply {
    /// When the caller learns of it; `None` if it never does.
    at: Option<i64>,
    /// Step whose message the caller receives.
    step: Option<usize>,
    /// Error that the caller receives: type and message.
    error: Option<(&'static str, String)>,
    /// Whether the span was cancelled because its caller was gone.
    is_cancelled: bool,
    /// Component and instance to blame, if the caller receives an error or gives up.
    origin: Option<Origin>,
    /// Component and instance whose failure another attempt made up for.
    carried: Option<Origin>,
    /// Whether the logs show the origin.
    is_shown: bool,
}

impl Reply {
    /// Returns a reply without an error.
    fn ok(at: Option<i64>) -> Self {
        Self {
            at,
            step: None,
            error: None,
            is_cancelled: false,
            origin: None,
            carried: None,
            is_shown: true,
        }
    }
}

struct Player<'s, 'o> {
    state: &'s mut State<'o>,
    kind: Kind,
    downs: &'s [Vec<Down>],
    /// Whether callers log the replica that they call.
    names_callees: bool,
    flow: FlowId,
    /// When the client leaves, if it does.
    leaves_at: Option<i64>,
    /// Depth of the span that fails or hangs by itself, if any, and whether it hangs.
    own_fault: Option<(usize, bool)>,
    number: u64,
}

/// Simulates an unkind cluster of `flows` requests.
pub fn simulate_unkind(kind: Kind, seed: u64, flows: usize) -> Cluster {
    let mut random = fastrand::Rng::with_seed(seed ^ (kind as u64) << 32);
    let format = [LogFormat::Json, LogFormat::Text, LogFormat::Mixed][random.usize(0..3)];
    let options = Options {
        seed,
        flows,
        format,
        omit_response_clocks: random.bool(),
        silent_processes: false,
        ..Options::default()
    };
    let mut processes = Vec::new();
    for component in CHAIN {
        for index in 0..REPLICAS {
            let log = format!("{component}-{index}");
            let skew = random.i64(-400_000..=400_000);
            processes.push(Process { component, instance: log.clone(), log, skew, killed: None });
        }
    }
    let span = begin_of(kind, flows, flows);
    let downs = plan(kind, span, &mut random);
    let names_callees = kind != Kind::Partial && random.u8(0..4) > 0;
    let mut state = State { options: &options, random, processes, steps: Vec::new(), next_span: 1 };
    let mut truth = Vec::with_capacity(flows);
    for index in 0..flows {
        let at = begin_of(kind, index, flows) + state.random.i64(0..40_000);
        truth.push(play(&mut state, kind, &downs, names_callees, at));
    }
    background(&mut state, kind, &downs, span + 60_000_000);
    let mut logs: Vec<(String, Vec<u8>)> = state
        .processes
        .iter()
        .map(|process| (format!("{}.log", process.log), Vec::new()))
        .collect();
    state.write(&mut logs);
    Cluster { logs, truth }
}

/// Returns when a request begins: regularly, or, under changing load, in bursts with idle times.
fn begin_of(kind: Kind, index: usize, flows: usize) -> i64 {
    let index = i64::try_from(index).unwrap_or(0);
    match kind {
        Kind::Load => index * 60_000 + index / 100 * 25_000_000,
        Kind::Streams => index * 120_000,
        _ => index * (60_000_000 / i64::try_from(flows.max(1)).unwrap_or(1)).max(60_000),
    }
}

/// Decides which processes die or freeze, and when.
fn plan(kind: Kind, span: i64, random: &mut fastrand::Rng) -> Vec<Vec<Down>> {
    let mut downs: Vec<Vec<Down>> = vec![Vec::new(); CHAIN.len() * REPLICAS];
    let moment = |random: &mut fastrand::Rng| random.i64(span / 5..span / 5 * 4);
    match kind {
        Kind::Replicas => {
            // At most one of each component's replicas.
            for depth in 0..CHAIN.len() {
                let from = moment(random);
                let until =
                    if random.bool() { from + random.i64(5_000_000..20_000_000) } else { i64::MAX };
                let replica = depth * REPLICAS + random.usize(0..REPLICAS);
                downs[replica].push(Down { from, until, is_frozen: false });
            }
        }
        Kind::Frozen => {
            for turn in 0..4 {
                let process = random.usize(0..downs.len());
                let from = span / 6 * (turn + 1);
                let until = from
                    + random.i64(8_000_000..(span / 6 - 2_000_000).clamp(8_000_001, 20_000_000));
                downs[process].push(Down { from, until, is_frozen: true });
            }
        }
        Kind::Healed => {
            for turn in 0..6 {
                let process = random.usize(REPLICAS..downs.len());
                let from = span / 8 * (turn + 1) + random.i64(0..1_000_000);
                let until = from + random.i64(1_000_000..2_000_000);
                downs[process].push(Down { from, until, is_frozen: false });
            }
        }
        Kind::Partial | Kind::TwoFaults => {
            let replica = random.usize(2 * REPLICAS..downs.len());
            downs[replica].push(Down { from: moment(random), until: i64::MAX, is_frozen: false });
        }
        Kind::Streams | Kind::FanOut | Kind::Load | Kind::Retries => {}
    }
    downs
}

/// Adds status lines, starts after deaths, and the stop of the run to every process that works.
fn background(state: &mut State<'_>, kind: Kind, downs: &[Vec<Down>], end: i64) {
    for (process, downs) in downs.iter().enumerate() {
        let works = |at: i64| !downs.iter().any(|down| (down.from..down.until).contains(&at));
        let is_text = kind == Kind::Partial && TEXT_ONLY.contains(&(process / REPLICAS));
        state.steps.push(Step::of_process(process, 0, "start"));
        let mut at = state.random.i64(0..700_000);
        while at < end {
            if works(at) && !is_text {
                let loud = state.random.u8(0..8) == 0;
                state.steps.push(Step::write_noise(process, at, loud));
            }
            at += state.random.i64(300_000..900_000);
        }
        for down in downs.iter().filter(|down| !down.is_frozen && down.until < end) {
            state.steps.push(Step::of_process(process, down.until, "start"));
        }
        let stop = end + state.random.i64(0..50_000);
        if works(stop) {
            state.steps.push(Step::of_process(process, stop, "stop"));
        }
    }
}

/// Plays one request.
fn play(
    state: &mut State<'_>,
    kind: Kind,
    downs: &[Vec<Down>],
    names_callees: bool,
    at: i64,
) -> Truth {
    let random = &mut state.random;
    let flow = FlowId::from_u128((u128::from(random.u64(..)) << 64) | u128::from(random.u64(1..)))
        .unwrap_or_default();
    let number = random.u64(..);
    let leaves_at = match kind {
        Kind::Streams if random.bool() => Some(at + random.i64(200_000..12_000_000)),
        // Clients that give up.
        Kind::Frozen if random.bool() => Some(at + 5_500_000),
        _ => None,
    };
    let depth = random.usize(0..CHAIN.len());
    let own_fault = match kind {
        Kind::Streams if random.u8(0..100) < 4 => Some((1 + depth % 4, random.bool())),
        Kind::Load | Kind::Frozen if random.u8(0..100) < 3 => Some((depth, false)),
        _ if random.u64(0..100) < 5 * kind.error_percent() => {
            Some((depth, depth > 0 && random.u8(0..4) == 0))
        }
        _ => None,
    };
    let mut player =
        Player { state, kind, downs, names_callees, flow, leaves_at, own_fault, number };
    let (outcome, origin, is_shown) = player.root(at);
    let story = match (&origin, own_fault) {
        (None, _) => "none",
        (Some(_), Some((_, true))) => "hang of its own, or an outage",
        (Some(_), Some((_, false))) => "error of its own, or an outage",
        (Some(_), None) => "outage",
    };
    Truth { id: flow, outcome, origin, story, is_shown }
}

impl Player<'_, '_> {
    fn who(&self, process: usize) -> Origin {
        let process = &self.state.processes[process];
        (process.component.to_owned(), process.instance.clone())
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        self.state.random.i64(least..=most)
    }

    fn down_at(&self, process: usize, at: i64) -> Option<Down> {
        let mut downs = self.downs[process].iter();
        downs.find(|down| (down.from..down.until).contains(&at)).copied()
    }

    /// Returns the first death of a process in a time.
    fn death_within(&self, process: usize, from: i64, until: i64) -> Option<i64> {
        let deaths = self.downs[process].iter().filter(|down| !down.is_frozen);
        deaths.map(|down| down.from).filter(|death| (from..=until).contains(death)).min()
    }

    /// Returns when a process that begins some work is done with it: a freeze in between delays it.
    fn after(&self, process: usize, from: i64, until: i64) -> i64 {
        let freezes = self.downs[process].iter().filter(|down| down.is_frozen);
        freezes.fold(until, |until, down| {
            if down.from <= until && from < down.until {
                until.max(down.until + 3_000)
            } else {
                until
            }
        })
    }

    fn is_text(&self, depth: usize) -> bool {
        self.kind == Kind::Partial && TEXT_ONLY.contains(&depth)
    }

    fn log(
        &mut self,
        process: usize,
        at: i64,
        receives: Option<usize>,
        span: &Span,
        what: What,
    ) -> usize {
        let depth = process / REPLICAS;
        let entries = if self.is_text(depth) {
            let (message, error) = match what {
                What::Start => ("request received", None),
                What::End => ("request finished", None),
                What::Cancel => ("request cancelled", None),
                What::Fail { kind, message, .. } => {
                    ("exception while serving", Some((python_name(kind), message)))
                }
                What::State(_) | What::Handled | What::Warn { .. } => ("working", None),
            };
            Entry::Text { flow: self.flow, message: message.to_owned(), error }
        } else {
            Entry::Span { span: span.clone(), what }
        };
        self.state.steps.push(Step { process, at, receives, entries });
        self.state.steps.len() - 1
    }

    fn root(&mut self, at: i64) -> (Outcome, Option<Origin>, bool) {
        let process = self.state.random.usize(0..REPLICAS);
        // A client that finds no server connects to another one.
        let process = (0..REPLICAS)
            .map(|turn| (process + turn) % REPLICAS)
            .find(|process| self.down_at(*process, at).is_none_or(|down| down.is_frozen))
            .unwrap_or(process);
        let reply = self.span(process, 0, None, at, i64::MAX / 4, None);
        match (reply.at, reply.error) {
            // The client left: because something was silent, or for a reason of its own.
            (Some(_), None) if reply.is_cancelled => match reply.origin {
                Some(origin) => (Outcome::Failed, Some(origin), reply.is_shown),
                None => (Outcome::Cancelled, None, true),
            },
            (Some(_), None) => match reply.carried {
                Some(carried) => (Outcome::Recovered, Some(carried), reply.is_shown),
                None => (Outcome::Ok, None, true),
            },
            _ => (Outcome::Failed, reply.origin, reply.is_shown),
        }
    }

    /// Plays one span and everything below it. Whatever it does after `deadline` is cancelled: its
    /// caller, or the client, is gone.
    fn span(
        &mut self,
        process: usize,
        depth: usize,
        caller: Option<&Span>,
        at: i64,
        deadline: i64,
        receives: Option<usize>,
    ) -> Reply {
        let me = self.who(process);
        let mut reply = Reply::ok(None);
        if let Some(down) = self.down_at(process, at) {
            reply.origin = Some(me.clone());
            if !down.is_frozen {
                reply.at = Some(at + 800);
                reply.error = Some((
                    "CannotConnect",
                    format!("connect to {} failed: connection refused", me.1),
                ));
                return reply;
            }
        }
        self.state.next_span += 1;
        let id = self.state.next_span.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let parent = caller.map(|caller| caller.id);
        let span =
            Span { flow: self.flow, id, parent, request: self.number, callee: None, attempt: 0 };
        // Text passes on the caller's span.
        let own = if self.is_text(depth) {
            caller.cloned().unwrap_or_else(|| span.clone())
        } else {
            span.clone()
        };
        let start = self.after(process, at, at);
        if start > at + 1_000_000 {
            reply.origin = Some(me.clone());
        }
        let mut clock = self.log(process, start, receives, &span, What::Start);
        let deadline = match self.leaves_at {
            Some(leaves) if depth == 0 => leaves,
            _ => deadline,
        };
        let work = if depth == 2 && self.kind == Kind::Streams {
            self.between(500_000, 15_000_000)
        } else {
            self.between(2_000, 30_000)
        };
        let state = ["tokenize", "select_worker", "generate", "onboard", "transfer"][depth];
        let mut now = self.after(process, start, start + 500);
        if let Some(ended) = self.ended(process, start, now, deadline, &span, &mut reply) {
            return ended;
        }
        clock = self.log(process, now, None, &span, What::State(state)).max(clock);
        match self.own_fault.filter(|(at, _)| *at == depth) {
            Some((_, true)) => {
                // It never logs again about this request, unless it is cancelled by nobody.
                self.own_fault = None;
                reply.origin = Some(me);
                return reply;
            }
            Some((_, false)) => {
                self.own_fault = None;
                let (kind, message) = ERRORS[self.state.random.usize(0..ERRORS.len())];
                let failed = self.after(process, now, now + 2_000);
                if let Some(ended) = self.ended(process, now, failed, deadline, &span, &mut reply) {
                    return ended;
                }
                let fail = What::Fail { kind, message: message.to_owned(), status: None };
                reply.step = Some(self.log(process, failed, Some(clock), &span, fail));
                reply.at = Some(failed + 300);
                reply.error = Some((kind, message.to_owned()));
                reply.origin = Some(me);
                return reply;
            }
            None => {}
        }
        if depth + 1 < CHAIN.len() {
            let calls = if self.kind == Kind::FanOut && depth == 3 { REPLICAS } else { 1 };
            let result = if calls > 1 {
                self.call_all(depth + 1, &own, now, deadline, clock)
            } else {
                self.call(process, depth + 1, &own, now, deadline, clock)
            };
            reply.is_shown &= result.is_shown;
            let Some(back) = result.at else {
                // Nobody gives up: the request waits for ever.
                reply.origin = result.origin;
                return reply;
            };
            let back = self.after(process, now, back);
            if let Some(mut ended) = self.ended(process, now, back, deadline, &span, &mut reply) {
                // Whoever was silent below is to blame for the wait.
                if ended.is_cancelled {
                    ended.origin = result.origin.or(ended.origin);
                }
                return ended;
            }
            now = back;
            if let Some((kind, message)) = result.error {
                let relayed = What::Fail {
                    kind,
                    message: if depth.is_multiple_of(2) {
                        format!("{} call failed: {message}", CHAIN[depth + 1])
                    } else {
                        message.clone()
                    },
                    status: None,
                };
                let failed = self.after(process, now, now + 400);
                if let Some(ended) = self.ended(process, now, failed, deadline, &span, &mut reply) {
                    return ended;
                }
                reply.step = Some(self.log(process, failed, result.step, &span, relayed));
                reply.at = Some(failed + 300);
                reply.error = Some((kind, message));
                reply.origin = result.origin;
                return reply;
            }
            reply.carried = result.carried;
            clock = result.step.unwrap_or(clock);
        }
        let done = self.after(process, now, now + work);
        if let Some(ended) = self.ended(process, now, done, deadline, &span, &mut reply) {
            return ended;
        }
        reply.step = Some(self.log(process, done, Some(clock), &span, What::End));
        reply.at = Some(done + 300);
        // A caller that gave up in between blames whoever was frozen.
        reply.origin = (start > at + 1_000_000 || done > now + work + 1_000_000).then_some(me);
        reply
    }

    /// Returns the reply of a span whose process died, or whose caller was gone, between two times.
    fn ended(
        &mut self,
        process: usize,
        from: i64,
        until: i64,
        deadline: i64,
        span: &Span,
        reply: &mut Reply,
    ) -> Option<Reply> {
        let me = self.who(process);
        let ended = |at, error: Option<(&'static str, String)>, origin, reply: &Reply| Reply {
            at,
            step: None,
            is_cancelled: error.is_none(),
            error,
            origin,
            carried: None,
            is_shown: reply.is_shown,
        };
        if let Some(death) = self.death_within(process, from, until.min(deadline)) {
            let error =
                Some(("Disconnected", "stream ended before generation completed".to_owned()));
            return Some(ended(Some(death + 2_000), error, Some(me), reply));
        }
        if until <= deadline {
            return None;
        }
        // The caller is gone. A process that works acknowledges that; a frozen one does so late.
        let acknowledged = self.after(process, deadline, deadline + 5_000);
        let was_frozen = acknowledged > deadline + 1_000_000;
        if self.down_at(process, acknowledged).is_none() {
            self.log(process, acknowledged, None, span, What::Cancel);
        }
        Some(ended(
            Some(acknowledged),
            None,
            was_frozen.then_some(me).or_else(|| reply.origin.clone()),
            reply,
        ))
    }

    /// Calls a replica, and another one if the first attempt fails and the cluster retries.
    fn call(
        &mut self,
        process: usize,
        depth: usize,
        caller: &Span,
        at: i64,
        deadline: i64,
        clock: usize,
    ) -> Reply {
        let first = self.state.random.usize(0..REPLICAS);
        let mut result = self.attempt(process, depth, first, caller, at, deadline, clock);
        let (Some(back), Some((kind, message))) = (result.at, result.error.clone()) else {
            return result;
        };
        let retries = self.kind.retries()
            && depth >= 2
            && back + 2_000 < deadline
            && self.state.random.u8(0..3) > 0;
        if !retries || result.origin.as_ref().is_none_or(|origin| origin.0 != CHAIN[depth]) {
            return result;
        }
        let back = self.after(process, back, back + 500);
        if back >= deadline || self.death_within(process, at, back).is_some() {
            result.at = Some(back);
            return result;
        }
        self.log(process, back, None, caller, What::Warn { state: "retry", kind, message });
        let second = (first + 1) % REPLICAS;
        let mut again = self.attempt(process, depth, second, caller, back + 300, deadline, clock);
        again.is_shown &= result.is_shown;
        if again.error.is_none() && again.at.is_some() {
            again.carried = result.origin;
        } else {
            again.origin = result.origin;
        }
        again
    }

    #[expect(clippy::too_many_arguments, reason = "a call depends on all of these")]
    fn attempt(
        &mut self,
        process: usize,
        depth: usize,
        replica: usize,
        caller: &Span,
        at: i64,
        deadline: i64,
        clock: usize,
    ) -> Reply {
        let callee = depth * REPLICAS + replica;
        let instance = self.state.processes[callee].instance.clone();
        let calling =
            Span { callee: self.names_callees.then(|| instance.clone()), ..caller.clone() };
        let step = self.log(process, at, None, &calling, What::State("call"));
        let gives_up = at.saturating_add(timeout(self.kind, depth));
        let reply = self.span(
            callee,
            depth,
            Some(caller),
            at + 400,
            deadline.min(gives_up + 2_000),
            Some(step),
        );
        let _ = clock;
        if reply.at.is_some_and(|back| back <= gives_up) || gives_up >= deadline {
            return reply;
        }
        // The call timed out: whoever is silent below is to blame.
        let named = self.names_callees || self.down_at(callee, at + 400).is_none();
        Reply {
            at: Some(gives_up),
            step: None,
            error: Some((
                "ResponseTimeout",
                format!("no response within {} ms", timeout(self.kind, depth) / 1_000),
            )),
            is_cancelled: false,
            origin: reply.origin,
            carried: None,
            is_shown: reply.is_shown && named,
        }
    }

    /// Calls all replicas at once. The first error fails the call.
    fn call_all(
        &mut self,
        depth: usize,
        caller: &Span,
        at: i64,
        deadline: i64,
        clock: usize,
    ) -> Reply {
        let failing = self
            .own_fault
            .filter(|(at, hangs)| *at == depth && !hangs)
            .map(|_| self.state.random.usize(0..REPLICAS));
        let fault = self.own_fault.take();
        let mut all: Vec<Reply> = Vec::new();
        for replica in 0..REPLICAS {
            if failing == Some(replica) {
                self.own_fault = fault;
            }
            let callee = depth * REPLICAS + replica;
            all.push(self.span(callee, depth, Some(caller), at + 400, deadline, Some(clock)));
            self.own_fault = None;
        }
        let failed = all.iter().position(|reply| reply.error.is_some());
        match failed {
            Some(failed) => all.swap_remove(failed),
            None => {
                all.into_iter().max_by_key(|reply| reply.at).unwrap_or_else(|| Reply::ok(Some(at)))
            }
        }
    }
}

/// Returns the class under which Python raises an error.
fn python_name(kind: &'static str) -> &'static str {
    match kind {
        "Unavailable" | "CannotConnect" | "Disconnected" => "ConnectionError",
        "ResponseTimeout" => "TimeoutError",
        "ResourceExhausted" => "MemoryError",
        _ => "RuntimeError",
    }
}
