//! Properties that hold for any input, one module per fuzz target.
//!
//! `cargo fuzz` searches for inputs that break them; `tests/seeds.rs` checks the seeds as ordinary
//! tests.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken property is a panic"
)]

mod fast_path;
pub mod record_json;
pub mod record_text;
pub mod events;
pub mod pipeline;
pub mod owners;
pub mod flight;
pub mod headers;
