//! Fields of structured log lines, by the many names that loggers give them.
//!
//! Loggers agree on what a line has (a time, a level, a message, an error, a service, a trace) and
//! on little else. Names are compared without case and punctuation, so that `trace_id`, `traceId`
//! and `trace.id` are one; a nested field is named by its path, or else by its last part.

use std::borrow::Cow;

use flowlog_schema::Level;

use super::{ids, lifecycle, plain};
use crate::event::{FlowKey, ParsedEvent};
use crate::timestamp::{self, Timestamp};

/// What a field says about its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Time,
    Level,
    Message,
    Error,
    ErrorType,
    Stack,
    Logger,
    Service,
    Pod,
    Container,
    Host,
    Trace,
    Request,
    Span,
}

/// Names of each role, without case and punctuation; the best first.
const NAMES: [(Role, &[&str]); 14] = [
    (
        Role::Time,
        &[
            "timestamp",
            "time",
            "ts",
            "t",
            "datetime",
            "asctime",
            "eventtime",
            "logtime",
            "timeunixnano",
            "timemillis",
            "instantepochsecond",
            "timestampseconds",
            "tdate",
            "eventcreated",
            "date",
            "startedat",
            "starttime",
            "observedtimeunixnano",
        ],
    ),
    (
        Role::Level,
        &[
            "level",
            "lvl",
            "severity",
            "loglevel",
            "levelname",
            "severitytext",
            "logseverity",
            "levelno",
            "severitynumber",
            "l",
            "s",
            "priority",
            "status",
        ],
    ),
    (
        Role::Message,
        &[
            "message",
            "msg",
            "m",
            "shortmessage",
            "textpayload",
            "log",
            "mt",
            "body",
            "bodystringvalue",
            "text",
            "event",
            "logmessage",
            "line",
            "eventoriginal",
        ],
    ),
    (
        Role::Error,
        &[
            "errormessage",
            "errmessage",
            "exceptionmessage",
            "errmsg",
            "error",
            "err",
            "exception",
            "thrownmessage",
            "excinfo",
            "x",
            "errorcause",
            "attrerror",
        ],
    ),
    (
        Role::ErrorType,
        &[
            "errortype",
            "errtype",
            "errorkind",
            "errname",
            "errorname",
            "exceptionclass",
            "exceptiontype",
            "exceptionname",
            "exceptionexceptionclass",
            "thrownname",
            "errorclass",
        ],
    ),
    (
        Role::Stack,
        &[
            "stacktrace",
            "stack",
            "errorstacktrace",
            "errorstack",
            "errstack",
            "exceptionstacktrace",
            "backtrace",
            "traceback",
            "fullmessage",
            "throwablestacktrace",
            "thrownextendedstacktrace",
        ],
    ),
    (
        Role::Logger,
        &[
            "logger",
            "loggername",
            "loglogger",
            "sourcecontext",
            "category",
            "channel",
            "module",
            "caller",
            "target",
            "class",
            "classname",
            "source",
            "c",
            "component",
            "name",
        ],
    ),
    (
        Role::Service,
        &[
            "servicename",
            "service",
            "resourceservicename",
            "ddservice",
            "appname",
            "app",
            "application",
            "applicationname",
            "serviceid",
            "kuberneteslabelsapp",
            "labelsapp",
            "kuberneteslabelsappkubernetesioname",
            "program",
            "deployment",
            "deploymentname",
        ],
    ),
    (Role::Pod, &["podname", "pod", "k8spodname", "kubernetespodname", "k8spod", "kubernetespod"]),
    (
        Role::Container,
        &["containername", "container", "k8scontainername", "kubernetescontainername"],
    ),
    (Role::Host, &["hostname", "host", "hostnamename", "node", "nodename", "serverhost"]),
    (
        Role::Trace,
        &[
            "traceid",
            "ddtraceid",
            "oteltraceid",
            "xb3traceid",
            "tracetraceid",
            "contexttraceid",
            "traceparent",
            "logginggoogleapiscomtrace",
            "trace",
            "xtraceid",
            "mdctraceid",
            "tid",
        ],
    ),
    (
        Role::Request,
        &["requestid", "reqid", "xrequestid", "correlationid", "httprequestid", "transactionid"],
    ),
    (Role::Span, &["spanid", "ddspanid", "otelspanid", "xb3spanid", "spanspanid", "mdcspanid"]),
];

