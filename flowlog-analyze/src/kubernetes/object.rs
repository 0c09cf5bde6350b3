//! Objects and what is known of them.

use std::collections::BTreeMap;

use crate::component_names::{POD_ALPHABET, workload_of};
use crate::flow::LineRef;

/// Kind of an object, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Pod,
    Node,
    /// Deployment, ReplicaSet, StatefulSet or DaemonSet.
    Workload,
    /// Job or CronJob.
    Job,
    Service,
    Claim,
    Autoscaler,
    Other,
}

impl Kind {
    /// Returns the kind of a name such as `ReplicaSet` or `replicaset`.
    pub(super) fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "pod" | "pods" => Self::Pod,
            "node" | "nodes" => Self::Node,
            "deployment" | "replicaset" | "statefulset" | "daemonset" | "deployment.apps"
            | "replicaset.apps" | "statefulset.apps" | "daemonset.apps" => Self::Workload,
            "job" | "cronjob" | "job.batch" | "cronjob.batch" => Self::Job,
            "service" | "endpoints" => Self::Service,
            "persistentvolumeclaim" => Self::Claim,
            "horizontalpodautoscaler" => Self::Autoscaler,
            _ => Self::Other,
        }
    }
}

/// State of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Container {
    pub name: String,
    pub is_init: bool,
    /// `Waiting`, `Running` or `Terminated`.
    pub state: String,
    /// Reason of the state.
    pub reason: String,
    pub message: String,
    pub exit_code: Option<i64>,
    /// Reason and exit code of the last termination.
    pub last_reason: String,
    pub last_exit_code: Option<i64>,
    /// When the last termination was, in nanoseconds.
    pub last_finished: Option<i64>,
    pub restarts: u64,
    pub ready: Option<bool>,
    pub line: Option<LineRef>,
}

/// An event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub is_warning: bool,
    pub reason: String,
    pub message: String,
    /// How long ago it happened last, in seconds.
    pub age: Option<f64>,
    /// How long ago it happened first, in seconds.
    pub first_age: Option<f64>,
    pub line: LineRef,
}

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// Workload that an owner reference names; empty if none.
    pub owner: String,
    /// Node of a pod; empty if unknown.
    pub node: String,
    /// Phase or status: `Running`, `Pending`, `CrashLoopBackOff`, `NotReady`.
    pub status: String,
    /// Row of the table that shows the status.
    pub status_line: Option<LineRef>,
    /// Another status that an earlier table shows, with its row.
    pub past_status: Option<(String, LineRef)>,
    /// Ready replicas or containers, and how many there should be.
    pub ready: Option<(u64, u64)>,
    pub restarts: u64,
    /// Conditions: type, status, reason and message.
    pub conditions: Vec<(String, String, String, String)>,
    pub containers: Vec<Container>,
    pub events: Vec<Event>,
    pub labels: BTreeMap<String, String>,
    /// Selector of a service or a workload.
    pub selector: BTreeMap<String, String>,
    /// Whether a service has endpoints.
    pub has_endpoints: Option<bool>,
    /// Ports: those that containers open, or that a service sends to.
    pub ports: Vec<String>,
    /// Other fields that matter: `Taints`, `Unschedulable`, `Reason`, `Message`, `Replicas`.
    pub fields: BTreeMap<String, String>,
    /// Whether it is being deleted.
    pub is_terminating: bool,
    /// First line.
    pub line: LineRef,
}

