//! Flight files (`flowlog_schema::flight`) as logs: what a process said last, and a line that closes each flow that it left open.

use std::fs;

use flowlog_schema::{flight, json};

/// Most bytes that a flight file has.
pub(super) const MOST: u64 = 64 << 20;

/// The log that a flight file holds; `None` where it is none, or not whole.
pub(super) fn log(bytes: &[u8]) -> Option<Vec<u8>> {
    let found = flight::read(bytes)?;
    let mut log = Vec::new();
    for words in &found.records {
        log.extend_from_slice(words);
        log.push(b'\n');
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{}/stat", found.process_id)).ok();
    // What a process has open that lives, it will end itself.
    if !found.is_alive(&boot, stat.as_deref()) {
        for open in &found.open {
            json::encode(&found.closing(open), &mut log);
            log.push(b'\n');
        }
    }
    Some(log)
}
