//! Flowlog's own records, in both forms.

use std::borrow::Cow;

use flowlog_schema::{Event, Glance, Problems, Record, Skim, Skimmer, json, text};

use super::fault::{is_typed, typed};
use super::words::is_object;
use super::{Begin, Example, Recogniser, process};
use crate::observation::{Fault, FlowKey, Observation, ProcessEvent, Said, SpanRef, span_key};
use crate::stamp::Stamp;

/// The JSON form.
pub(super) const JSON: Recogniser = Recogniser {
    name: "flowlog_json",
    begins: |line| is_object(line).then_some(Begin::Whole),
    read: json,
    examples: &[
        Example {
            text: r#"{"component":"router","event":"start","message":"","target":""}"#,
            tells: "router ",
        },
        Example {
            text: r#"{"time":"2025-11-22T08:27:15.705274Z","level":"ERROR","target":"kvbm::offload","message":"gone","component":"kvbm","instance":"k-0","flow_id":"019aaaac-a5da-7347-bb80-1089c1876100","event":"fail","state":"copy"}"#,
            tells: "2025-11-22T08:27:15.705274Z ERROR kvbm /k-0 kvbm::offload: gone flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
    ],
};

/// The text form.
pub(super) const TEXT: Recogniser = Recogniser {
    name: "flowlog_text",
    begins: |line| is_text(line).then_some(Begin::Whole),
    read: text,
    examples: &[
        Example {
            text: "2025-11-22T08:27:15.705274Z  INFO router/r-0 - 019aaaac-a5da-7347-bb80-1089c1876100 - start - {}",
            tells: "2025-11-22T08:27:15.705274Z INFO router /r-0  flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
        Example {
            text: "router - 019aaaac-a5da-7347-bb80-1089c1876100 - decode",
            tells: "router  flow=019aaaac-a5da-7347-bb80-1089c1876100",
        },
        Example { text: "INFO etcd - - - process up {pid=7}", tells: "INFO etcd " },
    ],
};

/// Takes a record in JSON form.
pub(super) fn json(line: &str) -> Option<Observation<'_>> {
    if !line.starts_with('{') || !line.contains("\"event\"") {
        return None;
    }
    json::decode(line.as_bytes()).ok().map(|(record, problems)| observe(record, problems))
}

/// What is worth knowing of the fields of an ordinary record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// The instance that it calls; empty where it names none.
    pub callee: &'a str,
}

impl<'a> Fields<'a> {
    /// Takes a field; whether it leaves the record an ordinary one.
    fn take(&mut self, key: &[u8], value: &'a [u8], is_json: bool) -> bool {
        if !matches!(key, b"worker_id" | b"callee") {
            return !is_telling(key);
        }
        // What may be a number in text, is written as one.
        let may_change = !is_json
            && value.first().is_some_and(|b| *b == b'-' || b.is_ascii_digit())
            && !is_natural(value);
        if !self.callee.is_empty() || may_change {
            return false;
        }
        self.callee = std::str::from_utf8(value).unwrap_or_default();
        true
    }

    /// Of fields that were taken before.
    pub fn of(fields: &'a [(String, String)]) -> Self {
        let mut known = Self::default();
        for (key, value) in fields {
            known.take(key.as_bytes(), value.as_bytes(), true);
        }
        known
    }
}

/// Whether digits are a number that is written as it is read.
fn is_natural(digits: &[u8]) -> bool {
    digits.len() < 20
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.first() != Some(&b'0') || digits.len() == 1)
}

/// Takes an ordinary record in either form by what it shares with the lines before it; its fields are given where its tail
/// is not known by number. What it leaves, [`glance`] takes or leaves.
#[inline]
pub(super) fn skim<'a>(skimmer: &mut Skimmer, line: &'a [u8]) -> Option<(Skim<'a>, Fields<'a>)> {
    let mut fields = Fields::default();
    let is_json = line.first() == Some(&b'{');
    let skim = skimmer.skim(line, &mut |key, value| fields.take(key, value, is_json))?;
    let is_word = skim.message.is_empty() || is_word(skimmer.step(skim.step)?.event, skim.message);
    is_word.then_some((skim, fields))
}

/// Takes an ordinary record in either form at a glance; what it leaves, [`json`] or [`text`] reads.
///
/// What it takes, they take too: as a span's line that neither fails nor asks for anything but what the glance tells.
pub(super) fn glance(line: &[u8]) -> Option<(bool, Glance<'_>, Fields<'_>)> {
    let mut fields = Fields::default();
    let is_json = line.first() == Some(&b'{');
    let mut take = |key: &'_ [u8], value| fields.take(key, value, is_json);
    let glance =
        if is_json { json::glance(line, &mut take) } else { text::glance(line, &mut take) }?;
    is_word(glance.event, glance.message).then_some((is_json, glance, fields))
}

