//! Exports as CSV and TSV: a header names the columns, and rows have a time and a message.

use std::borrow::Cow;

use compact_str::CompactString;
use flowlog_schema::Level;

use super::{EnvelopeMeta, whole_lines};
use crate::timestamp::{self, Timestamp};

/// Columns of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    delimiter: u8,
    /// Role of each column.
    roles: Vec<Option<Role>>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Time,
    Message,
    Level,
    Pod,
    Container,
    Service,
    Host,
}

/// Names of columns, without case and punctuation.
const NAMES: [(Role, &[&str]); 7] = [
    (
        Role::Time,
        &[
            "time",
            "timestamp",
            "date",
            "datetime",
            "ts",
            "tsns",
            "eventtime",
            "timegenerated",
            "logtime",
            "ingestiontime",
            "receivetimestamp",
            "dateutc",
            "timecreated",
            "createdat",
        ],
    ),
    (
        Role::Message,
        &[
            "message",
            "msg",
            "line",
            "log",
            "body",
            "raw",
            "content",
            "text",
            "textpayload",
            "description",
            "logmessage",
            "logline",
            "jsonpayloadmessage",
            "event",
        ],
    ),
    (Role::Level, &["level", "severity", "loglevel", "status", "detectedlevel", "priority"]),
    (Role::Pod, &["pod", "podname", "kubernetespodname", "k8spodname", "kubernetespod"]),
    (
        Role::Container,
        &["container", "containername", "kubernetescontainername", "k8scontainername"],
    ),
    (
        Role::Service,
        &["service", "servicename", "app", "application", "job", "component", "logger", "source"],
    ),
    (Role::Host, &["host", "hostname", "node", "nodename", "instance"]),
];

/// Maximum number of columns.
const MAX_COLUMNS: usize = 64;

impl Columns {
    /// Returns the columns that the first line of a sample names, if rows follow that have a time.
    pub(super) fn of(sample: &[u8]) -> Option<Self> {
        let header = whole_lines(sample).next()?;
        let rows: Vec<&[u8]> = whole_lines(sample).skip(1).take(32).collect();
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let header = header.strip_suffix(b"\r").unwrap_or(header);
        if header.first() == Some(&b'{') || header.len() > 4_096 {
            return None;
        }
        for delimiter in [b',', b'\t', b';'] {
            let names = fields(header, delimiter);
            if !(2..=MAX_COLUMNS).contains(&names.len()) {
                continue;
            }
            let mut roles: Vec<Option<Role>> = names.iter().map(|name| role_of(name)).collect();
            keep_best(&mut roles, &names);
            let columns = Self { delimiter, roles };
            let has = |role| columns.roles.contains(&Some(role));
            if !has(Role::Time) || !has(Role::Message) {
                continue;
            }
            // Rows with line feeds have lines without a time.
            let timed = rows
                .iter()
                .filter(|row| columns.peel(row, &mut EnvelopeMeta::default()).is_some())
                .count();
            if timed > 0 && timed * 4 >= rows.len() {
                return Some(columns);
            }
        }
        None
    }

    /// Returns the message of a row, and adds what the other columns say; `None` if the line is no
    /// row, or no first line of one.
    pub(super) fn peel(&self, line: &[u8], meta: &mut EnvelopeMeta) -> Option<Vec<u8>> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let values = fields(line, self.delimiter);
        let get = |role: Role| {
            let at = self.roles.iter().position(|own| *own == Some(role))?;
            values.get(at).map(|value| value.trim_ascii())
        };
        let time = time_of(get(Role::Time)?)?;
        let message = get(Role::Message)?.to_vec();
        meta.time = Some(time);
        let text = |role: Role| {
            get(role)
                .and_then(|value| std::str::from_utf8(value).ok())
                .filter(|value| !value.is_empty() && value.len() <= 253)
                .map(CompactString::from)
        };
        if let Some(pod) = text(Role::Pod) {
            meta.producer.pod = pod;
        }
        if let Some(container) = text(Role::Container) {
            meta.producer.container = container;
        }
        if let Some(service) = text(Role::Service)
            && meta.producer.container.is_empty()
        {
            meta.producer.container = service;
        }
        if let Some(host) = text(Role::Host) {
            meta.producer.host = host;
        }
        meta.level = text(Role::Level).and_then(|level| level_of(&level));
        Some(message)
    }
}

