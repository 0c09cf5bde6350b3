//! What the process uses, said from time to time.

use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use flowlog_schema::{Event, Scalar};

use crate::emitter::{Emitter, Inner};
use crate::sink::{PATIENCE, held};

/// Samples on a thread of its own, until the emitter is closed or nobody holds it.
pub(crate) fn start(emitter: &Emitter, every: Duration) {
    let inner = Arc::downgrade(&emitter.0);
    // Without a thread there are no samples; nothing else depends on them.
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

/// Writes a `sample` record.
pub(crate) fn sample(inner: &Inner) {
    let mut readings: Vec<(String, f64)> = resources();
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 flows open")]
    readings.push(("open_flows".to_owned(), inner.open_flows.0.load(Ordering::Relaxed) as f64));
    // They are the application's: one may ask for more, and one that panics must not end the samples.
    let gauges = held(&inner.gauges, PATIENCE).map(|gauges| gauges.clone()).unwrap_or_default();
    for (name, read) in gauges {
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read()));
        readings.extend(read.ok().filter(|value| value.is_finite()).map(|value| (name, value)));
    }
    let fields: Vec<(&str, Scalar<'_>)> =
        readings.iter().map(|(name, value)| (name.as_str(), number(*value))).collect();
    inner.say(Event::Sample, "", false, &fields);
}

/// A whole number as one.
fn number(value: f64) -> Scalar<'static> {
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in the range")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        Scalar::Int(value as i64)
    } else {
        Scalar::Float(value)
    }
}

/// What the system tells of the process and of the group whose memory it shares.
fn resources() -> Vec<(String, f64)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next()?.parse::<f64>().ok()
    };
    let group = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<f64>().ok()
    };
    // The folder that is read is open itself.
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 files open")]
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
    fn the_system_tells_what_this_process_uses() {
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
