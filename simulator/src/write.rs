//! Conversion of steps to log lines.

use flowlog_schema::{
    Clock, ErrorInfo, EventKind, FlowId, Level, Record, Scalar, SpanId, Time, json, text,
};
use serde_json::json;

use crate::process::Process;
use crate::script::{Entry, Span, Step, What};
use crate::{LogFormat, Options};

/// Returns the index of the process that holds the log of a Dynamo process: the router runs in the
/// frontend.
pub(crate) fn dynamo_home(process: &Process, processes: &[Process]) -> usize {
    let log = process.log.replace("router", "frontend");
    processes.iter().position(|other| other.log == log).unwrap_or(0)
}

#[expect(clippy::too_many_arguments, reason = "a line depends on all of these")]
pub(crate) fn step(
    step: &Step,
    process: &Process,
    wall: i64,
    clock: Clock,
    state: &'static str,
    options: &Options,
    random: &mut fastrand::Rng,
    out: &mut Vec<u8>,
) {
    if let Entry::Text { flow, message, error } = &step.entries {
        python(process, wall, *flow, message, error.as_ref(), out);
        return;
    }
    if options.format == LogFormat::Dynamo {
        dynamo(step, process, wall, out);
        return;
    }
    let record = record(step, process, wall, clock, state, options);
    let as_json = match options.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Mixed | LogFormat::Dynamo => random.bool(),
    };
    if as_json {
        json::encode(&record, out);
    } else {
        text::encode(&record, out);
    }
    out.push(b'\n');
}

/// Writes a line of Python's `logging`, and the stack of an exception below it.
fn python(
    process: &Process,
    wall: i64,
    flow: FlowId,
    message: &str,
    error: Option<&(&'static str, String)>,
    out: &mut Vec<u8>,
) {
    let time = Time(wall * 1_000).to_string();
    let (date, clock, millis) = (&time[..10], &time[11..19], &time[20..23]);
    let level = if error.is_some() { "ERROR" } else { "INFO" };
    let mut text = format!(
        "{date} {clock},{millis} {level} {}.worker: {message} request_id={flow}\n",
        process.component
    );
    if let Some((kind, reason)) = error {
        text.push_str("Traceback (most recent call last):\n");
        text.push_str("  File \"/opt/app/worker.py\", line 88, in generate\n");
        text.push_str("    async for out in self.run(request):\n");
        text.push_str(&format!("{kind}: {reason}\n"));
    }
    out.extend_from_slice(text.as_bytes());
}

fn record<'a>(
    step: &'a Step,
    process: &'a Process,
    wall: i64,
    clock: Clock,
    state: &'static str,
    options: &Options,
) -> Record<'a> {
    let mut record = Record::new(process.component, EventKind::State);
    record.time = Some(Time(wall * 1_000));
    record.level = Some(Level::Info);
    record.instance = Some(process.instance.as_str().into());
    record.target = Some("simulator".into());
    record.clock = Some(clock);
    match &step.entries {
        Entry::Process { state } => {
            record.event = EventKind::Process;
            record.state = Some((*state).into());
            record.fields.push(("pid".into(), Scalar::Int(7)));
        }
        // Written as text.
        Entry::Text { .. } => {}
        Entry::Noise { loud } => {
            record.event = EventKind::Sample;
            record.fields.push(("rss_bytes".into(), Scalar::Int(1_000_000)));
            if *loud {
                record.level = Some(Level::Error);
                record.message = Some("Unavailable: metrics endpoint, will retry".into());
            }
        }
        Entry::Span { span, what } => {
            record.flow_id = Some(span.flow);
            record.flow = Some("chat_completion".into());
            record.span_id = SpanId::from_u64(span.id).ok();
            record.parent_id = span.parent.and_then(|parent| SpanId::from_u64(parent).ok());
            if let Some(callee) = &span.callee {
                record.fields.push(("worker_id".into(), callee.as_str().into()));
            }
            match what {
                What::Start => {
                    record.event = EventKind::Start;
                    record.versions = vec![(process.component.into(), "0.7.0".into())];
                }
                What::State(state) => record.state = Some((*state).into()),
                What::Warn { state, kind, message } => {
                    record.state = Some((*state).into());
                    record.level = Some(Level::Warn);
                    record.error = Some(ErrorInfo {
                        kind: (*kind).into(),
                        message: message.as_str().into(),
                        causes: Vec::new(),
                    });
                }
                What::Handled => {
                    record.level = Some(Level::Error);
                    record.message = Some("Disconnected: kv event stream, reconnected".into());
                }
                What::End => record.event = EventKind::End,
                What::Cancel => {
                    record.event = EventKind::Cancel;
                    record.error = Some(ErrorInfo {
                        kind: "Cancelled".into(),
                        message: "client disconnected".into(),
                        causes: Vec::new(),
                    });
                }
                What::Fail { kind, message, status } => {
                    record.event = EventKind::Fail;
                    record.state = Some(state.into());
                    record.level = Some(Level::Error);
                    record.versions = vec![(process.component.into(), "0.7.0".into())];
                    record.error = Some(ErrorInfo {
                        kind: (*kind).into(),
                        message: message.as_str().into(),
                        causes: Vec::new(),
                    });
                    if let Some(status) = status {
                        record.fields.push(("status".into(), Scalar::Int(i64::from(*status))));
                    }
                }
            }
        }
    }
    if options.padding_bytes > 0 {
        record
            .fields
            .push(("padding".into(), Scalar::Text("x".repeat(options.padding_bytes).into())));
    }
    record
}

