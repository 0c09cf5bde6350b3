//! Masking of secrets: logs are written by strangers, and reports are read by many.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What replaces a secret.
pub const MASK: &str = "***";

/// How a secret is recognized, by what precedes it.
#[derive(Clone, Copy)]
enum Kind {
    /// A token follows, of at least that many bytes, which include the trigger: `sk-…`.
    Token(usize),
    /// A token follows after a blank: `Bearer …`.
    Scheme,
    /// A value follows after `=` or `:`, to the end of a token: `HF_TOKEN=…`.
    Value,
    /// A value follows after `:`, to the end of the line: `Cookie: …`.
    Header,
    /// A user and a password follow, before an `@`: `://user:password@host`.
    Url,
    /// A private key follows, to its end mark.
    PrivateKey,
}

/// Texts that introduce secrets, ignoring case.
const TRIGGERS: [(&str, Kind); 52] = [
    ("-----BEGIN ", Kind::PrivateKey),
    ("://", Kind::Url),
    ("authorization", Kind::Header),
    ("set-cookie", Kind::Header),
    ("cookie", Kind::Header),
    ("bearer ", Kind::Scheme),
    ("basic ", Kind::Scheme),
    ("eyJ", Kind::Token(24)),
    ("sk-", Kind::Token(16)),
    ("sk_live_", Kind::Token(16)),
    ("sk_test_", Kind::Token(16)),
    ("rk_live_", Kind::Token(16)),
    ("hf_", Kind::Token(16)),
    ("nvapi-", Kind::Token(16)),
    ("ghp_", Kind::Token(16)),
    ("gho_", Kind::Token(16)),
    ("ghu_", Kind::Token(16)),
    ("ghs_", Kind::Token(16)),
    ("ghr_", Kind::Token(16)),
    ("github_pat_", Kind::Token(20)),
    ("glpat-", Kind::Token(16)),
    ("gldt-", Kind::Token(16)),
    ("xoxb-", Kind::Token(16)),
    ("xoxp-", Kind::Token(16)),
    ("xoxa-", Kind::Token(16)),
    ("xapp-", Kind::Token(16)),
    ("npm_", Kind::Token(24)),
    ("pypi-", Kind::Token(24)),
    ("dckr_pat_", Kind::Token(16)),
    ("lin_api_", Kind::Token(16)),
    ("AKIA", Kind::Token(20)),
    ("ASIA", Kind::Token(20)),
    ("AIza", Kind::Token(35)),
    ("ya29.", Kind::Token(20)),
    ("SG.", Kind::Token(40)),
    ("hooks.slack.com/services/", Kind::Token(40)),
    ("password", Kind::Value),
    ("passwd", Kind::Value),
    ("passphrase", Kind::Value),
    ("pwd", Kind::Value),
    ("secret", Kind::Value),
    ("token", Kind::Value),
    ("api_key", Kind::Value),
    ("api-key", Kind::Value),
    ("apikey", Kind::Value),
    ("access_key", Kind::Value),
    ("access-key", Kind::Value),
    ("accesskey", Kind::Value),
    ("private_key", Kind::Value),
    ("credential", Kind::Value),
    ("credentials", Kind::Value),
    ("signature", Kind::Value),
];

static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(aho_corasick::MatchKind::LeftmostLongest)
        .build(TRIGGERS.iter().map(|(text, _)| text))
        .ok()
});

/// Returns whether a name is one of a key with a secret value: `db_password`. Only beside its name is
/// the value known to be a secret.
pub fn is_key(name: &str) -> bool {
    FINDER.as_ref().is_some_and(|finder| {
        finder.find_iter(name).any(|hit| {
            let trigger = TRIGGERS.get(hit.pattern().as_usize());
            hit.end() == name.len()
                && trigger.is_some_and(|(_, kind)| matches!(kind, Kind::Value | Kind::Header))
        })
    })
}

