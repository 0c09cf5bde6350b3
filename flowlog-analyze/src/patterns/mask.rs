//! Masking of the variable parts of a message.

use std::hash::Hasher;

/// Bytes of a message that its pattern depends on.
const MAX_BYTES: usize = 320;

/// Returns a logger's name without the line of a source file: `mvcc/index.go:214` is
/// `mvcc/index.go`. The line of a message differs from version to version.
pub fn without_line(target: &str) -> &str {
    match target.rsplit_once(':') {
        Some((file, line))
            if file.contains('.')
                && !line.is_empty()
                && line.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            file
        }
        _ => target,
    }
}

/// Returns the hash of a logger's name and of a message without its variable parts.
pub fn pattern_hash(target: &str, message: &str) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(target.as_bytes());
    hasher.write_u8(0xff);
    walk(message, &mut |part| hasher.write(part.as_bytes()));
    hasher.finish()
}

/// Returns the first line of a message with its variable parts as `*`.
pub fn masked(message: &str) -> String {
    let mut text = String::new();
    walk(message, &mut |part| text.push_str(part));
    text
}

/// Passes the constant parts of a message to `emit`, and `*` for each variable part.
///
/// Variable are words with a digit, what is in quotes or braces, and values after `=`. Only ASCII
/// letters make words, so that the result is the same for any cut between characters.
fn walk(message: &str, emit: &mut dyn FnMut(&str)) {
    let line = message.trim_start().lines().next().unwrap_or_default();
    let line = line.get(..line.floor_char_boundary(MAX_BYTES)).unwrap_or(line);
    let bytes = line.as_bytes();
    let mut at = 0;
    let mut after_equals = false;
    let mut was_masked = false;
    let mask = |emit: &mut dyn FnMut(&str), was_masked: &mut bool| {
        if !*was_masked {
            emit("*");
        }
        *was_masked = true;
    };
    while let Some(byte) = bytes.get(at).copied() {
        match byte {
            // An object, a list of arguments or a body.
            b'{' => {
                mask(emit, &mut was_masked);
                break;
            }
            b'"' | b'\'' | b'`' => {
                let rest = bytes.get(at + 1..).unwrap_or_default();
                // An apostrophe within a word quotes nothing.
                let in_word = at > 0 && bytes.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
                let end = memchr::memchr(byte, rest).filter(|_| !in_word || byte != b'\'');
                match end {
                    Some(end) => {
                        mask(emit, &mut was_masked);
                        at += end + 2;
                    }
                    None => at += 1,
                }
                after_equals = false;
            }
            _ if is_word(byte) => {
                let len = bytes.iter().skip(at).take_while(|byte| is_word(**byte)).count();
                let word = line.get(at..at + len).unwrap_or_default();
                let is_variable = after_equals
                    || word.bytes().any(|byte| byte.is_ascii_digit())
                    || word.len() > 40
                    || word.contains('@');
                if is_variable {
                    mask(emit, &mut was_masked);
                } else {
                    emit(word);
                    was_masked = false;
                }
                after_equals = false;
                at += len;
            }
            b'=' => {
                emit("=");
                was_masked = false;
                after_equals = true;
                at += 1;
            }
            b' ' | b'\t' => {
                // Blanks between masked words are not kept, so that a list of any length is one.
                let next = bytes.get(at + 1).copied().unwrap_or(b' ');
                if next != b' ' && next != b'\t' {
                    emit(" ");
                }
                if next.is_ascii_alphabetic() {
                    was_masked = false;
                }
                after_equals = false;
                at += 1;
            }
            _ => {
                let len =
                    line.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
                if matches!(
                    byte,
                    b':' | b'(' | b')' | b'[' | b']' | b'<' | b'>' | b'|' | b'!' | b'?'
                ) {
                    emit(line.get(at..at + len).unwrap_or_default());
                    was_masked = false;
                }
                at += len;
            }
        }
    }
}

/// Returns whether a byte is part of a word, a number, an ID, a path or an address.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'@' | b'%' | b'$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_parts_are_masked() {
        for (message, expected) in [
            ("took 17 ms for user-42", "took * ms for *"),
            ("order=abc status=paid", "order=* status=*"),
            ("got \"x y\" from 'z'", "got * from *"),
            ("body {\"a\": 1} end", "body *"),
            ("can't open /var/lib/x7/y", "cant open *"),
            ("Connection refused: localhost:6379", "Connection refused: localhost:*"),
            ("user a@b.c signed in", "user * signed in"),
            ("first\nsecond", "first"),
            ("", ""),
        ] {
            assert_eq!(masked(message), expected, "{message}");
        }
    }

    #[test]
    fn equal_patterns_have_equal_hashes() {
        for (target, expected) in [
            ("mvcc/index.go:214", "mvcc/index.go"),
            ("dynamo_runtime::worker", "dynamo_runtime::worker"),
            ("worker:1", "worker:1"),
            ("core.py:", "core.py:"),
        ] {
            assert_eq!(without_line(target), expected);
        }
        let hash = |message| pattern_hash("a.b", message);
        assert_eq!(hash("took 7 ms"), hash("took 123.5 ms"));
        assert_ne!(hash("took 7 ms"), hash("took 7 s"));
        assert_ne!(pattern_hash("a", "x"), pattern_hash("b", "x"));
    }
}
