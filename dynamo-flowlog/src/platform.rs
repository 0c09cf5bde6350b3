//! Values from the operating system: the time, the machine's boot, this process.

use std::fs;

use flowlog_schema::{Time, flight};

/// Returns the current time.
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0))
}

/// Returns the ID of the machine's boot. A process ID is meaningful only until the next boot.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Returns the machine's host name.
pub(crate) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// Returns the contents of `/proc/PID/stat` for a process.
fn stat(process: u64) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/stat")).ok()
}

/// Returns the start time of this process, in ticks since the machine booted.
pub(crate) fn start_ticks() -> Option<u64> {
    flight::start_ticks(&stat(std::process::id().into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_start_time_and_boot_id() {
        assert!(start_ticks().is_some_and(|ticks| ticks > 0));
        assert_eq!((stat(u64::MAX), boot().len()), (None, 36));
    }
}