/// Maximum length of a name in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(f64),
}

impl<'a> Value<'a> {
    fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => Cow::Owned(number.to_string()),
        }
    }
}

/// Returns the role of a name and its rank, the smaller the better.
fn role_of(name: &str) -> Option<(Role, usize)> {
    let find = |name: &str| {
        let mut buffer = [0; MAX_NAME_BYTES];
        let mut len = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *buffer.get_mut(len)? = byte.to_ascii_lowercase();
            len += 1;
        }
        let plain = std::str::from_utf8(buffer.get(..len)?).ok()?;
        NAMES
            .iter()
            .find_map(|(role, names)| Some((*role, names.iter().position(|own| *own == plain)?)))
    };
    if let Some(found) = find(name) {
        return Some(found);
    }
    let last = name.rsplit_once('.').map(|(_, last)| last)?;
    find(last).map(|(role, rank)| (role, rank + NESTED_RANK))
}

/// Added to the rank of a name that only the last part of a path has.
const NESTED_RANK: usize = 100;

/// Fields of one line, as far as they have a role.
#[derive(Debug, Default)]
pub(super) struct LogFields<'a> {
    values: Vec<(Role, usize, Value<'a>)>,
    /// Whether the level's name is Python's `levelno`, or OpenTelemetry's `severityNumber`.
    level_scale: LevelScale,
    /// Nanoseconds to add to a time in seconds.
    nanos: i64,
    /// Number of all fields, with a role or without.
    pub count: usize,
}

/// Scale of a level that is a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LevelScale {
    /// Bunyan's from 10 to 60, or syslog's from 0 to 7.
    #[default]
    BunyanOrSyslog,
    /// From 10 to 50.
    Python,
    /// From 1 to 24.
    OpenTelemetry,
}

impl<'a> LogFields<'a> {
    /// Adds a field. `name` is its path, with dots.
    pub(super) fn add(&mut self, name: &str, value: Value<'a>) {
        self.count += 1;
        // Times of log4j 2 and Google Cloud are in two parts.
        if let (Value::Number(nanos), "instant.nanoOfSecond" | "timestampNanos") = (&value, name) {
            #[expect(clippy::cast_possible_truncation, reason = "at most a billion")]
            let nanos = nanos.clamp(0.0, 1e9) as i64;
            self.nanos = nanos;
        }
        let Some((role, rank)) = role_of(name) else { return };
        if role == Role::Level {
            // Datadog's `status` and others of that name are levels only if they are words.
            let is_level = match &value {
                Value::Text(text) => plain::level(text).is_some() || text.parse::<f64>().is_ok(),
                Value::Number(_) => !name.ends_with("status"),
            };
            if !is_level {
                return;
            }
        }
        if matches!(&value, Value::Text(text) if text.is_empty()) {
            return;
        }
        if self.values.iter().any(|(own, other, _)| *own == role && *other <= rank) {
            return;
        }
        if role == Role::Level {
            let lower = name.to_ascii_lowercase();
            self.level_scale = if lower.ends_with("levelno") {
                LevelScale::Python
            } else if lower.ends_with("severitynumber") {
                LevelScale::OpenTelemetry
            } else {
                LevelScale::BunyanOrSyslog
            };
        }
        self.values.retain(|(own, ..)| *own != role);
        self.values.push((role, rank, value));
    }

