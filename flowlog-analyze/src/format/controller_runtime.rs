//! Kubernetes controllers built on controller-runtime, including Dynamo's operator: zap's console
//! encoding (`TIME⇥LEVEL⇥LOGGER⇥MESSAGE⇥{…}`, in copies with spaces for tabs) and its JSON
//! encoding.

use std::borrow::Cow;

use super::etcd::{time_of, zap};
use super::plain::{PlainLine, beginning, is_object, level};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp::Timestamp;

/// Log lines of a controller.
pub(super) const CONTROLLER_RUNTIME: LogFormat = LogFormat {
    name: "controller_runtime",
    classify_start: |line| match line.first()? {
        b'{' => is_object(line).then_some(EventStart::Whole),
        b'0'..=b'9' => {
            let (_, name, body) = head(beginning(line, 128))?;
            Some(EventStart::logged(b"controller", body, level(name)))
        }
        _ => None,
    },
    read: |text| {
        if text.starts_with('{') {
            let zap = zap(text)?;
            return zap.is_controller.then(|| zap.into_event("operator"));
        }
        console(text)
    },
    examples: &[
        Example {
            text: "2025-11-22T08:27:15Z\tINFO\tsetup\tstarting manager",
            expected: "2025-11-22T08:27:15.000000Z INFO operator setup: starting manager",
        },
        Example {
            text: "2025-11-22T08:27:15Z    ERROR   Failed to get scale        {\"controller\": \"dgd\", \"namespace\": \"a\", \"namespace\": \"b\", \"error\": \"not found\"}\ngithub.com/x/controller.Scale\n\t/app/scale.go:43",
            expected: "2025-11-22T08:27:15.000000Z ERROR operator Failed to get scale error=not found",
        },
        Example {
            text: "1.7638000355e+09\tERROR\tReconciler error\t{\"error\": \"x\"}",
            expected: "2025-11-22T08:27:15.500000Z ERROR operator Reconciler error error=x",
        },
        Example {
            text: r#"{"level":"error","ts":1763800035.5,"logger":"controller","msg":"Reconciler error","error":"x","stacktrace":"a\n\tb"}"#,
            expected: "2025-11-22T08:27:15.500000Z ERROR operator Reconciler error error=x",
        },
    ],
};

/// Parses the time, the level and the offset of the message. Columns are separated by a tab, or by
/// at least two spaces.
fn head(text: &str) -> Option<(Timestamp, &str, usize)> {
    let stamp_end = text.find([' ', '\t'])?;
    let time = time_of(text.get(..stamp_end)?).filter(|stamp| stamp.is_complete())?;
    let rest = text.get(stamp_end..)?;
    let name_at = column(rest)?;
    let rest = rest.get(name_at..)?;
    let end = rest.find([' ', '\t'])?;
    let name = rest
        .get(..end)
        .filter(|name| name.bytes().all(|b| b.is_ascii_uppercase()) && level(name).is_some())?;
    let body = column(rest.get(end..)?)?;
    Some((time, name, stamp_end + name_at + end + body))
}

/// Returns the length of the gap between two columns.
fn column(text: &str) -> Option<usize> {
    let gap = text.len() - text.trim_start_matches([' ', '\t']).len();
    (text.starts_with('\t') || gap >= 2).then_some(gap)
}

fn console(text: &str) -> Option<ParsedEvent<'_>> {
    let (time, name, body) = head(text)?;
    let first = text.lines().next()?.get(body..)?;
    // The line may end in an object, and a logger name may precede the message.
    let (columns, object) = match first.find("{\"") {
        Some(at) => (first.get(..at)?.trim_end(), first.get(at..)?),
        None => (first.trim_end(), ""),
    };
    let split = columns
        .split_once('\t')
        .or_else(|| columns.split_once("   ").map(|(a, b)| (a, b.trim_start())));
    let (target, message) =
        split.filter(|(logger, _)| !logger.contains(' ')).unwrap_or(("", columns));
    // If the key is duplicated, the last value counts: the message's own, not the controller's.
    let error = object
        .rsplit_once("\"error\": \"")
        .or_else(|| object.rsplit_once("\"error\":\""))
        .map(|(_, rest)| {
            let end = rest.char_indices().scan(false, |escaped, (at, c)| {
                let ends = c == '"' && !*escaped;
                *escaped = c == '\\' && !*escaped;
                Some((at, ends))
            });
            let end = end.into_iter().find(|(_, ends)| *ends).map_or(rest.len(), |(at, _)| at);
            Cow::Borrowed(rest.get(..end).unwrap_or_default())
        });
    Some(
        PlainLine {
            time: Some(time),
            level: level(name),
            component: "operator",
            server: true,
            target,
            message: message.trim_start(),
            error,
        }
        .into_event(),
    )
}
