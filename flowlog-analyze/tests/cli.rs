//! The command as users run it: streams, exit status, pipes. Starts real processes, and therefore
//! requires the `integration` feature.
#![cfg(feature = "integration")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const GOOD: &str =
    "router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - fail x {router@0.7.0} Internal: boom\n";

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/failed-run")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowlog-analyze"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn the_verdict_is_in_the_first_line() {
    let example = example();
    for arguments in [&["triage", example.to_str().unwrap()][..], &[example.to_str().unwrap()]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let first = stdout(&output).lines().next().unwrap();
        assert!(
            first.starts_with("FAILED  prefill (7532250978119109882) failed first:"),
            "{first}"
        );
        assert!(stdout(&output).contains("prefill-0.log:") && !stdout(&output).contains('\u{1b}'));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn json_and_markdown() {
    let example = example();
    let output = run(&["--format", "json", example.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["verdict"]["component"], &report["flows"]["failed"]),
        (&"prefill".into(), &10.into())
    );
    let output = run(&["triage", "--format", "markdown", example.to_str().unwrap()]);
    assert!(stdout(&output).starts_with("**failed**: prefill "), "{}", stdout(&output));
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    let example = example();
    let of = |threads| {
        run(&["--format", "json", "--threads", threads, example.to_str().unwrap()]).stdout
    };
    assert_eq!(of("1"), of("3"));
}

#[test]
fn time_window() {
    let example = example();
    let lines = |arguments: &[&str]| {
        let output = run(&[arguments, &["--format", "json", example.to_str().unwrap()]].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (report["input"]["lines"].as_u64(), stderr(&output).to_owned())
    };
    let (all, _) = lines(&[]);
    let (before, _) = lines(&["--until", "2100-01-01"]);
    let (after, found) = lines(&["--since", "2100-01-01 00:00"]);
    assert_eq!((all, after), (before, Some(0)));
    assert!(found.contains("no line matches --since"), "{found}");
    // No line is newer than a second, and none is older than a hundred years.
    assert_eq!((lines(&["--since", "1s"]).0, lines(&["--since", "36500d"]).0), (Some(0), all));
    let output = run(&["--since", "yesterday", example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`2025-11-22T08:27:15Z`"), "{}", stderr(&output));
}

#[test]
fn memory_limit() {
    let example = example();
    assert_eq!(run(&["--memory-limit", "256M", example.to_str().unwrap()]).status.code(), Some(1));
    let output = run(&["--memory-limit", "1M", example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected at least 128M"), "{}", stderr(&output));
}

#[test]
fn one_flow() {
    let example = example();
    let path = example.to_str().unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&run(&["--format", "json", path]).stdout).unwrap();
    let id = report["flow_failures"][0]["flow_id"].as_str().unwrap();
    let output = run(&["show", id, path]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("<-- first failure"), "{}", stdout(&output));
    let output = run(&["show", "no-such-flow", path]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("no flow has the flow, trace or request ID `no-such-flow`"));
}

#[test]
fn explanation_of_a_cause_and_of_a_flow() {
    let example = example();
    let path = example.to_str().unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&run(&["--format", "json", path]).stdout).unwrap();
    let fingerprint = report["failures"][0]["fingerprint"].as_str().unwrap();
    let flow = report["flow_failures"][0]["flow_id"].as_str().unwrap();
    for id in [fingerprint, flow] {
        let output = run(&["explain", id, path]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains("rule silent_process: docs/rules.md#silent_process"), "{text}");
        assert!(text.contains("logged nothing after"), "{text}");
        assert!(text.contains("Contradicted by"), "{text}");
        let output = run(&["explain", id, path, "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let why = &json["why"];
        assert_eq!((&json["id"], &why["rule"]), (&id.into(), &"silent_process".into()), "{json}");
        assert!(why["steps"].as_array().is_some_and(|steps| steps.len() > 2), "{why}");
    }
    let output = run(&["explain", "v1:0000000000000000", path]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("v1:0000000000000000"), "{}", stderr(&output));
    // Without a path, the message says what is missing.
    let output = run(&["explain", path]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn flow_and_component_filters() {
    let example = example();
    let path = example.to_str().unwrap();
    let report = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&run(&[&["--format", "json", path], arguments].concat()).stdout)
            .unwrap()
    };
    let all = report(&[]);
    let id = all["flow_failures"][0]["flow_id"].as_str().unwrap();
    let one = report(&["--flow", id]);
    assert_eq!(
        (&one["flows"]["total"], &one["flow_failures"][0]["flow_id"]),
        (&1.into(), &id.into())
    );
    let output = run(&["--flow", "no-such-flow", path]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(
        stderr(&output).contains("no flow has the flow, trace or request ID `no-such-flow`"),
        "{}",
        stderr(&output)
    );
    assert_eq!(run(&["--flow", id, "--follow", path]).status.code(), Some(2));
    let lines = |report: &serde_json::Value| report["input"]["lines"].as_u64().unwrap();
    assert!(lines(&report(&["--component", "Prefill"])) < lines(&all));
    let output = run(&["--component", "nobody", path]);
    assert!(stderr(&output).contains("no line matches --component"), "{}", stderr(&output));
    let output = run(&["lint", "--component", "prefill", path]);
    assert!(
        stdout(&output).contains("prefill") && !stdout(&output).contains("frontend"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_suspect_is_named_compared_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let good: String = (0..40)
        .map(|at| format!("2025-11-22 08:{at:02}:15 INFO [exec-1] c.s.cart.Cart : served {at}\n"))
        .collect();
    let bad = format!("{good}2025-11-22 08:41:15 ERROR [exec-1] c.s.cart.Cart : no such item 7\n");
    fs::create_dir(path("good")).unwrap();
    fs::create_dir(path("bad")).unwrap();
    fs::write(path("good/cart-7d9f8b6c5d-x2x4z.log"), &good).unwrap();
    fs::write(path("bad/cart-7d9f8b6c5d-x2x4z.log"), &bad).unwrap();
    let output = run(&[&path("bad")]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("INCONCLUSIVE") && text.contains("Suspects"), "{text}");
    let profile = run(&["profile", &path("good")]);
    assert_eq!(profile.status.code(), Some(0), "{}", stderr(&profile));
    fs::write(path("good.profile"), &profile.stdout).unwrap();
    for baseline in [path("good"), path("good.profile")] {
        let arguments = ["--failed", "--baseline", &baseline, &path("bad")];
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stdout(&output).contains("cart (cart-7d9f8b6c5d-x2x4z) is the best suspect"));
        let markdown = run(&[&["--format", "markdown"], &arguments[..]].concat());
        assert!(stdout(&markdown).contains("Suspects:"), "{}", stdout(&markdown));
        let json = run(&[&["--format", "json"], &arguments[..]].concat());
        let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let fingerprint = report["failures"][0]["fingerprint"].as_str().unwrap();
        let explained = run(&["explain", "--baseline", &baseline, fingerprint, &path("bad")]);
        assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
        assert!(stdout(&explained).contains("best_suspect"), "{}", stdout(&explained));
    }
    let compared = run(&["--baseline", &path("good"), &path("good")]);
    assert_eq!(compared.status.code(), Some(0), "{}", stdout(&compared));
    fs::write(path("old.profile"), "{\"schema\":\"flowlog.profile\",\"version\":0}").unwrap();
    let broken = run(&["--baseline", &path("old.profile"), &path("bad")]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(stderr(&broken).contains("old.profile"), "{}", stderr(&broken));
}

#[test]
fn standard_input() {
    for arguments in [&[][..], &["-"], &["triage", "-"]] {
        let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(GOOD.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stdout(&output).contains("-:1"), "{}", stdout(&output));
    }
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(3), "an empty input proves nothing: {}", stderr(&output));
}

#[test]
fn unreadable_input() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["/no/such/file.log"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
    assert!(stderr(&output).contains("`/no/such/file.log`: No such file"), "{}", stderr(&output));
    let output = run(&[folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "a folder with nothing readable");
    let output = run(&["--format", "yaml", "x"]);
    assert_eq!(output.status.code(), Some(2), "invalid arguments");
    // One readable file of two is enough.
    let good = folder.path().join("a.log");
    fs::write(&good, GOOD).unwrap();
    let output = run(&["/no/such/file.log", good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("Unread ") && stdout(&output).contains("/no/such/file.log"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn permission_denied() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (closed, open) = (folder.path().join("closed.log"), folder.path().join("open.log"));
    fs::write(&closed, GOOD).unwrap();
    fs::write(&open, GOOD).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read every file, so run the command as the user `nobody`, from a folder that this
    // user can read.
    let mut command = command(&["--format", "json", folder.path().to_str().unwrap()]);
    if fs::File::open(&closed).is_ok() {
        let copy = folder.path().join("flowlog-analyze");
        fs::copy(env!("CARGO_BIN_EXE_flowlog-analyze"), &copy).unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        for file in [&closed, &open] {
            fs::rename(file, logs.join(file.file_name().unwrap())).unwrap();
        }
        command = Command::new(copy);
        command
            .args(["--format", "json", logs.to_str().unwrap()])
            .stdin(Stdio::null())
            .uid(65_534)
            .gid(65_534);
    }
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["input"]["sources"], 1);
    assert!(
        report["input"]["read_errors"][0]["error"].as_str().unwrap().contains("ermission denied"),
        "{report}"
    );
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let mut child = command(&["--format", "json", example().to_str().unwrap()]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(output.status.code(), Some(1), "the verdict stands");
}

#[test]
fn help_and_version() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for word in ["triage", "flow", "--format", "Exit status"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    assert!(stdout(&run(&["--version"])).starts_with("flowlog-analyze 0."));
}

#[test]
fn owners_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("pics.md");
    fs::write(&table, "| Component | PIC |\n|---|---|\n| prefill | Ann |\n\n| CI Area | PIC |\n|---|---|\n| Test Fail | Bo |\n").unwrap();
    let (table, example) = (table.to_str().unwrap(), example());
    let output = run(&["--owners", table, example.to_str().unwrap()]);
    assert!(stdout(&output).contains("PIC     Ann (prefill)"), "{}", stdout(&output));
    let output = run(&["triage", "--format", "json", "--owners", table, example.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["verdict"]["owner"]["pic"], &report["failures"][0]["owner"]["component"]),
        (&"Ann".into(), &"prefill".into())
    );
    let output = run(&["owners", table]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "[component.prefill]\npic = \"Ann\"\n\n[area.test_fail]\ntitle = \"Test Fail\"\npic = \"Bo\"\n"
    );
    let output = run(&["owners", "--format", "markdown", table]);
    assert!(
        stdout(&output).starts_with("| Component | Point of Contact (PIC) |\n"),
        "{}",
        stdout(&output)
    );
    let output = run(&["--owners", "no-such-file", example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`no-such-file`"), "{}", stderr(&output));
}

#[test]
fn lint_exit_status_follows_the_threshold() {
    let example = example();
    let output = run(&["lint", example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).starts_with("PASSED  all 4 components"), "{}", stdout(&output));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("router.log");
    fs::write(&log, format!("{GOOD}bare words\n")).unwrap();
    let log = log.to_str().unwrap();
    for (arguments, code) in [
        (&["lint", log][..], 1),
        (&["lint", "--threshold", "10", log], 1),
        (&["lint", "--threshold", "0", log], 0),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", stdout(&output));
        assert!(stdout(&output).contains("lines without structure"), "{}", stdout(&output));
    }
    let output = run(&["lint", "--threshold", "101", log]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected a number from 0 to 100"), "{}", stderr(&output));
}

#[test]
fn archives_are_read_like_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("run.tar.gz");
    let examples = example().parent().unwrap().to_path_buf();
    let packed = Command::new("tar")
        .arg("czf")
        .arg(&archive)
        .arg("-C")
        .arg(examples)
        .arg("failed-run")
        .status()
        .unwrap();
    assert!(packed.success());
    let archive = archive.to_str().unwrap();
    let (plain, packed) = (
        run(&["--format", "json", example().to_str().unwrap()]),
        run(&["--format", "json", archive]),
    );
    assert_eq!(packed.status.code(), Some(1), "{}", stderr(&packed));
    let read =
        |output: &Output| serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    let (plain, packed) = (read(&plain), read(&packed));
    assert_eq!(
        (&packed["flows"], &packed["verdict"]["summary"]),
        (&plain["flows"], &plain["verdict"]["summary"])
    );
    let place = packed["verdict"]["evidence"][0]["source"].as_str().unwrap();
    assert_eq!(place, format!("{archive}/failed-run/prefill-0.log"));

    // The beginning of a truncated archive is read, and the damage is reported.
    let cut = folder.path().join("cut.gz");
    let gzip = Command::new("gzip").arg("-c").arg(example().join("frontend.log")).output().unwrap();
    fs::write(&cut, &gzip.stdout[..gzip.stdout.len() / 2]).unwrap();
    let output = run(&[cut.to_str().unwrap()]);
    assert!(
        stdout(&output).contains("1 source,") && stdout(&output).contains("damaged"),
        "{}",
        stdout(&output)
    );
}
