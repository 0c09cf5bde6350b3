//! Parsers of option values.

use crate::event::FlowKey;

/// Parses a point in time, or an age before now, to nanoseconds since the epoch.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let age = || {
        let span: jiff::Span =
            text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))?;
        let age = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        jiff::Timestamp::now().checked_sub(age).ok()
    };
    let in_utc = || {
        let time = text.parse::<jiff::civil::DateTime>().ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let time = text.parse::<jiff::Timestamp>().ok().or_else(in_utc).or_else(age);
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).ok_or_else(|| {
        "expected a time such as `2025-11-22T08:27:15Z` or `2025-11-22 08:27`, or an age such as \
         `2h`"
            .to_owned()
    })
}

/// Parses a flow ID, trace ID or request ID.
pub(super) fn flow_key(text: &str) -> Result<FlowKey, String> {
    FlowKey::parse(text).ok_or_else(|| "expected a flow ID, a trace ID or a request ID".to_owned())
}

/// Parses a size of at least 128 MiB to bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|_| "expected a size such as `256M` or `2G`".to_owned())?;
    if bytes < (128 << 20) { Err("expected at least 128M".to_owned()) } else { Ok(bytes) }
}

/// Returns the part of a memory limit that flows may use. The rest is for chunks and processes.
pub(super) fn flow_memory_budget(limit: u64) -> u64 {
    const RESERVED_BYTES: u64 = 80 << 20;
    limit.saturating_sub(RESERVED_BYTES)
}

/// Parses a score from 0 to 100.
pub(super) fn score(text: &str) -> Result<f64, String> {
    let score: f64 = text.parse().map_err(|_| "invalid number".to_owned())?;
    if (0.0..=100.0).contains(&score) {
        Ok(score)
    } else {
        Err("expected a number from 0 to 100".to_owned())
    }
}
