//! Damaged logs: lines are lost, and the beginning of each log is cut off.

use std::collections::HashSet;

use crate::Cluster;

/// Damage to logs in transit.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    /// Seed that determines all damage.
    pub seed: u64,
    /// Number of lost lines per thousand.
    pub lost_per_mille: u64,
    /// Maximum share of each log that is cut off at its beginning, in percent of its bytes. The cut
    /// may be inside a line.
    pub cut_percent: u64,
    /// Whether a caller's line that names an instance shows as much as a line of that instance.
    pub names_suffice: bool,
}

/// Returns the damaged logs, and for each flow whether they still show what happened: a line of the
/// instance that failed first, and the ends of all spans (`true` if nothing failed).
pub fn damage(cluster: &Cluster, damage: Damage) -> (Cluster, Vec<bool>) {
    let mut random = fastrand::Rng::with_seed(damage.seed);
    // Flows that lost the end of a span: their outcome, or who failed first, may not be seen.
    let mut without_end: HashSet<String> = HashSet::new();
    let mut damaged =
        Cluster { logs: Vec::with_capacity(cluster.logs.len()), truth: cluster.truth.clone() };
    for (name, bytes) in &cluster.logs {
        let most = bytes.len() as u64 * damage.cut_percent / 100;
        let cut = usize::try_from(random.u64(0..=most)).unwrap_or(0);
        let rest = bytes.get(cut..).unwrap_or_default();
        let mut kept = Vec::with_capacity(rest.len());
        without_end.extend(ended_flows(bytes.get(..cut).unwrap_or_default()));
        for line in rest.split_inclusive(|b| *b == b'\n') {
            if random.u64(0..1_000) >= damage.lost_per_mille {
                kept.extend_from_slice(line);
            } else {
                without_end.extend(ended_flows(line));
            }
        }
        damaged.logs.push((name.clone(), kept));
    }
    let remaining = damaged.truth.iter().map(|truth| {
        truth.origin.as_ref().is_none_or(|(_, instance)| {
            let id = truth.id.to_string();
            is_left(&damaged, &id, instance, damage.names_suffice) && !without_end.contains(&id)
        })
    });
    let remaining = remaining.collect();
    (damaged, remaining)
}

/// Returns the flows of which lines end a span, in flowlog's JSON and text form.
fn ended_flows(lines: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(lines);
    let ends = |line: &&str| {
        ["end", "fail", "cancel"].iter().any(|event| {
            line.contains(&format!("\"event\":\"{event}\""))
                || line.contains(&format!(" - {event} "))
        })
    };
    let id = |line: &str| {
        let (_, rest) = line.split_once("\"flow_id\":\"").or_else(|| line.split_once(" - "))?;
        rest.get(..36).map(str::to_owned)
    };
    text.lines().filter(ends).filter_map(id).collect()
}

/// Returns whether a line mentions the flow, in either spelling of its ID, and either names the
/// instance or is in the instance's own log.
fn is_left(cluster: &Cluster, id: &str, instance: &str, names_suffice: bool) -> bool {
    let plain = id.replace('-', "");
    let names = [
        format!("/{instance} "),
        format!("\"instance\":\"{instance}\""),
        format!("\"instance_id\":\"{instance}\""),
    ];
    cluster.logs.iter().any(|(name, bytes)| {
        let own = name.strip_suffix(".log") == Some(instance);
        let text = String::from_utf8_lossy(bytes);
        let mut remaining = text.lines().filter(|line| line.contains(id) || line.contains(&plain));
        remaining.any(|line| {
            own || names_suffice && line.contains(instance)
                || names.iter().any(|name| line.contains(name))
        })
    })
}