    fn get(&self, role: Role) -> Option<&Value<'a>> {
        self.values.iter().find(|(own, ..)| *own == role).map(|(.., value)| value)
    }

    fn take(&mut self, role: Role) -> Option<Cow<'a, str>> {
        let at = self.values.iter().position(|(own, ..)| *own == role)?;
        Some(self.values.swap_remove(at).2.into_text())
    }

    /// Returns whether the fields say more than any object does: a time, a level or a message.
    pub(super) fn is_log(&self) -> bool {
        self.values.iter().any(|(role, rank, _)| {
            *rank < NESTED_RANK && matches!(role, Role::Time | Role::Level | Role::Message)
        })
    }

    fn time(&self) -> Option<Timestamp> {
        let stamp = match self.get(Role::Time)? {
            Value::Number(number) => timestamp::of_number(*number)?,
            Value::Text(text) => {
                let text = text.trim();
                match timestamp::any(text.as_bytes()) {
                    Some((stamp, end)) if end + 6 >= text.len() => stamp,
                    _ => timestamp::of_number(text.parse().ok()?)?,
                }
            }
        };
        Some(Timestamp { ns: stamp.ns.saturating_add(self.nanos), ..stamp })
    }

    fn level(&self) -> Option<Level> {
        let number = match self.get(Role::Level)? {
            Value::Text(text) => match plain::level(text) {
                Some(level) => return Some(level),
                None => text.parse().ok()?,
            },
            Value::Number(number) => *number,
        };
        Some(match (self.level_scale, number) {
            (LevelScale::OpenTelemetry, 17.0..) => Level::Error,
            (LevelScale::OpenTelemetry, 13.0..) => Level::Warn,
            (LevelScale::OpenTelemetry, 9.0..) => Level::Info,
            (LevelScale::OpenTelemetry, 5.0..) => Level::Debug,
            (LevelScale::OpenTelemetry, _) => Level::Trace,
            (LevelScale::Python, 40.0..) | (LevelScale::BunyanOrSyslog, 50.0..) => Level::Error,
            (LevelScale::Python, 30.0..) | (LevelScale::BunyanOrSyslog, 40.0..) => Level::Warn,
            (LevelScale::Python, 20.0..) | (LevelScale::BunyanOrSyslog, 30.0..) => Level::Info,
            (_, 20.0..) => Level::Debug,
            (_, 10.0..) if self.level_scale == LevelScale::BunyanOrSyslog => Level::Trace,
            (LevelScale::Python, _) => Level::Debug,
            (_, 7.0..) => Level::Debug,
            (_, 5.0..) => Level::Info,
            (_, 4.0..) => Level::Warn,
            _ => Level::Error,
        })
    }

    /// Converts the fields into an event. `rest` is the message if no field is one.
    pub(super) fn into_event(mut self, rest: &'a str) -> ParsedEvent<'a> {
        let (time, level) = (self.time(), self.level());
        let kind = self.take(Role::ErrorType);
        let error = self.take(Role::Error);
        let stack = self.take(Role::Stack);
        let message = self.take(Role::Message);
        let error = match (kind, error) {
            (Some(kind), Some(error)) if !error.contains(&*kind) => {
                Some(Cow::Owned(format!("{kind}: {error}")))
            }
            (kind, error) => error.or(kind),
        };
        let error = match (error, stack) {
            (Some(error), Some(stack)) if stack.contains(&*error) => Some(stack),
            (Some(error), Some(stack)) => Some(Cow::Owned(format!("{error}\n{stack}"))),
            (error, stack) => error.or(stack),
        };
        let message = message.or_else(|| error.clone()).unwrap_or(Cow::Borrowed(rest));
        let trace = self.take(Role::Trace).and_then(|text| ids::trace_key(&text));
        let has_trace_id = trace.is_some();
        let request = self.take(Role::Request).and_then(|text| FlowKey::parse(&text));
        let mut flows: Vec<FlowKey> = trace.into_iter().chain(request).collect();
        if flows.is_empty() {
            flows = ids::in_message(&message);
        }
        let component = self.take(Role::Service).or_else(|| self.take(Role::Container));
        let instance = self.take(Role::Pod).or_else(|| self.take(Role::Host));
        ParsedEvent {
            time,
            level,
            flows,
            has_trace_id,
            component: component.filter(|name| is_name(name)).map(|name| service(&name)),
            instance: instance.filter(|name| is_name(name)),
            target: self.take(Role::Logger).unwrap_or_default(),
            process: lifecycle::of_message(&message),
            message,
            error,
            ..ParsedEvent::default()
        }
    }
}

/// Returns whether a text can be the name of a service or a host.
pub(super) fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

/// Normalizes the name of a service: components are lower-case.
fn service(name: &str) -> Cow<'static, str> {
    Cow::Owned(name.to_ascii_lowercase())
}
