//! Periodic samples of the process's resource usage.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use flowlog_schema::{EventKind, Scalar};

use crate::emitter::{Emitter, Inner};
use crate::sink::{WRITE_TIMEOUT, lock_timeout};

/// Starts a thread that samples until the emitter is closed or dropped.
pub(crate) fn start(emitter: &Emitter, every: Duration) {
    let inner = Arc::downgrade(&emitter.0);
    // Without the thread there are no samples, but nothing else depends on them.
    let _ =
        thread::Builder::new().name("flowlog-sampler".to_owned()).spawn(move || run(&inner, every));
}

fn run(inner: &Weak<Inner>, every: Duration) {
    loop {
        match inner.upgrade() {
            Some(inner) if !inner.closed.load(Ordering::Relaxed) => sample(&inner),
            _ => return,
        }
        thread::sleep(every);
    }
}

impl Emitter {
    /// Writes a `sample` record now.
    pub fn sample(&self) {
        sample(&self.0);
    }
}

/// Writes a `sample` record.
fn sample(inner: &Inner) {
    let mut readings: Vec<(String, f64)> = resources();
    #[expect(clippy::cast_precision_loss, reason = "a process never has 2^53 open flows")]
    readings.push(("open_flows".to_owned(), inner.open_flows.load(Ordering::Relaxed) as f64));
    // Gauges are the application's code: one may add further gauges, and one that panics must not
    // end the sampling.
    let gauges =
        lock_timeout(&inner.gauges, WRITE_TIMEOUT).map(|gauges| gauges.clone()).unwrap_or_default();
    for (name, read) in gauges {
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read()));
        readings.extend(read.ok().filter(|value| value.is_finite()).map(|value| (name, value)));
    }
    let fields: Vec<(&str, Scalar<'_>)> =
        readings.iter().map(|(name, value)| (name.as_str(), number(*value))).collect();
    inner.emit_for_process(EventKind::Sample, "", false, &fields);
}

/// Converts a whole number to an integer, and any other number to a float.
fn number(value: f64) -> Scalar<'static> {
    #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within range")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        Scalar::Int(value as i64)
    } else {
        Scalar::Float(value)
    }
}

/// Returns the resource usage of the process and the memory usage of its cgroup.
fn resources() -> Vec<(String, f64)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next()?.parse::<f64>().ok()
    };
    let group = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<f64>().ok()
    };
    // Reading the directory opens a descriptor for the directory itself.
    #[expect(clippy::cast_precision_loss, reason = "a process never has 2^53 open files")]
    let fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64);
    let readings = [
        ("rss_bytes", line("VmRSS:").map(|kib| kib * 1024.0)),
        ("open_fds", fds),
        ("threads", line("Threads:")),
        ("cgroup_memory_bytes", group("memory.current")),
        ("cgroup_memory_limit_bytes", group("memory.max")),
    ];
    readings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_resource_usage_of_this_process() {
        let readings = resources();
        let value =
            |name: &str| readings.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        assert!(value("rss_bytes").is_some_and(|bytes| bytes > 100_000.0), "{readings:?}");
        assert!(
            value("open_fds").is_some_and(|fds| fds >= 3.0)
                && value("threads").is_some_and(|threads| threads >= 1.0)
        );
        assert_eq!((number(7.0), number(0.5)), (Scalar::Int(7), Scalar::Float(0.5)));
    }
}
