//! A small inference system of real processes, each linked with `dynamo-flowlog`, and a switch for each fault.
//!
//! ```text
//! client --HTTP--> frontend --NATS--> router
//!                     |  `-----HTTP--> prefill-0, prefill-1 --TCP--> kvbm
//!                      `-------HTTP--> decode-0, decode-1 --TCP--> nixl, kvbm
//! planner --NATS--> router;  planner --environment--> decode-1, which it starts
//! ```
//!
//! Its flows: requests, KV transfers, worker starts, and the scaling decision that starts a worker. What each component does to a prompt is nothing but
//! waiting; how they call one another, fail, time out and die is as real as it gets on one machine.

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
