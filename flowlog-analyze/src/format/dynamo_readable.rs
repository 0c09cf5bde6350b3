//! Dynamo's READABLE format: `TIME LEVEL [SPAN:SPAN: ]TARGET: MESSAGE KEY=VALUE...`.
//!
//! The format has no trace ID: a flow is identified by the request IDs on its lines. Of two, the
//! routed one, which the worker knows too, is the flow's ID: the innermost span's, or the event's
//! own if the span is `http-request`.

use std::borrow::Cow;

use flowlog_schema::Level;

use super::plain::beginning;
use super::{EventStart, Example, LogFormat, dynamo, ids, lifecycle, stack};
use crate::component_names;
use crate::event::{FlowKey, ParsedEvent, SpanRef, SpanUpdate, span_key};
use crate::timestamp::{self, Timestamp};

/// The READABLE format, as `tracing-subscriber` writes it.
pub(super) const READABLE: LogFormat = LogFormat {
    name: "dynamo_readable",
    classify_start,
    read,
    examples: &[
        Example {
            text: "2025-11-22T08:27:15.705274Z  INFO main.init: worker initialized",
            expected: "2025-11-22T08:27:15.705274Z INFO main.init: worker initialized",
        },
        Example {
            text: "2025-11-22T17:27:15.705274+09:00 ERROR http-request:engine.generate: dynamo_runtime::x: failed worker_id=42 error=a b=c",
            expected: "2025-11-22T08:27:15.705274Z ERROR dynamo_runtime::x: failed error=a",
        },
        Example {
            text: "    2025-11-22T08:27:15.705Z DEBUG dynamo_run::subprocess:     raise e\n  File \"a.py\", line 1",
            expected: "2025-11-22T08:27:15.705000Z DEBUG dynamo_run::subprocess: raise e\n  File \"a.py\", line 1",
        },
        Example {
            text: "2025-11-22T08:27:15.705Z  INFO worker.shutdown: [PrefillWorker:4] Received shutdown signal",
            expected: "2025-11-22T08:27:15.705000Z INFO prefill /PrefillWorker:4 worker.shutdown: [PrefillWorker:4] Received shutdown signal",
        },
        Example {
            text: "2025-11-22T08:27:15.705Z ERROR dynamo_runtime::x: failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g(a=b, c=d)\nException: gone",
            expected: "2025-11-22T08:27:15.705000Z ERROR dynamo_runtime::x: failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g(a=b, c=d)\nException: gone",
        },
        Example {
            text: "ERROR dynamo_runtime::worker: Application shutdown with error: no lease\n\nCaused by:\n    0: creating it",
            expected: "ERROR dynamo_runtime::worker: Application shutdown with error: no lease\n\nCaused by:\n    0: creating it",
        },
    ],
};

fn classify_start(line: &[u8]) -> Option<EventStart> {
    let start = line.len() - line.trim_ascii_start().len();
    let bare = line.get(start..)?;
    if !matches!(bare.first()?, b'0'..=b'9' | b'T' | b'D' | b'I' | b'W' | b'E') {
        return None;
    }
    let text = beginning(bare, MAX_HEADER_BYTES);
    let (_, level, rest) = head(text)?;
    let (spans, target, words) = path(rest)?;
    // Without a space after the target, there is no message: the line ended there.
    let body = start + text.len() - words.len();
    let body = if line.len() > start + MAX_HEADER_BYTES { 0 } else { body };
    Some(EventStart::logged([spans, target].join(" ").as_bytes(), body, Some(level)))
}

/// Maximum length of a header, in bytes.
const MAX_HEADER_BYTES: usize = 1024;

/// Splits off the timestamp and the level. A line that lost its timestamp must have a Rust module
/// as its target.
fn head(text: &str) -> Option<(Option<Timestamp>, Level, &str)> {
    let stamp = timestamp::iso(text.as_bytes()).filter(|(stamp, end)| {
        stamp.is_complete() && text.as_bytes().get(10) == Some(&b'T') && *end > 19
    });
    let rest = match stamp {
        Some((_, end)) => text.get(end..)?.strip_prefix(' ')?.trim_start_matches(' '),
        None => text,
    };
    let (level, rest) = rest.split_once(' ')?;
    let level = Level::ALL.into_iter().find(|known| known.as_str() == level)?;
    let rest = rest.trim_start_matches(' ');
    let is_rust = || {
        rest.split_once(": ")
            .is_some_and(|(target, _)| target.contains("::") && !target.contains(' '))
    };
    (stamp.is_some() || is_rust()).then_some((stamp.map(|(stamp, _)| stamp), level, rest))
}

