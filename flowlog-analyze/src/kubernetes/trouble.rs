//! What is wrong with an object, by itself.

use super::object::{Cluster, Container, Event, Kind, Object};
use crate::flow::LineRef;

/// Something that is wrong with an object.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// How likely it is the first failure, from 0 to 1, if nothing else is wrong.
    pub score: f64,
    /// What is wrong, as a sentence.
    pub reason: String,
    /// Whether it may be the consequence of another object's failure.
    pub is_soft: bool,
    /// How long ago it began, in seconds.
    pub age: Option<f64>,
    /// Line that shows it.
    pub line: LineRef,
}

/// Factor for what happened to an object that is well again.
const PAST: f64 = 0.15;

/// Returns everything that is wrong with an object, the worst first.
///
/// `newest` is the time of the newest line or change, in nanoseconds.
pub(super) fn of(object: &Object, cluster: &Cluster, newest: Option<i64>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    match object.kind {
        Kind::Pod => pod(object, newest, &mut troubles),
        Kind::Node => node(object, cluster, &mut troubles),
        Kind::Workload | Kind::Job => workload(object, &mut troubles),
        Kind::Service => service(object, cluster, &mut troubles),
        Kind::Claim => {
            if matches!(object.status.as_str(), "Pending" | "Lost") {
                troubles.push(hard(0.8, format!("the claim is {}", object.status), object.line));
            }
        }
        Kind::Other if object.is_terminating || object.status == "Terminating" => {
            troubles.push(soft(0.6, "it is being deleted".to_owned(), object.line));
        }
        Kind::Autoscaler | Kind::Other => {}
    }
    let is_well = is_well(object) || is_gone(object, cluster);
    for event in object.events.iter().filter(|event| event.is_warning || is_notable(event)) {
        let Some((score, is_soft)) = of_event(event) else { continue };
        let is_past = is_well || is_resolved(event, object);
        let factor = if is_past { PAST } else { 1.0 };
        troubles.push(Trouble {
            score: score * factor,
            reason: format!("{}: {}", event.reason, event.message),
            is_soft,
            age: event.first_age,
            line: event.line,
        });
    }
    if was_retried(object, cluster) {
        troubles.iter_mut().for_each(|trouble| trouble.score *= PAST);
    }
    troubles.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.line.cmp(&b.line)));
    troubles
}

/// Returns whether a pod failed and another one of its Job completed.
fn was_retried(object: &Object, cluster: &Cluster) -> bool {
    object.kind == Kind::Pod
        && matches!(
            object.status.as_str(),
            "Error" | "Failed" | "Evicted" | "ContainerStatusUnknown"
        )
        && cluster.objects.values().any(|other| {
            other.kind == Kind::Pod
                && other.name != object.name
                && other.workload() == object.workload()
                && (matches!(other.status.as_str(), "Completed" | "Succeeded")
                    || object.status != "Error" && is_well(other))
        })
}

fn hard(score: f64, reason: String, line: LineRef) -> Trouble {
    Trouble { score, reason, is_soft: false, age: None, line }
}

fn soft(score: f64, reason: String, line: LineRef) -> Trouble {
    Trouble { score, reason, is_soft: true, age: None, line }
}

/// Returns whether an object is known to be well now.
pub(super) fn is_well(object: &Object) -> bool {
    let is_whole = object.ready.is_none_or(|(ready, of)| ready >= of);
    match object.kind {
        Kind::Pod => {
            let ends_well = matches!(object.status.as_str(), "Completed" | "Succeeded");
            let runs = object.status == "Running"
                && !object.is_terminating
                && is_whole
                && object
                    .containers
                    .iter()
                    .all(|container| container.is_init || container.ready != Some(false));
            ends_well || runs
        }
        Kind::Node => object.status == "Ready",
        Kind::Workload => object.ready.is_some_and(|(ready, of)| ready >= of && of > 0),
        Kind::Job => {
            object.condition("Complete").is_some_and(|(_, status, ..)| status == "True")
                || object.status == "Complete"
                || object.ready.is_some_and(|(done, of)| of > 0 && done >= of)
        }
        Kind::Claim => object.status == "Bound",
        Kind::Service | Kind::Autoscaler | Kind::Other => false,
    }
}

