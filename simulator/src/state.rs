//! Mutable state of a simulation.

use crate::Options;
use crate::process::Process;
use crate::script::Step;

/// Mutable state of a simulation.
pub(crate) struct State<'o> {
    pub options: &'o Options,
    pub random: fastrand::Rng,
    pub processes: Vec<Process>,
    pub steps: Vec<Step>,
    pub next_span: u64,
}
