//! Logs of programs that nobody taught: they are read and counted, never called healthy without
//! evidence, and what is unusual in them is ranked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fmt::Write as _;

use flowlog_analyze::profile::Profile;
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze, profile_run};
use flowlog_schema::Time;
use flowlog_schema::report::{FailureKind, Report, RunOutcome};

/// Three services of a shop, each with a logger of its own, and what goes wrong in one of them.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// `payments` reports an error and answers it.
    Error,
    /// `payments` takes a long time.
    Slow,
    /// `payments` returns early and logs nothing more.
    EndsEarly,
    /// `payments` logs nothing more, and its caller times out.
    Dead,
}

/// Simulates requests from `gateway` to `orders` to `payments`. Every run has background errors of
/// `orders`.
fn run(seed: u64, fault: Fault) -> Sources {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut gateway, mut orders, mut payments) = (String::new(), String::new(), String::new());
    let mut now: i64 = 1_763_800_000_000_000_000;
    for request in 0..300 {
        now += random.i64(150_000_000..250_000_000);
        let mut at = now;
        let mut step = |millis: std::ops::Range<i64>, random: &mut fastrand::Rng| {
            at += random.i64(millis.start * 1_000_000..millis.end * 1_000_000);
            at
        };
        let trace = format!("{:032x}", random.u128(1..));
        let span = format!("{:016x}", random.u64(1..));
        let is_hit = fault != Fault::None && request >= 120 && request % 3 != 0;
        let is_dead = fault == Fault::Dead && request >= 120;
        let amount = random.u32(1..900);
        let text = |ns: i64| Time(ns).to_string();
        let t = step(1..3, &mut random);
        let _ = writeln!(
            gateway,
            r#"{{"level":30,"time":{},"name":"gateway","trace_id":"{trace}","msg":"request started"}}"#,
            t / 1_000_000
        );
        let spring = |ns: i64, level: &str, words: &str| {
            let stamp = text(ns);
            let stamp = format!("{} {}", &stamp[..10], &stamp[11..23]);
            format!(
                "{stamp} {level:>5} [orders,{trace},{span}] 1 --- [exec-{}] c.s.o.Orders : {words}\n",
                request % 7
            )
        };
        orders.push_str(&spring(
            step(1..4, &mut random),
            "INFO",
            &format!("placing order of {amount} cents"),
        ));
        if request % 25 == 0 {
            orders.push_str(&spring(
                step(1..2, &mut random),
                "ERROR",
                "statsd is gone: connection reset",
            ));
        }
        let mut pay = |ns: i64, level: &str, words: &str| {
            let _ = writeln!(
                payments,
                "{} [{level}] payments - TraceID: {trace} SpanID: {span} {words}",
                text(ns)
            );
        };
        if !is_dead {
            pay(step(1..4, &mut random), "INFO", &format!("charging {amount} cents"));
            if fault == Fault::Slow && is_hit {
                step(300..500, &mut random);
            }
            if !(fault == Fault::EndsEarly && is_hit) {
                if fault == Fault::Error && is_hit {
                    pay(
                        step(5..9, &mut random),
                        "ERROR",
                        &format!("LedgerError: cannot book {amount} cents"),
                    );
                } else {
                    pay(step(5..9, &mut random), "INFO", "booked in the ledger");
                }
                pay(step(1..3, &mut random), "INFO", "charge answered");
            }
        }
        if is_dead {
            orders.push_str(&spring(
                step(2_000..2_001, &mut random),
                "ERROR",
                "call to payments timed out",
            ));
        }
        orders.push_str(&spring(step(1..4, &mut random), "INFO", "order done"));
        let t = step(1..3, &mut random);
        let _ = writeln!(
            gateway,
            r#"{{"level":30,"time":{},"name":"gateway","trace_id":"{trace}","msg":"request completed"}}"#,
            t / 1_000_000
        );
    }
    Sources::from_texts([
        ("gateway-7d9f8b6c5d-x2x4z.log", gateway.as_bytes()),
        ("orders-5f6d8c7b94-k9w2p.log", orders.as_bytes()),
        ("payments-6c5b4d7f88-zzx5c.log", payments.as_bytes()),
    ])
    .unwrap()
}

fn baselines() -> Vec<Profile> {
    let profile = |seed| profile_run(&run(seed, Fault::None), &Options::default(), &|_| ());
    vec![profile(1), profile(2)]
}