/// Returns a text with every secret replaced by [`MASK`]. Takes linear time.
pub fn mask(text: &str) -> Cow<'_, str> {
    let Some(finder) = FINDER.as_ref() else { return Cow::Borrowed(MASK) };
    let mut out: Option<String> = None;
    let (mut kept, mut from) = (0, 0);
    while let Some(hit) = finder.find(aho_corasick::Input::new(text).range(from..)) {
        from = hit.end();
        let kind = TRIGGERS.get(hit.pattern().as_usize()).map(|(_, kind)| *kind);
        let Some(range) = kind.and_then(|kind| secret(text, hit.start()..hit.end(), kind)) else {
            continue;
        };
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(text.get(kept..range.start).unwrap_or_default());
        out.push_str(MASK);
        kept = range.end;
        from = range.end;
    }
    let masked = match out {
        Some(mut out) => {
            out.push_str(text.get(kept..).unwrap_or_default());
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    };
    if is_key_body(&masked) { Cow::Borrowed(MASK) } else { masked }
}

/// Returns the range of the secret that a trigger introduces.
fn secret(text: &str, trigger: Range<usize>, kind: Kind) -> Option<Range<usize>> {
    let behind = text.get(trigger.end..)?;
    let before = text.get(..trigger.start)?.bytes().next_back();
    let is_inside = before.is_some_and(|byte| byte.is_ascii_alphanumeric());
    match kind {
        Kind::Token(least) => {
            if is_inside {
                return None;
            }
            let found = text.get(trigger.clone())?;
            // The case of a prefix is fixed.
            if !TRIGGERS.iter().any(|(text, _)| *text == found) {
                return None;
            }
            let len = token_len(behind);
            (found.len() + len >= least).then(|| trigger.start..trigger.end + len)
        }
        Kind::Scheme => {
            if is_inside {
                return None;
            }
            let gap = behind.len() - behind.trim_start_matches(' ').len();
            let len = token_len(behind.get(gap..)?);
            let start = trigger.end + gap;
            (len >= 8).then(|| start..start + len)
        }
        Kind::Value => {
            let (start, quote) = value_start(text, trigger.end)?;
            let value = text.get(start..)?;
            let len = match quote {
                Some(quote) => quoted_len(text, start, quote),
                None => value
                    .find(|c: char| {
                        c.is_whitespace()
                            || matches!(c, '&' | ',' | ';' | '"' | '\'' | ')' | '}' | ']')
                    })
                    .unwrap_or(value.len()),
            };
            let secret = value.get(..len)?;
            // `token: 17` counts something, and `password: None` is none.
            let is_count = secret.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let is_nothing = matches!(
                secret.to_ascii_lowercase().as_str(),
                "none"
                    | "null"
                    | "true"
                    | "false"
                    | "nil"
                    | "<nil>"
                    | "***"
                    | "required"
                    | "bearer"
            );
            let is_short = len < 4 && quote.is_none();
            // `token: expired` is prose; `token=expired` and `"token":"expired"` may be secrets.
            let gap = text.get(trigger.end..start)?;
            let is_prose = quote.is_none()
                && gap.ends_with(": ")
                && len < 16
                && secret.bytes().all(|byte| byte.is_ascii_alphabetic());
            (len > 0 && !is_count && !is_nothing && !is_short && !is_prose)
                .then(|| start..start + len)
        }
        Kind::Header => {
            if is_inside {
                return None;
            }
            let (start, quote) = value_start(text, trigger.end)?;
            let value = text.get(start..)?;
            let len = match quote {
                Some(quote) => quoted_len(text, start, quote),
                None => value.find(['\n', '\r', '"', '\'']).unwrap_or(value.len()),
            };
            (len > 0).then(|| start..start + len)
        }
        Kind::Url => {
            let end = behind
                .find(|c: char| {
                    c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#' | '>')
                })
                .unwrap_or(behind.len());
            let authority = behind.get(..end)?;
            let at = authority.rfind('@')?;
            let colon = authority.get(..at)?.find(':')?;
            Some(trigger.end + colon + 1..trigger.end + at)
        }
        Kind::PrivateKey => {
            let label = behind.get(..behind.find("-----")?)?;
            if !label.contains("PRIVATE KEY") {
                return None;
            }
            let start = trigger.end + label.len() + 5;
            let rest = text.get(start..)?;
            let end = rest.find("-----END").unwrap_or(rest.len());
            Some(start..start + end)
        }
    }
}

