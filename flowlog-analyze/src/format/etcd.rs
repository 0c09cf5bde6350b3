//! etcd: zap's JSON (`level`, `ts`, `caller`, `msg`), and capnslog before 3.4.

use std::borrow::Cow;

use compact_str::CompactString;
use flowlog_schema::{Scalar, json};

use super::ownership;
use super::plain::{PlainLine, beginning, is_object, level};
use super::{EventStart, Example, LogFormat};
use crate::event::ParsedEvent;
use crate::timestamp::{self, Timestamp};

/// etcd's log lines.
pub(super) const ETCD: LogFormat = LogFormat {
    name: "etcd",
    classify_start: |line| match line.first()? {
        b'{' => is_object(line).then_some(EventStart::Whole),
        b'0'..=b'9' => capnslog(beginning(line, 256)).map(|_| EventStart::Whole),
        _ => None,
    },
    read: |text| {
        if text.starts_with('{') {
            let zap = zap(text)?;
            return (zap.is_of_etcd && !zap.is_controller).then(|| zap.into_event("etcd"));
        }
        capnslog(text)
    },
    examples: &[
        Example {
            text: r#"{"level":"warn","ts":"2025-11-22T08:27:15.705274Z","caller":"etcdserver/util.go:163","msg":"apply request took too long","took":"138ms"}"#,
            expected: "2025-11-22T08:27:15.705274Z WARN etcd etcdserver/util.go:163: apply request took too long",
        },
        Example {
            text: r#"{"level":"info","ts":"2025-11-22T16:27:15.705+0800","caller":"raft/node.go:336","msg":"lost leader","level":"info"}"#,
            expected: "2025-11-22T08:27:15.705000Z INFO etcd raft/node.go:336: lost leader",
        },
        Example {
            text: "2025-11-22 08:27:15.705274 W | etcdserver: ignored out-of-date read index response",
            expected: "2025-11-22T08:27:15.705274Z-zone WARN etcd etcdserver: ignored out-of-date read index response",
        },
    ],
};

/// A parsed JSON line of zap.
pub(super) struct Zap<'a> {
    time: Timestamp,
    level: flowlog_schema::Level,
    message: Cow<'a, str>,
    place: Cow<'a, str>,
    error: Option<Cow<'a, str>>,
    /// Program that the stack names.
    program: Option<CompactString>,
    /// Whether it has a key or a logger name that controllers use.
    pub is_controller: bool,
    /// Whether it comes from one of etcd's packages. Any program in Go may use zap.
    is_of_etcd: bool,
}

/// etcd's packages, as its callers name them.
const PACKAGES: [&str; 36] = [
    "etcdserver",
    "raft",
    "rafthttp",
    "embed",
    "etcdmain",
    "mvcc",
    "wal",
    "membership",
    "v3rpc",
    "lease",
    "lessor",
    "auth",
    "flags",
    "fileutil",
    "snap",
    "backend",
    "traceutil",
    "osutil",
    "schema",
    "verify",
    "clientv3",
    "transport",
    "pkg",
    "api3",
    "v3compactor",
    "compactor",
    "v2store",
    "v3client",
    "v3lock",
    "v3election",
    "tlsutil",
    "cmd",
    "snapshot",
    "version",
    "leasehttp",
    "zapraft",
];

impl<'a> Zap<'a> {
    pub(super) fn into_event(self, component: &'static str) -> ParsedEvent<'a> {
        let empty = PlainLine {
            time: Some(self.time),
            level: Some(self.level),
            component,
            server: true,
            ..PlainLine::default()
        };
        let process = super::lifecycle::of_message(&self.message);
        let program = self.program.map(|name| Cow::Owned(name.into()));
        ParsedEvent {
            component: program.or(Some(Cow::Borrowed(component))),
            message: self.message,
            target: self.place,
            error: self.error,
            process,
            ..empty.into_event()
        }
    }
}

/// Parses an object with zap's keys. If a key is duplicated, the first value counts.
pub(super) fn zap(text: &str) -> Option<Zap<'_>> {
    if !text.contains("\"msg\"") || !text.contains("\"ts\"") {
        return None;
    }
    let (fields, _) = json::flat_object(text.as_bytes()).ok()?;
    let (mut ts, mut name, mut message, mut place, mut error, mut logger, mut stack) =
        (None, None, None, None, None, None, None);
    let mut is_controller = false;
    for (key, value) in fields {
        let slot = match key.as_ref() {
            "ts" => &mut ts,
            "level" => &mut name,
            "msg" => &mut message,
            "caller" => &mut place,
            "error" => &mut error,
            "logger" => &mut logger,
            "stacktrace" => &mut stack,
            "controller" | "reconcileID" | "controllerKind" => {
                is_controller = true;
                continue;
            }
            _ => continue,
        };
        *slot = Some(match value {
            Scalar::Text(text) => text,
            other => Cow::Owned(other.to_text().into_owned()),
        });
    }
    let is_of_etcd = logger.as_deref().is_some_and(|logger| logger.starts_with("etcd"))
        || place.as_deref().is_some_and(|place| {
            let package = place.split('/').next().unwrap_or_default();
            PACKAGES.contains(&package)
        });
    is_controller |= logger.is_some_and(|logger| {
        ["controller", "setup", "webhook", "operator", "manager", "reconcil"]
            .iter()
            .any(|word| logger.contains(word))
    });
    Some(Zap {
        time: time_of(&ts?)?,
        level: level(&name?)?,
        message: message?,
        place: place.unwrap_or_default(),
        error,
        program: stack.as_deref().and_then(ownership::of_stack).map(CompactString::from),
        is_controller,
        is_of_etcd,
    })
}

/// Parses RFC 3339, or seconds since the epoch.
pub(super) fn time_of(text: &str) -> Option<Timestamp> {
    if let Some((time, end)) = timestamp::iso(text.as_bytes()) {
        return (end == text.len()).then_some(time);
    }
    let seconds: f64 = text.parse().ok().filter(|seconds: &f64| (1e9..9e9).contains(seconds))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked above, and a float has no more digits"
    )]
    Some(Timestamp { unit: 1_000, ..Timestamp::exact((seconds * 1e6) as i64 * 1_000) })
}

fn capnslog(text: &str) -> Option<ParsedEvent<'_>> {
    let (time, end) = timestamp::iso(text.as_bytes())?;
    let rest = text.get(end..)?.strip_prefix(' ')?;
    let (name, rest) = rest.split_once(" | ").filter(|(name, _)| name.len() == 1)?;
    let (target, message) = rest.split_once(": ")?;
    let level = level(name)?;
    Some(
        PlainLine {
            time: Some(time),
            level: Some(level),
            component: "etcd",
            server: true,
            target,
            message,
            ..PlainLine::default()
        }
        .into_event(),
    )
}
