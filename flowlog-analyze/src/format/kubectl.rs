//! Output of kubectl itself: errors, rows of events and pods, conditions of containers.

use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;

/// Lines of kubectl's own output.
pub(super) const KUBECTL: LogFormat = LogFormat {
    name: "kubectl",
    classify_start: |line| read(beginning(line, 512)).map(|_| EventStart::Whole),
    read,
    examples: &[
        Example {
            text: "Error from server (BadRequest): container \"main\" in pod \"worker-0\" is waiting to start: ContainerCreating",
            expected: "ERROR Error from server (BadRequest): container \"main\" in pod \"worker-0\" is waiting to start: ContainerCreating",
        },
        Example {
            text: "Defaulted container \"main\" out of: main, init (init)",
            expected: "INFO Defaulted container \"main\" out of: main, init (init)",
        },
        Example {
            text: "5m3s        Warning   BackOff            pod/worker-0     Back-off restarting failed container main",
            expected: "WARN 5m3s        Warning   BackOff            pod/worker-0     Back-off restarting failed container main",
        },
        Example {
            text: "  Warning  FailedScheduling  2m38s  default-scheduler  0/8 nodes are available",
            expected: "WARN   Warning  FailedScheduling  2m38s  default-scheduler  0/8 nodes are available",
        },
        Example {
            text: "worker-0   0/1   CrashLoopBackOff   7 (2m ago)   20m",
            expected: "ERROR worker-0   0/1   CrashLoopBackOff   7 (2m ago)   20m",
        },
        Example {
            text: "      Reason:       OOMKilled",
            expected: "ERROR       Reason:       OOMKilled",
        },
        Example { text: "Namespace:        default", expected: "INFO Namespace:        default" },
        Example {
            text: "NAME       READY   STATUS    RESTARTS   AGE",
            expected: "INFO NAME       READY   STATUS    RESTARTS   AGE",
        },
        Example { text: "      Exit Code:    137", expected: "ERROR       Exit Code:    137" },
    ],
};

/// States of pods and containers that are failures.
const BAD: [&str; 9] = [
    "CrashLoopBackOff",
    "OOMKilled",
    "ImagePullBackOff",
    "ErrImagePull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "Evicted",
    "InvalidImageName",
];

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let first = text.lines().next()?;
    let level = errors(first)
        .or_else(|| row(first))
        .or_else(|| condition(first))
        .or_else(|| object(first))?;
    Some(leveled(level, text))
}

fn errors(line: &str) -> Option<Level> {
    if line.starts_with("Error from server")
        || line.starts_with("unable to retrieve container logs for ")
    {
        return Some(Level::Error);
    }
    let update = line.starts_with("Defaulted container \"")
        || line.starts_with("Found ") && line.contains(" pods, using pod/");
    update.then_some(Level::Info)
}

/// Classifies a row of `get events`, `describe` or `get pods`: columns at least two spaces apart.
fn row(line: &str) -> Option<Level> {
    if !line.contains("   ") && !line.contains("  Warning  ") && !line.contains("  Normal  ") {
        return None;
    }
    let columns: Vec<&str> =
        line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
    // The age comes first, or after the namespace; `describe` indents.
    let is_age = |column: &&&str| {
        let digits = column.bytes().take_while(u8::is_ascii_digit).count();
        let unit = column.as_bytes().get(digits);
        digits > 0 && unit.is_some_and(|unit| matches!(unit, b'm' | b's' | b'h' | b'd'))
    };
    let aged = columns.iter().take(2).any(|column| is_age(&column));
    let kind = columns.iter().take(3).find_map(|column| match *column {
        "Warning" => Some(Level::Warn),
        "Normal" => Some(Level::Info),
        _ => None,
    });
    if kind.is_some() {
        return kind.filter(|_| columns.len() >= 4 && (aged || line.starts_with("  ")));
    }
    let ready = columns.get(1).and_then(|ready| ready.split_once('/'));
    let numbers =
        |(ready, of): (&str, &str)| ready.parse::<u32>().is_ok() && of.parse::<u32>().is_ok();
    let state = columns.get(2).filter(|state| {
        ready.is_some_and(numbers)
            && columns.len() >= 5
            && state.starts_with(|c: char| c.is_ascii_uppercase())
    })?;
    Some(if BAD.contains(state) || *state == "Error" { Level::Error } else { Level::Info })
}

/// Classifies a field of `describe`, the header of a table, or the first line of a manifest.
fn object(line: &str) -> Option<Level> {
    let bare = line.trim_start();
    let indent = line.len() - bare.len();
    let is_header = indent == 0
        && HEADERS.iter().any(|head| bare.starts_with(head))
        && bare.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b' ' | b'-' | b'(' | b')'));
    let is_field = indent <= 8
        && indent.is_multiple_of(2)
        && bare.split_once(':').is_some_and(|(key, value)| {
            (2..=40).contains(&key.len())
                && key.starts_with(|c: char| c.is_ascii_uppercase() || indent > 0)
                && key.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b' ' | b'-'))
                && key.bytes().any(|b| b.is_ascii_lowercase())
                && value.starts_with("  ")
                && !value.trim().is_empty()
        });
    // `cpu   100m (1%)   200m (2%)`, of a node's allocated resources.
    let is_allocation = indent >= 2
        && bare.matches("%)").count() >= 2
        && bare.split("  ").next().is_some_and(|name| !name.contains(' '));
    let is_manifest =
        bare == "apiVersion: v1" || bare == "\"apiVersion\": \"v1\"," || bare == "kind: List";
    (is_header || is_field || is_allocation || is_manifest).then_some(Level::Info)
}

/// Beginnings of the headers of tables.
const HEADERS: [&str; 3] = ["NAME  ", "NAMESPACE  ", "LAST SEEN  "];

/// Classifies a line of `describe pod` that shows how a container ended.
fn condition(line: &str) -> Option<Level> {
    let (name, value) = line.trim_start().split_once(':').filter(|_| line.starts_with("   "))?;
    let value = value.trim();
    match name {
        "Reason" if BAD.contains(&value) || value == "Error" => Some(Level::Error),
        "Reason" if value == "Completed" => Some(Level::Info),
        "Exit Code" => {
            value.parse::<i32>().ok().map(|code| if code == 0 { Level::Info } else { Level::Error })
        }
        _ => None,
    }
}