/// Returns whether a pod is known by its events only, though the pods of its namespace were listed.
fn is_gone(object: &Object, cluster: &Cluster) -> bool {
    object.kind == Kind::Pod
        && object.status.is_empty()
        && cluster.objects.values().any(|other| {
            other.kind == Kind::Pod
                && !other.status.is_empty()
                && (other.namespace == object.namespace
                    || other.namespace.is_empty()
                    || object.namespace.is_empty())
        })
}

/// Returns whether a later event shows that what an event reports is over.
fn is_resolved(event: &Event, object: &Object) -> bool {
    let Some(age) = event.age else { return false };
    let later = |reasons: &[&str]| {
        object.events.iter().any(|other| {
            !other.is_warning
                && reasons.contains(&other.reason.as_str())
                && other.age.is_some_and(|own| own < age)
        })
    };
    let is_alive = object.status.is_empty() || is_well(object);
    match event.reason.as_str() {
        "FailedScheduling" => later(&["Scheduled"]),
        "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox" | "Failed" => {
            is_alive && later(&["Started", "Created", "Pulled"])
        }
        "FailedCreate" => later(&["SuccessfulCreate"]),
        _ => false,
    }
}

fn is_notable(event: &Event) -> bool {
    matches!(event.reason.as_str(), "Preempted" | "NodeNotReady" | "Killing" if event.message.contains("failed liveness") || event.reason != "Killing")
}

/// Returns the score of an event, and whether it may be a consequence.
fn of_event(event: &Event) -> Option<(f64, bool)> {
    let message = event.message.to_ascii_lowercase();
    let has = |word: &str| message.contains(word);
    Some(match event.reason.as_str() {
        // A cordoned node is not the pod's fault.
        "FailedScheduling" if has("were unschedulable") => (0.7, true),
        "FailedScheduling" if has("nvidia.com/gpu") => (0.84, true),
        "FailedScheduling" => (0.86, false),
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" => (0.88, false),
        "ProvisioningFailed" | "FailedBinding" => (0.87, false),
        "FailedCreatePodSandBox" => (0.8, true),
        // Something may have to make the secret.
        "Failed" if has("secret") && has("not found") => (0.91, true),
        "Failed" if has("pull") || has("image") || has("not found") => (0.91, false),
        "Failed" => (0.89, false),
        "InspectFailed" | "ErrImageNeverPull" => (0.91, false),
        "FailedCreate" if has("failed calling webhook") => (0.84, true),
        "FailedCreate" => (0.9, false),
        "Unhealthy" if has("liveness") => (0.66, true),
        "Unhealthy" if has("startup") => (0.7, true),
        "Unhealthy" => (0.5, true),
        "ProbeError" => (0.5, true),
        "Killing" => (0.68, true),
        "BackOff" if has("pull") => (0.88, false),
        "BackOff" => (0.7, true),
        "Evicted" => (0.84, false),
        "Preempted" => (0.85, false),
        "NodeNotReady" => (0.4, true),
        "OOMKilling" | "SystemOOM" => (0.6, false),
        // The kubelet has not measured the file system yet.
        "ImageGCFailed" | "ContainerGCFailed" if has("invalid capacity") => (0.08, true),
        "EvictionThresholdMet" | "FreeDiskSpaceFailed" | "ImageGCFailed" | "ContainerGCFailed" => {
            (0.8, false)
        }
        "BackoffLimitExceeded" | "DeadlineExceeded" => (0.72, true),
        "MissSchedule" | "TooManyMissedTimes" | "FailedNeedsStart" | "MissedSchedule" => {
            (0.86, false)
        }
        "FailedGetResourceMetric"
        | "FailedComputeMetricsReplicas"
        | "FailedGetScale"
        | "FailedGetObjectMetric"
        | "FailedGetExternalMetric" => (0.33, true),
        "FailedKillPod" | "FailedSync" => (0.6, true),
        "SyncLoadBalancerFailed" | "CreatingLoadBalancerFailed" => (0.85, false),
        "NetworkNotReady" | "CNINotReady" => (0.6, false),
        "InvalidDiskCapacity"
        | "DNSConfigForming"
        | "PolicyViolation"
        | "CheckLimitsForResolvConf" => (0.08, true),
        "ProgressDeadlineExceeded" | "DeploymentRollback" => (0.45, true),
        "FailedPreStopHook" | "FailedPostStartHook" => (0.6, false),
        "CalculateExpectedPodCountFailed"
        | "FailedToUpdateEndpointSlices"
        | "FailedToUpdateEndpoint" => (0.2, true),
        "LeaderElection" => return None,
        _ if event.is_warning => (0.4, true),
        _ => return None,
    })
}

