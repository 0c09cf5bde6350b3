//! libFuzzer entry point of [`flowlog_fuzz::events`].
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowlog_fuzz::events::check(bytes));

#[cfg(not(fuzzing))]
fn main() {}
