//! Flowlog's own records, in JSON and in text form.

use std::borrow::Cow;

use flowlog_schema::{
    CachedRecord, ErrorInfo, EventKind, FastRecord, Problems, Record, RecordCache, json, text,
};

use super::error::{is_typed, typed};
use super::plain::is_object;
use super::{EventStart, Example, LogFormat, lifecycle};
use crate::event::{
    ErrorDetail, FlowKey, ParsedEvent, ProcessEvent, SpanRef, SpanUpdate, span_key,
};
use crate::timestamp::Timestamp;

/// The JSON form.
pub(super) const JSON: LogFormat = LogFormat {
    name: "flowlog_json",
    classify_start: |line| is_object(line).then_some(EventStart::Whole),
    read: json,
    examples: &[
        Example {
            text: r#"{"component":"router","event":"start","message":"","target":""}"#,
            expected: "router ",
        },
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"ERROR","target":"kvbm::offload","message":"gone","component":"kvbm","instance":"k-0","flow_id":"019aaaac-a5da-7347-bb80-1089c1876100","event":"fail","state":"copy"}"#,
            expected: "2025-11-22T08:27:15.705274Z ERROR kvbm /k-0 kvbm::offload: gone flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
    ],
};

/// The text form.
pub(super) const TEXT: LogFormat = LogFormat {
    name: "flowlog_text",
    classify_start: |line| is_text(line).then_some(EventStart::Whole),
    read: text,
    examples: &[
        Example {
            text: "2025-11-22T08:27:15.705274Z  INFO router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start - {}",
            expected: "2025-11-22T08:27:15.705274Z INFO router /r-0  flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
        Example {
            text: "router - 019aaaac-a5da-7347-bb80-1089c1876100 - decode",
            expected: "router  flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
        Example { text: "INFO etcd - - - process up {pid=7}", expected: "INFO etcd " },
    ],
};

/// Parses a record in JSON form.
pub(super) fn json(line: &str) -> Option<ParsedEvent<'_>> {
    if !line.starts_with('{') || !line.contains("\"event\"") {
        return None;
    }
    json::decode(line.as_bytes()).ok().map(|(record, problems)| to_event(record, problems))
}

/// Relevant fields of an ordinary record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// Instance that the span calls; empty if none is named.
    pub callee: &'a str,
}

impl<'a> Fields<'a> {
    /// Processes a field. Returns whether the record is still an ordinary one.
    fn take(&mut self, key: &[u8], value: &'a [u8], is_json: bool) -> bool {
        if !CALLEE.iter().any(|name| name.as_bytes() == key) {
            return !is_significant_field(key);
        }
        // In text form, a value that may be read as a number may be rewritten as one.
        let may_change = !is_json
            && value.first().is_some_and(|b| *b == b'-' || b.is_ascii_digit())
            && !is_natural(value);
        if !self.callee.is_empty() || may_change {
            return false;
        }
        self.callee = std::str::from_utf8(value).unwrap_or_default();
        true
    }

    /// Collects the relevant fields from ones that were accepted before.
    pub fn of(fields: &'a [(String, String)]) -> Self {
        let mut known = Self::default();
        for (key, value) in fields {
            known.take(key.as_bytes(), value.as_bytes(), true);
        }
        known
    }
}

/// Returns whether the digits are a number that is written the way it is read.
fn is_natural(digits: &[u8]) -> bool {
    digits.len() < 20
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.first() != Some(&b'0') || digits.len() == 1)
}

/// Decodes an ordinary record in either form by the byte runs that it shares with earlier lines.
/// The fields are filled in only if the record's tail is not cached. If the record is declined,
/// [`decode_fast`] may still accept it.
#[inline]
pub(super) fn decode<'a>(
    cache: &mut RecordCache,
    line: &'a [u8],
) -> Option<(CachedRecord<'a>, Fields<'a>)> {
    let mut fields = Fields::default();
    let is_json = line.first() == Some(&b'{');
    let record = cache.decode(line, &mut |key, value| fields.take(key, value, is_json))?;
    let adds_nothing = record.message.is_empty()
        || adds_nothing(cache.transition(record.transition)?.event, record.message);
    adds_nothing.then_some((record, fields))
}