/// Parses a line with a level and a target that ends in a colon.
fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let (stamp, level, rest) = head(text.trim_start())?;
    let (spans, target, rest) = path(rest)?;
    // Fields are on the line of the message; the arguments in a stack below it are not fields.
    let stacked = rest.split_once('\n').filter(|(_, below)| {
        stack::classify_start(below.lines().next().unwrap_or_default().as_bytes()).is_some()
    });
    let (message, fields) = match stacked {
        Some((first, _)) => (rest.trim(), fields(first).1),
        None => fields(rest),
    };
    let get = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let last =
        |name: &str| fields.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);

    let span_name = spans.rsplit(':').next().unwrap_or_default();
    let mut flows = flow_keys(spans, &fields);
    let has_trace_id = TRACE_IDS.iter().any(|name| get(name).is_some());
    let in_worker = span_name == "handle_payload";
    let component = match dynamo::component_of(span_name) {
        Some(name) if in_worker => Some(Cow::Borrowed(get("component").unwrap_or(name))),
        other => other.map(Cow::Borrowed),
    };
    // The services of `dynamo serve` identify themselves: `[VllmWorker:1] message`.
    let service = service(message).filter(|_| span_name.is_empty());
    let component = component.or_else(|| {
        service.and_then(|(name, _)| component_names::component_in(name)).map(Cow::Borrowed)
    });
    let instance = if in_worker {
        get("instance_id")
    } else {
        service.map(|(_, whole)| whole).filter(|_| component.is_some())
    }
    .map(Cow::Borrowed);
    let callee = last("worker_id").map(Cow::Borrowed);
    let span = (!flows.is_empty() && component.is_some()).then(|| {
        let router = |worker: &str| span_key(&["router", worker]);
        let (key, parent) = match span_name {
            "http-request" => (span_key(&["http-request"]), None),
            "handle_payload" => {
                let instance = instance.as_deref().unwrap_or_default();
                (span_key(&["handle_payload", instance]), Some(router(instance)))
            }
            _ => (router(callee.as_deref().unwrap_or_default()), Some(span_key(&["http-request"]))),
        };
        SpanRef {
            key,
            is_inferred: true,
            parent,
            component: component.clone(),
            instance: instance.clone(),
            callee: callee.clone(),
        }
    });
    let mut update = dynamo::EventFields {
        span_name,
        message,
        outcome: last("request.outcome"),
        error_type: last("error.type").or_else(|| last("error_type")),
        error: get("error").or_else(|| get("err")).or_else(|| get("error_detail")),
        status: get("status"),
    }
    .update();
    // A traceback below a line without a flow belongs to the process, and is found in the message.
    if flows.is_empty() && matches!(update, SpanUpdate::ErrorLogged { .. }) {
        update = SpanUpdate::Message;
    }
    if flows.is_empty() {
        flows = ids::in_message(message);
    }
    let state = dynamo::state_of(span_name, get("endpoint"), get("uri"));
    let process = if flows.is_empty() { lifecycle::of_message(message) } else { None };
    Some(ParsedEvent {
        time: stamp,
        level: Some(level),
        flows,
        has_trace_id,
        span,
        update,
        component,
        instance,
        state,
        target: Cow::Borrowed(target),
        message: Cow::Borrowed(message),
        error: get("error").map(Cow::Borrowed),
        process,
        ..ParsedEvent::default()
    })
}

/// Returns the name, and the name with its number, of the service that a message starts with.
fn service(words: &str) -> Option<(&str, &str)> {
    let (whole, _) = words.strip_prefix('[')?.split_once("] ")?;
    let (name, number) = whole.split_once(':')?;
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (named && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        .then_some((name, whole))
}

/// Splits `SPAN:SPAN: TARGET: rest`, or `TARGET: rest`.
fn path(text: &str) -> Option<(&str, &str, &str)> {
    let (first, rest) = word_with_colon(text)?;
    if first.contains("::") {
        return Some(("", first, rest));
    }
    match word_with_colon(rest) {
        // A span path precedes a Rust module; a Python logger's name has no path before it.
        Some((second, rest))
            if first.contains(':')
                || dynamo::component_of(first).is_some()
                || second.contains("::")
                || second.ends_with("_span") =>
        {
            Some((first, second, rest))
        }
        _ => Some(("", first, rest)),
    }
}

/// Splits off a word of a path and the colon that ends it.
fn word_with_colon(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let word = word.strip_suffix(':')?;
    let is_path =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-' | '<' | '>');
    (!word.is_empty() && word.chars().all(is_path)).then_some((word, rest))
}

/// Maximum number of fields parsed per line.
const MAX_FIELDS: usize = 128;

/// Splits the message from the fields that follow it. A value extends to the next ` key=`.
fn fields(text: &str) -> (&str, Vec<(&str, &str)>) {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let mut message = text;
    let mut open: Option<(&str, usize)> = None;
    let mut at = 0;
    while let Some(equals) = text
        .get(at..)
        .and_then(|rest| memchr::memchr(b'=', rest.as_bytes()))
        .map(|found| at + found)
    {
        at = equals + 1;
        let before = text.get(..equals).unwrap_or_default();
        let start = before.rfind(|c: char| c.is_whitespace()).map_or(0, |blank| blank + 1);
        let Some(key) = before.get(start..).filter(|key| is_key(key)) else { continue };
        let end = start.saturating_sub(1);
        match open {
            // An equals sign inside an open quote does not start a field: `key="a b=c"`.
            Some((_, value)) if in_quotes(text.get(value..end).unwrap_or_default()) => continue,
            Some((key, value)) => {
                fields.push((key, unquote(text.get(value..end).unwrap_or_default())));
            }
            None => message = text.get(..end).unwrap_or_default(),
        }
        open = Some((key, equals + 1));
        if fields.len() >= MAX_FIELDS {
            break;
        }
    }
    if let Some((key, value)) = open {
        fields.push((key, unquote(text.get(value..).unwrap_or_default())));
    }
    (message.trim(), fields)
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
}

fn in_quotes(value: &str) -> bool {
    value.starts_with('"') && (value.len() == 1 || !value.ends_with('"'))
}

fn unquote(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Returns all request IDs of a line, the routed one first.
fn flow_keys(spans: &str, fields: &[(&str, &str)]) -> Vec<FlowKey> {
    let mut keys: Vec<FlowKey> = Vec::new();
    let values = |names: &'static [&'static str]| {
        fields
            .iter()
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, value)| FlowKey::parse(value))
    };
    for key in values(&["request_id"]) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if spans.contains(':') {
        keys.reverse();
    }
    // A trace ID names the flow in every process.
    for key in values(&TRACE_IDS) {
        if !keys.contains(&key) {
            keys.insert(0, key);
        }
    }
    keys
}

