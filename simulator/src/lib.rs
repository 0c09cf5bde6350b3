//! A seeded cluster that writes logs and knows what went wrong in them.
//!
//! Frontends, routers, prefill and decode workers serve requests; their wall clocks are off, their lines interleave,
//! some of them fail, hang, are killed, retried or left by their clients, and some shout about nothing. The cluster
//! writes what real ones write, in flowlog's JSON or text form, mixed, or as Dynamo's own JSONL without any flowlog
//! field, and hands out the truth beside it. It is test support and benchmark input.

mod process;
mod step;
mod state;
mod request;
mod write;
mod cluster;
mod envelope;
mod damage;
mod chatter;

use flowlog_schema::FlowId;

pub use chatter::{Voice, chat};
pub use damage::{Damage, damage};
pub use envelope::{Envelope, wrap};

/// What the logs look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Flowlog records in JSON form.
    Json,
    /// Flowlog records in text form.
    Text,
    /// Both, line by line.
    Mixed,
    /// Dynamo's own JSONL, with span events and no flowlog field.
    Dynamo,
}

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Requests.
    pub flows: usize,
    /// When the run begins, in seconds after 2025-11-22T08:00:00Z.
    pub begin: u64,
    /// How far a process's wall clock may be off, either way, in milliseconds.
    pub skew_ms: u64,
    /// What the logs look like.
    pub form: Form,
    /// How many of a hundred requests meet a fault.
    pub fault_percent: u64,
    /// Processes that are killed on the way: 0, or 1.
    pub kills: usize,
    /// Prefill workers; a request that finds none is refused.
    pub prefills: usize,
    /// Processes say nothing outside flows, not even that they start and stop.
    pub quiet: bool,
    /// Answers carry no clock, as where a protocol has no place for one: only calls order the clocks.
    pub mute_answers: bool,
    /// Bytes of payload that every record carries besides.
    pub padding: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            flows: 200,
            begin: 0,
            skew_ms: 400,
            form: Form::Mixed,
            fault_percent: 20,
            kills: 1,
            prefills: 2,
            quiet: false,
            mute_answers: false,
            padding: 0,
        }
    }
}

/// What becomes of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is served.
    Ok,
    /// A retry carries it.
    Recovered,
    /// The client leaves.
    Cancelled,
    /// The client asks for what cannot be had.
    Rejected,
    /// It fails.
    Failed,
}

/// What became of one flow, and who failed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// The flow.
    pub id: FlowId,
    /// What became of it.
    pub outcome: Outcome,
    /// Who failed first: component and instance.
    pub origin: Option<(String, String)>,
    /// What was done to it, for whoever reads a failing test.
    pub story: &'static str,
}

/// Logs and the truth about them.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name and content of each process's log.
    pub logs: Vec<(String, Vec<u8>)>,
    /// One for each flow, in the order in which they began.
    pub truth: Vec<Truth>,
}

/// Runs a cluster.
pub fn simulate(options: &Options) -> Cluster {
    cluster::run(options)
}
