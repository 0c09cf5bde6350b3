//! What the system tells: the moment, the machine's boot, this process.

use std::fs;

use flowlog_schema::{Time, flight};

/// The moment.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0))
}

/// The machine's boot: a process's number means something until the next.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The machine's name.
pub(crate) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// What the system tells of a process.
fn stat(process: u64) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/stat")).ok()
}

/// When this process started, in ticks since the machine did.
pub(crate) fn started() -> Option<u64> {
    flight::started(&stat(std::process::id().into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        assert!(started().is_some_and(|ticks| ticks > 0));
        assert_eq!((stat(u64::MAX), boot().len()), (None, 36));
    }
}
