//! `kubectl get -o yaml` and `-o json`: a list, or one object.

use serde_json::Value;

use super::line::Line;
use super::object::{Cluster, Container, Event, Kind, Object};
use crate::timestamp;

/// Maximum length of a manifest in bytes.
const MAX_BYTES: usize = 16 << 20;

/// Returns whether lines begin a manifest.
pub(super) fn begins(lines: &[Line]) -> bool {
    let at = |at: usize| lines.get(at).map_or("", |line| line.text.trim());
    let is_yaml = lines.first().is_some_and(|line| line.text.starts_with("apiVersion: "));
    let is_json = at(0) == "{" && at(1).starts_with("\"apiVersion\":");
    is_yaml || is_json || at(0).starts_with("{\"apiVersion\":")
}

/// Reads a manifest. Returns the number of its lines.
pub(super) fn read(lines: &[Line], cluster: &mut Cluster) -> usize {
    let Some(first) = lines.first() else { return 0 };
    let is_json = first.text.starts_with('{');
    let mut used = 0;
    let mut text = String::new();
    for line in lines {
        let ends = used > 0
            && (line.text.starts_with("$ ")
                || line.text.starts_with("=== ")
                || line.text == "---"
                || !is_json && line.text.starts_with("apiVersion: ")
                || is_json && line.text == "{");
        if ends || text.len() > MAX_BYTES {
            break;
        }
        text.push_str(&line.text);
        text.push('\n');
        used += 1;
        if is_json && line.text == "}" {
            break;
        }
    }
    let value: Option<Value> =
        if is_json { serde_json::from_str(&text).ok() } else { serde_saphyr::from_str(&text).ok() };
    let Some(value) = value else { return 1 };
    let read = lines.get(..used).unwrap_or_default();
    match value.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().for_each(|item| object(item, read, cluster)),
        None => object(&value, read, cluster),
    }
    used
}

fn object(value: &Value, lines: &[Line], cluster: &mut Cluster) {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, namespace, name) =
        (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    let Some(first) = lines.first() else { return };
    // The line that names the object.
    let quoted = format!("\"name\": \"{name}\"");
    let plain = format!("name: {name}");
    let named = lines
        .iter()
        .find(|line| line.text.trim_end().ends_with(&plain) || line.text.contains(&quoted));
    let line = named.map_or(first.at, |line| line.at);
    if kind == "Event" {
        let involved = |key: &str| {
            let path = format!("/involvedObject/{key}");
            value.pointer(&path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let event = Event {
            is_warning: text("/type") == "Warning",
            reason: text("/reason").to_owned(),
            message: text("/message").to_owned(),
            age: None,
            first_age: None,
            line,
        };
        let kind = Kind::of(&involved("kind"));
        cluster.object(kind, &involved("namespace"), &involved("name"), line).events.push(event);
        return;
    }
    let mut own = Object::new(Kind::of(kind), namespace, name, line);
    text("/status/phase").clone_into(&mut own.status);
    if !text("/status/reason").is_empty() {
        text("/status/reason").clone_into(&mut own.status);
        own.fields.insert("Message".to_owned(), text("/status/message").to_owned());
    }
    text("/spec/nodeName").clone_into(&mut own.node);
    text("/metadata/ownerReferences/0/name").clone_into(&mut own.owner);
    if text("/metadata/ownerReferences/0/kind") == "Node" {
        own.owner.clear();
    }
    own.is_terminating = value.pointer("/metadata/deletionTimestamp").is_some();
    if let Some(finalizers) = value.pointer("/metadata/finalizers").and_then(Value::as_array) {
        let names: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
        own.fields.insert("Finalizers".to_owned(), names.join(", "));
    }
    let pairs = |path: &str| {
        let map = value.pointer(path).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    own.labels = pairs("/metadata/labels");
    own.selector = match own.kind {
        Kind::Service => pairs("/spec/selector"),
        _ => pairs("/spec/selector/matchLabels"),
    };
    if value.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        own.fields.insert("Unschedulable".to_owned(), "true".to_owned());
    }
    let items = |path: &str| value.pointer(path).and_then(Value::as_array).into_iter().flatten();
    for condition in items("/status/conditions") {
        let get =
            |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        own.conditions.push((get("type"), get("status"), get("reason"), get("message")));
    }
    if own.kind == Kind::Node {
        let ready = own.condition("Ready").is_some_and(|(_, status, ..)| status == "True");
        own.status = if ready { "Ready".to_owned() } else { "NotReady".to_owned() };
    }
    for (path, is_init) in
        [("/status/initContainerStatuses", true), ("/status/containerStatuses", false)]
    {
        own.containers.extend(items(path).map(|status| container(status, is_init, line)));
    }
    if own.kind == Kind::Pod && !own.containers.is_empty() {
        let count = |ready: bool| {
            own.containers
                .iter()
                .filter(|container| !container.is_init && (!ready || container.ready == Some(true)))
                .count() as u64
        };
        own.ready = Some((count(true), count(false)));
        own.restarts = own.containers.iter().map(|container| container.restarts).sum();
    }
    let number = |path: &str| value.pointer(path).and_then(Value::as_u64);
    if own.kind == Kind::Workload
        && let Some(desired) = number("/spec/replicas")
    {
        let ready = number("/status/readyReplicas").or(number("/status/availableReplicas"));
        own.ready = Some((ready.unwrap_or(0), desired));
    }
    if kind == "Endpoints" {
        own.has_endpoints = Some(items("/subsets").any(|subset| subset.get("addresses").is_some()));
    }
    let known = cluster.object(own.kind, namespace, name, line);
    known.merge(own);
}

fn container(status: &Value, is_init: bool, line: crate::flow::LineRef) -> Container {
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let state = ["waiting", "running", "terminated"]
        .into_iter()
        .find(|state| status.pointer(&format!("/state/{state}")).is_some())
        .unwrap_or_default();
    let path = |key: &str| format!("/state/{state}/{key}");
    let name = match state {
        "waiting" => "Waiting",
        "running" => "Running",
        "terminated" => "Terminated",
        _ => "",
    };
    Container {
        name: text("/name").to_owned(),
        is_init,
        state: name.to_owned(),
        reason: text(&path("reason")).to_owned(),
        message: text(&path("message")).to_owned(),
        exit_code: status.pointer(&path("exitCode")).and_then(Value::as_i64),
        last_reason: text("/lastState/terminated/reason").to_owned(),
        last_finished: timestamp::iso(text("/lastState/terminated/finishedAt").as_bytes())
            .map(|(time, _)| time.ns),
        last_exit_code: status.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64),
        restarts: status.get("restartCount").and_then(Value::as_u64).unwrap_or(0),
        ready: status.get("ready").and_then(Value::as_bool),
        line: Some(line),
    }
}
