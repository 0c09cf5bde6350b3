//! logfmt: `time="…" level=error msg="boom" err="x"` of logrus (containerd, dockerd) and Go's slog,
//! and `ts=… caller=main.go:7 level=info msg=up` of go-kit (Loki, Prometheus). Keys come in any
//! order.

use super::plain::{PlainLine, level, split_quoted, unescape};
use super::{EventStart, Example, LogFormat, ids, lifecycle};
use crate::event::ParsedEvent;
use crate::timestamp;

/// Lines of key-value pairs with a time, a level, and a message or an error.
pub(super) const LOGFMT: LogFormat = LogFormat {
    name: "logfmt",
    // Line feeds are escaped, so every event is a single line.
    classify_start: |line| {
        FIRST.iter().any(|key| line.starts_with(key.as_bytes())).then_some(EventStart::Whole)
    },
    read,
    examples: &[
        Example {
            text: r#"time="2025-11-22T08:27:15.123Z" level=error msg="boom" err="x""#,
            expected: "2025-11-22T08:27:15.123000Z ERROR boom error=x",
        },
        Example {
            text: "ts=2025-11-22T08:27:15.123Z caller=main.go:7 level=info msg=up",
            expected: "2025-11-22T08:27:15.123000Z INFO main.go:7: up",
        },
        Example {
            text: r#"time="2025-11-22T08:27:15.705274Z" level=warning msg="cannot open \"a=b\"\n\tgone" path=/x"#,
            expected: "2025-11-22T08:27:15.705274Z WARN cannot open \"a=b\"\n\tgone",
        },
        Example {
            text: r#"level=error ts=2025-11-22T09:27:15.705+01:00 caller=ring.go:12 component=ring err="no peers""#,
            expected: "2025-11-22T08:27:15.705000Z ERROR ring.go:12: no peers error=no peers",
        },
        Example {
            text: "time=2025-11-22T08:27:15.705Z level=INFO source=main.go:7 msg=",
            expected: "2025-11-22T08:27:15.705000Z INFO main.go:7: ",
        },
    ],
};

/// Keys that a line may start with.
const FIRST: [&str; 5] = ["time=", "ts=", "t=", "level=", "caller="];

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    if !FIRST.iter().any(|key| text.starts_with(key)) {
        return None;
    }
    let (mut time, mut name, mut message, mut error, mut target) = (None, None, None, None, None);
    let mut rest = text;
    while let Some((key, value, behind)) = pair(rest) {
        rest = behind;
        let slot = match key {
            "time" | "ts" | "t" => &mut time,
            "level" | "lvl" => &mut name,
            "msg" => &mut message,
            "err" | "error" => &mut error,
            "caller" | "source" | "logger" => &mut target,
            _ => continue,
        };
        slot.get_or_insert(value);
    }
    let time = time
        .and_then(|time| timestamp::iso(time.as_bytes()).filter(|(_, end)| *end == time.len()))?
        .0;
    let level = level(unescape(name?).as_ref())?;
    let error = error.map(unescape);
    let message = message.map(unescape).or_else(|| error.clone())?;
    let target = target.map(unescape).unwrap_or_default();
    let words = PlainLine { time: Some(time), level: Some(level), error, ..PlainLine::default() };
    Some(ParsedEvent {
        flows: ids::in_message(&message),
        process: lifecycle::of_message(&message),
        message,
        target,
        ..words.into_event()
    })
}

/// Splits off the first pair. Returns its key, its value as written but without quotes, and the
/// rest.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches(' ');
    let end = text.find(['=', ' ', '"'])?;
    let (key, rest) = (text.get(..end)?, text.get(end..)?);
    // A key without a value.
    let Some(rest) = rest.strip_prefix('=') else {
        return rest.starts_with(' ').then_some((key, "", rest));
    };
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(' ').unwrap_or(rest.len());
        return Some((key, rest.get(..end)?, rest.get(end..)?));
    };
    let (value, rest) = split_quoted(quoted)?;
    Some((key, value, rest))
}
