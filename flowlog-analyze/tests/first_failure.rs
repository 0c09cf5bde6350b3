//! Small handwritten flows: each tests one rule of `docs/how-it-decides.md`, with the expected
//! answer next to it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze};
use flowlog_schema::report::Report;

/// Expands a short form to a record in the text form:
/// `SECONDS component/instance FLOW SPAN<PARENT event state {fields} tail`.
///
/// A line that begins with a year is taken as it is.
fn line(short: &str) -> String {
    if short.starts_with("2025") {
        return format!("{short}\n");
    }
    let mut words = short.splitn(5, ' ');
    let seconds: f64 = words.next().unwrap().parse().unwrap();
    let (who, flow, spans) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let rest = words.next().unwrap();
    let (span, parent) = spans.split_once('<').unwrap_or((spans, ""));
    let parent = if parent.is_empty() { String::new() } else { format!(" parent={parent:0>16}") };
    let (head, tail) = rest.split_once('}').map_or((rest, ""), |(head, tail)| (head, tail));
    let (event, fields) = head.split_once('{').unwrap_or((head, ""));
    let micros = (seconds * 1e6) as u64;
    let flow: u64 = flow.parse().unwrap();
    format!(
        "2025-11-22T08:{:02}:{:02}.{:06}Z  INFO {who} - 00000000-0000-7000-8000-{flow:012} - {} {{span={span:0>16}{parent} {fields}}}{tail}\n",
        micros / 60_000_000,
        micros / 1_000_000 % 60,
        micros % 1_000_000,
        event.trim()
    )
}

/// Returns a served request through frontend, router and vllm, half a second long.
fn served(at: f64, flow: u64) -> Vec<String> {
    [
        format!("{at} frontend/f {flow} {flow}1 start receive"),
        format!("{} router/r {flow} {flow}2<{flow}1 start dispatch {{worker_id=v-0}}", at + 0.01),
        format!("{} vllm/v-0 {flow} {flow}3<{flow}2 start decode", at + 0.02),
        format!("{} vllm/v-0 {flow} {flow}3<{flow}2 end decode", at + 0.48),
        format!("{} router/r {flow} {flow}2<{flow}1 end dispatch", at + 0.49),
        format!("{} frontend/f {flow} {flow}1 end receive", at + 0.5),
    ]
    .to_vec()
}

/// Analyzes four served requests, the lines of the case, and background activity until a minute is
/// over.
fn report(case: &[&str], served_to_the_end: bool) -> Report {
    let mut lines: Vec<String> =
        (0..4).flat_map(|at| served(f64::from(at), 100 + u64::try_from(at).unwrap())).collect();
    lines.extend(case.iter().map(|line| (*line).to_owned()));
    if served_to_the_end {
        lines.extend(
            (20..59).flat_map(|at| served(f64::from(at), 200 + u64::try_from(at).unwrap())),
        );
    } else {
        lines.extend((20..59).flat_map(|at| {
            [
                format!("{at} frontend/f {at} {at}9 end receive"),
                format!("{at} router/r {at} {at}8<{at}9 end dispatch"),
            ]
        }));
    }
    let text: String = lines.iter().map(|short| line(short)).collect();
    analyze(
        &Sources::from_texts([("all.log", text.as_bytes())]).unwrap(),
        &Options::default(),
        &|_| {},
    )
}

/// Returns component, instance, kind and outcome of the failure of flow 7; the outcome only if it
/// did not fail.
fn answer(report: &Report) -> String {
    let flow =
        report.flow_failures.iter().find(|failure| failure.flow_id.ends_with("000000000007"));
    let flows = &report.flows;
    match flow {
        Some(found) => {
            format!(
                "{}/{} {} {:?}",
                found.component,
                found.instance.as_deref().unwrap_or("-"),
                found.kind.as_str(),
                found.outcome
            )
        }
        None if flows.cancelled > 0 => "cancelled".to_owned(),
        None if flows.rejected > 0 => "rejected".to_owned(),
        None if flows.unfinished > 0 => "unfinished".to_owned(),
        None => "ok".to_owned(),
    }
}