impl Object {
    pub(super) fn new(kind: Kind, namespace: &str, name: &str, line: LineRef) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            owner: String::new(),
            node: String::new(),
            status: String::new(),
            status_line: None,
            past_status: None,
            ready: None,
            restarts: 0,
            conditions: Vec::new(),
            containers: Vec::new(),
            events: Vec::new(),
            labels: BTreeMap::new(),
            selector: BTreeMap::new(),
            has_endpoints: None,
            ports: Vec::new(),
            fields: BTreeMap::new(),
            is_terminating: false,
            line,
        }
    }

    /// Returns the name of the workload that the object belongs to.
    pub(super) fn workload(&self) -> &str {
        match self.kind {
            Kind::Pod if !self.owner.is_empty() => without_hash(&self.owner),
            Kind::Pod => workload_of(&self.name),
            Kind::Workload | Kind::Job if !self.owner.is_empty() => &self.owner,
            Kind::Workload | Kind::Job => without_hash(&self.name),
            _ => &self.name,
        }
    }

    /// Adds what a description or a manifest says to what is known of the object.
    pub(super) fn merge(&mut self, own: Self) {
        let events = std::mem::take(&mut self.events);
        let status = std::mem::take(&mut self.status);
        let ready = self.ready;
        *self = own;
        self.ready = self.ready.or(ready);
        // `get` knows the reason of a pod's state, `describe` only its phase.
        if !status.is_empty() && !matches!(status.as_str(), "Running" | "Pending") {
            self.status = status;
        }
        self.events.extend(events);
    }

    /// Returns the condition of a type.
    pub(super) fn condition(&self, name: &str) -> Option<&(String, String, String, String)> {
        self.conditions.iter().find(|(kind, ..)| kind == name)
    }
}

/// Strips the hash of a ReplicaSet, or the time of a CronJob's Job.
pub(super) fn without_hash(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, hash))
            if (8..=10).contains(&hash.len())
                && (hash.bytes().all(|b| POD_ALPHABET.contains(&b))
                    || hash.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                        && hash.bytes().any(|b| b.is_ascii_digit())) =>
        {
            stem
        }
        _ => name,
    }
}

/// Objects of a cluster, by kind, namespace and name.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub objects: BTreeMap<(Kind, String, String), Object>,
}

impl Cluster {
    /// Returns an object, adding it if needed. An empty namespace is any.
    pub(super) fn object(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        line: LineRef,
    ) -> &mut Object {
        let known = if namespace.is_empty() {
            self.objects.keys().find(|(own, _, other)| *own == kind && other == name).cloned()
        } else {
            // An object that was seen without a namespace is the same.
            let bare = (kind, String::new(), name.to_owned());
            if let Some(object) = self.objects.remove(&bare) {
                let key = (kind, namespace.to_owned(), name.to_owned());
                self.objects.insert(key, Object { namespace: namespace.to_owned(), ..object });
            }
            None
        };
        let key = known.unwrap_or_else(|| (kind, namespace.to_owned(), name.to_owned()));
        self.objects.entry(key).or_insert_with(|| Object::new(kind, namespace, name, line))
    }
}

/// Parses an age such as `3m12s`, `2d5h`, `45s`, in seconds.
pub(super) fn age(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut digits = String::new();
    let mut any = false;
    for c in text.trim().chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3_600.0,
            'd' => 86_400.0,
            'y' => 31_536_000.0,
            _ => return None,
        };
        seconds += digits.parse::<f64>().ok()? * unit;
        digits.clear();
        any = true;
    }
    (any && digits.is_empty()).then_some(seconds)
}

/// Parses the age of an event: `62s (x6 over 8m59s)`. Returns the last age, the first and the count.
pub(super) fn event_age(text: &str) -> (Option<f64>, Option<f64>, u64) {
    let Some((last, rest)) = text.split_once(" (x") else {
        return (age(text), age(text), 1);
    };
    let (count, first) = rest.split_once(" over ").unwrap_or((rest, ""));
    let first = age(first.trim_end_matches(')'));
    (age(last), first.or_else(|| age(last)), count.trim_end_matches(')').parse().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (text, expected) in [
            ("45s", (Some(45.0), Some(45.0), 1)),
            ("2d5h", (Some(190_800.0), Some(190_800.0), 1)),
            ("62s (x6 over 8m59s)", (Some(62.0), Some(539.0), 6)),
            ("<unknown>", (None, None, 1)),
            ("", (None, None, 1)),
        ] {
            assert_eq!(event_age(text), expected, "{text}");
        }
    }
}