/// How long ago a container may have ended to matter now, in nanoseconds.
const RECENT_NS: i64 = 3_600_000_000_000;

fn pod(object: &Object, newest: Option<i64>, troubles: &mut Vec<Trouble>) {
    for container in &object.containers {
        let line = container.line.unwrap_or(object.line);
        let named = |what: String| {
            let kind = if container.is_init { "init container" } else { "container" };
            format!("{kind} {}: {what}", container.name)
        };
        match container.state.as_str() {
            "Waiting" => {
                if let Some((score, is_soft, what)) = of_waiting(container, object) {
                    let reason = named(what);
                    troubles.push(Trouble { score, reason, is_soft, age: None, line });
                }
            }
            "Terminated" if !object.status.starts_with("Complete") => {
                if let Some((score, what)) = of_exit(&container.reason, container.exit_code) {
                    troubles.push(soft(score, named(what), line));
                }
            }
            "Running" if container.is_init && !is_well(object) && object.status != "Running" => {
                let reason = named("still runs, so that the pod does not start".to_owned());
                troubles.push(soft(0.7, reason, line));
            }
            "Running" if container.ready == Some(false) => {
                troubles.push(soft(0.5, named("runs but is not ready".to_owned()), line));
            }
            _ => {}
        }
        if container.state == "Running"
            && let Some((score, what)) = of_exit(&container.last_reason, container.last_exit_code)
        {
            let factor = match container.restarts {
                0..=1 => 0.25,
                2..=3 => 0.55,
                _ => 0.8,
            };
            let is_old = container
                .last_finished
                .zip(newest)
                .is_some_and(|(finished, newest)| newest.saturating_sub(finished) > RECENT_NS);
            let factor = match container.ready {
                Some(false) => 0.9,
                _ if is_old => 0.15,
                _ => factor,
            };
            let reason = named(format!("ended before, {} restarts: {what}", container.restarts));
            troubles.push(Trouble {
                score: score * factor,
                reason,
                is_soft: container.last_reason != "OOMKilled",
                age: None,
                line,
            });
        }
    }
    if let Some((past, line)) = &object.past_status
        && let Some((score, what)) = of_exit(past, None)
    {
        // What restarted and is not ready yet may fail again.
        let factor = if is_well(object) { 0.4 } else { 0.8 };
        troubles.push(soft(score * factor, format!("it failed before: {what}"), *line));
    }
    let line = object.line;
    let status = object.status.as_str();
    let base = status.strip_prefix("Init:").unwrap_or(status);
    let message = object.fields.get("Message").map_or("", String::as_str);
    match base {
        "Evicted" => troubles.push(hard(0.85, format!("the pod was evicted: {message}"), line)),
        "Failed" if object.fields.get("Reason").is_some_and(|reason| reason == "Evicted") => {
            troubles.push(hard(0.85, format!("the pod was evicted: {message}"), line));
        }
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
            troubles.push(hard(0.92, format!("the image cannot be pulled ({base})"), line));
        }
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "ContainerCannotRun" => {
            troubles.push(hard(0.9, format!("the container cannot be created ({base})"), line));
        }
        "OOMKilled" => troubles.push(hard(0.9, "the container ran out of memory".to_owned(), line)),
        "CrashLoopBackOff" => {
            troubles.push(soft(
                0.76,
                format!("the container ends again and again, {} restarts", object.restarts),
                line,
            ));
        }
        "Error" => troubles.push(soft(0.72, "the container ended with an error".to_owned(), line)),
        "Pending" => troubles.push(soft(0.5, "the pod is pending".to_owned(), line)),
        "Unknown" | "NodeLost" => {
            troubles.push(soft(0.4, "the pod's node does not report".to_owned(), line));
        }
        _ if object.is_terminating => {
            let finalizers = object.fields.get("Finalizers");
            let score = if finalizers.is_some() { 0.75 } else { 0.35 };
            let what = finalizers.map_or_else(String::new, |names| format!(", finalizers {names}"));
            troubles.push(soft(
                score,
                format!("the pod is terminating and does not end{what}"),
                line,
            ));
        }
        "Running" if !is_well(object) && object.containers.is_empty() => {
            troubles.push(soft(0.5, "the pod runs but is not ready".to_owned(), line));
        }
        _ if object.status.starts_with("Init:") => {
            troubles.push(soft(0.6, format!("init containers do not end ({status})"), line));
        }
        _ => {}
    }
}