#[test]
fn each_documented_rule() {
    let opened = [
        "10 frontend/f 7 1 start receive",
        "10.01 router/r 7 2<1 start dispatch {worker_id=v-0}",
        "10.02 vllm/v-0 7 3<2 start decode",
    ];
    for (rule, more, expected) in [
        (
            "the deepest failed span is the origin",
            &[
                "10.3 vllm/v-0 7 3<2 fail decode {} Internal: CUDA out of memory",
                "10.4 router/r 7 2<1 fail dispatch {} Unavailable: worker failed",
                "10.5 frontend/f 7 1 fail receive {} Internal: request failed",
            ][..],
            "vllm/v-0 error Failed",
        ),
        (
            "a silent callee is the origin whatever error its caller reports",
            &[
                "16 router/r 7 2<1 fail dispatch {} Internal: gave up",
                "16.1 frontend/f 7 1 fail receive {} Internal: request failed",
            ],
            "vllm/v-0 hang Failed",
        ),
        (
            "a silent callee is the origin although it was cancelled when its caller timed out",
            &[
                "15.99 router/r 7 2<1 cancel dispatch {} abandoned: dropped without an end",
                "16 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
                "16.1 vllm/v-0 7 4<3 start free",
                "16.2 vllm/v-0 7 4<3 end free",
            ],
            "vllm/v-0 hang Failed",
        ),
        (
            "a silent callee is the origin although it ended well after its callers had timed out",
            &[
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
                "18 vllm/v-0 7 3<2 end decode",
            ],
            "vllm/v-0 hang Failed",
        ),
        (
            "a caller that times out before any span could complete is the origin",
            &[
                "10.1 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 80 ms",
                "10.11 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
                "10.12 frontend/f 7 1 fail receive {} Internal: request failed",
            ],
            "router/r error Failed",
        ),
        (
            "a callee that is active until its caller times out does not hang",
            &[
                "12 vllm/v-0 7 3<2 state decode",
                "15.9 vllm/v-0 7 3<2 state decode",
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
                "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
            ],
            "router/r error Failed",
        ),
        (
            "a timeout after the client disconnected is not a failure",
            &[
                "10.3 frontend/f 7 1 cancel receive {} Cancelled: client disconnected",
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
            ],
            "cancelled",
        ),
        (
            "a hedged call that was cancelled long before is not the cause",
            &[
                "10.9 router/r 7 5<2 start call",
                "10.9 vllm/v-1 7 6<5 start decode",
                "11 router/r 7 5<2 cancel call",
                "11 vllm/v-1 7 6<5 cancel decode",
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
                "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
            ],
            "vllm/v-0 hang Failed",
        ),
        ("a flow with waiting callers hangs, too", &[], "vllm/v-0 hang Failed"),
        (
            "a state without peers is compared with its callers' peers",
            &["10.1 vllm/v-0 7 3<2 state preempted"],
            "vllm/v-0 hang Failed",
        ),
        (
            "a successful retry is a recovery",
            &[
                "10.2 vllm/v-0 7 3<2 fail decode {} Internal: CUDA out of memory",
                "10.3 vllm/v-1 7 4<2 start decode",
                "10.4 vllm/v-1 7 4<2 end decode",
                "10.5 router/r 7 2<1 end dispatch",
                "10.6 frontend/f 7 1 end receive",
            ],
            "vllm/v-0 error Recovered",
        ),
        (
            "an error caused by the client's disconnect is not a failure",
            &[
                "10.3 frontend/f 7 1 cancel receive {} Cancelled: client disconnected",
                "10.4 router/r 7 2<1 cancel dispatch",
                "10.5 vllm/v-0 7 3<2 fail decode {} Disconnected: response stream closed",
            ],
            "cancelled",
        ),
        (
            "a handled error is not a failure",
            &[
                "10.2 vllm/v-0 7 3<2 state decode {} Disconnected: kv events, reconnected",
                "10.3 vllm/v-0 7 3<2 end decode",
                "10.4 router/r 7 2<1 end dispatch",
                "10.5 frontend/f 7 1 end receive",
            ],
            "ok",
        ),
        (
            "an error as the last message fails a span",
            &[
                "10.2 vllm/v-0 7 3<2 state decode {} RuntimeError: CUDA error",
                "10.4 router/r 7 2<1 fail dispatch {} Unavailable: worker failed",
                "10.5 frontend/f 7 1 fail receive {} Unavailable: worker failed",
            ],
            "vllm/v-0 error Failed",
        ),
        (
            "a caller that fails on its own after a response is the origin",
            &[
                "10.3 vllm/v-0 7 3<2 end decode",
                "10.4 router/r 7 2<1 end dispatch",
                "10.5 frontend/f 7 1 fail receive {} Unavailable: no slot to stream to",
            ],
            "frontend/f error Failed",
        ),
        (
            "a failure through the caller's fault is a rejection",
            &[
                "10.3 vllm/v-0 7 3<2 fail decode {} InvalidArgument: max_tokens too large",
                "10.4 router/r 7 2<1 fail dispatch {} InvalidArgument: max_tokens too large",
                "10.5 frontend/f 7 1 fail receive {status=400} InvalidArgument: max_tokens too large",
            ],
            "rejected",
        ),
    ] {
        let case: Vec<&str> = opened.iter().chain(more).copied().collect();
        assert_eq!(answer(&report(&case, true)), expected, "{rule}");
    }
}