/// Keeps one column of each role: the one with the best name.
fn keep_best(roles: &mut [Option<Role>], names: &[Cow<'_, [u8]>]) {
    for (role, known) in NAMES {
        let rank = |at: usize| {
            let plain = plain(names.get(at).map_or(&[][..], |name| name));
            known.iter().position(|name| *name == plain).unwrap_or(usize::MAX)
        };
        let best =
            (0..roles.len()).filter(|at| roles[*at] == Some(role)).min_by_key(|at| rank(*at));
        for (at, own) in roles.iter_mut().enumerate() {
            if *own == Some(role) && Some(at) != best {
                *own = None;
            }
        }
    }
}

fn plain(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn role_of(name: &[u8]) -> Option<Role> {
    let name = plain(name);
    NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(role, _)| *role)
}

/// Parses a time that is all of a field.
fn time_of(text: &[u8]) -> Option<Timestamp> {
    if let Some((stamp, end)) = timestamp::any(text)
        && end + 6 >= text.len()
    {
        return Some(stamp);
    }
    // `Nov 26, 2026 @ 09:14:03.825`, of Kibana.
    let text = std::str::from_utf8(text).ok()?;
    if let Some((date, time)) = text.split_once(" @ ") {
        let joined = format!("{date} {time}");
        return timestamp::any(joined.as_bytes()).map(|(stamp, _)| stamp);
    }
    timestamp::of_number(text.parse().ok()?)
}

/// Parses the name of a level, or syslog's number.
fn level_of(name: &str) -> Option<Level> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TRACE" => Level::Trace,
        "DEBUG" => Level::Debug,
        "INFO" | "INFORMATION" | "NOTICE" | "OK" | "DEFAULT" => Level::Info,
        "WARN" | "WARNING" => Level::Warn,
        "ERROR" | "ERR" | "CRITICAL" | "FATAL" | "ALERT" | "EMERGENCY" | "EMERG" => Level::Error,
        _ => return None,
    })
}

/// Splits a row into its fields. A field in quotes may contain the delimiter, and quotes twice. One
/// that is not closed extends to the end of the line.
fn fields(line: &[u8], delimiter: u8) -> Vec<Cow<'_, [u8]>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if fields.len() >= MAX_COLUMNS {
            return fields;
        }
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut text = Vec::new();
            let mut at = 0;
            loop {
                let Some(found) = memchr::memchr(b'"', quoted.get(at..).unwrap_or_default()) else {
                    text.extend_from_slice(quoted.get(at..).unwrap_or_default());
                    fields.push(Cow::Owned(text));
                    return fields;
                };
                text.extend_from_slice(quoted.get(at..at + found).unwrap_or_default());
                at += found + 1;
                if quoted.get(at) == Some(&b'"') {
                    text.push(b'"');
                    at += 1;
                } else {
                    break;
                }
            }
            fields.push(Cow::Owned(text));
            rest = quoted.get(at..).unwrap_or_default();
            match memchr::memchr(delimiter, rest) {
                Some(end) => rest = rest.get(end + 1..).unwrap_or_default(),
                None => return fields,
            }
            continue;
        }
        match memchr::memchr(delimiter, rest) {
            Some(end) => {
                fields.push(Cow::Borrowed(rest.get(..end).unwrap_or_default()));
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            None => {
                fields.push(Cow::Borrowed(rest));
                return fields;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_their_header() {
        for (header, row, message, who, level) in [
            (
                "\"Time\",\"Line\",\"pod\"",
                "\"2026-11-26T09:14:02.810Z\",\"a \"\"b\"\", c\",\"cart-0\"",
                "a \"b\", c",
                "cart-0",
                None,
            ),
            ("@timestamp,@message,@logStream", "2026-11-26 09:14:02.810,up,x", "up", "", None),
            (
                "Date;Host;Service;Status;Message",
                "26.11.2026 09:14:02;n1;cart;error;boom",
                "boom",
                "cart",
                Some(Level::Error),
            ),
            ("timestamp\tcontainer\tmessage", "1763800035705\tcart\tup", "up", "cart", None),
            (
                "@timestamp,level,message",
                "\"Nov 26, 2026 @ 09:14:03.825\",warn,slow",
                "slow",
                "",
                Some(Level::Warn),
            ),
        ] {
            let sample = format!("{header}\n{row}\n");
            let columns = Columns::of(sample.as_bytes()).expect(header);
            let mut meta = EnvelopeMeta::default();
            let found = columns.peel(row.as_bytes(), &mut meta).expect(row);
            let producer = format!("{}{}", meta.producer.pod, meta.producer.container);
            assert_eq!(
                (String::from_utf8(found).unwrap().as_str(), producer.as_str(), meta.level),
                (message, who, level),
                "{header}"
            );
            assert!(meta.time.is_some(), "{header}");
        }
    }

    #[test]
    fn prose_is_no_table() {
        for sample in [
            "one, two\nthree, four\n",
            "time, and again, a message\nx\n",
            "{\"time\":1,\"message\":2}\n",
        ] {
            assert_eq!(Columns::of(sample.as_bytes()), None, "{sample}");
        }
    }
}
