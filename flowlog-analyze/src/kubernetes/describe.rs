//! `kubectl describe`: an indented tree, whose fields show the kind of the object.

use super::line::{Line, columns};
use super::object::{Cluster, Container, Event, Kind, Object, event_age};

/// Returns whether a line begins the description of an object.
pub(super) fn begins(line: &str) -> bool {
    line.strip_prefix("Name:").is_some_and(|rest| {
        rest.starts_with("  ") && !rest.trim().is_empty() && !rest.trim().contains(' ')
    })
}

/// Reads one description. Returns the number of its lines.
pub(super) fn read(lines: &[Line], cluster: &mut Cluster) -> usize {
    let Some(first) = lines.first() else { return 0 };
    let name = first.text.strip_prefix("Name:").unwrap_or_default().trim().to_owned();
    let mut reading = Reading::new(Object::new(Kind::Other, "", &name, first.at));
    let mut used = 1;
    for line in lines.iter().skip(1) {
        let text = line.text.trim_end();
        let is_other = begins(text)
            || super::table::is_header(text)
            || text.starts_with("$ ")
            || text.starts_with("=== ")
            || text.starts_with("apiVersion: ");
        if is_other {
            break;
        }
        reading.line(line, text);
        used += 1;
    }
    reading.finish(cluster);
    used
}

/// Returns whether a line is of the events of a description whose beginning is missing: people paste
/// only the events.
pub(super) fn begins_events(line: &str) -> bool {
    line == "Events:"
        || line.starts_with("  ")
            && matches!(columns(line).as_slice(), ["Warning" | "Normal", _, age, _, ..] if event_age(age).0.is_some())
}

/// Reads the events of a description whose beginning is missing. `command` is the command that
/// printed it, if it is known. Returns the number of its lines.
pub(super) fn read_events(lines: &[Line], command: &str, cluster: &mut Cluster) -> usize {
    let Some(first) = lines.first() else { return 0 };
    let mut reading = Reading::new(Object::new(Kind::Pod, "", "", first.at));
    "Events".clone_into(&mut reading.section);
    let mut used = 0;
    for line in lines {
        let text = line.text.trim_end();
        if !text.is_empty() && !text.starts_with("  ") && text != "Events:" {
            break;
        }
        if text.starts_with(' ') {
            reading.event_line(line, text.trim_start());
        }
        used += 1;
    }
    let mut object = reading.object;
    if object.events.is_empty() {
        return used.max(1);
    }
    let (namespace, name) = object
        .events
        .iter()
        .find_map(|event| named_pod(&event.message))
        .or_else(|| Some((String::new(), described(command)?)))
        .unwrap_or_else(|| (String::new(), "k8s".to_owned()));
    object.namespace = namespace;
    object.name = name;
    cluster.object(object.kind, &object.namespace, &object.name, object.line).merge(object);
    used
}

/// Returns the namespace and the name of the pod that an event's message names:
/// `Successfully assigned shop/cart-0 to node-1`, `... in pod cart-0_shop(<uid>)`.
fn named_pod(message: &str) -> Option<(String, String)> {
    if let Some(rest) = message.strip_prefix("Successfully assigned ") {
        let (namespace, name) = rest.split(' ').next()?.split_once('/')?;
        return Some((namespace.to_owned(), name.to_owned()));
    }
    let (_, rest) = message.split_once(" in pod ")?;
    let (name, namespace) = rest.split(['(', ' ', ',']).next()?.split_once('_')?;
    Some((namespace.to_owned(), name.to_owned()))
}

/// Returns the object that a command describes: `kubectl -n shop describe pod cart-0`.
fn described(command: &str) -> Option<String> {
    let (_, arguments) = command.split_once(" describe ")?;
    let mut words = arguments.split_whitespace();
    let object = words.next()?;
    let name = object.split_once('/').map(|(_, name)| name).or_else(|| words.next())?;
    let is_name =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (is_name && !name.starts_with('-')).then(|| name.to_owned())
}