fn judge(sources: &Sources, has_failed: bool, baselines: Vec<Profile>) -> Report {
    let options = Options { has_failed, baselines, ..Options::default() };
    analyze(sources, &options, &|_| ())
}

#[test]
fn a_fault_in_an_unknown_service_is_found_by_comparison_with_good_runs() {
    for (fault, reason) in [
        (Fault::Error, "an error that the baseline does not have"),
        (Fault::Slow, "takes longer"),
        (Fault::EndsEarly, "as never in the baseline"),
        (Fault::Dead, "payments"),
    ] {
        for seed in [11, 12, 13] {
            let report = judge(&run(seed, fault), true, baselines());
            let verdict = &report.verdict;
            assert_eq!(verdict.component.as_deref(), Some("payments"), "{reason}: {verdict:?}");
            let reasons = &report.suspects[0].reasons;
            assert!(reasons.iter().any(|found| found.contains(reason)), "{reason}: {reasons:?}");
            assert!(verdict.confidence < 0.9, "{reason}");
            assert!(!verdict.evidence.is_empty(), "{reason}");
        }
    }
}

#[test]
fn a_slow_component_is_a_failure_by_itself() {
    let report = judge(&run(21, Fault::Slow), false, baselines());
    assert_eq!(report.verdict.outcome, RunOutcome::Failed, "{:?}", report.verdict);
    assert_eq!(report.failures[0].kind, FailureKind::Slow);
    assert_eq!(report.failures[0].why.rule, "slower_than_baseline");
}

#[test]
fn good_runs_never_fail() {
    for seed in 31..36 {
        let sources = run(seed, Fault::None);
        let alone = judge(&sources, false, Vec::new());
        assert_ne!(alone.verdict.outcome, RunOutcome::Failed, "{:?}", alone.verdict);
        let compared = judge(&sources, false, baselines());
        assert_eq!(compared.verdict.outcome, RunOutcome::Healthy, "{:?}", compared.suspects);
        // Steady background errors are known, and say so.
        let orders = alone.suspects.iter().find(|suspect| suspect.component == "orders").unwrap();
        assert!(orders.score < 0.3, "{orders:?}");
    }
}

#[test]
fn a_saved_profile_compares_as_the_logs_do() {
    let text = baselines()[0].to_json().unwrap();
    assert!(Profile::is_profile(text.as_bytes()));
    assert_eq!(Profile::from_json(&text).unwrap(), baselines()[0]);
    assert!(!text.contains("Bearer"));
    let error = Profile::from_json(&text.replace("\"version\":1", "\"version\":9")).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
    assert!(Profile::from_json("{}").is_err());
}

#[test]
fn lines_of_unknown_programs_are_read_and_counted() {
    let sources = run(41, Fault::None);
    let report = judge(&sources, false, Vec::new());
    let formats = &report.input.formats;
    assert_eq!(formats["unrecognised"], 0, "{formats:?}");
    assert_eq!(formats.values().sum::<u64>(), report.input.lines);
    assert!(formats["json"] > 0 && formats["generic"] > 0, "{formats:?}");
    assert!(report.input.first.is_some() && report.input.last > report.input.first);
}

#[test]
fn an_export_and_otlp_are_read() {
    let csv = "\"Time\",\"pod\",\"level\",\"Line\"\n\
               \"2025-11-22T08:27:15Z\",\"cart-7d9f8b6c5d-x2x4z\",\"error\",\"boom, \"\"x\"\"\nat f\"\n\
               \"2025-11-22T08:27:16Z\",\"cart-7d9f8b6c5d-x2x4z\",\"info\",\"up\"\n";
    let otlp = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"GET /cart","startTimeUnixNano":"1763800035705000000","endTimeUnixNano":"1763800036705000000","status":{"code":2,"message":"boom"}},{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b8","parentSpanId":"00f067aa0ba902b7","name":"SELECT","startTimeUnixNano":"1763800035805000000","endTimeUnixNano":"1763800036605000000","status":{"code":2,"message":"no such table"}}]}]}]}"#;
    let sources = Sources::from_texts([("export.csv", csv.as_bytes())]).unwrap();
    let report = judge(&sources, true, Vec::new());
    assert_eq!(report.verdict.component.as_deref(), Some("cart"), "{:?}", report.suspects);
    let sources = Sources::from_texts([("otlp.json", otlp.as_bytes())]).unwrap();
    let report = judge(&sources, false, Vec::new());
    assert_eq!((report.flows.total, report.flows.failed), (1, 1), "{:?}", report.verdict);
    assert_eq!(report.verdict.component.as_deref(), Some("cart"));
    assert_eq!(report.failures[0].state.as_deref(), Some("SELECT"));
}

