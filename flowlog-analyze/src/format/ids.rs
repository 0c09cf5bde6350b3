//! Request IDs in free text: they have many spellings, and the words before them distinguish them
//! from other IDs.

use compact_str::CompactString;

use flowlog_schema::SpanId;

use crate::event::FlowKey;

/// Words that introduce a request ID.
const INTRODUCERS: [&str; 10] = [
    "request_id",
    "request-id",
    "requestid",
    "request id",
    "request(s)",
    "requests",
    "request",
    "req_id",
    "rid",
    "req",
];

/// Introducers that may precede a number too. After any other, a number is a count, unless `for`
/// precedes the introducer.
const OF_NUMBERS: [&str; 6] =
    ["request_id", "request-id", "requestid", "request id", "req_id", "rid"];

/// Words that introduce a flow ID: the one that flowlog adds to log lines, and OpenTelemetry's.
const OF_FLOWS: [&[u8]; 2] = [b"flow_id", b"trace_id"];

/// Phrases after which the text is a user's prompt.
const QUOTES: [&str; 3] = ["prompt:", "prompt=", "prompt_token_ids"];

/// Prefixes of IDs that are request IDs whatever precedes them (OpenAI's API).
const PREFIXES: [&str; 4] = ["chatcmpl-", "cmpl-", "embd-", "resp_"];

/// Maximum number of IDs taken from one line.
const MAX_IDS: usize = 8;

/// Returns every flow and request ID in the first line of a message, each once, flow IDs first. IDs
/// of engines, agents, leases, reconciles and objects are left out.
pub(super) fn in_message(words: &str) -> Vec<FlowKey> {
    let mut keys = Vec::new();
    let first = words.lines().next().unwrap_or_default();
    let first = QUOTES
        .iter()
        .filter_map(|quote| first.find(quote))
        .min()
        .and_then(|end| first.get(..end))
        .unwrap_or(first);
    let bytes = first.as_bytes();
    for word in OF_FLOWS {
        add_flow(first, word, &mut keys);
    }
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'r', b'R', b'c', bytes.get(at..).unwrap_or_default())
        .map(|found| at + found)
    {
        at = found + 1;
        if keys.len() >= MAX_IDS {
            break;
        }
        let before = found.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
        if before.is_ascii_alphanumeric() {
            continue;
        }
        let Some(rest) = first.get(found..) else { continue };
        if PREFIXES.iter().any(|prefix| rest.starts_with(prefix)) {
            at = found + add(rest, &mut keys, false).max(1);
        } else if let Some(word) = INTRODUCERS.iter().find(|word| has_prefix(rest, word)) {
            let after = rest.get(word.len()..).unwrap_or_default();
            let id = after.trim_start_matches([' ', '=', ':', '\'', '"', '#', '[']);
            let skipped = after.len() - id.len();
            // At least one separator must follow the word.
            if skipped > 0 && skipped <= 4 {
                let of_number = OF_NUMBERS.contains(word)
                    || first.get(..found).is_some_and(|before| before.ends_with("for "));
                at = found
                    + word.len()
                    + skipped
                    + add(id, &mut keys, of_number && !matches!(before, b'_' | b'-'));
            }
        }
    }
    keys
}

/// Adds the flow ID that a word introduces, if it does.
fn add_flow(first: &str, word: &[u8], keys: &mut Vec<FlowKey>) {
    let Some(found) = memchr::memmem::find(first.as_bytes(), word) else { return };
    let is_word = !first
        .as_bytes()
        .get(..found)
        .unwrap_or_default()
        .last()
        .is_some_and(u8::is_ascii_alphanumeric);
    let after = first.get(found + word.len()..).unwrap_or_default();
    let id = after.trim_start_matches([' ', '=', ':', '\'', '"']);
    // Some loggers write an ID of zeros outside of traces.
    let is_nothing = id.bytes().take_while(u8::is_ascii_hexdigit).all(|byte| byte == b'0');
    if is_word && id.len() < after.len() && !is_nothing {
        add(id, keys, false);
    }
}

/// Parses a trace ID: hexadecimal, a `traceparent`, or the end of a path, as Google writes it.
pub(super) fn trace_key(text: &str) -> Option<FlowKey> {
    let last = text.rsplit('/').next().unwrap_or(text);
    let parts: Vec<&str> = last.split('-').collect();
    let id = match parts[..] {
        [version, id, _, _] if version.len() == 2 && id.len() == 32 => id,
        _ => last,
    };
    let is_nothing = id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    (id.len() >= 8 && !is_nothing && SpanId::parse(id).is_ok() || id.len() > 8 && !is_nothing)
        .then(|| FlowKey::parse(id))
        .flatten()
}

/// Returns every flow and request ID in the first line of a message, or else its trace ID in any
/// spelling.
pub(super) fn in_line(words: &str) -> Vec<FlowKey> {
    let found = in_message(words);
    if found.is_empty() {
        return trace_in(words.lines().next().unwrap_or_default()).into_iter().collect();
    }
    found
}

