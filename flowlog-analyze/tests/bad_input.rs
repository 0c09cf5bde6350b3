//! Untrusted logs and folders: no input makes the analyzer fail, and everything is counted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics on an unexpected result")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use flowlog_analyze::source::{self, Sources};
use flowlog_analyze::{Options, analyze, lint_logs};
use flowlog_schema::report::{Report, RunOutcome};

const GOOD: &str = "2025-11-22T08:27:15.705274Z ERROR router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - fail x {router@0.7.0} Internal: boom\n";

fn read(sources: &Sources) -> Report {
    analyze(sources, &Options::default(), &|_| {})
}

fn read_text(text: &[u8]) -> Report {
    read(&Sources::from_texts([("a.log", text)]).unwrap())
}

#[test]
fn bytes_that_are_not_a_log() {
    let binary: Vec<u8> =
        (0..100_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let half = &GOOD[..GOOD.len() / 2];
    for text in [
        &b""[..],
        b"\n\n\n",
        b"\xff\xfe\x00",
        &binary,
        half.as_bytes(),
        b"{\"component\":\"a\",\"event\":\"fail\"",
    ] {
        let report = read_text(text);
        assert_eq!(report.verdict.outcome, RunOutcome::Inconclusive);
        assert_eq!(report.input.formats.values().sum::<u64>(), report.input.lines);
    }
    // The rest is still analyzed, and the problems are counted.
    let mixed = [
        binary.as_slice(),
        b"\n",
        GOOD.as_bytes(),
        b"2025-11-22T08:27:15.705274Z  INFO x.y: caf\xe9\n",
    ]
    .concat();
    let report = read_text(&mixed);
    assert_eq!(
        (report.verdict.outcome, report.verdict.component.as_deref()),
        (RunOutcome::Failed, Some("router"))
    );
    assert!(report.input.problems.invalid_utf8 > 0);
}

#[test]
fn a_line_of_a_hundred_megabytes() {
    let mut text = GOOD.as_bytes().to_vec();
    text.extend(std::iter::repeat_n(b'x', 100 << 20));
    text.push(b'\n');
    text.extend_from_slice(GOOD.as_bytes());
    let report = read_text(&text);
    assert_eq!(
        (report.input.lines, report.input.records, report.input.problems.truncated_lines),
        (3, 2, 1)
    );
    assert_eq!(report.verdict.outcome, RunOutcome::Failed);
}

#[test]
fn a_folder_of_links_loops_and_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), GOOD).unwrap();
    symlink(outside.path(), folder.path().join("link.log")).unwrap();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(folder.path().join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    fs::write(folder.path().join("empty.log"), "").unwrap();
    let sources = source::open(&[folder.path().to_path_buf()]);
    let report = read(&sources);
    assert_eq!((report.input.sources, report.input.read_errors.len()), (1, 3));
    assert_eq!(report.input.records, 0, "a link out of the folder is not followed");
    for (read_errors, why) in report.input.read_errors.iter().zip([
        "symbolic link",
        "symbolic link",
        "not a regular file",
    ]) {
        assert!(read_errors.error.contains(why), "{read_errors:?}");
    }
}

#[test]
fn a_deleted_file_and_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, gone) = (folder.path().join("a.log"), folder.path().join("b.log"));
    fs::write(&kept, GOOD).unwrap();
    fs::write(&gone, GOOD).unwrap();
    let sources = source::open(&[kept, gone.clone(), PathBuf::from("/no/such/file.log")]);
    fs::remove_file(gone).unwrap();
    let report = read(&sources);
    assert_eq!(
        (report.input.sources, report.input.records, report.input.read_errors.len()),
        (1, 1, 2)
    );
    assert_eq!(report.verdict.outcome, RunOutcome::Failed);
}

#[test]
fn a_pipe_without_a_writer_is_rejected_and_one_with_a_writer_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let sources = source::open(std::slice::from_ref(&pipe));
    assert!(
        sources.read.is_empty() && sources.read_errors[0].error.contains("pipe has no writer"),
        "{:?}",
        sources.read_errors
    );

    // Opens the pipe for reading as well, so that opening it for writing does not wait for the
    // reader.
    let writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let slow = std::thread::spawn(move || {
        use std::io::Write;
        for part in GOOD.as_bytes().chunks(40) {
            (&writer).write_all(part).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    let report = read(&source::open(&[pipe]));
    slow.join().unwrap();
    assert_eq!(report.input.records, 1);
}

#[test]
fn a_path_given_twice_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.log");
    fs::write(&file, GOOD).unwrap();
    let report = read(&source::open(&[file.clone(), file, folder.path().to_path_buf()]));
    assert_eq!((report.input.sources, report.input.records), (1, 1));
}

#[test]
fn hostile_structure_terminates_in_time() {
    let mut text = String::new();
    let id = "019aaaac-a5da-7347-bb80-1089c1876100";
    // A span that is its own parent, two that call each other, and a chain of twenty thousand.
    for (span, parent) in
        [(1, 1), (2, 3), (3, 2)].into_iter().chain((4..20_004).map(|span| (span, span - 1)))
    {
        text.push_str(&format!("2025-11-22T08:27:15.705274Z INFO a/b - {id} - start - {{span={span:016x} parent={parent:016x}}}\n"));
    }
    let began = std::time::Instant::now();
    let report = read_text(text.as_bytes());
    assert_eq!(report.flows.total, 1);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn logs_cannot_inject_terminal_codes_or_markup() {
    let text = GOOD.replace("boom", "\\u001b[2Jboom <img src=x> | @all");
    let report = read_text(text.as_bytes());
    for output in [flowlog_analyze::render::Output::Text, flowlog_analyze::render::Output::Markdown]
    {
        let mut shown = Vec::new();
        flowlog_analyze::render::report(
            &report,
            output,
            flowlog_analyze::render::Style::Never,
            &mut shown,
        )
        .unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains('\u{1b}'), "{shown}");
        if output == flowlog_analyze::render::Output::Markdown {
            let table = shown.lines().filter(|line| line.starts_with("| 1 |")).collect::<String>();
            assert!(!table.contains("<img") && !table.contains("@all"), "{shown}");
        }
    }
}

/// Superlinear algorithms would not finish here: two hundred thousand nested calls, fifty thousand
/// calls next to each other, and a cycle of a thousand, all of them failed.
#[test]
fn flows_of_any_depth_and_breadth() {
    let line = |at: u32, parent: u32| {
        format!(
            "{{\"time\":\"2025-11-22T08:27:15Z\",\"component\":\"c{}\",\"event\":\"fail\",\"error\":\"Internal: x\",\"flow_id\":\"019aaaac-a5da-7347-bb80-1089c1876100\",\"span_id\":\"{:016x}\",\"parent_id\":\"{:016x}\"}}\n",
            at % 1000,
            at + 2,
            parent + 1
        )
    };
    let deep: String = (0..200_000).map(|at| line(at, at)).collect();
    let broad: String = (0..50_000).map(|at| line(at, 0)).collect();
    let circle: String = (0..1000).map(|at| line(at, (at + 1) % 1000 + 1)).collect();
    for text in [deep, broad, circle] {
        let sources = Sources::from_texts([("a.log", text.as_bytes())]).unwrap();
        let report = analyze(&sources, &Options::default(), &|_| {});
        assert_eq!((report.flows.total, report.flows.failed), (1, 1));
        assert!(lint_logs(&sources, &Options::default(), 0.0, &|_| {}).passed);
    }
}
