//! Records the critical flows of a distributed inference system, and loses nothing when a process
//! is killed.
//!
//! A *flow* is one piece of work across processes: a request, a KV transfer, a worker start, a
//! scaling decision. Each component starts or joins the flow, reports the states that its work
//! reaches, and reports how its share ended. Each of these is one *record*: one line of output,
//! which `flowlog-analyze` reads.
//!
//! ```
//! use dynamo_flowlog::{Emitter, Flow, Sink};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let _guard = Emitter::builder("router")
//!     .instance("router-0")
//!     .version("dynamo", "1.6.1")
//!     .sink(Sink::Discard)
//!     .install()?;
//!
//! let flow = Flow::start("chat_completion");
//! flow.state("tokenize");
//! dynamo_flowlog::state!(flow, "select_worker", candidates = 4, model = "tiny");
//! let call = flow.child("kv_transfer");
//! call.end();
//! flow.end();
//! # Ok(())
//! # }
//! ```
//!
//! A flow that is dropped without being ended emits a final record itself (error type `abandoned`).
//! No `tracing` subscriber is needed, and emitting returns no errors once [`Builder::install`] has
//! succeeded. If no emitter is installed, every call costs next to nothing.
//!
//! # Across processes
//!
//! [`Flow::accept`] joins the flow that a caller's headers name (W3C Trace Context, `x-flow-id`,
//! request IDs). [`FlowHandle::inject`] writes the flow for a callee, including a child process.
//! [`FlowHandle::inject_response`] and [`FlowHandle::merge_clock`] return the callee's clock.
//!
//! | feature | adds |
//! |---|---|
//! | `http`, `tonic`, `nats` | [`Extract`] and [`Inject`] for their header maps |
//! | `tower` | layers for HTTP servers and clients |
//! | `tracing` | a layer that adds `tracing` events and spans to flows |
//! | `otlp` | [`Otlp`]: exports spans and records to a collector |
//!
//! # Durability
//!
//! | sink | survives `exit`, a panic, SIGTERM, `abort`, SIGKILL | survives a machine crash |
//! |---|---|---|
//! | [`Sink::Stderr`], [`Sink::File`] | every record after its call has returned | what the kernel had written back |
//! | [`Sink::Mapped`] | every record after its call has returned | the same |
//!
//! Each record is one `write(2)`, or one copy into a mapped file; neither buffers anything in the
//! process. A [flight file](Builder::flight) additionally keeps the last records and the open
//! flows. The next process, or [`recover`], closes the flows of a dead process with one record
//! each, and `flowlog-analyze` reads the flight file as a log.
//!
//! # When it fails
//!
//! Emitting never panics, never returns an error, and never waits longer than [`WRITE_TIMEOUT`] for
//! a reader. A record that the sink does not accept is counted ([`Health::lost`]), kept in the
//! flight file if there is one, and reported in a `lost` record as soon as the sink accepts records
//! again. Every record carries a sequence number (`seq`). Its last two digits identify the thread
//! that wrote the record, and the digits before them count the records of that thread without gaps,
//! so that unreported losses can be detected.
//!
//! # Troubleshooting
//!
//! | symptom | cause | remedy |
//! |---|---|---|
//! | `lost` records | a full disk, or a reader that does not read | `count` is the number of records; [`Health::reason`] is the reason |
//! | `lost` records with `sink=otlp` | the collector is down, or too slow for the length of the queue | `reason` gives the reason; the log still has every record |
//! | a callee starts a new flow | its caller's headers are malformed or not forwarded | [`Health::malformed_headers`]; [`FlowHandle::inject`] on every call |
//! | no records | no emitter installed, `DYN_LOG` above `info`, `OTEL_SDK_DISABLED=true` | [`Emitter::global`] |
//! | a flow with error type `abandoned` | it was dropped without [`Flow::end`], [`Flow::fail`] or [`Flow::cancel`] | end it; if its future was dropped, this is expected |
//! | a flow with error type `process_killed` | its process died | its last records are in its flight file until the next process removes it |
//! | `SIGBUS` | a mapped file was truncated (logrotate's `copytruncate`) | rotate with [`Rotation`] instead |

mod builder;
mod emitter;
mod resource;
mod record_args;
mod pipeline;
mod fork;
mod env;
mod carrier;
mod context;
mod trace_sampling;
mod flow;
mod span;
mod current;
mod failure;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod layer;
mod thread_buffer;
mod sink;
mod flight;
mod recover;
mod otlp;
mod resource_sampler;
mod health;
mod mmap;
mod platform;

/// Emits a state record with fields: `state!(flow, "prefill", tokens = 12, model = "tiny")`.
///
/// If no emitter is installed, the field expressions are not evaluated.
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
pub use current::{FlowFutureExt, InFlow, current};
pub use emitter::{Emitter, EmitterGuard};
pub use failure::Failure;
pub use flow::{Flow, FlowBuilder, FlowHandle, LogRecord};
pub use flowlog_schema::propagation::TraceFlags;
pub use flowlog_schema::{Clock, FlowId, Level, Scalar, SpanId};
pub use health::Health;
#[cfg(feature = "tracing")]
pub use layer::FlowLayer;
pub use otlp::Otlp;
pub use recover::{Recovered, recover};
pub use sink::{Encoding, Rotation, Sink, UnknownSink, WRITE_TIMEOUT};
pub use trace_sampling::Sampling;