/// Returns score, softness and reason of a waiting container.
fn of_waiting(container: &Container, object: &Object) -> Option<(f64, bool, String)> {
    let message = match container.message.is_empty() {
        true => String::new(),
        false => format!(": {}", container.message),
    };
    let reason = &container.reason;
    Some(match reason.as_str() {
        "ImagePullBackOff"
        | "ErrImagePull"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => (0.93, false, format!("{reason}{message}")),
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "ContainerCannotRun" => (0.93, false, format!("{reason}{message}")),
        "CrashLoopBackOff" => {
            let last = of_exit(&container.last_reason, container.last_exit_code);
            let is_killed_by_probe = object.events.iter().any(|event| {
                event.message.contains("failed liveness probe")
                    || event.message.contains("failed startup probe")
            });
            match last {
                Some((score, what)) => {
                    let is_soft = score < 0.85;
                    (score.max(0.78), is_soft, format!("CrashLoopBackOff, {what}{message}"))
                }
                None if is_killed_by_probe => {
                    (0.78, true, "CrashLoopBackOff after failed probes".to_owned())
                }
                None => (0.76, true, format!("CrashLoopBackOff{message}")),
            }
        }
        "PodInitializing" | "ContainerCreating" => return None,
        _ => (0.6, true, format!("{reason}{message}")),
    })
}

/// Returns score and description of how a container ended; `None` if it ended well.
fn of_exit(reason: &str, code: Option<i64>) -> Option<(f64, String)> {
    match (reason, code) {
        ("OOMKilled", _) => Some((0.92, "it ran out of memory (OOMKilled)".to_owned())),
        ("ContainerCannotRun" | "StartError", _) => {
            Some((0.9, format!("it cannot run ({reason})")))
        }
        (_, Some(0)) if reason == "Completed" => None,
        (_, Some(code @ (126..=128))) => {
            Some((0.9, format!("its command cannot be run (exit code {code})")))
        }
        (_, Some(0)) | ("", None) => None,
        // The kubelet does not know how it ended: the node restarted.
        ("Unknown" | "ContainerStatusUnknown", _) => {
            Some((0.5, "it ended with its node".to_owned()))
        }
        (_, Some(code)) => Some((0.78, format!("it ended with exit code {code}"))),
        (_, None) => Some((0.7, format!("it ended ({reason})"))),
    }
}

