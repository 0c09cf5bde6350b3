//! Which of several unhappy objects failed first.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use flowlog_schema::report::FailureKind;

use super::ClusterFindings;
use super::object::{Cluster, Kind, Object};
use super::trouble::{self, Trouble};
use crate::diagnose::{Basis, Unusual};
use crate::profile::RunPatterns;
use crate::suspects::{Finding, FindingKind};

/// Minimum score of an object that proves a failure.
const PROOF: f64 = 0.68;

/// Phrases about another service that does not answer.
const LOST: [&str; 22] = [
    "refused",
    "timeout",
    "timed out",
    "no such host",
    "unreachable",
    "not resolve",
    "nxdomain",
    "connect",
    "unavailable",
    "lookup",
    "enotfound",
    "getaddrinfo",
    "no route",
    "waiting for",
    "broken pipe",
    "reset by peer",
    "502",
    "503",
    "504",
    "dial tcp",
    "not known",
    "no endpoints",
];

/// Objects that stand for one component.
struct Candidate<'c> {
    score: f64,
    troubles: Vec<(&'c Object, Trouble)>,
    is_soft: bool,
    is_well: bool,
    /// Whether it blamed another one.
    has_passed_on: bool,
}

pub(super) fn judge(cluster: &Cluster, patterns: &RunPatterns<'_>) -> ClusterFindings {
    let mut candidates: BTreeMap<String, Candidate<'_>> = BTreeMap::new();
    let ends = cluster.objects.values().flat_map(|object| &object.containers);
    let newest = ends
        .filter_map(|container| container.last_finished)
        .chain(patterns.iter().filter_map(|pattern| pattern.stats.last.time()))
        .max();
    for object in cluster.objects.values() {
        let name = object.workload().to_owned();
        let well = trouble::is_well(object);
        let found = trouble::of(object, cluster, newest);
        let candidate = candidates.entry(name).or_insert(Candidate {
            score: 0.0,
            troubles: Vec::new(),
            is_soft: true,
            is_well: true,
            has_passed_on: false,
        });
        let is_stateful = matches!(object.kind, Kind::Pod | Kind::Node | Kind::Workload);
        candidate.is_well &=
            well || !is_stateful || object.status.is_empty() && object.ready.is_none();
        candidate.troubles.extend(found.into_iter().map(|trouble| (object, trouble)));
    }
    for candidate in candidates.values_mut() {
        candidate.troubles.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
        if let Some((_, worst)) = candidate.troubles.first() {
            candidate.score = worst.score;
            candidate.is_soft = worst.is_soft;
        }
    }
    let is_well = candidates.values().all(|candidate| candidate.score < PROOF)
        && candidates.values().any(|candidate| candidate.is_well);
    blame_nodes(cluster, &mut candidates);
    follow_dependencies(cluster, patterns, &mut candidates);
    // Of two that are as bad, the one that began first.
    for candidate in candidates.values_mut() {
        let age =
            candidate.troubles.iter().filter_map(|(_, trouble)| trouble.age).fold(0.0, f64::max);
        candidate.score +=
            0.02 * (age / 3_600.0).min(1.0) * f64::from(u8::from(candidate.score > 0.4));
    }
    let mut order: Vec<(&String, &Candidate<'_>)> =
        candidates.iter().filter(|(_, candidate)| candidate.score > 0.05).collect();
    order.sort_by(|a, b| b.1.score.total_cmp(&a.1.score).then_with(|| a.0.cmp(b.0)));
    let failure = order.first().filter(|(_, first)| first.score >= PROOF).map(|(name, first)| {
        let second = order.get(1).map_or(0.0, |(_, second)| second.score);
        let lead = ((first.score - second) / 0.2).clamp(0.0, 1.0);
        unusual(name, first, first.score.min(0.95) * (0.65 + 0.3 * lead))
    });
    let findings = order.iter().filter_map(|(name, candidate)| finding(name, candidate)).collect();
    ClusterFindings { failure, findings, is_well }
}

/// Moves blame from pods to a node that is not well.
fn blame_nodes(cluster: &Cluster, candidates: &mut BTreeMap<String, Candidate<'_>>) {
    let bad: BTreeSet<&str> = cluster
        .objects
        .values()
        .filter(|object| object.kind == Kind::Node)
        .filter(|node| candidates.get(&node.name).is_some_and(|found| found.score >= 0.85))
        .map(|node| node.name.as_str())
        .collect();
    for pod in cluster.objects.values().filter(|object| object.kind == Kind::Pod) {
        let is_moved = bad.contains(pod.node.as_str())
            || bad.iter().any(|node| pod.events.iter().any(|event| event.message.contains(*node)));
        if is_moved && let Some(candidate) = candidates.get_mut(pod.workload()) {
            candidate.score = candidate.score.min(0.62);
        }
    }
}

/// Moves blame along dependencies: to a service that does not answer and is not well.
fn follow_dependencies(
    cluster: &Cluster,
    patterns: &RunPatterns<'_>,
    candidates: &mut BTreeMap<String, Candidate<'_>>,
) {
    let names: Vec<String> = cluster
        .objects
        .values()
        .filter(|object| matches!(object.kind, Kind::Pod | Kind::Workload | Kind::Service))
        .map(|object| object.workload().to_owned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut calls: Vec<Call> = Vec::new();
    for name in &names {
        for text in texts_of(name, cluster, patterns) {
            let lower = text.to_ascii_lowercase();
            let has = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
            let is_lost = has(&LOST) || has(&["sandbox", "secret", "nvidia.com/gpu", "webhook"]);
            let is_refused_by_server = has(&SERVER_SIDE);
            if !is_lost && !is_refused_by_server {
                continue;
            }
            // In `call to a failed: call to b failed`, the last is the deepest.
            let deepest = names
                .iter()
                .filter(|callee| *callee != name && callee.len() >= 3)
                .filter_map(|callee| {
                    let at = last_mention(&lower, callee)
                        .or_else(|| provides(callee, &lower).then_some(usize::MAX))
                        .or_else(|| {
                            (is_refused_by_server && is_store_of(callee, name)).then_some(0)
                        })?;
                    Some((at, callee))
                })
                .max();
            if let Some((_, callee)) = deepest {
                calls.push(Call {
                    caller: name.clone(),
                    callee: callee.clone(),
                    is_refused: is_refused_by_server,
                });
            }
        }
    }
    calls.sort();
    calls.dedup_by(|a, b| a.caller == b.caller && a.callee == b.callee);
    // Blame goes along chains of calls.
    for _ in 0..MAX_CHAIN {
        if !pass_blame(&calls, candidates) {
            break;
        }
    }
}

/// Maximum number of calls in a chain.
const MAX_CHAIN: usize = 3;

/// Phrases with which a server rejects a client whose request is right.
const SERVER_SIDE: [&str; 8] = [
    "not authorized",
    "could not find user",
    "usernotfound",
    "certificate has expired",
    "certificate expired",
    "not permitted to log in",
    "permission denied for",
    "authenticationfailed",
];

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    caller: String,
    callee: String,
    /// Whether the callee answered, and rejected it.
    is_refused: bool,
}

/// Moves blame from callers to callees. Returns whether anything changed.
fn pass_blame(calls: &[Call], candidates: &mut BTreeMap<String, Candidate<'_>>) -> bool {
    let scores: BTreeMap<String, (f64, bool)> = candidates
        .iter()
        .map(|(name, candidate)| (name.clone(), (candidate.score, candidate.is_soft)))
        .collect();
    let of = |name: &str| scores.get(name).copied().unwrap_or((0.0, true));
    let mut is_changed = false;
    for Call { caller, callee, is_refused } in calls {
        let ((own, is_soft), (other, _)) = (of(caller), of(callee));
        // Two that need each other decide nothing.
        let is_mutual = calls.iter().any(|call| call.caller == *callee && call.callee == *caller);
        if !is_soft || own < 0.3 || is_mutual && other <= own {
            continue;
        }
        let callers = calls.iter().filter(|call| call.callee == *callee).count().min(3);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let more = 0.03 * callers as f64;
        // A callee that is well may still be out of reach, or reject its callers.
        let blamed = if other >= 0.35 {
            (other + 0.1 + more).max(own * 0.9 + more)
        } else if *is_refused {
            own * 0.95 + more
        } else {
            own * 0.85 + more
        };
        let blamed = blamed.min(0.96);
        if let Some(candidate) = candidates.get_mut(callee)
            && candidate.score + 0.005 < blamed
        {
            candidate.score = blamed;
            is_changed = true;
        }
        if let Some(candidate) = candidates.get_mut(caller)
            && !candidate.has_passed_on
        {
            candidate.score *= if other >= 0.35 { 0.55 } else { 0.72 };
            candidate.has_passed_on = true;
            is_changed = true;
        }
    }
    is_changed
}

/// Returns whether a workload is the store of a client: it is named after both.
fn is_store_of(workload: &str, client: &str) -> bool {
    const STORES: [&str; 10] = [
        "mongo",
        "postgres",
        "mysql",
        "maria",
        "redis",
        "pg",
        "db",
        "cassandra",
        "memcached",
        "valkey",
    ];
    let is_store =
        workload.split('-').any(|part| STORES.iter().any(|store| part.starts_with(store)));
    is_store
        && client
            .split('-')
            .filter(|part| part.len() >= 4 && !matches!(*part, "service"))
            .any(|part| workload.contains(part))
}

/// Returns whether a workload provides what a text says is missing: names, the pods' network, or
/// secrets.
fn provides(workload: &str, text: &str) -> bool {
    const PROVIDERS: [(&[&str], &[&str]); 4] = [
        (&["insufficient nvidia.com/gpu"], &["nvidia-device-plugin", "gpu-operator"]),
        (
            &["no such host", "lookup ", "name resolution", "eai_again", "server misbehaving"],
            &["coredns", "kube-dns"],
        ),
        (
            &["sandbox"],
            &["calico", "cilium", "flannel", "weave", "canal", "kindnet", "aws-node", "antrea"],
        ),
        (&["secret"], &["external-secrets", "vault", "sealed-secrets", "secrets-store"]),
    ];
    PROVIDERS.iter().any(|(phrases, names)| {
        phrases.iter().any(|phrase| text.contains(phrase))
            && names.iter().any(|name| workload.contains(name))
    })
}

/// Returns where a text last mentions a name as a word of its own.
fn last_mention(text: &str, name: &str) -> Option<usize> {
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let bytes = text.as_bytes();
    memchr::memmem::find_iter(bytes, name.as_bytes())
        .filter(|at| {
            let at = *at;
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            let after = bytes.get(at + name.len());
            // A pod's or replica's name has more behind it: `postgres-0`.
            let is_replica = after == Some(&b'-')
                && bytes.get(at + name.len() + 1).is_some_and(u8::is_ascii_digit);
            let rest = bytes.get(at + name.len()..).unwrap_or_default();
            let is_client = rest.starts_with(b"-client") || rest.starts_with(b"-svc");
            !is_part(before) && (!is_part(after) || is_replica || is_client)
        })
        .last()
}

/// Returns what a workload says about others: its errors, its probes, its containers.
fn texts_of(name: &str, cluster: &Cluster, patterns: &RunPatterns<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for object in cluster.objects.values().filter(|object| object.workload() == name) {
        texts.extend(
            object
                .events
                .iter()
                .filter(|event| event.is_warning)
                .map(|event| event.message.clone()),
        );
        for container in &object.containers {
            texts.push(container.message.clone());
            if container.is_init && container.state != "Terminated" {
                texts.push(format!("waiting for {}", container.name.replace("wait-for-", "")));
            }
        }
    }
    let is_problem = |level: Option<flowlog_schema::Level>| {
        level.is_none_or(|level| level >= flowlog_schema::Level::Warn)
    };
    for pattern in patterns.iter() {
        let is_own = pattern.component == name
            || pattern
                .instance
                .as_deref()
                .is_some_and(|pod| crate::component_names::workload_of(pod) == name);
        let message = &pattern.stats.first.1;
        let is_waiting = message.contains("onnecting") || message.contains("aiting for");
        if is_own && (pattern.stats.is_error || is_problem(pattern.stats.level) || is_waiting) {
            texts.push(pattern.stats.first.1.to_string());
        }
    }
    texts
}

fn unusual(name: &str, candidate: &Candidate<'_>, confidence: f64) -> Unusual {
    let instance = candidate
        .troubles
        .first()
        .map(|(object, _)| *object)
        .filter(|object| matches!(object.kind, Kind::Pod | Kind::Node))
        .map(|object| CompactString::from(object.name.as_str()));
    let reasons: Vec<(String, Option<crate::flow::LineRef>)> = candidate
        .troubles
        .iter()
        .take(6)
        .map(|(object, trouble)| {
            (format!("{}: {}", object.name, trouble.reason), Some(trouble.line))
        })
        .collect();
    Unusual {
        kind: FailureKind::Run,
        component: CompactString::from(name),
        instance,
        message: candidate
            .troubles
            .first()
            .map(|(_, worst)| worst.reason.clone())
            .unwrap_or_default(),
        // Events have ages, not times.
        time: None,
        basis: Basis::ObjectState,
        confidence: (confidence * 1000.0).round() / 1000.0,
        evidence: candidate.troubles.iter().map(|(_, trouble)| trouble.line).take(6).collect(),
        reasons,
    }
}

fn finding(name: &str, candidate: &Candidate<'_>) -> Option<Finding> {
    let (object, worst) = candidate.troubles.first()?;
    let instance = (object.kind == Kind::Pod).then(|| CompactString::from(object.name.as_str()));
    Some(Finding {
        kind: FindingKind::Object,
        component: CompactString::from(name),
        instance,
        score: candidate.score.min(0.95),
        reason: worst.reason.clone(),
        template: None,
        root_cause: String::new(),
        count: 1,
        first: None,
        evidence: vec![worst.line],
    })
}
