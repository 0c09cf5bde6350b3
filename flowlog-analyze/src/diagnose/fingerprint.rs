//! Fingerprints of failures: versioned, with everything masked that differs between flows.

use std::hash::Hasher;

use compact_str::{CompactString, format_compact};
use flowlog_schema::report::FailureKind;

use super::FirstFailure;
use crate::secrets;

/// Returns the fingerprint, version 1: 64-bit FNV-1a of kind, component, state, error type and
/// masked message, each terminated by a zero byte.
///
/// A process that is dead or silent as a whole is one failure whatever its spans were doing, so
/// state, error type and message are ignored there. Instances are always ignored. The fingerprint
/// is stable across runs and releases of version 1.
pub(super) fn of(failure: &FirstFailure) -> CompactString {
    let whole =
        failure.whole_process && matches!(failure.kind, FailureKind::Crash | FailureKind::Hang);
    let masked = if whole { String::new() } else { mask(&failure.message) };
    let (state, error_type) =
        if whole { ("", "") } else { (failure.state.as_str(), failure.error_type.as_str()) };
    let mut hasher = fnv::FnvHasher::default();
    for part in [failure.kind.as_str(), &failure.component, state, error_type, &masked] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    format_compact!("v1:{:016x}", hasher.finish())
}

/// Maximum length of the masked message, in bytes; the last word may exceed it.
const MAX_MASKED_BYTES: usize = 200;

/// Returns the first line of `message` with IDs, addresses and numbers masked.
pub fn mask(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = secrets::mask(line);
    let line = line.as_ref();
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if out.len() >= MAX_MASKED_BYTES {
            break;
        }
        if c.is_ascii_alphanumeric() {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            mask_token(word, &mut out);
            rest = after;
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn mask_token(word: &str, out: &mut String) {
    let hex = |text: &str| {
        text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            && text.bytes().any(|b| b.is_ascii_digit())
    };
    if word.len() >= 8 && hex(word) {
        out.push_str("<id>");
        return;
    }
    if let Some(digits) = word.strip_prefix("0x")
        && hex(digits)
    {
        out.push_str("<id>");
        return;
    }
    let mut digits = false;
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !digits {
            out.push_str("<n>");
        }
        digits = c.is_ascii_digit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_between_flows_are_masked() {
        for (message, masked) in [
            ("no ready worker for model \"tiny\"", "no ready worker for model \"tiny\""),
            (
                "request 019aaaac-a5da-7347-bb80-1089c1876100 timed out after 5000ms",
                "request <id> timed out after <n>ms",
            ),
            (
                "TCP connection to 192.0.2.2:34145 failed",
                "TCP connection to <n>.<n>.<n>.<n>:<n> failed",
            ),
            ("worker 12808651013936080788 gone", "worker <id> gone"),
            ("bad pointer 0x7f00aa", "bad pointer <id>"),
            ("decode-0 of backend", "decode-<n> of backend"),
            ("first\nsecond", "first"),
            ("deadbeef is a word without digits", "deadbeef is a word without digits"),
        ] {
            assert_eq!(mask(message), masked, "{message}");
        }
    }
}
