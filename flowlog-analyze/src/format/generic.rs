//! Text of any logger: lines that begin with a header of any order (a timestamp, a level, a logger,
//! a thread, a process, a trace), and lines of `key=value` pairs.

mod header;
mod pairs;
mod words;

use std::borrow::Cow;

pub(super) use header::{Header, MAX_BYTES};

use super::fields::LogFields;
use flowlog_schema::Level;

use super::plain::{beginning, leveled};
use super::{EventStart, Example, LogFormat, chain, ids, lifecycle};
use crate::event::ParsedEvent;

/// Lines that no specific format accepts.
pub(super) const GENERIC: LogFormat = LogFormat {
    name: "generic",
    classify_start,
    read,
    examples: &[
        Example {
            text: "22-Nov-2025 08:27:15.705  WARN [orders,4bf92f3577b34da6a3ce929d0e0e4736,00f067aa0ba902b7] 1 --- [nio-8080-exec-3] c.s.orders.OrderService : slow query",
            expected: "2025-11-22T08:27:15.705000Z-zone WARN orders c.s.orders.OrderService: slow query flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
        Example {
            text: "25/11/22 08:27:15 INFO  [main:QuorumPeer@774] - Notification time out: 3200",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO QuorumPeer@774: Notification time out: 3200",
        },
        Example {
            text: "E, [2025-11-22T08:27:15.705274 #7] ERROR -- : no such order",
            expected: "2025-11-22T08:27:15.705274Z-zone ERROR no such order",
        },
        Example {
            text: "Nov 22 08:27:15 node-7 sshd[24200]: session closed",
            expected: "2000-11-22T08:27:15.000000Z-year-zone sshd: session closed",
        },
        Example {
            text: "[22/Nov/2025:08:27:15 +0000] [error] [client 10.0.0.7] file does not exist",
            expected: "2025-11-22T08:27:15.000000Z ERROR file does not exist",
        },
        Example {
            text: "/app/run.rb:7:in `run': batch aborted (Batch::Failed)\n\tfrom /app/run.rb:9:in `<main>'",
            expected: "ERROR /app/run.rb:7:in `run': batch aborted (Batch::Failed)\n\tfrom /app/run.rb:9:in `<main>'",
        },
        Example { text: "ERROR vllm: engine died", expected: "ERROR vllm: engine died" },
        Example { text: "LMCache ERROR: store failed", expected: "ERROR LMCache: store failed" },
        Example {
            text: "DEBUG   order-worker: 2025-11-22 08:27:15,705 [main]    ERROR   o.c.Batch(run):25 - no such order",
            expected: "2025-11-22T08:27:15.705000Z-zone ERROR order-worker o.c.Batch: no such order",
        },
        Example {
            text: "ERROR - no worker became healthy",
            expected: "ERROR no worker became healthy",
        },
        Example {
            text: "severity=error when=2025-11-22T08:27:15Z svc=cart text=\"no such item\"",
            expected: "2025-11-22T08:27:15.000000Z ERROR cart no such item",
        },
        Example {
            text: "TraceID: 4bf92f3577b34da6a3ce929d0e0e4736 SpanID: 00f067aa0ba902b7 2025-11-22 08:27:15 INFO charge accepted",
            expected: "2025-11-22T08:27:15.000000Z-zone INFO charge accepted flow=4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        },
    ],
};

fn classify_start(line: &[u8]) -> Option<EventStart> {
    if chain::begins(line) {
        return Some(EventStart::Stack);
    }
    let head = beginning(line, MAX_BYTES);
    if let Some(header) = Header::read(head) {
        let start = EventStart::logged(header.target.as_bytes(), header.body, header.level);
        // Any logger of the same name has this header, so that an equal one means nothing.
        return Some(match start {
            EventStart::Logged { header, may_have_stack, repeats_header, .. } => {
                EventStart::Logged { header, body: 0, may_have_stack, repeats_header }
            }
            other => other,
        });
    }
    pairs::begins(head).then_some(EventStart::Whole)
}

fn read(text: &str) -> Option<ParsedEvent<'_>> {
    let first = text.lines().next()?;
    if chain::begins(first.as_bytes()) {
        return Some(leveled(Level::Error, text));
    }
    let head = text.get(..first.len().min(text.floor_char_boundary(MAX_BYTES)))?;
    if let Some(header) = Header::read(head) {
        return Some(of_header(&header, text));
    }
    if !pairs::begins(head) {
        return None;
    }
    let mut fields = LogFields::default();
    pairs::read(first, &mut fields);
    (fields.is_log() || fields.count >= MIN_PAIRS).then(|| fields.into_event(text))
}

/// Minimum number of pairs in a line without a time, a level or a message.
const MIN_PAIRS: usize = 3;

fn of_header<'a>(header: &Header<'a>, text: &'a str) -> ParsedEvent<'a> {
    let message = text.get(header.body..).unwrap_or_default().trim_start();
    let first = message.lines().next().unwrap_or_default();
    // Pairs behind the header may say more: `level=error msg="boom"`.
    if pairs::begins(first) {
        let mut fields = LogFields::default();
        pairs::read(first, &mut fields);
        if fields.is_log() {
            let event = fields.into_event(message);
            return ParsedEvent {
                time: header.time.or(event.time),
                level: event.level.or(header.level),
                target: if event.target.is_empty() {
                    Cow::Borrowed(header.target)
                } else {
                    event.target
                },
                ..event
            };
        }
    }
    let trace = header.trace.and_then(ids::trace_key).or_else(|| ids::trace_in(first));
    let has_trace_id = trace.is_some();
    let flows = match trace {
        Some(trace) => vec![trace],
        None => ids::in_message(message),
    };
    ParsedEvent {
        time: header.time,
        level: header.level,
        flows,
        has_trace_id,
        component: header.service.map(|name| Cow::Owned(name.to_ascii_lowercase())),
        target: Cow::Borrowed(header.target),
        process: lifecycle::of_message(message),
        message: Cow::Borrowed(message),
        ..ParsedEvent::default()
    }
}
