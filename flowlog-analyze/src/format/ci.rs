//! Commands of CI runners: `##[error]`, `::error file=…::`, groups, GitLab's last words.

use flowlog_schema::Level;

use super::words::{Words, beginning};
use super::{Begin, Example, Recogniser};
use crate::observation::Observation;

/// Lines that speak to the runner, or that the runner speaks.
pub(super) const CI: Recogniser = Recogniser {
    name: "ci",
    begins: |line| read(beginning(line, 256)).map(|_| Begin::Whole),
    read,
    examples: &[
        Example { text: "##[group]Run scripts/test", tells: "INFO group: Run scripts/test" },
        Example {
            text: "##[error]The operation was canceled.",
            tells: "ERROR error: The operation was canceled.",
        },
        Example {
            text: "##[warning]Node 16 is deprecated",
            tells: "WARN warning: Node 16 is deprecated",
        },
        Example { text: "::error file=a.py,line=3::bad", tells: "ERROR error: bad" },
        Example {
            text: "[command]/usr/bin/git version",
            tells: "INFO command: /usr/bin/git version",
        },
        Example {
            text: "ERROR: Job failed (system failure): pod is gone",
            tells: "ERROR Job failed (system failure): pod is gone",
        },
        Example { text: "Job succeeded", tells: "INFO Job succeeded" },
    ],
};

fn read(text: &str) -> Option<Observation<'_>> {
    let first = text.lines().next()?;
    let observe = |level, target, message| {
        Some(Words { level: Some(level), target, message, ..Words::default() }.observe())
    };
    if let Some(message) =
        first.strip_prefix("ERROR: ").filter(|message| message.starts_with("Job failed ("))
    {
        return observe(Level::Error, "", message);
    }
    if first == "Job succeeded" {
        return observe(Level::Info, "", first);
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
    // How a process ended is told in the same words by many.
    if message.starts_with("Process completed with exit code ") {
        return None;
    }
    observe(level, command, message)
}
