//! No secret of a known kind survives in any output, wherever it is in a line of any format.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use flowlog_analyze::render::{self, Output, Style};
use flowlog_analyze::source::Sources;
use flowlog_analyze::{Options, analyze, events, profile_run};
use proptest::prelude::*;

/// A text with a secret, and the secret.
fn secret() -> impl Strategy<Value = (String, String)> {
    let token = |prefix: &'static str, rest: &'static str| {
        rest.prop_map(move |rest| (format!("{prefix}{rest}"), format!("{prefix}{rest}")))
    };
    let after = |before: &'static str, value: &'static str| {
        value.prop_map(move |value| (format!("{before}{value}"), value))
    };
    prop_oneof![
        after("Authorization: Bearer ", "[A-Za-z][A-Za-z0-9]{19,40}"),
        after("Authorization: Basic ", "[A-Za-z][A-Za-z0-9]{19,30}"),
        after("using bearer ", "[A-Za-z][A-Za-z0-9]{19,40}"),
        after("HF_TOKEN=", "hf_[A-Za-z]{20,34}"),
        after("HUGGING_FACE_HUB_TOKEN=", "[A-Za-z][A-Za-z0-9]{19,34}"),
        after("AWS_SECRET_ACCESS_KEY=", "[A-Za-z][A-Za-z0-9/+]{38,39}"),
        after("password=", "[A-Za-z][A-Za-z0-9!$%*]{7,20}"),
        after("db_password: ", "[A-Z][a-z][0-9][A-Za-z0-9]{14,20}"),
        after("Cookie: session=", "[A-Za-z][A-Za-z0-9]{11,30}"),
        after("Set-Cookie: id=", "[A-Za-z][A-Za-z0-9]{11,30}"),
        token("sk-", "[A-Za-z0-9]{20,48}"),
        token("sk-proj-", "[A-Za-z0-9]{20,48}"),
        token("hf_", "[A-Za-z]{20,34}"),
        token("ghp_", "[A-Za-z0-9]{36}"),
        token("glpat-", "[A-Za-z0-9]{20}"),
        token("xoxb-", "[0-9]{10}-[A-Za-z0-9]{24}"),
        token("AKIA", "[A-Z0-9]{16}"),
        token("eyJ", "[A-Za-z0-9]{20,40}\\.eyJ[A-Za-z0-9]{20,40}\\.[A-Za-z0-9_-]{20,43}"),
        "[A-Za-z][A-Za-z0-9]{7,16}".prop_map(|password| {
            (format!("postgres://app:{password}@db-0:5432/shop"), password)
        }),
    ]
}

/// Text around the secret.
fn words() -> impl Strategy<Value = String> {
    "([a-z]{1,8} ){0,5}"
}

/// Returns a log with a message in a line of some format.
fn log(form: usize, message: &str) -> String {
    let quoted = serde_json::to_string(message).unwrap();
    match form {
        0 => format!("{message}\n"),
        1 => format!("2025-11-22 08:27:15,705 ERROR cart: {message}\n"),
        2 => {
            format!("{{\"level\":\"error\",\"time\":\"2025-11-22T08:27:15Z\",\"msg\":{quoted}}}\n")
        }
        3 => format!("time=2025-11-22T08:27:15Z level=error msg={quoted}\n"),
        4 => format!("2025-11-22T08:27:15.705274Z stderr F ERROR {message}\n"),
        5 => format!(
            "2025-11-22T08:27:15.705274Z ERROR router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - fail select {{span=24b5dddcfdbbee4f}} Unavailable: {message}\n"
        ),
        6 => format!(
            "ERROR 11-22 08:27:15 [core.py:7] EngineCore failed\nTraceback (most recent call last):\n  File \"/x/vllm/a.py\", line 7, in f\nRuntimeError: {message}\n"
        ),
        7 => format!(
            "2025-11-22 08:27:15 ERROR [main] a.B : boot failed\na.BException: x\n\tat a.B.c(B.java:7)\nCaused by: a.CException: {message}\n\t... 7 more\n"
        ),
        _ => format!(
            "\"Time\",\"Line\"\n\"2025-11-22T08:27:15Z\",\"ERROR {}\"\n",
            message.replace('"', "\"\"")
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_survives(
        (text, secret) in secret(), before in words(), after in words(), form in 0_usize..9,
    ) {
        let log = log(form, &format!("{before}{text} {after}"));
        let sources = Sources::from_texts([("cart.log", log.as_bytes())]).unwrap();
        let options = Options { has_failed: true, ..Options::default() };
        let report = analyze(&sources, &options, &|_| ());
        for output in [Output::Text, Output::Json, Output::Markdown] {
            let mut rendered = Vec::new();
            render::report(&report, output, Style::Never, &mut rendered).unwrap();
            let rendered = String::from_utf8(rendered).unwrap();
            prop_assert!(!rendered.contains(&secret), "{log}\n{rendered}");
        }
        let profile = profile_run(&sources, &options, &|_| ()).to_json().unwrap();
        prop_assert!(!profile.contains(&secret), "{log}\n{profile}");
        let mut rows = String::new();
        events(&sources, &options, &mut |events| {
            rows.push_str(&format!("{events:?}"));
            true
        });
        prop_assert!(!rows.contains(&secret), "{log}\n{rows}");
    }
}