#[test]
fn a_worker_that_never_logs_again_crashed() {
    // The worker's spans took at most eight seconds before. It logs every second, in the first case
    // until more than five seconds before the logs end.
    let peers = [1, 10, 19].into_iter().flat_map(|at| {
        [
            format!("{at} vllm/v-1 {at} {at}3 start long"),
            format!("{} vllm/v-1 {at} {at}3 end long", at + 8),
        ]
    });
    let beats = |until: u32| {
        (0..until).flat_map(|at| {
            [
                format!("{at}.1 vllm/v-1 4{at} 4{at}3 start free"),
                format!("{at}.2 vllm/v-1 4{at} 4{at}3 end free"),
            ]
        })
    };
    let open = [
        "30 frontend/f 7 1 start receive".to_owned(),
        "30.02 vllm/v-1 7 3<1 start long".to_owned(),
    ];
    for (until, expected) in [(54, "vllm/v-1 crash Failed"), (60, "vllm/v-1 hang Failed")] {
        let case: Vec<String> = peers.clone().chain(beats(until)).chain(open.clone()).collect();
        let case: Vec<&str> = case.iter().map(String::as_str).collect();
        assert_eq!(answer(&report(&case, true)), expected, "active until {until}");
    }
}

#[test]
fn a_worker_whose_log_is_cut_off_neither_hangs_nor_crashed() {
    let frontend: String =
        (0_u32..60).flat_map(|at| served(f64::from(at), 100 + u64::from(at))).collect();
    let open = line("30 frontend/f 7 1 start receive") + &line("30.02 vllm/v-1 7 3<1 start long");
    let beats = |until: u64| -> String {
        let beat = |at: u64| {
            line(&format!("{at}.1 vllm/v-1 4{at} 4{at}3 start free"))
                + &line(&format!("{at}.2 vllm/v-1 4{at} 4{at}3 end free"))
        };
        (0..until).map(beat).collect()
    };
    let (caller, callee) = open.split_at(open.find('\n').unwrap() + 1);
    let worker = beats(30) + callee;
    let outcome = |worker: &str| {
        let sources = [
            ("frontend.log", frontend.clone() + caller),
            ("other.log", beats(60).replace("v-1", "v-2")),
            ("worker.log", worker.to_owned()),
        ];
        let sources = sources.iter().map(|(name, text)| (*name, text.as_bytes()));
        let sources = Sources::from_texts(sources).unwrap();
        let report = analyze(&sources, &Options::default(), &|_| ());
        (answer(&report), report.input.incomplete.len())
    };
    assert_eq!(outcome(&worker), ("vllm/v-1 crash Failed".to_owned(), 0));
    let (answer, incomplete) = outcome(&format!("{worker}2025-11-22T08:30:30.1"));
    assert!(!answer.contains("crash") && incomplete == 1, "{answer}");
}