/// Decodes an ordinary record in either form on the fast path. If the record is declined, [`json`]
/// or [`text`] parses it.
///
/// They would accept an accepted record too: as a line of a span that does not fail and needs
/// nothing beyond the decoded fields.
pub(super) fn decode_fast(line: &[u8]) -> Option<(bool, FastRecord<'_>, Fields<'_>)> {
    let mut fields = Fields::default();
    let is_json = line.first() == Some(&b'{');
    let mut take = |key: &'_ [u8], value| fields.take(key, value, is_json);
    let record = if is_json {
        json::decode_fast(line, &mut take)
    } else {
        text::decode_fast(line, &mut take)
    }?;
    adds_nothing(record.event, record.message).then_some((is_json, record, fields))
}

/// Returns whether a message has no further effect on its span, such as an error or a recreated
/// stream.
fn adds_nothing(event: EventKind, message: &str) -> bool {
    // A warning may report the loss of another component.
    let may_be_loss = || ["onnect", "ailed"].iter().any(|word| message.contains(word));
    event != EventKind::State
        || !(typed(message).is_some() || message.contains(RECREATING) || may_be_loss())
}

/// Returns whether a field has a further effect on its span: an HTTP status, another ID or a
/// callee.
fn is_significant_field(key: &[u8]) -> bool {
    [&STATUS[..], &FOREIGN, &ERROR, &CALLEE]
        .into_iter()
        .flatten()
        .any(|name| name.as_bytes() == key)
}

/// Fields that hold an HTTP status.
const STATUS: [&str; 5] =
    ["status", "http_status", "status_code", "http.status_code", "http.response.status_code"];

/// Fields that hold another ID of the flow.
const FOREIGN: [&str; 2] = ["request_id", "x_request_id"];

/// Fields that hold an error in a record without one of its own.
const ERROR: [&str; 1] = ["error"];

/// Fields that hold the instance that a span calls.
const CALLEE: [&str; 6] =
    ["worker_id", "callee", "peer", "peer_id", "decode_worker_id", "prefill_worker_id"];

/// Phrase of a span that recreates its stream.
const RECREATING: &str = "recreating stream";

fn text(line: &str) -> Option<ParsedEvent<'_>> {
    if line.starts_with('{') || !line.contains(" - ") {
        return None;
    }
    text::decode(line.as_bytes()).ok().map(|(record, problems)| to_event(record, problems))
}

/// Returns whether the line has the shape of a record in text form: `component - id - ` with the
/// dashes in the required places.
fn is_text(line: &[u8]) -> bool {
    let head = line.get(..line.len().min(512)).unwrap_or_default();
    if !head.first().is_some_and(|b| b.is_ascii_alphanumeric() || b.is_ascii_whitespace()) {
        return false;
    }
    let lone = |at: &usize| {
        *at > 0 && head.get(*at - 1) == Some(&b' ') && head.get(*at + 1) == Some(&b' ')
    };
    let Some(dash) = memchr::memchr_iter(b'-', head).find(lone) else { return false };
    let after = line.get(dash + 2..).unwrap_or_default().trim_ascii_start();
    after.starts_with(b"- - ")
        || (after.len() > 36
            && [8, 13, 18, 23].iter().all(|at| after.get(*at) == Some(&b'-'))
            && after.get(36) == Some(&b' '))
}

