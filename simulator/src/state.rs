//! The cluster's moving parts.

use crate::Options;
use crate::process::Process;
use crate::step::Step;

/// The cluster's moving parts.
pub(crate) struct State<'o> {
    pub options: &'o Options,
    pub random: fastrand::Rng,
    pub processes: Vec<Process>,
    pub steps: Vec<Step>,
    pub next_span: u64,
}