#[test]
fn failures_caused_by_a_dead_worker() {
    // v-0 logs last at 10.02, and all other processes go on.
    let dead = "10.02 vllm/v-0 6 3<2 start decode";
    for (rule, case, expected) in [
        (
            "a span lost with its process",
            &[
                "10 frontend/f 7 1 start receive",
                "10.01 router/r 7 2<1 start dispatch {worker_id=v-0}",
                "10.02 vllm/v-0 7 3<2 start decode",
                "10.8 router/r 7 2<1 fail dispatch {} Internal: stream ended before generation completed",
                "10.9 frontend/f 7 1 fail receive {} Internal: request failed",
            ][..],
            "vllm/v-0 crash Failed",
        ),
        (
            "a call refused by a dead process",
            &[
                dead,
                "12 frontend/f 7 1 start receive",
                "12.1 router/r 7 2<1 start dispatch {worker_id=v-0}",
                "12.2 router/r 7 2<1 fail dispatch {} CannotConnect: connection refused",
                "12.3 frontend/f 7 1 fail receive {} Unavailable: no worker",
            ],
            "vllm/v-0 crash Failed",
        ),
        (
            "a callee that never accepted the call",
            &[
                dead,
                "12 frontend/f 7 1 start receive",
                "12.1 router/r 7 2<1 start dispatch {worker_id=v-0}",
            ],
            "vllm/v-0 crash Failed",
        ),
        (
            "of two callees, the last one, which did not respond",
            &[
                "10.02 vllm/v-0 6 3<2 start decode",
                "12 frontend/f 7 1 start receive",
                "12.1 router/r 7 2<1 state dispatch {worker_id=p-0}",
                "12.11 prefill/p-0 7 4<2 start prefill",
                "12.15 prefill/p-0 7 4<2 end prefill",
                "12.2 router/r 7 2<1 state dispatch {worker_id=v-0}",
                "12.3 router/r 7 2<1 fail dispatch {} CannotConnect: connection refused",
                "12.4 frontend/f 7 1 fail receive {} Unavailable: no worker",
            ],
            "vllm/v-0 crash Failed",
        ),
        (
            "an unrelated error is not attributed to a dead process",
            &[
                dead,
                "12 frontend/f 7 1 start receive",
                "12.1 router/r 7 2<1 start dispatch",
                "12.2 router/r 7 2<1 fail dispatch {} Internal: index out of bounds",
                "12.3 frontend/f 7 1 fail receive {} Internal: request failed",
            ],
            "router/r error Failed",
        ),
    ] {
        let report = report(case, false);
        assert_eq!(answer(&report), expected, "{rule}");
    }
}

/// Returns the answer, and the rule that decided.
fn answer_and_rule(report: &Report) -> String {
    let flow =
        report.flow_failures.iter().find(|failure| failure.flow_id.ends_with("000000000007"));
    let cause = flow.and_then(|flow| {
        report.failures.iter().find(|failure| failure.fingerprint == flow.fingerprint)
    });
    let rule = cause.map_or("-", |cause| cause.why.rule.as_str());
    format!("{} by {rule}", answer(report))
}

