//! The same logs as they survive: some lines lost, every beginning cut off.

use crate::Cluster;

/// What becomes of logs on their way.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    /// Everything follows from it.
    pub seed: u64,
    /// How many of a thousand lines are lost.
    pub lost_per_mille: u64,
    /// How much of each log's beginning may be cut off, in percent of its bytes; the cut falls anywhere, also inside a line.
    pub cut_percent: u64,
}

/// A cluster's logs after the damage, and of every flow whether a line of its origin is left (true where it has none).
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
    let told = damaged.truth.iter().map(|truth| {
        truth
            .origin
            .as_ref()
            .is_none_or(|(_, instance)| is_left(&damaged, &truth.id.to_string(), instance))
    });
    let told = told.collect();
    (damaged, told)
}

/// Whether a line names both a flow, in either spelling, and an instance, or stands in that instance's own log.
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
        let mut told = text.lines().filter(|line| line.contains(id) || line.contains(&plain));
        told.any(|line| own || names.iter().any(|name| line.contains(name)))
    })
}
