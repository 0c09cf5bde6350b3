//! Any headers are accepted, and a callee can parse the headers made from them.

use std::collections::HashMap;

use dynamo_flowlog::Context;

const NAMES: [&str; 5] = ["traceparent", "tracestate", "x-flow-id", "x-request-id", "request-id"];

/// Checks one input.
///
/// # Panics
/// Panics if a property does not hold.
pub fn check(bytes: &[u8]) {
    // One header per line; its first byte selects the name.
    let headers: Vec<(&str, &[u8])> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(name, value)| (NAMES[usize::from(*name) % 5], value))
        .collect();
    let (context, malformed) = Context::extract(&headers);
    assert!(malformed <= 5 && context.tracestate.len() <= 2048);
    assert!(
        context
            .request_id
            .as_ref()
            .is_none_or(|id| id.len() <= 128 && !id.contains(char::is_control))
    );
    let mut sent: HashMap<String, String> = HashMap::new();
    context.inject(&mut sent);
    assert!(sent.values().all(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
    let (received, malformed) = Context::extract(&sent);
    assert_eq!((received.flow_id, malformed), (context.flow_id, 0));
    if context.span_id.is_some() {
        assert_eq!((received.span_id, received.clock), (context.span_id, context.clock));
        assert_eq!((received.flags, received.tracestate), (context.flags, context.tracestate));
    }
}
