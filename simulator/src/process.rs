//! Processes of the simulated cluster.

/// A process of the simulated cluster.
pub(crate) struct Process {
    pub component: &'static str,
    /// Name of the process in the ground truth and in its records.
    pub instance: String,
    /// Name of the process's log, without the extension.
    pub log: String,
    /// Lead of the process's wall clock, in microseconds.
    pub skew: i64,
    /// Time at which the process is killed, in microseconds from the start of the run.
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