/// Writes the lines of Dynamo 1.6 for this step, with `DYN_LOGGING_SPAN_EVENTS=1`.
fn dynamo(step: &Step, process: &Process, wall: i64, out: &mut Vec<u8>) {
    let mut line = |level: &str, message: &str, more: serde_json::Value| {
        let mut object = json!({"time": Time(wall * 1_000).to_string(), "level": level, "file": "lib/x.rs", "line": 1, "target": "dynamo_runtime::x", "message": message});
        if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        out.extend_from_slice(object.to_string().as_bytes());
        out.push(b'\n');
    };
    let (span, what) = match &step.entries {
        Entry::Process { state: "stop" } => {
            line("INFO", "Runtime shutdown initiated", json!({}));
            line("ERROR", "Failed to send file watch event", json!({"error": "channel closed"}));
            return;
        }
        Entry::Process { .. } => {
            return line(
                "INFO",
                "OpenTelemetry OTLP export disabled, traces local only",
                json!({}),
            );
        }
        Entry::Noise { loud: true } => {
            return line(
                "ERROR",
                "monitor_instance_source: The Sender is dropped: channel closed",
                json!({}),
            );
        }
        Entry::Noise { .. } => return line("DEBUG", "processed active load update", json!({})),
        Entry::Text { .. } => return,
        Entry::Span { span, what } => (span, what),
    };
    let fields = || span_fields(span, process);
    let with = |more: serde_json::Value| {
        let mut fields = fields();
        if let (Some(fields), serde_json::Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        fields
    };
    let role = process.component;
    match what {
        What::Start => {
            line("INFO", "SPAN_FIRST_ENTRY", fields());
            if role != "router" {
                line("INFO", "request received", fields());
            }
        }
        What::State(state) => line("DEBUG", state, fields()),
        What::Warn { state, kind, message } => {
            line("WARN", &format!("{state}: {kind}: {message}"), fields());
        }
        What::Handled => {
            line("ERROR", "Unavailable: kv event stream, reconnecting", fields());
            line("DEBUG", "kv event stream is back", fields());
        }
        What::End => {
            let outcome = json!({"request.outcome": "success"});
            match role {
                "router" => line("INFO", "route request completed", with(outcome)),
                "frontend" => line("INFO", "request completed", with(outcome)),
                _ => line("INFO", "request completed", fields()),
            }
            line("INFO", "SPAN_CLOSED", fields());
        }
        What::Cancel => {
            let outcome = json!({"request.outcome": "cancelled", "error_type": "cancelled"});
            match role {
                "router" => line("INFO", "route request cancelled", with(outcome)),
                "frontend" => line("INFO", "request completed", with(outcome)),
                _ => line("WARN", "Failed to publish response for stream", fields()),
            }
            line("INFO", "SPAN_CLOSED", fields());
        }
        What::Fail { kind, message, status } => {
            let outcome =
                json!({"request.outcome": "error", "error_type": kind, "error_detail": message});
            match role {
                "router" => line(
                    "WARN",
                    "route request failed",
                    with(json!({"request.outcome": "error", "error.type": kind})),
                ),
                "frontend" => {
                    line("ERROR", "request completed", with(outcome));
                    line(
                        "ERROR",
                        "http response sent",
                        with(
                            json!({"status": status.unwrap_or(if *kind == "Internal" { 500 } else { 503 }).to_string()}),
                        ),
                    );
                }
                _ => line("DEBUG", &format!("{kind}: {message}"), fields()),
            }
            line("INFO", "SPAN_CLOSED", fields());
        }
    }
}

fn span_fields(span: &Span, process: &Process) -> serde_json::Value {
    let id = SpanId::from_u64(span.id).map(|id| id.to_string()).unwrap_or_default();
    let request =
        format!("{:08x}-0000-4000-8000-{:012x}", span.request >> 32, span.request & 0xffff_ffff);
    let mut fields =
        json!({"trace_id": span.flow.trace_id().to_string(), "span_id": id, "request_id": request});
    let more = match process.component {
        "frontend" => {
            json!({"span_name": "http-request", "method": "POST", "uri": "/v1/chat/completions"})
        }
        "router" => {
            json!({"span_name": "router.route_request", "worker_id": span.callee, "request.attempt": span.attempt.to_string()})
        }
        component => {
            json!({"span_name": "handle_payload", "component": component, "endpoint": "generate", "instance_id": process.instance, "namespace": "dynamo"})
        }
    };
    if let (Some(fields), serde_json::Value::Object(more)) = (fields.as_object_mut(), more) {
        fields.extend(more);
        if let Some(parent) = span.parent.and_then(|parent| SpanId::from_u64(parent).ok()) {
            fields.insert("parent_id".into(), parent.to_string().into());
        }
    }
    fields
}