fn node(object: &Object, cluster: &Cluster, troubles: &mut Vec<Trouble>) {
    let line = object.line;
    if let Some((_, status, reason, message)) = object.condition("Ready")
        && status != "True"
    {
        troubles.push(hard(0.94, format!("the node is not ready ({reason}): {message}"), line));
    } else if object.status.contains("NotReady") {
        troubles.push(hard(0.94, "the node is not ready".to_owned(), line));
    }
    for (kind, status, reason, message) in &object.conditions {
        if kind.ends_with("Pressure") && status == "True" {
            troubles.push(hard(0.9, format!("the node has {kind} ({reason}): {message}"), line));
        } else if status == "True" && (kind.ends_with("Problem") || kind.ends_with("Unavailable")) {
            troubles.push(hard(0.85, format!("{kind} ({reason}): {message}"), line));
        }
    }
    let is_cordoned = object.status.contains("SchedulingDisabled")
        || object.fields.get("Unschedulable").is_some_and(|value| value == "true");
    if is_cordoned {
        let waits = cluster.objects.values().any(|pod| {
            pod.kind == Kind::Pod
                && pod.events.iter().any(|event| event.message.contains("were unschedulable"))
        });
        let score = if waits { 0.84 } else { 0.35 };
        troubles.push(soft(score, "the node is cordoned".to_owned(), line));
    }
}

fn workload(object: &Object, troubles: &mut Vec<Trouble>) {
    let line = object.line;
    for (kind, status, reason, message) in &object.conditions {
        if kind == "ReplicaFailure" && status == "True" {
            troubles.push(hard(0.9, format!("pods cannot be created ({reason}): {message}"), line));
        } else if kind == "Failed" && status == "True" {
            troubles.push(soft(0.74, format!("the job failed ({reason}): {message}"), line));
        } else if kind == "Progressing" && status == "False" {
            troubles.push(soft(0.5, format!("the rollout does not progress ({reason})"), line));
        }
    }
    match object.ready {
        Some((_, 0)) => troubles.push(soft(0.4, "it is scaled to zero".to_owned(), line)),
        Some((ready, of)) if ready < of && object.kind == Kind::Workload => {
            troubles.push(soft(0.42, format!("{ready} of {of} replicas are ready"), line));
        }
        _ => {}
    }
    if object.kind == Kind::Job && object.status == "Failed" {
        troubles.push(soft(0.74, "the job failed".to_owned(), line));
    }
}

fn service(object: &Object, cluster: &Cluster, troubles: &mut Vec<Trouble>) {
    let line = object.line;
    let pods: Vec<&Object> = cluster
        .objects
        .values()
        .filter(|pod| {
            pod.kind == Kind::Pod
                && (object.namespace.is_empty()
                    || pod.namespace.is_empty()
                    || pod.namespace == object.namespace)
        })
        .collect();
    let selects = |pod: &&&Object| {
        object.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    let knows_labels = pods.iter().any(|pod| !pod.labels.is_empty());
    let has_selector = !object.selector.is_empty();
    let selected: Vec<&&Object> = if has_selector && knows_labels {
        pods.iter().filter(selects).collect()
    } else {
        Vec::new()
    };
    if object.has_endpoints == Some(false) {
        let own: Vec<&&Object> = pods.iter().filter(|pod| pod.workload() == object.name).collect();
        let are_well = !own.is_empty() && own.iter().all(|pod| is_well(pod));
        if has_selector && knows_labels && selected.is_empty() {
            let selector: Vec<String> =
                object.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let reason = format!("the service has no endpoints: no pod has {}", selector.join(","));
            troubles.push(hard(0.9, reason, line));
        } else if are_well {
            let reason = "the service has no endpoints, though its pods are ready".to_owned();
            troubles.push(hard(0.87, reason, line));
        } else {
            troubles.push(soft(0.5, "the service has no endpoints".to_owned(), line));
        }
    } else if !selected.is_empty() && !object.ports.is_empty() {
        let opens = |port: &String| {
            !port.bytes().all(|byte| byte.is_ascii_digit())
                || selected.iter().any(|pod| pod.ports.is_empty() || pod.ports.contains(port))
        };
        if let Some(port) = object.ports.iter().find(|port| !opens(port)) {
            let reason = format!("the service sends to port {port}, which none of its pods opens");
            troubles.push(hard(0.88, reason, line));
        }
    }
}
