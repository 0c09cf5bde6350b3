//! Damaged logs: lines are lost, and the beginning of each log is cut off.

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
}

/// Returns the damaged logs, and for each flow whether a line of the instance that failed first is
/// left (`true` if nothing failed).
pub fn damage(cluster: &Cluster, damage: Damage) -> (Cluster, Vec<bool>) {
    let mut random = fastrand::Rng::with_seed(damage.seed);
    let mut damaged =
        Cluster { logs: Vec::with_capacity(cluster.logs.len()), truth: cluster.truth.clone() };
    for (name, bytes) in &cluster.logs {
        let most = bytes.len() as u64 * damage.cut_percent / 100;
        let cut = usize::try_from(random.u64(0..=most)).unwrap_or(0);
        let rest = bytes.get(cut..).unwrap_or_default();
        let mut kept = Vec::with_capacity(rest.len());
        for line in rest.split_inclusive(|b| *b == b'\n') {
            if random.u64(0..1_000) >= damage.lost_per_mille {
                kept.extend_from_slice(line);
            }
        }
        damaged.logs.push((name.clone(), kept));
    }
    let remaining = damaged.truth.iter().map(|truth| {
        truth
            .origin
            .as_ref()
            .is_none_or(|(_, instance)| is_left(&damaged, &truth.id.to_string(), instance))
    });
    let remaining = remaining.collect();
    (damaged, remaining)
}

/// Returns whether a line mentions the flow, in either spelling of its ID, and either names the
/// instance or is in the instance's own log.
fn is_left(cluster: &Cluster, id: &str, instance: &str) -> bool {
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
        remaining.any(|line| own || names.iter().any(|name| line.contains(name)))
    })
}
