//! CI runner commands: `##[error]`, `::error file=…::`, groups, and GitLab's final lines.

use flowlog_schema::Level;

use super::plain::{PlainLine, beginning};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Commands to the CI runner and lines from it.
pub(super) const CI: LogFormat = LogFormat {
    name: "ci",
    classify_start: |line| read(beginning(line, 256)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example { text: "##[group]Run scripts/test", expected: "INFO group: Run scripts/test" },
        Example {
            text: "##[error]The operation was canceled.",
            expected: "ERROR error: The operation was canceled.",
        },
        Example {
            text: "##[warning]Node 16 is deprecated",
            expected: "WARN warning: Node 16 is deprecated",
        },
        Example { text: "::error file=a.py,line=3::bad", expected: "ERROR error: bad" },
        Example {
            text: "[command]/usr/bin/git version",
            expected: "INFO command: /usr/bin/git version",
        },
        Example {
            text: "ERROR: Job failed (system failure): pod is gone",
            expected: "ERROR Job failed (system failure): pod is gone",
        },
        Example { text: "Job succeeded", expected: "INFO Job succeeded" },
        Example {
            text: " => ERROR [build 3/14] RUN make",
            expected: "ERROR => ERROR [build 3/14] RUN",
        },
        Example {
            text: " => CACHED [build 2/14] COPY . .",
            expected: "INFO => CACHED [build 2/14] COPY",
        },
    ],
};

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let first = text.lines().next()?;
    let to_event = |level, target, message| {
        Some(PlainLine { level: Some(level), target, message, ..PlainLine::default() }.into_event())
    };
    if let Some(message) =
        first.strip_prefix("ERROR: ").filter(|message| message.starts_with("Job failed ("))
    {
        return to_event(Level::Error, "", message);
    }
    if first == "Job succeeded" {
        return to_event(Level::Info, "", first);
    }
    // BuildKit's steps, as it draws them on a terminal.
    if let Some(step) = first.trim_start().strip_prefix("=> ") {
        let level = match step.trim_start_matches("=> ").split(' ').next()? {
            "ERROR" => Level::Error,
            "CANCELED" => Level::Warn,
            word if word == "CACHED" || word.starts_with('[') => Level::Info,
            _ => return None,
        };
        // The words of the command are not the builder's: `else echo "Skipping"`.
        let step = first.trim_start();
        let command = step.find("] ").map_or(step.len(), |at| {
            let word = step.get(at + 2..).and_then(|rest| rest.find(' '));
            word.map_or(step.len(), |len| at + 2 + len)
        });
        return to_event(level, "", step.get(..command).unwrap_or(step));
    }
    let (command, message) = if let Some(rest) = first.strip_prefix("##[") {
        rest.split_once(']')?
    } else if let Some(message) = first.strip_prefix("[command]") {
        ("command", message)
    } else {
        let (command, message) = first.strip_prefix("::")?.split_once("::")?;
        (command.split(' ').next().unwrap_or(command), message)
    };
    let level = match command {
        "error" => Level::Error,
        "warning" => Level::Warn,
        "debug" => Level::Debug,
        "group" | "endgroup" | "notice" | "command" | "section" | "add-mask" | "set-output"
        | "add-matcher" => Level::Info,
        _ => return None,
    };
    // Many tools report exit codes in these words; the `exit_status` format accepts them.
    if message.starts_with("Process completed with exit code ") {
        return None;
    }
    to_event(level, command, message)
}
