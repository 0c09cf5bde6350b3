//! `kubectl get`: tables with a header.

use super::line::{self, Line};
use super::object::{Cluster, Event, Kind, event_age};

/// Columns of the tables that are read.
const COLUMNS: [&str; 38] = [
    "NAMESPACE",
    "NAME",
    "READY",
    "STATUS",
    "RESTARTS",
    "AGE",
    "IP",
    "NODE",
    "NOMINATED NODE",
    "READINESS GATES",
    "LAST SEEN",
    "TYPE",
    "REASON",
    "OBJECT",
    "SUBOBJECT",
    "SOURCE",
    "MESSAGE",
    "FIRST SEEN",
    "COUNT",
    "ROLES",
    "VERSION",
    "UP-TO-DATE",
    "AVAILABLE",
    "DESIRED",
    "CURRENT",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "PORT(S)",
    "SELECTOR",
    "ENDPOINTS",
    "COMPLETIONS",
    "DURATION",
    "SCHEDULE",
    "SUSPEND",
    "ACTIVE",
    "VOLUME",
    "REFERENCE",
    "TARGETS",
];

/// Returns whether a line is the header of a table.
pub(super) fn is_header(line: &str) -> bool {
    let is_first = line.starts_with("NAME ")
        || line.starts_with("NAMESPACE ")
        || line.starts_with("LAST SEEN ");
    is_first && header(line).len() >= 3
}

/// Returns the columns of a header, each with its offset.
fn header(line: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < line.len() {
        let rest = line.get(at..).unwrap_or_default();
        let gap = rest.len() - rest.trim_start().len();
        let name = rest.trim_start();
        if name.is_empty() {
            break;
        }
        let end = name.find("  ").unwrap_or(name.len());
        let name = name.get(..end).unwrap_or_default().trim_end();
        found.push((at + gap, name));
        at += gap + end.max(1);
    }
    let known = found.iter().filter(|(_, name)| COLUMNS.contains(name)).count();
    if known * 3 >= found.len() * 2 { found } else { Vec::new() }
}

/// Reads a table. Returns the number of its lines.
pub(super) fn read(lines: &[Line], cluster: &mut Cluster) -> usize {
    let Some(first) = lines.first() else { return 0 };
    let columns = header(&first.text);
    let mut used = 1;
    for line in lines.iter().skip(1) {
        let text = line.text.trim_end();
        if text.is_empty() || is_header(text) || text.starts_with("$ ") || text.starts_with("=== ")
        {
            break;
        }
        if let Some(cells) = cells(&columns, text) {
            row(&cells, line, cluster);
        }
        used += 1;
    }
    used
}

