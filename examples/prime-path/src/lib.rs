//! A small inference system of real processes, each linked with `dynamo-flowlog`.
//!
//! Faults can be injected, one per run.
//!
//! ```text
//! client --HTTP--> frontend --NATS--> router
//!                     |  `-----HTTP--> prefill-0, prefill-1 --TCP--> kvbm
//!                      `-------HTTP--> decode-0, decode-1 --TCP--> nixl, kvbm
//! planner --NATS--> router;  planner --environment--> decode-1, which it starts
//! ```
//!
//! Its flows are requests, KV transfers, worker starts, and the scaling decision that starts a
//! worker. The components only simulate work by waiting, but their calls, errors, timeouts and
//! crashes are as real as one machine allows.

pub mod component;
pub mod fault;
mod frontend;
mod kvbm;
mod nixl;
mod planner;
mod router;
pub mod run;
mod wire;
mod worker;
