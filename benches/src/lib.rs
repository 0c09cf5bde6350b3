//! Inputs and peers of the benchmarks.

pub mod inputs;
pub mod peer;
