//! Words of a header: levels, loggers, programs, numbers, threads.

use flowlog_schema::Level;

use super::super::fields::is_name;
use super::super::plain;

/// Returns the name before ` : `, which separates Spring's loggers from the message.
pub(super) fn named_before_colon(text: &str) -> Option<&str> {
    let head = text.get(..text.floor_char_boundary(MAX_LOGGER_BYTES.min(text.len())))?;
    let name = head.split_once(" : ")?.0.trim_end();
    (name.len() > 2 && !name.contains(' ') && name.contains(['.', '$'])).then_some(name)
}

/// Maximum length of a logger's name, and the blanks after it.
const MAX_LOGGER_BYTES: usize = 72;

/// A label of an ID.
pub(super) struct Label<'a> {
    pub is_trace: bool,
    /// Value, if it is part of the word: `trace_id=4bf9`.
    pub value: Option<&'a str>,
}

/// Parses `TraceID`, `trace_id=VALUE`, `SpanID:VALUE`.
pub(super) fn trace_label(word: &str) -> Option<Label<'_>> {
    let end = word.find(['=', ':']).unwrap_or(word.len());
    let name = word.get(..end)?;
    if !(6..=12).contains(&name.len()) {
        return None;
    }
    let plain: Vec<u8> = name
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
        .collect();
    let is_trace = match plain.as_slice() {
        b"traceid" => true,
        b"spanid" | b"parentid" | b"parentspanid" => false,
        _ => return None,
    };
    let value = word.get(end + 1..).filter(|value| !value.is_empty());
    Some(Label { is_trace, value })
}

/// Parses a level by a full name or an abbreviation. Words of prose are not levels: `error` in the
/// middle of a sentence begins no header, so only the forms that loggers write count.
pub(super) fn level(word: &str) -> Option<Level> {
    let is_cased = word.bytes().all(|byte| byte.is_ascii_uppercase())
        || word.bytes().all(|byte| byte.is_ascii_lowercase())
        || word.bytes().skip(1).all(|byte| byte.is_ascii_lowercase());
    let is_initial = word.len() == 1 && !matches!(word, "D" | "I" | "W" | "E" | "F" | "V" | "C");
    if !is_cased || is_initial || word.len() > 11 || word.is_empty() {
        return None;
    }
    match word.to_ascii_uppercase().as_str() {
        "SEVERE" | "EMERG" | "EMERGENCY" | "ALERT" | "CRIT" | "EROR" => Some(Level::Error),
        "WARNI" => Some(Level::Warn),
        // .NET's console.
        "FAIL" => Some(Level::Error),
        "DBUG" => Some(Level::Debug),
        "TRCE" => Some(Level::Trace),
        "CONFIG" | "LOG" | "STATEMENT" | "HINT" | "DETAIL" | "INFORMATION" => Some(Level::Info),
        "FINE" | "FINER" | "FINEST" => Some(Level::Debug),
        "DATA" | "FUNC" | "POLL" | "ASYNC" | "REQ" | "PRINT" | "N" | "T" => None,
        _ => plain::level(word),
    }
}

/// Parses `app,trace,span` of Spring Cloud, in which each may be empty. Returns the service and the
/// trace.
pub(super) fn service_and_trace(inner: &str) -> Option<(Option<&str>, Option<&str>)> {
    let mut parts = inner.split(',').map(str::trim);
    let (service, trace, span) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let is_hex = |text: &str| {
        matches!(text.len(), 16 | 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_id = |text: &str| text.is_empty() || is_hex(text);
    (is_id(trace) && is_id(span) && (service.is_empty() || is_name(service))).then(|| {
        (Some(service).filter(|name| !name.is_empty()), Some(trace).filter(|id| is_hex(id)))
    })
}

/// Returns the length of a group in brackets, with the brackets.
pub(super) fn group_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let open = *bytes.first()?;
    let close = match open {
        b'[' => b']',
        b'(' => b')',
        b'<' => b'>',
        _ => b'}',
    };
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(MAX_GROUP_BYTES) {
        if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth -= 1;
            if depth == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}

/// Maximum length of a group in brackets, in bytes.
const MAX_GROUP_BYTES: usize = 200;

/// Parses a program with its process ID. Returns its name, and the length with what follows.
pub(super) fn program(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let name_end = bytes.iter().position(|byte| {
        !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'@'))
    })?;
    let path = text.get(..name_end).filter(|path| {
        path.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && path.len() <= 128
    })?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    let mut at = name_end;
    // `(pam_unix)`.
    if bytes.get(at) == Some(&b'(') {
        at += memchr::memchr(b')', bytes.get(at..bytes.len().min(at + 40))?)? + 1;
    }
    let inner = text.get(at..)?.strip_prefix('[')?;
    let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || inner.as_bytes().get(digits) != Some(&b']') {
        return None;
    }
    let end = at + digits + 2;
    let colon = usize::from(bytes.get(end) == Some(&b':'));
    Some((name, end + colon))
}

/// Returns whether a word is a number, an address, or a date alone.
pub(super) fn is_number(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.strip_prefix("0x");
    digits > 0
        && word.bytes().all(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'/' | b':' | b'#' | b'_' | b'+')
        })
        || hex
            .is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Returns whether a word looks like the name of a logger: a path of names.
pub(super) fn is_logger(word: &str) -> bool {
    let is_charset = word.bytes().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b'$' | b':' | b'/' | b'@' | b'-' | b'#' | b'`')
    });
    let is_path = word.contains('.') || word.contains("::") || word.contains('$');
    let ends_well = word.ends_with(|c: char| c.is_ascii_alphanumeric());
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.len() > 2
        && is_charset
        && ends_well
        && !word.contains("://")
        && (is_path || is_class(word) || word.contains('@'))
}

/// Returns whether a word is the name of a class: in camel case, with at least two humps.
pub(super) fn is_class(word: &str) -> bool {
    let upper = word.bytes().filter(u8::is_ascii_uppercase).count();
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && upper >= 2
        && word.bytes().any(|byte| byte.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns whether a name in brackets is that of a thread.
pub(super) fn is_thread(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["thread", "exec", "pool", "worker-", "main", "nio-", "scheduling", "async"]
        .iter()
        .any(|part| lower.contains(part))
}

/// Returns whether a word is a plain name.
pub(super) fn is_word(word: &str) -> bool {
    (2..=64).contains(&word.len())
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}

/// Returns whether the file of a source location has the extension of a program.
pub(super) fn has_extension(location: &str) -> bool {
    const EXTENSIONS: [&str; 28] = [
        "py", "rs", "go", "c", "cc", "cpp", "cxx", "cu", "h", "hpp", "java", "kt", "scala", "js",
        "mjs", "cjs", "ts", "tsx", "rb", "php", "cs", "lua", "ex", "erl", "swift", "m", "pl", "sh",
    ];
    let file = location.rsplit_once(':').map_or(location, |(file, _)| file);
    file.rsplit_once('.')
        .is_some_and(|(stem, extension)| !stem.is_empty() && EXTENSIONS.contains(&extension))
}