/// Reads a row that lost its header, of `get pods` or `get events`.
pub(super) fn read_bare(row_line: &Line, cluster: &mut Cluster) {
    const PODS: [&str; 5] = ["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
    const EVENTS: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    let text = row_line.text.trim_end();
    if text.starts_with(' ') {
        return;
    }
    let parts = line::columns(text);
    let is_pod = parts.len() == PODS.len()
        && parts.get(1).is_some_and(|ready| {
            ready
                .split_once('/')
                .is_some_and(|(a, b)| a.parse::<u64>().is_ok() && b.parse::<u64>().is_ok())
        });
    let is_event = parts.len() >= EVENTS.len()
        && matches!(parts.get(1), Some(&("Warning" | "Normal")))
        && parts.get(3).is_some_and(|object| object.contains('/'));
    let names = match (is_pod, is_event) {
        (true, _) => PODS,
        (_, true) => EVENTS,
        _ => return,
    };
    let cells: Vec<(&str, &str)> = names.into_iter().zip(parts).collect();
    row(&cells, row_line, cluster);
}

fn row(cells: &[(&str, &str)], line: &Line, cluster: &mut Cluster) {
    let get = |name: &str| cells.iter().find(|(own, _)| *own == name).map(|(_, cell)| *cell);
    let namespace = get("NAMESPACE").unwrap_or_default();
    if let (Some(object), Some(reason)) = (get("OBJECT"), get("REASON")) {
        let Some((kind, name)) = object.split_once('/') else { return };
        let (age, first_age, _) = event_age(get("LAST SEEN").unwrap_or_default());
        let first_age = get("FIRST SEEN").and_then(|text| event_age(text).0).or(first_age);
        let event = Event {
            is_warning: get("TYPE") == Some("Warning"),
            reason: reason.to_owned(),
            message: get("MESSAGE").unwrap_or_default().to_owned(),
            age,
            first_age,
            line: line.at,
        };
        let kind = Kind::of(kind);
        cluster.object(kind, namespace, name, line.at).events.push(event);
        return;
    }
    let Some(name) = get("NAME") else { return };
    let name = name.split_once('/').map_or(name, |(_, name)| name);
    let pair = |text: &str| {
        let (a, b) = text.split_once('/')?;
        Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?))
    };
    if let (Some(ready), Some(status), Some(restarts)) =
        (get("READY"), get("STATUS"), get("RESTARTS"))
    {
        let object = cluster.object(Kind::Pod, namespace, name, line.at);
        object.ready = pair(ready).or(object.ready);
        // Only within one source is it known which table came first.
        if let Some(before) = object.status_line.filter(|before| before.source == line.at.source)
            && is_failure(&object.status)
            && object.status != status
        {
            object.past_status = Some((std::mem::take(&mut object.status), before));
        }
        object.status_line = Some(line.at);
        status.clone_into(&mut object.status);
        object.is_terminating |= status == "Terminating";
        object.restarts = restarts.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        if let Some(node) = get("NODE").filter(|node| *node != "<none>") {
            node.clone_into(&mut object.node);
        }
        if object.containers.is_empty() {
            object.line = line.at;
        }
    } else if let (Some(status), Some(_), Some(_)) = (get("STATUS"), get("ROLES"), get("VERSION")) {
        let object = cluster.object(Kind::Node, "", name, line.at);
        status.clone_into(&mut object.status);
    } else if let (Some(ready), Some(_)) = (get("READY"), get("UP-TO-DATE").or(get("AGE"))) {
        let found =
            pair(ready).or_else(|| Some((ready.parse().ok()?, get("DESIRED")?.parse().ok()?)));
        if let Some(found) = found {
            cluster.object(Kind::Workload, namespace, name, line.at).ready = Some(found);
        }
    } else if get("CLUSTER-IP").is_some() {
        let object = cluster.object(Kind::Service, namespace, name, line.at);
        for pair in get("SELECTOR").unwrap_or_default().split(',') {
            if let Some((key, value)) = pair.split_once('=') {
                object.selector.insert(key.to_owned(), value.to_owned());
            }
        }
        if let Some(ports) = get("PORT(S)") {
            object.fields.insert("Ports".to_owned(), ports.to_owned());
        }
    } else if let Some(endpoints) = get("ENDPOINTS") {
        let object = cluster.object(Kind::Service, namespace, name, line.at);
        object.has_endpoints = Some(endpoints != "<none>" && !endpoints.is_empty());
    } else if let (Some(status), Some(_)) = (get("STATUS"), get("VOLUME")) {
        let object = cluster.object(Kind::Claim, namespace, name, line.at);
        status.clone_into(&mut object.status);
    } else if let Some(completions) = get("COMPLETIONS") {
        let object = cluster.object(Kind::Job, namespace, name, line.at);
        object.ready = pair(completions);
        get("STATUS").unwrap_or_default().clone_into(&mut object.status);
    } else if get("STATUS") == Some("Terminating") && get("AGE").is_some() {
        // A namespace.
        cluster.object(Kind::Other, namespace, name, line.at).is_terminating = true;
    }
}

/// Returns whether the status of a pod shows that a container failed.
fn is_failure(status: &str) -> bool {
    matches!(status, "OOMKilled" | "Error" | "ContainerCannotRun" | "StartError" | "Evicted")
}

/// Cuts a row at the offsets of the columns; if a value is longer than its column, at gaps of two
/// blanks.
fn cells<'t>(columns: &[(usize, &'t str)], text: &'t str) -> Option<Vec<(&'t str, &'t str)>> {
    let is_aligned = columns.iter().skip(1).all(|(at, _)| {
        let before = text.as_bytes().get(at.wrapping_sub(1));
        before.is_none_or(|byte| *byte == b' ')
    });
    if is_aligned && columns.iter().all(|(at, _)| text.is_char_boundary((*at).min(text.len()))) {
        let ends = columns.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
        return Some(
            columns
                .iter()
                .zip(ends)
                .map(|((from, name), to)| {
                    let (from, to) = ((*from).min(text.len()), to.min(text.len()));
                    (*name, text.get(from..to.max(from)).unwrap_or_default().trim())
                })
                .collect(),
        );
    }
    let parts = line::columns(text);
    (parts.len() >= columns.len().saturating_sub(1))
        .then(|| columns.iter().map(|(_, name)| *name).zip(parts).collect())
}
