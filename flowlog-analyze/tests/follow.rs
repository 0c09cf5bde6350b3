//! Followed logs, pipes that are read while they are written, and kubectl. Starts real processes,
//! and therefore requires the `integration` feature.
#![cfg(feature = "integration")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use flowlog_simulator::{LogFormat, simulate};

const ANALYZE: &str = env!("CARGO_BIN_EXE_flowlog-analyze");
const KUBECTL: &str = env!("CARGO_BIN_EXE_kubectl-flowlog");

/// Longer than any step here takes: a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(30);

fn failure(state: &str, flow: u8) -> String {
    format!(
        "router/r-0 - 019aaaac-a5da-7347-bb80-1089c18761{flow:02x} - fail {state} {{router@0.7.0}} Internal: boom\n"
    )
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Returns the child's lines on standard output, as they arrive.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn interrupt(child: &Child) {
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
}

fn wait_for(lines: &Receiver<String>, part: &str) -> String {
    loop {
        let line = lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("no line contains `{part}`"));
        if line.contains(part) {
            return line;
        }
    }
}

fn follow(arguments: &[&str]) -> Child {
    let mut command = Command::new(ANALYZE);
    command
        .arg("--follow")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_log_is_followed_through_late_creation_rotation_and_truncation() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("router.log");
    let mut child = follow(&[log.to_str().unwrap()]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut found = String::new();
    stderr.read_line(&mut found).unwrap();
    assert!(found.contains("waiting for `"), "{found}");
    let lines = lines_of(&mut child);
    append(&log, &failure("one", 1));
    let found = wait_for(&lines, "failed in one");
    assert!(
        found.contains("router (r-0) failed in one: Internal: boom")
            && found.contains("router.log"),
        "{found}"
    );
    // The last line has no line feed yet when the log is rotated.
    append(&log, failure("two", 2).trim_end());
    fs::rename(&log, folder.path().join("router.log.1")).unwrap();
    append(&log, &failure("three", 3));
    wait_for(&lines, "failed in two");
    wait_for(&lines, "failed in three");
    // Shorter than what was read, so the truncation shows even if it is seen late.
    fs::write(&log, "").unwrap();
    append(&log, &failure("four", 4));
    wait_for(&lines, "failed in four");
    interrupt(&child);
    wait_for(&lines, "4 of 4 flows failed");
    wait_for(&lines, "flowlog_text 4");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn new_logs_in_a_folder_are_followed_once() {
    let folder = tempfile::tempdir().unwrap();
    append(&folder.path().join("a.log"), &failure("one", 1));
    let mut child = follow(&["--no-progress", folder.path().to_str().unwrap()]);
    let lines = lines_of(&mut child);
    wait_for(&lines, "failed in one");
    // `a.log.1` has the name of a rotated `a.log`, so it is not read.
    append(&folder.path().join("b.log"), &failure("two", 2));
    append(&folder.path().join("a.log.1"), &failure("none", 9));
    wait_for(&lines, "failed in two");
    // A line is final after a quiet period, and later lines are still read. On a slow machine this
    // only takes longer.
    std::thread::sleep(Duration::from_millis(1500));
    append(&folder.path().join("b.log"), &failure("three", 3));
    wait_for(&lines, "failed in three");
    interrupt(&child);
    wait_for(&lines, "3 of 3 flows failed");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn following_a_pipe_ends_with_the_report() {
    let mut child = follow(&["--format", "json"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stdin.write_all((failure("one", 1) + &failure("one", 1)).as_bytes()).unwrap();
    let mut alert = String::new();
    stderr.read_line(&mut alert).unwrap();
    assert!(alert.contains("router (r-0) failed in one"), "{alert}");
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "each kind of error is reported once");
    let output = child.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["input"]["lines"], &report["verdict"]["component"]),
        (&2.into(), &"router".into())
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_pipe_and_a_file_give_the_same_report() {
    let cluster = simulate(&flowlog_simulator::Options {
        seed: 5,
        flows: 3_000,
        format: LogFormat::Mixed,
        ..Default::default()
    });
    let all: Vec<u8> = cluster.logs.into_iter().flat_map(|(_, bytes)| bytes).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.log");
    fs::write(&file, &all).unwrap();
    let report = |command: &mut Command| {
        let output = command.args(["--format", "json"]).stdout(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.replace(file.to_str().unwrap(), "-")
    };
    let expected = report(Command::new(ANALYZE).arg(&file));
    assert!(expected.contains("\"outcome\": \"failed\""));
    for follow in [&["-"][..], &["--follow"]] {
        assert!(
            report(Command::new(ANALYZE).args(follow).stdin(fs::File::open(&file).unwrap()))
                == expected,
            "{follow:?}"
        );
        // The same input, in small pieces.
        let slow = Command::new("sh")
            .args(["-c", "dd bs=70000 status=none"])
            .stdin(fs::File::open(&file).unwrap())
            .stdout(Stdio::piped())
            .spawn();
        assert!(
            report(Command::new(ANALYZE).args(follow).stdin(slow.unwrap().stdout.unwrap()))
                == expected,
            "{follow:?} slowly"
        );
    }
}

/// Creates a fake kubectl that records its arguments.
fn fake_kubectl(folder: &Path, script: &str) -> String {
    let path = folder.join("kubectl");
    fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> {}/asked\n{script}\n", folder.display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn kubectl(arguments: &[&str]) -> Output {
    Command::new(KUBECTL).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn kubectl_fetches_the_logs_of_pods() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "case \"$*\" in\n*--previous*) exit 1;;\nlogs*) printf '[pod/router-0/main] 2025-11-22T08:27:15.000000Z %s\\n' '{}';;\nesac",
        failure("one", 1).trim_end()
    );
    let program = fake_kubectl(folder.path(), &script);
    let output = kubectl(&["-n", "dynamo", "-l", "app=x", "--since", "2h", "--kubectl", &program]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("FAILED  router") && text.contains("kubectl logs:1"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    let main = asked
        .lines()
        .find(|line| line.starts_with("logs") && !line.contains("--previous"))
        .unwrap();
    for part in [
        "--namespace=dynamo",
        "--selector=app=x",
        "--all-containers",
        "--prefix",
        "--timestamps",
        "--since=2h",
        "--tail=-1",
    ] {
        assert!(main.split(' ').any(|word| word == part), "{part}: {main}");
    }
    assert!(
        asked.contains("--previous")
            && asked.contains("describe --namespace=dynamo pods --selector=app=x"),
        "{asked}"
    );
    let output = kubectl(&["router-0", "router-1", "-c", "main", "--kubectl", &program]);
    assert_eq!(output.status.code(), Some(1));
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert!(
        asked
            .lines()
            .any(|line| line.starts_with("logs router-1 ") && line.contains("--container=main")),
        "{asked}"
    );
}

#[test]
fn kubectl_failure_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let program = fake_kubectl(folder.path(), "echo 'error: no such context' >&2; exit 1");
    let output = kubectl(&["-l", "app=x", "--kubectl", &program]);
    let found = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{found}");
    assert!(
        found.contains("no such context")
            && found.contains("exit status: 1")
            && found.contains("no log could be read"),
        "{found}"
    );
    let output = kubectl(&["-l", "app=x", "--kubectl", "/no/such/kubectl"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to run `/no/such/kubectl`"));
    assert_eq!((output.status.code(), kubectl(&[]).status.code()), (Some(2), Some(2)));
}

#[test]
fn kubectl_follows_pods_that_start_later() {
    let folder = tempfile::tempdir().unwrap();
    // The first poll finds one pod, the second another, the third none.
    let script = format!(
        "cd {}\ncase \"$*\" in\n'get events'*|'get deployments'*) exit 1;;\nget*) echo x >> looks; case $(wc -l < looks) in 1) echo 'Running router-0 main=0';; 2) echo 'Running router-1 main=0';; esac;;\n\
         'logs router-1'*) echo '{}';;\n*--previous*|describe*) exit 1;;\nlogs*) echo '{}';;\nesac",
        folder.path().display(),
        failure("two", 2).trim_end(),
        failure("one", 1).trim_end()
    );
    let program = fake_kubectl(folder.path(), &script);
    let output = kubectl(&["-l", "app=x", "--follow", "--kubectl", &program]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["router (r-0) failed in one", "router (r-0) failed in two", "2 of 2 flows failed"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(output.status.code(), Some(1));
}