/// Fields that hold the ID of the trace, or of the flow.
const TRACE_IDS: [&str; 2] = ["trace_id", "flow_id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_path_target_and_fields() {
        let line = "2026-11-22T16:27:04.247073Z  WARN http-request:router.route_request: request_span: route request failed \
                    request.outcome=\"worker_disconnected\" error.type=\"disconnected\" method=POST uri=/v1/chat/completions \
                    request_id=8a3f09a1-7b27-43a9-be65-44309d9ce169 model=\"tiny model\" request_id=fde4c925-e038-4310-8253-d571bde42348 worker_id=148";
        let read = read(line).unwrap();
        let ids: Vec<String> = read.flows.iter().map(ToString::to_string).collect();
        assert_eq!(
            ids,
            ["fde4c925-e038-4310-8253-d571bde42348", "8a3f09a1-7b27-43a9-be65-44309d9ce169"]
        );
        assert_eq!(
            (read.component.as_deref(), read.target.as_ref(), read.message.as_ref()),
            (Some("router"), "request_span", "route request failed")
        );
        assert!(
            matches!(&read.update, SpanUpdate::Fail(error_detail) if error_detail.kind == "disconnected")
        );
        assert_eq!(read.span.unwrap().callee.as_deref(), Some("148"));
    }

    #[test]
    fn an_event_field_is_the_routed_id_in_the_outer_span() {
        let line = "2026-11-22T16:27:04.372701Z ERROR http-request: dynamo_llm::http::service::metrics: request completed \
                    request_id=fde4c925-e038-4310-8253-d571bde42348 status=error error_type=unavailable error_detail=no backend worker available \
                    elapsed_ms=2622 request_id=8a3f09a1-7b27-43a9-be65-44309d9ce169";
        let read = read(line).unwrap();
        assert_eq!(read.flows[0].to_string(), "fde4c925-e038-4310-8253-d571bde42348");
        assert!(
            matches!(&read.update, SpanUpdate::Fail(error_detail) if error_detail.kind == "unavailable" && error_detail.message == "no backend worker available")
        );
    }

    #[test]
    fn the_worker_identifies_itself() {
        let line = "2026-11-22T16:27:01.752348Z  INFO handle_payload: dynamo_runtime::pipeline::push_handler: request received \
                    request_id=992ad66f-62d6-4129-951b-4156e0cb713f otel.kind=\"server\" component=\"prefill\" endpoint=\"generate\" instance_id=148";
        let read = read(line).unwrap();
        assert_eq!(
            (read.component.as_deref(), read.instance.as_deref(), read.state.as_deref()),
            (Some("prefill"), Some("148"), Some("generate"))
        );
    }

    #[test]
    fn python_targets_are_not_spans() {
        let read = read(
            "2025-09-02T15:50:01.770195Z  INFO main.init: Reading: from tcp://127.0.0.1:21555",
        )
        .unwrap();
        assert_eq!(
            (read.target.as_ref(), read.message.as_ref()),
            ("main.init", "Reading: from tcp://127.0.0.1:21555")
        );
        assert!(read.flows.is_empty() && read.component.is_none());
    }

    #[test]
    fn fields_with_spaces_and_quotes() {
        let (message, read) = fields("x == y error=a b=c note=\"two k=v words\" path=/a=b end=");
        assert_eq!(message, "x == y");
        assert_eq!(
            read,
            vec![
                ("error", "a"),
                ("b", "c"),
                ("note", "two k=v words"),
                ("path", "/a=b"),
                ("end", "")
            ]
        );
    }
}
