//! A seeded cluster simulator that writes logs and knows the faults in them.
//!
//! Frontends, routers, prefill workers and decode workers serve requests. Their wall clocks are
//! skewed and their lines interleave. Some of them fail, hang or are killed; some requests are
//! retried or abandoned by their client; and some processes log errors that mean nothing. The logs
//! match those of real clusters: flowlog's JSON form, its text form, a mix of both, or Dynamo's own
//! JSONL without any flowlog field. The simulator returns the ground truth with them. It serves as
//! test support and as benchmark input.

mod process;
mod script;
mod state;
mod request;
mod write;
mod cluster;
mod envelope;
mod damage;
mod unkind;
mod background_noise;

use flowlog_schema::FlowId;

pub use background_noise::{NoiseSource, write_noise};
pub use damage::{Damage, damage};
pub use envelope::{Envelope, wrap};
pub use unkind::{Kind, simulate_unkind};

/// Format of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Flowlog records, in JSON form.
    Json,
    /// Flowlog records, in text form.
    Text,
    /// Flowlog records, each in JSON or text form at random.
    Mixed,
    /// Dynamo's own JSONL, with span events and without flowlog fields.
    Dynamo,
}

/// Parameters of a simulation.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seed that determines the whole run.
    pub seed: u64,
    /// Number of requests.
    pub flows: usize,
    /// Start of the run, in seconds after 2025-11-22T08:00:00Z.
    pub start_s: u64,
    /// Maximum offset of a process's wall clock in either direction, in milliseconds.
    pub skew_ms: u64,
    /// Format of the logs.
    pub format: LogFormat,
    /// Percentage of requests that meet a fault.
    pub fault_percent: u64,
    /// Number of processes that are killed during the run: 0 or 1.
    pub kills: usize,
    /// Number of prefill workers. A request that needs one and finds none fails.
    pub prefills: usize,
    /// Whether processes log nothing outside of flows, not even their start and stop.
    pub silent_processes: bool,
    /// Whether responses carry no clock, as in protocols without a place for one, so that only
    /// calls order the clocks.
    pub omit_response_clocks: bool,
    /// Number of extra payload bytes in each record.
    pub padding_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            flows: 200,
            start_s: 0,
            skew_ms: 400,
            format: LogFormat::Mixed,
            fault_percent: 20,
            kills: 1,
            prefills: 2,
            silent_processes: false,
            omit_response_clocks: false,
            padding_bytes: 0,
        }
    }
}

/// Outcome of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request is served.
    Ok,
    /// A retry completes the request.
    Recovered,
    /// The client disconnects.
    Cancelled,
    /// The client sends an invalid request.
    Rejected,
    /// The request fails.
    Failed,
}

/// Ground truth of a flow: its outcome and its first failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Flow ID.
    pub id: FlowId,
    /// Outcome of the flow.
    pub outcome: Outcome,
    /// Component and instance that failed first.
    pub origin: Option<(String, String)>,
    /// Name of the injected fault, for the output of failing tests.
    pub story: &'static str,
    /// Whether the logs show the origin. If not, nobody could tell, and the flow is not scored.
    pub is_shown: bool,
}

/// Logs and their ground truth.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name and content of each process's log.
    pub logs: Vec<(String, Vec<u8>)>,
    /// Ground truth of each flow, in the order in which the flows began.
    pub truth: Vec<Truth>,
}

/// Simulates a cluster.
pub fn simulate(options: &Options) -> Cluster {
    cluster::run(options)
}
