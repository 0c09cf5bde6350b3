//! Stamps every critical flow of a distributed inference system, and loses nothing when a process is killed.
//!
//! A *flow* is one piece of work across processes: a request, a KV transfer, a worker start, a scaling decision. A component takes
//! it up, says which state of its work it comes to, and how its share ended; each is one *record*, one line that
//! `flowlog-analyze` reads.
//!
//! ```
//! use dynamo_flowlog::{Emitter, Flow, Sink};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let _installed = Emitter::builder("router").instance("router-0").version("dynamo", "1.6.1").sink(Sink::Nothing).install()?;
//!
//! let flow = Flow::start("chat_completion");
//! flow.state("tokenize");
//! dynamo_flowlog::state!(flow, "select_worker", candidates = 4, model = "tiny");
//! let call = flow.call("kv_transfer");
//! call.end();
//! flow.end();
//! # Ok(())
//! # }
//! ```
//!
//! A flow that is dropped without an end says so itself (`abandoned`). Nothing here needs a `tracing` subscriber, and nothing
//! returns an error once [`Builder::install`] has: where no emitter is installed, all of it costs next to nothing.
//!
//! # Across processes
//!
//! [`Flow::accept`] takes up what a caller's headers name (W3C Trace Context, `x-flow-id`, request ids), [`FlowHandle::inject`] writes it for whoever is called,
//! a child process included; [`FlowHandle::answer`] and [`FlowHandle::receive`] bring the clock back.
//!
//! | feature | brings |
//! |---|---|
//! | `http`, `tonic`, `nats` | [`Extract`] and [`Inject`] for their header maps |
//! | `tower` | layers for servers and clients that speak HTTP |
//! | `tracing` | a layer that puts what `tracing` is told into flows |
//! | `otlp` | [`Otlp`]: spans and records for a collector |
//!
//! # Durability
//!
//! | sink | after `exit`, a panic, SIGTERM, `abort`, SIGKILL | after the machine's death |
//! |---|---|---|
//! | [`Sink::Stderr`], [`Sink::File`] | every record whose call has returned | what the kernel had written back |
//! | [`Sink::Mapped`] | every record whose call has returned | the same |
//!
//! Each record is one `write(2)`, or one copy into a mapped file; neither keeps anything in the process. A [flight file](Builder::flight)
//! keeps the last records and the open flows besides: the next process, or [`reap`], closes a dead one's flows with records
//! of their own, and `flowlog-analyze` reads it as a log.
//!
//! # When it fails
//!
//! Emitting never panics, never returns an error, and never waits longer than [`PATIENCE`] for a reader. A record that a sink
//! does not take is counted ([`Health::lost`]), kept in the flight file if there is one, and said in a `lost` record as soon as the
//! sink takes records again. Every record carries its number (`seq`): its last two digits are those of the thread that wrote it, and those
//! before them have no gap, so that a loss that was not said is found.
//!
//! # Troubleshooting
//!
//! | seen | why | way out |
//! |---|---|---|
//! | `lost` records | a full disk, a reader that does not read | `count` says how many; [`Health::reason`] why |
//! | `lost` records with `sink=otlp` | the collector is down, or slower than the queue is long | `reason` says why; the log has them all the same |
//! | a flow that begins anew at a callee | its caller's headers are malformed, or not handed on | [`Health::malformed_headers`]; [`FlowHandle::inject`] on every call |
//! | no records | nothing installed, `DYN_LOG` above `info`, `OTEL_SDK_DISABLED=true` | [`Emitter::installed`] |
//! | a flow of error type `abandoned` | it was dropped without [`Flow::end`], [`Flow::fail`] or [`Flow::cancel`] | end it, or let it: the future was dropped |
//! | a flow of error type `process_killed` | its process died | its last records are in its flight file, until the next process reaps it |
//! | `SIGBUS` | somebody truncated a mapped file (logrotate's `copytruncate`) | rotate with [`Rotation`] instead |

mod builder;
mod emitter;
mod writing;
mod forks;
mod environment;
mod carrier;
mod context;
mod sampling;
mod flow;
mod said;
mod span;
mod shared;
mod current;
mod failure;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod layer;
mod lane;
mod sink;
mod flight;
mod reap;
mod otlp;
mod sampler;
mod health;
mod room;
mod system;

/// Says that a flow came to a state, with fields: `state!(flow, "prefill", tokens = 12, model = "tiny")`. Where no emitter is installed the
/// fields are not even looked at.
#[macro_export]
macro_rules! state {
    ($flow:expr, $state:expr $(, $name:ident = $value:expr)* $(,)?) => {{
        let flow: &$crate::FlowHandle = &$flow;
        if flow.is_enabled() {
            flow.state_with($state, &[$((stringify!($name), $crate::Scalar::from($value))),*]);
        }
    }};
}

pub use builder::{Builder, InstallError};
pub use carrier::{Extract, Inject};
pub use context::Context;
pub use current::{InFlow, current, in_flow};
pub use emitter::{Emitter, Installed};
pub use failure::Failure;
pub use flow::{Flow, FlowHandle, LogRecord};
pub use flowlog_schema::propagation::TraceFlags;
pub use flowlog_schema::{Clock, FlowId, Level, Scalar, SpanId};
pub use health::Health;
#[cfg(feature = "tracing")]
pub use layer::FlowLayer;
pub use otlp::Otlp;
pub use reap::{Reaped, reap};
pub use sampling::Sampling;
pub use sink::{Form, PATIENCE, Rotation, Sink, UnknownSink};