/// State of reading a description.
struct Reading {
    object: Object,
    /// Section at the left margin: `Containers`, `Conditions`, `Events`, or a field with lines below.
    section: String,
    /// `State` or `Last State`, within a container.
    state: String,
    /// Names of all fields at the left margin.
    keys: Vec<String>,
    /// Whether the columns of conditions have a reason and a message.
    has_times: bool,
}

impl Reading {
    fn new(object: Object) -> Self {
        Self {
            object,
            section: String::new(),
            state: String::new(),
            keys: Vec::new(),
            has_times: false,
        }
    }

    fn line(&mut self, line: &Line, text: &str) {
        let bare = text.trim_start();
        let indent = text.len() - bare.len();
        if bare.is_empty() {
            return;
        }
        if indent == 0 {
            if let Some((key, value)) = bare.split_once(':')
                && key.len() < 40
            {
                key.clone_into(&mut self.section);
                self.keys.push(key.to_owned());
                self.field(key, value.trim());
            }
            return;
        }
        match self.section.as_str() {
            "Containers" | "Init Containers" => self.container_line(line, indent, bare),
            "Conditions" => self.condition_line(bare),
            "Events" => self.event_line(line, bare),
            "Labels" => add_pair(&mut self.object.labels, bare),
            "Selector" => add_pair(&mut self.object.selector, bare),
            "Taints" => {
                self.object.fields.entry("Taints".to_owned()).or_default().push_str(bare);
            }
            "Pod Template" => {
                if let Some((key, value)) = bare.split_once(':')
                    && key == "Labels"
                {
                    add_pair(&mut self.object.labels, value.trim());
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, key: &str, value: &str) {
        let object = &mut self.object;
        match key {
            "Namespace" => value.clone_into(&mut object.namespace),
            "Node" => {
                value.split('/').next().unwrap_or_default().clone_into(&mut object.node);
            }
            "Status" => {
                object.is_terminating |= value.starts_with("Terminating");
                value.split(' ').next().unwrap_or_default().clone_into(&mut object.status);
            }
            "Controlled By" => {
                let owner = value.split_once('/').map_or(value, |(_, name)| name);
                owner.clone_into(&mut object.owner);
            }
            "Labels" => add_pair(&mut object.labels, value),
            "Selector" => value.split(',').for_each(|pair| add_pair(&mut object.selector, pair)),
            "Endpoints" => {
                let none = value.is_empty() || value == "<none>";
                let before = object.has_endpoints.unwrap_or(false);
                object.has_endpoints = Some(before || !none);
            }
            "TargetPort" => {
                object.ports.push(value.split('/').next().unwrap_or_default().to_owned());
            }
            "Replicas" => object.ready = replicas(value),
            "Pods Status" => {
                object.fields.insert(key.to_owned(), value.to_owned());
            }
            "Taints" | "Unschedulable" | "Reason" | "Message" => {
                object.fields.insert(key.to_owned(), value.to_owned());
            }
            _ => {}
        }
        if key == "Replicas" {
            object.fields.insert(key.to_owned(), value.to_owned());
        }
    }

    fn container_line(&mut self, line: &Line, indent: usize, bare: &str) {
        let is_init = self.section == "Init Containers";
        let (key, value) = bare.split_once(':').unwrap_or((bare, ""));
        let value = value.trim();
        if indent <= 3 {
            self.state.clear();
            let container = Container {
                name: key.to_owned(),
                is_init,
                line: Some(line.at),
                ..Container::default()
            };
            self.object.containers.push(container);
            return;
        }
        let Some(container) = self.object.containers.last_mut() else { return };
        match (indent, key) {
            (4, "State") => {
                value.clone_into(&mut container.state);
                "State".clone_into(&mut self.state);
                container.line = Some(line.at);
            }
            (4, "Last State") => "Last State".clone_into(&mut self.state),
            (4, "Ready") => container.ready = Some(value == "True"),
            (4, "Restart Count") => container.restarts = value.parse().unwrap_or(0),
            (4, "Port" | "Ports") => {
                let ports = value.split(',').filter_map(|port| port.trim().split('/').next());
                self.object.ports.extend(ports.map(ToOwned::to_owned));
            }
            (4, _) => self.state.clear(),
            (_, "Reason") if self.state == "State" => value.clone_into(&mut container.reason),
            (_, "Reason") if self.state == "Last State" => {
                value.clone_into(&mut container.last_reason);
                container.line = Some(line.at);
            }
            (_, "Finished") if self.state == "Last State" => {
                container.last_finished = time_of(value);
            }
            (_, "Message") if !self.state.is_empty() => value.clone_into(&mut container.message),
            (_, "Exit Code") if self.state == "State" => container.exit_code = value.parse().ok(),
            (_, "Exit Code") if self.state == "Last State" => {
                container.last_exit_code = value.parse().ok();
            }
            _ => {}
        }
    }

    fn condition_line(&mut self, bare: &str) {
        let parts = columns(bare);
        let [kind, status, rest @ ..] = parts.as_slice() else { return };
        if *kind == "Type" {
            self.has_times = rest.len() >= 3;
            return;
        }
        if kind.starts_with("--") {
            return;
        }
        // Nodes have times before the reason; workloads do not.
        let rest = if self.has_times { rest.get(2..).unwrap_or_default() } else { rest };
        let (reason, message) = match rest {
            [reason, message, ..] => (*reason, *message),
            [reason] => (*reason, ""),
            [] => ("", ""),
        };
        self.object.conditions.push((
            (*kind).to_owned(),
            (*status).to_owned(),
            reason.to_owned(),
            message.to_owned(),
        ));
    }

    fn event_line(&mut self, line: &Line, bare: &str) {
        let parts = columns(bare);
        let [kind, reason, when, rest @ ..] = parts.as_slice() else { return };
        if !matches!(*kind, "Warning" | "Normal") {
            // The message of the event before has several lines.
            return;
        }
        let (age, first_age, _) = event_age(when);
        // Before 1.20, the first and last time have columns of their own.
        let message = rest.get(1..).unwrap_or(rest).join("  ");
        self.object.events.push(Event {
            is_warning: *kind == "Warning",
            reason: (*reason).to_owned(),
            message,
            age,
            first_age,
            line: line.at,
        });
    }

    fn finish(mut self, cluster: &mut Cluster) {
        let has = |key: &str| self.keys.iter().any(|own| own == key);
        let kind = if has("Roles") || has("Unschedulable") || has("Allocatable") {
            Kind::Node
        } else if has("Completions") || has("Parallelism") || has("Schedule") {
            Kind::Job
        } else if has("Reference") && has("Metrics") {
            Kind::Autoscaler
        } else if has("Endpoints") || has("TargetPort") {
            Kind::Service
        } else if has("Replicas") || has("Pods Status") {
            Kind::Workload
        } else if has("StorageClass") && has("Access Modes") {
            Kind::Claim
        } else if has("Containers") || has("Node") && has("Status") {
            Kind::Pod
        } else {
            Kind::Other
        };
        self.object.kind = kind;
        self.object.restarts =
            self.object.containers.iter().map(|container| container.restarts).sum();
        let own = self.object;
        let known = cluster.object(kind, &own.namespace, &own.name, own.line);
        known.merge(own);
    }
}

fn add_pair(pairs: &mut std::collections::BTreeMap<String, String>, text: &str) {
    if let Some((key, value)) = text.trim().split_once('=') {
        pairs.insert(key.to_owned(), value.to_owned());
    }
}

/// Parses `2 desired | 2 updated | 2 total | 0 available | 2 unavailable`, or
/// `0 current / 2 desired`. Returns available and desired.
fn replicas(text: &str) -> Option<(u64, u64)> {
    let number = |word: &str| {
        let at = text.find(word)?;
        text.get(..at)?.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
    };
    let desired = number(" desired").or_else(|| number("desired"))?;
    let available = number(" available").or_else(|| number(" current")).unwrap_or(desired);
    Some((available, desired))
}
/// Parses `Sat, 22 Nov 2025 08:27:15 +0000`.
fn time_of(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}