#[test]
fn a_job_whose_log_was_cut_is_not_healthy() {
    let job = "2025-11-22T08:27:15.123456Z 00O INFO:     Started server process [7]\n\
               2025-11-22T08:27:16.123456Z 00O INFO:     Application startup complete.\n";
    let cut = format!("{job}\u{1b}[0;33mJob's log exceeded limit of 4194304 bytes.\n");
    for (text, outcome, incomplete) in
        [(job, RunOutcome::Healthy, 0), (cut.as_str(), RunOutcome::Inconclusive, 1)]
    {
        let sources = Sources::from_texts([("job.log", text.as_bytes())]).unwrap();
        let report = judge(&sources, false, Vec::new());
        assert_eq!(report.verdict.outcome, outcome, "{text}");
        assert_eq!(report.input.incomplete.len(), incomplete, "{text}");
    }
}

#[test]
fn the_earlier_part_of_a_run_is_its_baseline() {
    // The fault begins after 120 of 300 requests.
    let report = judge(&run(7, Fault::Slow), true, Vec::new());
    assert_eq!(report.verdict.component.as_deref(), Some("payments"), "{:?}", report.suspects);
    assert!(report.suspects[0].reasons[0].contains("earlier in the run"), "{:?}", report.suspects);
}

#[test]
fn a_root_cause_is_named() {
    let log = "2025-11-22 08:27:15 INFO [main] a.b.Cart : up\n\
               2025-11-22 08:27:16 ERROR [main] a.b.Cart : no cart\na.b.CartException: no cart\n\
               \tat a.b.Cart.get(Cart.java:7)\nCaused by: java.net.ConnectException: refused\n\t... 7 more\n";
    let sources = Sources::from_texts([("cart.log", log.as_bytes())]).unwrap();
    let report = judge(&sources, true, Vec::new());
    let reason = &report.suspects[0].reasons[0];
    assert!(reason.ends_with("(root cause: java.net.ConnectException: refused)"), "{reason}");
}

#[test]
fn a_run_that_failed_is_never_called_healthy() {
    for text in ["", "hello\n", "INFO all is well\n"] {
        let sources = Sources::from_texts([("input.log", text.as_bytes())]).unwrap();
        let outcome = |has_failed| judge(&sources, has_failed, Vec::new()).verdict.outcome;
        assert_eq!(outcome(true), RunOutcome::Failed, "{text}");
        assert_eq!(outcome(false), RunOutcome::Inconclusive, "{text}");
    }
}

#[test]
fn no_secret_reaches_a_report() {
    let secrets = [
        ("token", "Authorization: Bearer ", "abcdefghijklmnop1234"),
        ("env", "HF_TOKEN=", "hf_ABCDEFGHIJKLMNOP1234"),
        ("openai", "key ", "sk-proj-abcdefghijklmnopqrst1234"),
        ("aws", "using ", "AKIAIOSFODNN7EXAMPLE"),
        ("url", "postgres://app:", "hunter22"),
        ("cookie", "Cookie: session=", "qwertyuiop12"),
        ("jwt", "jwt ", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF-_123"),
    ];
    for (name, before, secret) in secrets {
        let after = if name == "url" { "@db/x" } else { "" };
        for log in [
            format!("2025-11-22 08:27:15 ERROR cart: no access with {before}{secret}{after}\n"),
            format!("{{\"level\":\"error\",\"msg\":\"no access with {before}{secret}{after}\"}}\n"),
            format!("ERROR 11-22 08:27:15 [core.py:7] RuntimeError: {before}{secret}{after}\n"),
        ] {
            let sources = Sources::from_texts([("cart.log", log.as_bytes())]).unwrap();
            let report = judge(&sources, true, Vec::new());
            let json = serde_json::to_string(&report).unwrap();
            assert!(!json.contains(secret), "{name} in {json}");
            let profile = profile_run(&sources, &Options::default(), &|_| ()).to_json().unwrap();
            assert!(!profile.contains(secret), "{name} in {profile}");
        }
    }
}
