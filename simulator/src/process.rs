//! A process of the cluster.

/// One process of the cluster.
pub(crate) struct Process {
    pub component: &'static str,
    /// Its name in the truth and in its records.
    pub instance: String,
    /// Its log's name without the ending.
    pub log: String,
    /// How far its wall clock is ahead, in microseconds.
    pub skew: i64,
    /// When it is killed, in microseconds from the beginning.
    pub killed: Option<i64>,
}

pub(crate) fn pick(
    random: &mut fastrand::Rng,
    processes: &[Process],
    of: impl Fn(&Process) -> bool,
) -> usize {
    let fit: Vec<usize> = (0..processes.len()).filter(|at| of(&processes[*at])).collect();
    fit.get(random.usize(0..fit.len().max(1))).copied().unwrap_or(0)
}