/// Whether a message says nothing more of its span.
fn is_word(event: Event, message: &str) -> bool {
    event != Event::State || !(typed(message).is_some() || message.contains(RECREATING))
}

/// Whether a field tells more of its span than that it goes on.
fn is_telling(key: &[u8]) -> bool {
    [&STATUS[..], &FOREIGN, &CALLEE].into_iter().flatten().any(|name| name.as_bytes() == key)
}

/// Fields that hold an HTTP status.
const STATUS: [&str; 5] =
    ["status", "http_status", "status_code", "http.status_code", "http.response.status_code"];

/// Fields that hold another id of the flow.
const FOREIGN: [&str; 2] = ["request_id", "x_request_id"];

/// Fields that hold the instance that a span calls.
const CALLEE: [&str; 2] = ["worker_id", "callee"];

/// Words of a span whose stream is made anew.
const RECREATING: &str = "recreating stream";

fn text(line: &str) -> Option<Observation<'_>> {
    if line.starts_with('{') || !line.contains(" - ") {
        return None;
    }
    text::decode(line.as_bytes()).ok().map(|(record, problems)| observe(record, problems))
}

/// Whether the line has the shape of a record in text form: `component - id - ` with the dashes where they must be.
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

fn observe(mut record: Record<'_>, problems: Problems) -> Observation<'_> {
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
    // What a collector did not get stands in the log all the same.
    let is_lost = record.event == Event::Lost && record.field("sink") != Some(&"otlp".into());
    let lost = record
        .field("count")
        .and_then(|count| count.to_text().parse().ok())
        .filter(|_| is_lost)
        .unwrap_or(0);
    let signal = record.field("signal").map(|signal| signal.to_text().to_ascii_uppercase());

    let traced = record.flow_id.is_some();
    let mut flows: Vec<FlowKey> = record.flow_id.map(FlowKey::Id).into_iter().collect();
    if let Some(foreign) = foreign
        && flows.first() != Some(&foreign)
    {
        flows.push(foreign);
    }
    let message = record.message.take().unwrap_or_default();
    let has_flow = !flows.is_empty();
    let fault = |kind: Cow<'_, str>, message: Cow<'_, str>| Fault {
        kind: Cow::Owned(kind.into_owned()),
        message: Cow::Owned(message.into_owned()),
        status,
    };
    let said = match record.event {
        Event::Start => Said::Open,
        Event::End => match status {
            Some(400..) => Said::Fail(fault(Cow::Borrowed(""), Cow::Borrowed(&message))),
            _ => Said::End,
        },
        Event::Cancel => Said::Cancel,
        Event::Fail => match &record.error {
            Some(error) => {
                Said::Fail(fault(Cow::Borrowed(&error.kind), Cow::Borrowed(&error.message)))
            }
            None => Said::Fail(fault(Cow::Borrowed(""), Cow::Borrowed(&message))),
        },
        Event::State | Event::Sample | Event::Process | Event::Lost => {
            match (&record.error, typed(&message)) {
                (Some(error), _) if is_typed(&error.kind) => Said::Distress {
                    fault: fault(Cow::Borrowed(&error.kind), Cow::Borrowed(&error.message)),
                    traceback: false,
                },
                (_, Some((kind, words))) => Said::Distress {
                    fault: fault(Cow::Borrowed(kind), Cow::Borrowed(words)),
                    traceback: false,
                },
                _ if message.contains(RECREATING) => Said::Recreated,
                _ => Said::Word,
            }
        }
    };
    let process = match (record.event, signal.as_deref()) {
        (Event::Process, Some("SIGKILL" | "KILL" | "9")) => Some(ProcessEvent::Kill),
        (Event::Process, Some(signal)) if !signal.is_empty() && signal != "0" => {
            Some(ProcessEvent::Shutdown)
        }
        (Event::Process, _) => {
            process::of_state(record.state.as_deref().unwrap_or_default(), &message)
        }
        _ => None,
    };
    let in_span = has_flow
        && matches!(
            record.event,
            Event::Start | Event::State | Event::End | Event::Fail | Event::Cancel
        );
    let component = record.component.clone();
    let span = in_span.then(|| SpanRef {
        key: record.span_id.map_or_else(
            || span_key(&["flowlog", &component, record.instance.as_deref().unwrap_or_default()]),
            flowlog_schema::SpanId::as_u64,
        ),
        parent: record.parent_id.map(flowlog_schema::SpanId::as_u64),
        component: Some(component.clone()),
        instance: record.instance.clone(),
        callee,
    });
    Observation {
        time: record.time.map(|time| Stamp::exact(time.0)),
        clock: record.clock.map_or(0, |clock| clock.0),
        level: record.level,
        flows,
        traced,
        span,
        said,
        component: Some(component),
        embedded: false,
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