/// Each rule decides its positive example, does not decide a similar one, and does not decide one
/// with what contradicts it.
#[test]
fn each_rule_has_a_positive_example_a_near_miss_and_a_counterexample() {
    let opened = [
        "10 frontend/f 7 1 start receive",
        "10.01 router/r 7 2<1 start dispatch {worker_id=v-0}",
        "10.02 vllm/v-0 7 3<2 start decode",
    ];
    // The lines, outside any flow, of a process that logs all the time.
    let active = |who: &str| -> Vec<String> {
        (0..59)
            .flat_map(|at| [100, 600].map(|ms| {
                format!("2025-11-22T08:00:{at:02}.{ms}000Z  INFO {who} - - - sample - {{open_fds=30}}")
            }))
            .collect()
    };
    // A worker that is killed when no flow is open, and starts again at 40 s.
    let killed = [
        "2025-11-22T08:00:05.000000Z  INFO vllm/v-0 - - - process start {pid=7}",
        "8 vllm/v-0 6 63 start free",
        "8.1 vllm/v-0 6 63 end free",
        "2025-11-22T08:00:40.000000Z  INFO vllm/v-0 - - - process start {pid=7}",
    ];
    let unreachable = |at: u32| {
        format!(
            "2025-11-22T08:00:{at:02}.500000Z ERROR dynamo_runtime::transports::etcd::lease: Unable to maintain lease. Check etcd server status"
        )
    };
    let etcd: Vec<String> = (9..59).map(unreachable).collect();
    let refused = |message: &str| -> Vec<String> {
        vec![
            "12 frontend/f 7 1 start receive".to_owned(),
            "12.1 router/r 7 2<1 start dispatch".to_owned(),
            format!("12.2 router/r 7 2<1 fail dispatch {{}} {message}"),
            "12.3 frontend/f 7 1 fail receive {} Internal: request failed".to_owned(),
        ]
    };
    let timeout = [
        "10 frontend/f 7 1 start receive",
        "10.01 router/r 7 2<1 start dispatch",
        "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
        "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
    ];
    let owned =
        |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let with = |lines: &[&str]| -> Vec<String> { [owned(&opened), owned(lines)].concat() };
    let mut wrong = Vec::new();
    for (case, lines, served_to_the_end, expected) in [
        (
            "reported_failure",
            with(&[
                "10.3 vllm/v-0 7 3<2 fail decode {} Internal: CUDA out of memory",
                "10.4 router/r 7 2<1 fail dispatch {} Unavailable: worker failed",
                "10.5 frontend/f 7 1 fail receive {} Internal: request failed",
            ]),
            true,
            "vllm/v-0 error Failed by reported_failure",
        ),
        (
            "reported_failure, near miss: the error was handled",
            with(&[
                "10.2 vllm/v-0 7 3<2 state decode {} Disconnected: kv events, reconnected",
                "10.3 vllm/v-0 7 3<2 end decode",
                "10.4 router/r 7 2<1 end dispatch",
                "10.5 frontend/f 7 1 end receive",
            ]),
            true,
            "ok by -",
        ),
        (
            "reported_failure, counterexample: a callee failed before",
            with(&[
                "10.1 nixl/n-0 7 4<3 start transfer",
                "10.2 nixl/n-0 7 4<3 fail transfer {} BackendProtocol: no memory region",
                "10.3 vllm/v-0 7 3<2 fail decode {} Internal: CUDA out of memory",
                "10.4 router/r 7 2<1 fail dispatch {} Unavailable: worker failed",
                "10.5 frontend/f 7 1 fail receive {} Internal: request failed",
            ]),
            true,
            "nixl/n-0 error Failed by reported_failure",
        ),
        (
            "lost_by_caller",
            with(&[
                "16 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
                "16.01 router/r 7 2<1 cancel dispatch {} abandoned: dropped without an end",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
            ]),
            true,
            "vllm/v-0 hang Failed by lost_by_caller",
        ),
        (
            "lost_by_caller, near miss: the callee was active",
            with(&[
                "12 vllm/v-0 7 3<2 state decode",
                "15.9 vllm/v-0 7 3<2 state decode",
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 vllm/v-0 7 3<2 cancel decode {} abandoned: dropped without an end",
                "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
            ]),
            true,
            "router/r error Failed by reported_failure",
        ),
        (
            "lost_by_caller, counterexample: the callee had ended",
            with(&[
                "10.3 vllm/v-0 7 3<2 end decode",
                "16 router/r 7 2<1 fail dispatch {} ResponseTimeout: no answer within 6 s",
                "16.1 frontend/f 7 1 fail receive {} ResponseTimeout: no answer within 6 s",
            ]),
            true,
            "router/r error Failed by reported_failure",
        ),
        ("outlasted_peers", with(&[]), true, "vllm/v-0 hang Failed by outlasted_peers"),
        (
            "outlasted_peers, near miss: the client left, and the callee acknowledged that",
            with(&[
                "18 frontend/f 7 1 cancel receive {} Cancelled: client disconnected",
                "18.01 router/r 7 2<1 cancel dispatch",
                "18.02 vllm/v-0 7 3<2 cancel decode",
            ]),
            true,
            "cancelled by -",
        ),
        (
            "outlasted_peers, counterexample: another span took as long",
            with(&[
                "5 frontend/f 8 81 start receive",
                "5.01 router/r 8 82<81 start dispatch",
                "5.02 vllm/v-0 8 83<82 start decode",
                "57.8 vllm/v-0 8 83<82 end decode",
                "57.9 router/r 8 82<81 end dispatch",
                "58 frontend/f 8 81 end receive",
            ]),
            true,
            "unfinished by -",
        ),
        (
            "silent_process",
            with(&[
                "10.8 router/r 7 2<1 fail dispatch {} Internal: stream ended before generation completed",
                "10.9 frontend/f 7 1 fail receive {} Internal: request failed",
            ]),
            false,
            "vllm/v-0 crash Failed by silent_process",
        ),
        (
            "silent_process, near miss: a client that leaves at once",
            with(&["10.3 frontend/f 7 1 cancel receive {} Cancelled: client disconnected"]),
            false,
            "cancelled by -",
        ),
        (
            "silent_process, counterexample: the process shut down",
            [
                with(&[
                    "10.8 router/r 7 2<1 fail dispatch {} Internal: index out of bounds",
                    "10.9 frontend/f 7 1 fail receive {} Internal: request failed",
                    "10.3 vllm/v-0 7 3<2 end decode",
                ]),
                owned(&["2025-11-22T08:00:10.400000Z  INFO vllm/v-0 - - - process stop {pid=7}"]),
            ]
            .concat(),
            false,
            "router/r error Failed by reported_failure",
        ),
        (
            "recorded_kill",
            [
                with(&[
                    "10.8 router/r 7 2<1 fail dispatch {} Internal: stream ended before generation completed",
                    "10.9 frontend/f 7 1 fail receive {} Internal: request failed",
                ]),
                owned(&["2025-11-22T08:00:12.000000Z  INFO vllm/v-0 - - - process start {pid=7}"]),
            ]
            .concat(),
            true,
            "vllm/v-0 crash Failed by recorded_kill",
        ),
        (
            "recorded_kill, near miss: it started before the call",
            [
                with(&["10.3 vllm/v-0 7 3<2 fail decode {} Internal: CUDA out of memory"]),
                owned(&[
                    "10.5 frontend/f 7 1 fail receive {} Internal: request failed",
                    "2025-11-22T08:00:09.000000Z  INFO vllm/v-0 - - - process start {pid=7}",
                ]),
            ]
            .concat(),
            true,
            "vllm/v-0 error Failed by reported_failure",
        ),
        (
            "recorded_kill, counterexample: the call was over",
            [
                with(&[
                    "10.3 vllm/v-0 7 3<2 end decode",
                    "10.4 router/r 7 2<1 end dispatch",
                    "10.5 frontend/f 7 1 end receive",
                ]),
                owned(&["2025-11-22T08:00:12.000000Z  INFO vllm/v-0 - - - process start {pid=7}"]),
            ]
            .concat(),
            true,
            "ok by -",
        ),
        (
            "named_outage",
            [owned(&killed), refused("Internal: engine v-0 rejected the call")].concat(),
            false,
            "vllm/v-0 crash Failed by named_outage",
        ),
        (
            "named_outage, near miss: the replica is not named",
            [
                owned(&killed),
                active("vllm/v-1"),
                refused("Unavailable: no ready worker for model tiny"),
            ]
            .concat(),
            false,
            "router/r error Failed by reported_failure",
        ),
        (
            "named_outage, counterexample: the named replica is alive",
            [active("vllm/v-0"), refused("Internal: engine v-0 rejected the call")].concat(),
            true,
            "router/r error Failed by reported_failure",
        ),
        (
            "no_instance_left",
            [owned(&killed), refused("Unavailable: no ready worker for model tiny")].concat(),
            false,
            "vllm/v-0 crash Failed by no_instance_left",
        ),
        (
            "no_instance_left, near miss: the failure is no loss",
            [owned(&killed), refused("Internal: radix tree index corrupt")].concat(),
            false,
            "router/r error Failed by reported_failure",
        ),
        (
            "no_instance_left, counterexample: another instance is alive",
            [
                owned(&killed),
                active("vllm/v-1"),
                refused("Disconnected: stream ended before the first token"),
            ]
            .concat(),
            false,
            "router/r error Failed by reported_failure",
        ),
        (
            "connection_refused",
            [
                owned(&killed),
                active("vllm/v-1"),
                refused("CannotConnect: http://10.0.0.7:8000/decode: client error (Connect)"),
            ]
            .concat(),
            false,
            "vllm/v-0 crash Failed by connection_refused",
        ),
        (
            "connection_refused, near miss: it connects to another component",
            [
                owned(&killed),
                active("vllm/v-1"),
                refused("CannotConnect: failed to connect to nats"),
            ]
            .concat(),
            false,
            "nats/- run Failed by named_outage",
        ),
        (
            "connection_refused, counterexample: the process was alive",
            [
                active("vllm/v-0"),
                active("vllm/v-1"),
                refused("CannotConnect: http://10.0.0.7:8000/decode: client error (Connect)"),
            ]
            .concat(),
            true,
            "router/r error Failed by reported_failure",
        ),
        (
            "silent_callee",
            [active("vllm/v-1"), owned(&timeout)].concat(),
            true,
            "vllm/v-0 hang Failed by silent_callee",
        ),
        (
            "silent_callee, near miss: its own error",
            [
                active("vllm/v-1"),
                refused("ResourceExhausted: admission queue full"),
            ]
            .concat(),
            true,
            "router/r error Failed by reported_failure",
        ),
        (
            "silent_callee, counterexample: the callee was active",
            [active("vllm/v-0"), active("vllm/v-1"), active("router/r"), owned(&timeout)].concat(),
            true,
            "router/r error Failed by reported_failure",
        ),
        (
            "shared_dependency",
            [etcd.clone(), active("vllm/v-0"), refused("Unavailable: gave up")].concat(),
            true,
            // The rule of the cause is the one that recognized the outage.
            "etcd/- run Failed by etcd_unreachable",
        ),
        (
            "shared_dependency, near miss: the failure is no loss",
            [etcd.clone(), refused("Internal: radix tree index corrupt")].concat(),
            false,
            "router/r error Failed by reported_failure",
        ),
        (
            "shared_dependency, counterexample: other flows were served",
            [
                etcd,
                served(11.0, 61),
                served(11.6, 62),
                served(13.0, 63),
                refused("Unavailable: gave up"),
            ]
            .concat(),
            true,
            "router/r error Failed by reported_failure",
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = answer_and_rule(&report(&lines, served_to_the_end));
        if found != expected {
            wrong.push(format!("{case}: expected {expected}, found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
