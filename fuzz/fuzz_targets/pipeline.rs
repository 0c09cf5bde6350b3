//! libFuzzer entry point of [`flowlog_fuzz::pipeline`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowlog_fuzz::pipeline::check(bytes));

#[cfg(not(fuzzing))]
fn main() {}
