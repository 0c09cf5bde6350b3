//! etcd: zap's JSON (`level`, `ts`, `caller`, `msg`), and capnslog before 3.4.

use std::borrow::Cow;

use flowlog_schema::{Scalar, json};

use super::words::{Words, beginning, is_object, level};
use super::{Begin, Example, Recogniser};
use crate::observation::Observation;
use crate::stamp::{self, Stamp};

/// etcd's log lines.
pub(super) const ETCD: Recogniser = Recogniser {
    name: "etcd",
    begins: |line| match line.first()? {
        b'{' => is_object(line).then_some(Begin::Whole),
        b'0'..=b'9' => capnslog(beginning(line, 256)).map(|_| Begin::Whole),
        _ => None,
    },
    read: |text| {
        if text.starts_with('{') {
            let zap = zap(text)?;
            return (!zap.is_controller).then(|| zap.words("etcd"));
        }
        capnslog(text)
    },
    examples: &[
        Example {
            text: r#"{"level":"warn","ts":"2025-11-22T08:27:15.705274Z","caller":"etcdserver/util.go:163","msg":"apply request took too long","took":"138ms"}"#,
            tells: "2025-11-22T08:27:15.705274Z WARN etcd etcdserver/util.go:163: apply request took too long",
        },
        Example {
            text: r#"{"level":"info","ts":"2025-11-22T16:27:15.705+0800","caller":"raft/node.go:336","msg":"lost leader","level":"info"}"#,
            tells: "2025-11-22T08:27:15.705000Z INFO etcd raft/node.go:336: lost leader",
        },
        Example {
            text: "2025-11-22 08:27:15.705274 W | etcdserver: ignored out-of-date read index response",
            tells: "2025-11-22T08:27:15.705274Z-zone WARN etcd etcdserver: ignored out-of-date read index response",
        },
    ],
};

/// What a JSON line of zap says.
pub(super) struct Zap<'a> {
    time: Stamp,
    level: flowlog_schema::Level,
    message: Cow<'a, str>,
    place: Cow<'a, str>,
    error: Option<Cow<'a, str>>,
    /// It has what controllers put into their lines.
    pub is_controller: bool,
}

impl<'a> Zap<'a> {
    pub(super) fn words(self, component: &'static str) -> Observation<'a> {
        let empty = Words {
            time: Some(self.time),
            level: Some(self.level),
            component,
            server: true,
            ..Words::default()
        };
        let process = super::process::of_message(&self.message);
        Observation {
            message: self.message,
            target: self.place,
            error: self.error,
            process,
            ..empty.observe()
        }
    }
}

/// Takes an object with zap's keys. A key that comes twice says what it said first.
pub(super) fn zap(text: &str) -> Option<Zap<'_>> {
    if !text.contains("\"msg\"") || !text.contains("\"ts\"") {
        return None;
    }
    let (fields, _) = json::flat(text.as_bytes()).ok()?;
    let (mut ts, mut name, mut message, mut place, mut error, mut logger) =
        (None, None, None, None, None, None);
    let mut is_controller = false;
    for (key, value) in fields {
        let slot = match key.as_ref() {
            "ts" => &mut ts,
            "level" => &mut name,
            "msg" => &mut message,
            "caller" => &mut place,
            "error" => &mut error,
            "logger" => &mut logger,
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
    is_controller |= logger.is_some_and(|logger| !logger.starts_with("etcd"));
    Some(Zap {
        time: time_of(&ts?)?,
        level: level(&name?)?,
        message: message?,
        place: place.unwrap_or_default(),
        error,
        is_controller,
    })
}

/// RFC 3339, or seconds since the epoch.
pub(super) fn time_of(text: &str) -> Option<Stamp> {
    if let Some((time, end)) = stamp::iso(text.as_bytes()) {
        return (end == text.len()).then_some(time);
    }
    let seconds: f64 = text.parse().ok().filter(|seconds: &f64| (1e9..9e9).contains(seconds))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range just checked; a float has no more digits"
    )]
    Some(Stamp { unit: 1_000, ..Stamp::exact((seconds * 1e6) as i64 * 1_000) })
}

fn capnslog(text: &str) -> Option<Observation<'_>> {
    let (time, end) = stamp::iso(text.as_bytes())?;
    let rest = text.get(end..)?.strip_prefix(' ')?;
    let (name, rest) = rest.split_once(" | ").filter(|(name, _)| name.len() == 1)?;
    let (target, message) = rest.split_once(": ")?;
    let level = level(name)?;
    Some(
        Words {
            time: Some(time),
            level: Some(level),
            component: "etcd",
            server: true,
            target,
            message,
            ..Words::default()
        }
        .observe(),
    )
}
