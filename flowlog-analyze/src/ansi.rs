//! Colors and other terminal control sequences in a line.

use std::borrow::Cow;

/// Returns the bytes without their ANSI control sequences (ECMA-48 CSI and OSC).
pub fn strip(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, bytes) else { return Cow::Borrowed(bytes) };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = first;
    out.extend_from_slice(bytes.get(..first).unwrap_or_default());
    while let Some(byte) = bytes.get(at) {
        at += 1;
        if *byte != ESCAPE {
            out.push(*byte);
            continue;
        }
        match bytes.get(at) {
            Some(b'[') => {
                // Parameter and intermediate bytes end at one final byte.
                let rest = bytes.get(at + 1..).unwrap_or_default();
                at += 1 + rest
                    .iter()
                    .position(|b| (0x40..=0x7e).contains(b))
                    .map_or(rest.len(), |end| end + 1);
            }
            Some(b']') => {
                let rest = bytes.get(at + 1..).unwrap_or_default();
                at += 1 + rest
                    .iter()
                    .position(|b| matches!(*b, 0x07 | ESCAPE))
                    .map_or(rest.len(), |end| end + 1);
                // ESC and a backslash also end the sequence.
                at += usize::from(
                    bytes.get(at - 1) == Some(&ESCAPE) && bytes.get(at) == Some(&b'\\'),
                );
            }
            _ => {}
        }
    }
    Cow::Owned(out)
}

const ESCAPE: u8 = 0x1b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_stripped_and_text_is_kept() {
        for (input, output) in [
            ("plain", "plain"),
            ("\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m ü", "2026  INFO ü"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("cut \u{1b}[3", "cut "),
            ("\u{1b}", ""),
        ] {
            assert_eq!(strip(input.as_bytes()), output.as_bytes(), "{input:?}");
        }
    }
}