/// Returns the trace ID in a line, introduced by any spelling of its name: `traceId: `,
/// `trace.id=`, `"TraceID":"`.
pub(super) fn trace_in(line: &str) -> Option<FlowKey> {
    let bytes = line.as_bytes();
    for found in memchr::memmem::find_iter(bytes, b"race") {
        let before = found.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        if !matches!(before, Some(b't' | b'T')) {
            continue;
        }
        let Some(rest) = line.get(found - 1..) else { continue };
        let name = rest.get(5..).unwrap_or_default().trim_start_matches(['_', '.', '-', ' ']);
        if !has_prefix(name, "id") {
            continue;
        }
        let value = name.get(2..).unwrap_or_default();
        let id = value.trim_start_matches([' ', '=', ':', '"', '\'', '[']);
        let end = id.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(id.len());
        if id.len() < value.len()
            && let Some(key) = id.get(..end).and_then(trace_key)
        {
            return Some(key);
        }
    }
    None
}

fn has_prefix(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Adds the ID at the beginning of a text. Returns its length in bytes, or zero if there is none.
fn add(text: &str, keys: &mut Vec<FlowKey>, may_be_number: bool) -> usize {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        .unwrap_or(text.len());
    let id = text.get(..end).unwrap_or_default().trim_end_matches(['-', '_']);
    let ends = text
        .get(end..)
        .and_then(|rest| rest.chars().next())
        .is_none_or(|c| matches!(c, ' ' | ',' | ';' | ')' | ']' | '\'' | '"'));
    let key = if may_be_number && ends && is_number(id) {
        Some(FlowKey::SourceLocal(0, CompactString::from(id)))
    } else if id.get(..36).is_some_and(is_uuid)
        && id.get(36..).is_some_and(|rest| rest.starts_with('_'))
    {
        // One of several completions that a request asks for.
        FlowKey::parse(id.get(..36).unwrap_or_default())
    } else if is_uuid(id)
        || is_hex(id)
        || PREFIXES.iter().any(|prefix| id.len() >= prefix.len() + 8 && id.starts_with(prefix))
    {
        FlowKey::parse(id)
    } else {
        None
    };
    let Some(key) = key else { return 0 };
    if !keys.contains(&key) {
        keys.push(key);
    }
    end
}

fn is_number(id: &str) -> bool {
    (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, b)| {
            if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_and_other_ids() {
        let uuid = "5e2f81c0-93ad-4f07-8c1e-6a47b0d9e215";
        for (words, expected) in [
            (format!("Added request {uuid}."), vec![uuid]),
            (format!("Prefilling remotely for request {uuid} with length 2785"), vec![uuid]),
            (
                format!("aborted request_id={uuid} of engine 11111111-44b7-4c68-bafd-3b41378a34ed"),
                vec![uuid],
            ),
            (format!("Request ID: '{uuid}'"), vec![uuid]),
            (
                "Received request chatcmpl-0a1b2c3d4e5f60718293a4b5c6d7e8f9: prompt: 'x'".into(),
                vec!["chatcmpl-0a1b2c3d4e5f60718293a4b5c6d7e8f9"],
            ),
            (
                "finished cmpl-0a1b2c3d4e5f-0, cmpl-0a1b2c3d4e5f-1".into(),
                vec!["cmpl-0a1b2c3d4e5f-0", "cmpl-0a1b2c3d4e5f-1"],
            ),
            (
                "Req(rid=d4424f3eb90345f0a863068978c0f17c)".into(),
                vec!["d4424f3e-b903-45f0-a863-068978c0f17c"],
            ),
            ("Can not find sequence for request 2049".into(), vec!["2049"]),
            (format!("Loaded nixl metadata from engine {uuid}"), vec![]),
            (format!("Initialized NIXL agent: {uuid}"), vec![]),
            (format!("reconcileID {uuid}, object uid {uuid}"), vec![]),
            (format!("flow_id={uuid} no block left"), vec![uuid]),
            (
                "flow_id=019aaaac-a5da-7347-bb80-1089c1876100 x".into(),
                vec!["019aaaac-a5da-7347-bb80-1089c1876100"],
            ),
            (
                format!(
                    "step 7 [trace_id='5e2f81c093ad4f078c1e6a47b0d9e215' span_id=1] request {uuid}"
                ),
                vec![uuid],
            ),
            (format!("subflow_id={uuid} flow_id=- trace_id={}", "0".repeat(32)), vec![]),
            ("request completed".into(), vec![]),
            ("Waiting for 2 inflight requests to complete".into(), vec![]),
            ("required: 1".into(), vec![]),
            ("request failed with 500".into(), vec![]),
            (format!("trident {uuid}"), vec![]),
            (format!("x-request-id: {uuid}"), vec![uuid]),
            (format!("request {uuid}_1"), vec![uuid]),
            ("rid=12, req_id: 13".into(), vec!["12", "13"]),
            (format!("Received request {uuid}: prompt: 'cancel request id 17'"), vec![uuid]),
            ("max_running_requests=4096, num_scheduled_requests: 5".into(), vec![]),
            (
                "Successful requests: 100, request 10% done, request: 3.5 ms, bad request 400"
                    .into(),
                vec![],
            ),
        ] {
            let found: Vec<String> = in_message(&words).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{words}");
        }
    }
}