/// Returns where the value of a key begins, and its quote, if it has one. Only an assignment counts.
fn value_start(text: &str, key_end: usize) -> Option<(usize, Option<char>)> {
    let rest = text.get(key_end..)?;
    // The rest of the key: `HF_TOKEN_READ=`.
    let key = rest
        .bytes()
        .take(32)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        .count();
    // `tokens=17` counts tokens.
    if rest.starts_with(['s', 'S']) {
        return None;
    }
    let rest = rest.get(key..)?;
    let closed = rest.trim_start_matches(['\\', '"', '\'', ']', ' ']);
    let assigned = closed.strip_prefix(['=', ':'])?;
    let assigned = assigned.strip_prefix(['=', '>']).unwrap_or(assigned);
    let value = assigned.trim_start_matches([' ', '\\', '[']);
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = value.get(usize::from(quote.is_some())..)?;
    Some((text.len() - value.len(), quote))
}

/// Returns the length of a quoted value up to its closing quote, or up to the end of the text. In
/// text that is quoted itself, both quotes are escaped.
fn quoted_len(text: &str, start: usize, quote: char) -> usize {
    let value = text.get(start..).unwrap_or_default();
    let before = text.get(..start.saturating_sub(1)).unwrap_or_default();
    if before.ends_with('\\') {
        let end = if quote == '"' { "\\\"" } else { "\\'" };
        return value.find(end).unwrap_or(value.len());
    }
    let mut escaped = false;
    value
        .char_indices()
        .find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        })
        .map_or(value.len(), |(at, _)| at)
}

/// Returns the length of a token: letters, digits and the punctuation of base 64 and JWTs.
fn token_len(text: &str) -> usize {
    text.bytes()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'+' | b'=' | b'~')
        })
        .count()
}

/// Returns whether a text is a line of a private key's body, of which the first line is elsewhere.
fn is_key_body(text: &str) -> bool {
    let line = text.trim();
    line.len() >= 60
        && line.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        && line.bytes().any(|b| b.is_ascii_lowercase())
        && line.bytes().any(|b| b.is_ascii_uppercase())
        && line.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (text, expected) in [
            ("Authorization: Bearer abcdefgh12345678", "Authorization: ***"),
            (
                "curl -H 'Authorization: Bearer abcdefgh12345678' x",
                "curl -H 'Authorization: ***' x",
            ),
            ("using bearer abcdefgh12345678.x", "using bearer ***"),
            ("HF_TOKEN=hf_abcdefghijklmnop", "HF_TOKEN=***"),
            (
                "export AWS_SECRET_ACCESS_KEY=\"wJalr/XUtnFEMI+K7\"",
                "export AWS_SECRET_ACCESS_KEY=\"***\"",
            ),
            ("key AKIAIOSFODNN7EXAMPLE used", "key *** used"),
            ("sk-proj-abcdefghijklmnop", "***"),
            ("postgres://app:s3cr3t@db:5432/x", "postgres://app:***@db:5432/x"),
            ("{\"password\":\"hunter2\",\"a\":1}", "{\"password\":\"***\",\"a\":1}"),
            ("{\\\"password\\\": \\\"hunter2\\\"}", "{\\\"password\\\": \\\"***\\\"}"),
            ("Cookie: session=abc; id=7", "Cookie: ***"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_x", "jwt ***"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
                "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
            ),
            ("password=hunter2&x=1", "password=***&x=1"),
            ("--token abc", "--token abc"),
            ("token usage: 0.45, gen throughput", "token usage: 0.45, gen throughput"),
            ("prompt_tokens=17 max_tokens: 4096", "prompt_tokens=17 max_tokens: 4096"),
            ("next token: 17", "next token: 17"),
            ("container token: ended before", "container token: ended before"),
            ("task-manager risk-free", "task-manager risk-free"),
            ("https://host:8080/x@y", "https://host:8080/x@y"),
            ("password: None", "password: None"),
            ("the secret of success", "the secret of success"),
        ] {
            assert_eq!(mask(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_secrets() {
        for (name, expected) in [
            ("db_password", true),
            ("HF_TOKEN", true),
            ("Cookie", true),
            ("orders", false),
            ("sk-", false),
            ("tokenizer", false),
            ("token-service", false),
        ] {
            assert_eq!(is_key(name), expected, "{name}");
        }
    }

    #[test]
    fn masking_again_changes_nothing() {
        for text in ["HF_TOKEN=hf_abcdefghijklmnop x", "postgres://app:s3cr3t@db/x", "Cookie: a=b"]
        {
            let once = mask(text).into_owned();
            assert_eq!(mask(&once), once);
        }
    }
}
