//! Whether a line can begin an event.
//!
//! Cheap, and broader than the formats: it only has to say no to every line that continues an event.

use memchr::memmem;

/// Whether the line can begin an event: an object, a stamped line, a flowlog line in text form.
pub fn is_head(line: &[u8]) -> bool {
    let mut line = line.trim_ascii_start();
    // Colour before the stamp.
    while let Some(rest) = line.strip_prefix(b"\x1b[") {
        match rest.iter().position(|b| (0x40..=0x7e).contains(b)) {
            Some(at) => line = rest.get(at + 1..).unwrap_or_default(),
            None => return false,
        }
    }
    line.first() == Some(&b'{') || is_stamped(line) || is_flow_line(line)
}

/// Whether the line begins a panic, a traceback or a fatal error that no logger wrapped.
pub fn is_raw_head(line: &[u8]) -> bool {
    line.starts_with(b"Traceback (most recent call last):")
        || line.starts_with(b"Fatal Python error:")
        || (line.starts_with(b"thread '") && memmem::find(line, b" panicked at ").is_some())
}

/// `2025-11-22T` and on.
fn is_stamped(line: &[u8]) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    line.len() > SHAPE.len()
        && line.iter().zip(SHAPE).all(|(byte, shape)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
}

/// `component - id - ` with the dashes where they must be.
fn is_flow_line(line: &[u8]) -> bool {
    if !line.first().is_some_and(u8::is_ascii_alphabetic) {
        return false;
    }
    let line = line.get(..512).unwrap_or(line);
    let Some(dash) = memmem::find(line, b" - ") else { return false };
    let after = line.get(dash + 3..).unwrap_or_default().trim_ascii_start();
    after.starts_with(b"- - ") || (after.len() > 36 && after.get(8) == Some(&b'-') && after.get(36) == Some(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_others() {
        for line in [
            "{\"a\":1}",
            "2025-11-22T08:27:15.705274Z  INFO main: x",
            "    2025-06-06T19:02:34.252Z DEBUG x: y",
            "\u{1b}[2m2026-07-21T09:00:00.123456Z\u{1b}[0m x",
            "router/r - 019aaaac-a5da-7347-bb80-1089c1876100 - fail",
            "INFO etcd - - - process up",
        ] {
            assert!(is_head(line.as_bytes()), "{line}");
        }
        for line in
            ["", "Traceback (most recent call last):", "  File \"x\", line 1", "}", "2025", "a - b - c", "\u{1b}[2", "   0: anyhow::error"]
        {
            assert!(!is_head(line.as_bytes()), "{line}");
        }
    }
}