fn to_event(mut record: Record<'_>, problems: Problems) -> ParsedEvent<'_> {
    let status = STATUS
        .iter()
        .find_map(|name| record.field(name))
        .and_then(|value| value.to_text().parse().ok());
    let foreign = FOREIGN
        .iter()
        .find_map(|name| record.field(name))
        .and_then(|id| FlowKey::parse(&id.to_text()));
    let callee = CALLEE
        .iter()
        .find_map(|name| record.field(name))
        .map(|id| Cow::Owned(id.to_text().into_owned()));
    // Records that an OTLP collector did not receive are in the log all the same.
    let is_lost = record.event == EventKind::Lost && record.field("sink") != Some(&"otlp".into());
    let lost = record
        .field("count")
        .and_then(|count| count.to_text().parse().ok())
        .filter(|_| is_lost)
        .unwrap_or(0);
    let signal = record.field("signal").map(|signal| signal.to_text().to_ascii_uppercase());

    let has_trace_id = record.flow_id.is_some();
    let mut flows: Vec<FlowKey> = record.flow_id.map(FlowKey::Id).into_iter().collect();
    if let Some(foreign) = foreign
        && flows.first() != Some(&foreign)
    {
        flows.push(foreign);
    }
    let message = record.message.take().unwrap_or_default();
    // A writer of its own may put the error among the fields.
    let field = record.field(ERROR[0]).filter(|_| record.error.is_none());
    if let Some(text) = field.map(|error| error.to_text().into_owned()) {
        let (kind, message) = typed(&text).unwrap_or(("Unknown", &text));
        record.error = Some(ErrorInfo {
            kind: Cow::Owned(kind.to_owned()),
            message: Cow::Owned(message.to_owned()),
            causes: Vec::new(),
        });
    }
    let has_flow = !flows.is_empty();
    let error_detail = |kind: Cow<'_, str>, message: Cow<'_, str>| ErrorDetail {
        kind: Cow::Owned(kind.into_owned()),
        message: Cow::Owned(message.into_owned()),
        status,
    };
    let update = match record.event {
        EventKind::Start => SpanUpdate::Start,
        EventKind::End => match status {
            Some(400..) => {
                SpanUpdate::Fail(error_detail(Cow::Borrowed(""), Cow::Borrowed(&message)))
            }
            _ => SpanUpdate::End,
        },
        EventKind::Cancel => SpanUpdate::Cancel,
        EventKind::Fail => match &record.error {
            Some(error) => SpanUpdate::Fail(error_detail(
                Cow::Borrowed(&error.kind),
                Cow::Borrowed(&error.message),
            )),
            None => SpanUpdate::Fail(error_detail(Cow::Borrowed(""), Cow::Borrowed(&message))),
        },
        EventKind::State | EventKind::Sample | EventKind::Process | EventKind::Lost => {
            match (&record.error, typed(&message)) {
                (Some(error), _) if is_typed(&error.kind) => SpanUpdate::ErrorLogged {
                    error_detail: error_detail(
                        Cow::Borrowed(&error.kind),
                        Cow::Borrowed(&error.message),
                    ),
                    traceback: false,
                },
                (_, Some((kind, words))) => SpanUpdate::ErrorLogged {
                    error_detail: error_detail(Cow::Borrowed(kind), Cow::Borrowed(words)),
                    traceback: false,
                },
                _ if message.contains(RECREATING) => SpanUpdate::Restarted,
                _ => SpanUpdate::Message,
            }
        }
    };
    let process = match (record.event, signal.as_deref()) {
        (EventKind::Process, Some("SIGKILL" | "KILL" | "9")) => Some(ProcessEvent::Kill),
        (EventKind::Process, Some(signal)) if !signal.is_empty() && signal != "0" => {
            Some(ProcessEvent::Shutdown)
        }
        (EventKind::Process, _) => {
            lifecycle::of_state(record.state.as_deref().unwrap_or_default(), &message)
        }
        _ => None,
    };
    let in_span = has_flow
        && matches!(
            record.event,
            EventKind::Start
                | EventKind::State
                | EventKind::End
                | EventKind::Fail
                | EventKind::Cancel
        );
    let component = record.component.clone();
    let span = in_span.then(|| SpanRef {
        key: record.span_id.map_or_else(
            || span_key(&["flowlog", &component, record.instance.as_deref().unwrap_or_default()]),
            flowlog_schema::SpanId::as_u64,
        ),
        is_inferred: record.span_id.is_none(),
        parent: record.parent_id.map(flowlog_schema::SpanId::as_u64),
        component: Some(component.clone()),
        instance: record.instance.clone(),
        callee,
    });
    ParsedEvent {
        time: record.time.map(|time| Timestamp::exact(time.0)),
        clock: record.clock.map_or(0, |clock| clock.0),
        level: record.level,
        flows,
        has_trace_id,
        span,
        update,
        component: Some(component),
        is_library: false,
        instance: record.instance,
        state: record.state,
        target: record.target.unwrap_or_default(),
        error: record.error.map(|error| Cow::Owned(format!("{}: {}", error.kind, error.message))),
        message,
        process,
        versions: Some(!record.versions.is_empty()),
        lost,
        problems,
    }
}
